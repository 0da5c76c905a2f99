"""Chains of compiled programs. The host calls them one after the other; on one device it does not wait for their results."""

import collections
import concurrent.futures
import os
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dnas.compiler.pieces import trace


class Program:
  """A compiled function of arrays. It does not return results that are unchanged arguments, since XLA would copy them; see `gives`.

  Attributes:
    shapes: shapes and types of the arguments.
    function: the function that is compiled; it returns the list of computed arrays.
    made: shapes and types of the computed arrays.
    gives: for every result, (0, index among the arguments) or (1, index among the computed arrays).
    out: the tree of the types of the results.
  """

  def __init__(self, name: str, function: Callable[..., Any], arguments: Any):
    """Traces a function; `arguments` is the tuple of its argument trees. Compiles nothing yet."""
    self.shapes, structure = jax.tree.flatten(arguments)
    traced = trace(lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), self.shapes)
    given = {id(v): (0, place) for place, v in enumerate(traced.inputs)}
    made = {id(v): v for v in traced.results if id(v) not in given}
    places = given | {key: (1, place) for place, key in enumerate(made)}
    self.gives, self.made, self.out = [places[id(v)] for v in traced.results], list(map(shape_of, made.values())), traced.out
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
  """A call of a program: the slots that it reads, the slots that it writes, and the slots that no later call needs (`dead`)."""

  program: Program
  reads: list[int]
  writes: range
  dead: list[int]


class Chain:
  """A sequence of program calls. While it is built, numbered slots stand for arrays."""

  def __init__(self, consts: Sequence[Any], num_inputs: int, waits: bool):
    """Numbers the slots of the constants, then those of the inputs. `waits`: whether the host waits for each program before the next."""
    self.consts, self.calls, self.results, self.waits = consts, [], [], waits
    self.given = self.size = len(consts) + num_inputs

  def add(self, program: Program, slots: Any) -> Any:
    """Appends a call of a program with a tree of slots. Returns the tree of the slots of its results."""
    reads, writes = jax.tree.leaves(slots), range(self.size, self.size + len(program.made))
    self.size = writes.stop
    self.calls.append(Call(program, reads, writes, []))
    return jax.tree.unflatten(jax.tree.structure(program.out), [(reads, writes)[kind][place] for kind, place in program.gives])

  def end(self, results: list[Any]) -> "Chain":
    """Sets the results, which are slots or values, and drops the calls that they do not need. Returns the chain."""
    self.results, calls = results, []
    needed = {slot for slot in results if isinstance(slot, int)}
    for call in reversed(self.calls):
      if not needed.isdisjoint(call.writes):
        calls.append(call._replace(dead=[slot for slot in {*call.reads, *call.writes} if slot not in needed]))
        needed.update(call.reads)
    self.calls = calls[::-1]
    return self

  def __call__(self, leaves: Sequence[Any], prepared: bool, first: bool = False) -> list[Any]:
    """Returns the results. If `prepared`, calls the programs compiled for the first device (`first` compiles them), else `jax.jit` ones."""
    values = [*self.consts, *leaves, *[None] * (self.size - self.given)]
    for call in self._prepared() if first else self.calls:
      made = (call.program.compiled if prepared else call.program.jitted)(*(values[slot] for slot in call.reads))
      if self.waits:
        jax.block_until_ready(made)
      for slot, value in zip(call.writes, made, strict=True):
        values[slot] = value
      for slot in call.dead:
        values[slot] = None
    results = (values[slot] if isinstance(slot, int) else slot for slot in self.results)
    return [value if isinstance(value, jax.Array) else jnp.array(value) for value in results]

  def _prepared(self) -> Iterator[Call]:
    """Yields the calls in order, each once its program is compiled. Later programs compile meanwhile, several at a time."""
    ready, waiting = {}, collections.deque()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      for call in self.calls:
        ready[call.program] = ready.get(call.program) or call.program.prepare(pool)
        waiting.append(call)
        while waiting and (ready[waiting[0].program].done() or call is self.calls[-1]):
          ready[waiting[0].program].result()
          yield waiting.popleft()
