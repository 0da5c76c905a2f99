"""Chains of compiled programs, which the host calls one after the other, and waits for none of them on one device."""

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
  """A compiled function of arrays. Results that are merely arguments are not returned, since XLA would copy them; `gives` tells which.

  Attributes:
    shapes: shapes and types of its arguments.
    function: what is compiled, to the list of what it makes.
    made: shapes and types of what it makes.
    gives: for every result whether it is an argument (0) or made (1), and its place among those.
    out: the tree of the types of the results.
  """

  def __init__(self, name: str, function: Callable[..., Any], arguments: Any):
    """Traces a function of a tuple of trees; compiles nothing yet."""
    self.shapes, structure = jax.tree.flatten(arguments)
    traced = trace(lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), self.shapes)
    given = {id(v): (0, place) for place, v in enumerate(traced.inputs)}
    made = {id(v): v for v in traced.results if id(v) not in given}
    places = given | {key: (1, place) for place, key in enumerate(made)}
    self.gives, self.made, self.out = [places[id(v)] for v in traced.results], list(map(shape_of, made.values())), traced.out
    self.function = part = traced.part(traced.inputs, traced.eqns, list(made.values()))
    program = lambda *args: part(*args)  # noqa: E731
    program.__name__ = name
    self.jitted, self.compiled = jax.jit(program), None

  def prepare(self, pool: concurrent.futures.Executor) -> concurrent.futures.Future:
    """Compiles it for the first device, unless that was done, and returns a future."""
    return pool.submit(self._compile, None if self.compiled else self.jitted.lower(*self.shapes))

  def _compile(self, lowered: jax.stages.Lowered | None) -> None:
    self.compiled = lowered.compile() if lowered else self.compiled


def shape_of(x: Any) -> jax.ShapeDtypeStruct:
  """Returns the type of a variable as `jax.jit` takes it."""
  return jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype, weak_type=x.aval.weak_type)


_PROGRAMS: weakref.WeakValueDictionary[Hashable, Program] = weakref.WeakValueDictionary()


def kept(key: Hashable, name: str, function: Callable[..., Any], arguments: Any) -> Program:
  """Returns the program of this key, which is made if there is none; it is kept as long as something that calls it lives."""
  program = _PROGRAMS.get(key)
  if program is None:
    program = _PROGRAMS[key] = Program(name, function, arguments)
  return program


class Call(NamedTuple):
  """A call of a program: the slots of values that it reads and writes, and those that nobody needs after it."""

  program: Program
  reads: list[int]
  writes: range
  dead: list[int]


class Chain:
  """A sequence of program calls. While it is built, numbered slots stand for arrays."""

  def __init__(self, consts: Sequence[Any], num_inputs: int, waits: bool):
    """Begins with slots for constants and then inputs. `waits` says whether programs wait for those before them."""
    self.consts, self.calls, self.results, self.waits = consts, [], [], waits
    self.given = self.size = len(consts) + num_inputs

  def add(self, program: Program, slots: Any) -> Any:
    """Calls a program with a tree of slots, and returns that of the results."""
    reads, writes = jax.tree.leaves(slots), range(self.size, self.size + len(program.made))
    self.size = writes.stop
    self.calls.append(Call(program, reads, writes, []))
    return jax.tree.unflatten(jax.tree.structure(program.out), [(reads, writes)[kind][place] for kind, place in program.gives])

  def end(self, results: list[Any]) -> "Chain":
    """Says what is returned, slots or values, and drops what that does not need."""
    self.results, calls = results, []
    needed = {slot for slot in results if isinstance(slot, int)}
    for call in reversed(self.calls):
      if not needed.isdisjoint(call.writes):
        calls.append(call._replace(dead=[slot for slot in {*call.reads, *call.writes} if slot not in needed]))
        needed.update(call.reads)
    self.calls = calls[::-1]
    return self

  def __call__(self, leaves: Sequence[Any], prepared: bool, first: bool = False) -> list[Any]:
    """Returns the results. The `first` time programs are compiled, for the first device; where they are not `prepared`, by `jax.jit`."""
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
    """Yields the calls, each as soon as its program is ready, while later programs are being prepared, several at a time."""
    ready, waiting = {}, collections.deque()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      for call in self.calls:
        ready[call.program] = ready.get(call.program) or call.program.prepare(pool)
        waiting.append(call)
        while waiting and (ready[waiting[0].program].done() or call is self.calls[-1]):
          ready[waiting[0].program].result()
          yield waiting.popleft()
