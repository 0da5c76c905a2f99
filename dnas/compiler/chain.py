"""Chains of compiled programs, which the host calls in waves. The programs of a wave need no results of each other."""

import collections
import concurrent.futures
import functools
import itertools
import math
import os
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dnas.compiler.pieces import trace
from dnas.core import devices


class Program:
  """A compiled function of arrays. It does not return results that are unchanged arguments, since XLA would copy them; see `gives`.

  Attributes:
    shapes: shapes and types of the arguments.
    function: the function that is compiled; it returns the list of computed arrays.
    made: shapes and types of the computed arrays.
    gives: for every result, (0, index among the arguments) or (1, index among the computed arrays).
    out: the tree of the types of the results.
    size: bytes of the arguments and of the computed arrays.
  """

  def __init__(self, name: str, function: Callable[..., Any], arguments: Any):
    """Traces a function; `arguments` is the tuple of its argument trees. Compiles nothing yet."""
    self.shapes, structure = jax.tree.flatten(arguments)
    traced = trace(lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), self.shapes)
    given = {id(v): (0, place) for place, v in enumerate(traced.inputs)}
    made = {id(v): v for v in traced.results if id(v) not in given}
    places = given | {key: (1, place) for place, key in enumerate(made)}
    self.gives, self.made, self.out = [places[id(v)] for v in traced.results], list(map(shape_of, made.values())), traced.out
    self.size = sum(map(bytes_of, [*map(jax.typeof, self.shapes), *self.made]))
    self.function = part = traced.part(traced.inputs, traced.eqns, list(made.values()))
    program = lambda *args: part(*args)  # noqa: E731
    program.__name__ = name
    self.jitted = jax.jit(program)
    self.compiled: Any = None

  def prepare(self, pool: concurrent.futures.Executor) -> concurrent.futures.Future:
    """Compiles the program for the first device, unless that is done already. Returns a future."""
    return pool.submit(self._compile, None if self.compiled else self.jitted.lower(*self.shapes))

  def _compile(self, lowered: jax.stages.Lowered | None) -> None:
    self.compiled = lowered.compile() if lowered else self.compiled


def bytes_of(x: Any) -> int:
  """Returns the number of bytes of an array of this shape and type."""
  return math.prod(x.shape) * x.dtype.itemsize


def shape_of(x: Any) -> jax.ShapeDtypeStruct:
  """Returns the shape and type of a variable in the form that `jax.jit` lowers."""
  return jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype, weak_type=x.aval.weak_type)


_PROGRAMS: weakref.WeakValueDictionary[Hashable, Program] = weakref.WeakValueDictionary()


def kept(key: Hashable, name: str, function: Callable[..., Any], arguments: Any) -> Program:
  """Returns the program with this key, and makes it if there is none. A program is kept as long as a chain refers to it."""
  program = _PROGRAMS.get(key)
  if program is None:
    program = _PROGRAMS[key] = Program(name, function, arguments)
  return program


class Call(NamedTuple):
  """A call of a program: the slots that it reads, and the slots that it writes."""

  program: Program
  reads: list[int]
  writes: range


class Wave(NamedTuple):
  """Calls that need no results of each other, and the slots that no later wave needs (`dead`)."""

  calls: list[Call]
  dead: list[int]


class Chain:
  """A sequence of program calls. While it is built, numbered slots stand for arrays.

  Attributes:
    calls: the calls, in the order in which they were added.
    waves: the same calls, in the order in which they are made.
  """

  def __init__(self, consts: Sequence[Any], num_inputs: int, waits: bool):
    """Numbers the slots of the constants, then those of the inputs. `waits`: whether the host waits for each program before the next."""
    self.consts, self.calls, self.waves, self.results, self.waits = consts, [], [], [], waits
    self.given = self.size = len(consts) + num_inputs

  def add(self, program: Program, slots: Any) -> Any:
    """Appends a call of a program with a tree of slots. Returns the tree of the slots of its results."""
    reads, writes = jax.tree.leaves(slots), range(self.size, self.size + len(program.made))
    self.size = writes.stop
    self.calls.append(Call(program, reads, writes))
    return jax.tree.unflatten(jax.tree.structure(program.out), [(reads, writes)[kind][place] for kind, place in program.gives])

  def end(self, results: list[Any]) -> "Chain":
    """Sets the results, which are slots or values, and drops the calls that they do not need. Returns the chain."""
    self.results, calls = results, []
    returned = {slot for slot in results if isinstance(slot, int)}
    needed = set(returned)
    for call in reversed(self.calls):
      if not needed.isdisjoint(call.writes):
        calls.append(call)
        needed.update(call.reads)
    self.calls, waves, needed = calls[::-1], [], returned
    for wave in reversed(_in_waves(self.calls)):
      touched = {slot for call in wave for slot in (*call.reads, *call.writes)}
      waves.append(Wave(wave, list(touched - needed)))
      needed |= touched
    self.waves = waves[::-1]
    return self

  def __call__(self, leaves: Sequence[Any], prepared: bool, first: bool = False) -> list[Any]:
    """Returns the results. If `prepared`, calls the programs compiled for the first device (`first` compiles them), else `jax.jit` ones."""
    if prepared:  # a thread of its own has none of the settings of this one, such as the width of floats
      leaves = [leaf if isinstance(leaf, jax.Array) else jax.device_put(leaf) for leaf in leaves]
    values = [*self.consts, *leaves, *[None] * (self.size - self.given)]
    for calls, dead in self._prepared() if first else self.waves:
      others = [_begun(call, values) for call in calls[1:]] if prepared and not first else []
      for call, other in itertools.zip_longest(calls, [None, *others]):
        made = _made(call, values, prepared) if other is None or other.cancel() else other.result()
        if self.waits:
          jax.block_until_ready(made)
        for slot, value in zip(call.writes, made, strict=True):
          values[slot] = value
      for slot in dead:
        values[slot] = None
    results = (values[slot] if isinstance(slot, int) else slot for slot in self.results)
    return [value if isinstance(value, jax.Array) else jnp.array(value) for value in results]

  def _prepared(self) -> Iterator[Wave]:
    """Yields the waves in order, each once its programs are compiled. Later programs compile meanwhile, several at a time."""
    ready, waiting = {}, collections.deque()
    with concurrent.futures.ThreadPoolExecutor(len(devices.cores())) as pool:
      for wave in self.waves:
        for program in (call.program for call in wave.calls):
          ready[program] = ready.get(program) or program.prepare(pool)
        waiting.append(wave)
        while waiting and (wave is self.waves[-1] or all(ready[call.program].done() for call in waiting[0].calls)):
          for call in waiting[0].calls:
            ready[call.program].result()
          yield waiting.popleft()


MOST_TOGETHER = 4
"""Most calls of a wave."""
LARGE = 32e6
"""Bytes of arguments and results above which a program is the first of its wave. The first one computes in the thread of the caller, whose
memory is used again at once (`launchers._run.reuse_memory`). On two cores a search at batch 64 took 3.8 s with this bound and 4.3 s without
one; a search at batch 16 took 0.92 s with it and 0.96 s with 16 MB."""
_AHEAD = 8
"""Number of later calls among which a wave finds further calls. With all of them, arrays are made long before they are needed."""


def _in_waves(calls: Sequence[Call]) -> list[list[Call]]:
  """Puts the calls into waves. A wave begins with the first call that is left, and takes later ones that need no call between."""
  rest, ahead, waves, width = iter(calls), [], [], min(len(devices.cores()), MOST_TOGETHER)
  while ahead := [*ahead, *itertools.islice(rest, 1 + _AHEAD - len(ahead))]:
    wave, later, made = [], [], set()
    for call in ahead:
      if not wave or (len(wave) < width and made.isdisjoint(call.reads) and call.program.size <= LARGE):
        wave.append(call)
      else:
        later.append(call)
      made.update(call.writes)
    waves.append(wave)
    ahead = later
  return waves


@functools.cache
def _helpers(process: int) -> concurrent.futures.Executor:
  """Returns the threads that compute beside the caller. A process that was forked needs threads of its own."""
  return concurrent.futures.ThreadPoolExecutor(MOST_TOGETHER - 1, f"wave_{process}")


def _begun(call: Call, values: Sequence[Any]) -> concurrent.futures.Future | None:
  """Begins a call in a helper. The caller makes it itself if no helper is free once it comes to it, or if the interpreter ends (None).

  So a program that calls back into a compiled function waits for no helper.
  """
  try:
    return _helpers(os.getpid()).submit(_made, call, values, True)
  except RuntimeError:
    return None


def _made(call: Call, values: Sequence[Any], prepared: bool) -> list[jax.Array]:
  return (call.program.compiled if prepared else call.program.jitted)(*(values[slot] for slot in call.reads))
