"""Compiled functions of flat lists of arrays, and sequences of calls of them."""

import collections
import concurrent.futures
import contextlib
import functools
import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dnas.compiler import pieces


class Program:
  """A compiled function. What it returns of its arguments as it is, the caller has already; what it has no use for, it does not take.

  Attributes:
    takes: places of the arguments, counted through, that it takes.
    gives: for every result whether it is made, or else an argument, and its place among those.
    made: types of what is made.
    out: the tree of the results, of `jax.ShapeDtypeStruct`.
  """

  def __init__(self, name: str, function: Callable[..., Any], arguments: Any):
    """Traces the function, which takes a tuple, of trees like `arguments`. Compiles nothing yet."""
    shapes, structure = jax.tree.flatten(arguments)
    traced, self.out = pieces.trace(lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), shapes)
    given = {id(v): (False, place) for place, v in enumerate(traced.inputs)}
    computed = list({id(v): v for v in traced.results if id(v) not in given}.values())
    places = given | {id(v): (True, place) for place, v in enumerate(computed)}
    self.gives = [places[id(v)] for v in traced.results]
    eqns = pieces.needed(traced.eqns, computed)
    used = {v for eqn in eqns for v in pieces.variables(eqn.invars)} | set(pieces.variables(computed))
    self.takes = [place for place, v in enumerate(traced.inputs) if v in used]
    self._shapes, self.made = [shapes[place] for place in self.takes], [v.aval for v in computed]
    consts = [(v, value) for v, value in traced.consts if v in used]
    body = pieces.function_of(traced._replace(consts=consts, inputs=[traced.inputs[i] for i in self.takes], results=computed, eqns=eqns))

    def program(*args: Any) -> list[jax.Array]:
      return body(*args)

    program.__name__ = name
    self._jitted, self._compiled = jax.jit(program, compiler_options=_options(pieces.only_moves(eqns))), None

  def __call__(self, args: Sequence[jax.Array], prepared: bool) -> list[jax.Array]:
    """Computes; `prepared` says whether `prepare` has come to its end, and all arguments are on the first device."""
    return (self._compiled if prepared else self._jitted)(*args)

  def prepare(self, pool: concurrent.futures.Executor) -> concurrent.futures.Future:
    """Has it compiled for the first device; the future is done once it can be called so."""
    return pool.submit(self._compile, self._jitted.lower(*self._shapes)) if self._compiled is None else _done()

  def costs(self) -> tuple[Mapping[str, float], int]:
    """Returns XLA's counts, once it is prepared, and the bytes that it has for itself."""
    memory = self._compiled.memory_analysis()
    return self._compiled.cost_analysis() or {}, memory.temp_size_in_bytes if memory else 0

  def _compile(self, lowered: Any) -> None:
    self._compiled = lowered.compile()


class Evaluation:
  """A function from elsewhere in the place of a `Program`."""

  def __init__(self, piece: pieces.Piece, function: Any, structure: Any):
    """`piece` calls the `functions.Compiled` function; `structure` is the tree of its arguments."""
    (eqn,), places = piece.eqns, {v: place for place, v in enumerate(piece.inputs)}
    self._function, self._structure, self._types = function, structure, [pieces.shape_of(v) for v in eqn.invars]
    self._given = [places[v] if pieces.constant(v) is None else pieces.constant(v) for v in eqn.invars]
    self._kept = [eqn.outvars.index(v) for v in piece.outputs]
    self.takes, self.gives = range(len(piece.inputs)), [(True, place) for place in range(len(piece.outputs))]
    self.made, self.out = [v.aval for v in piece.outputs], list(map(pieces.shape_of, piece.outputs))

  def __call__(self, args: Sequence[jax.Array], prepared: bool) -> list[jax.Array]:
    """Calls the function."""
    leaves = [args[given] if isinstance(given, int) else given for given in self._given]
    results = jax.tree.leaves(self._function(*self._structure.unflatten(leaves)))
    return [results[place] for place in self._kept]

  def prepare(self, pool: concurrent.futures.Executor) -> concurrent.futures.Future:
    """Does nothing, since the function prepares itself."""
    return _done()

  def costs(self) -> tuple[Mapping[str, float], float]:
    """See `Program.costs`."""
    costs = self._function.costs(*self._structure.unflatten(self._types))
    return costs, costs["memory"]


def _done() -> concurrent.futures.Future:
  future: concurrent.futures.Future = concurrent.futures.Future()
  future.set_result(None)
  return future


class Call(NamedTuple):
  """One call of a program: the slots that it reads and writes, and those that nobody needs after it."""

  program: Any
  reads: tuple[int, ...]
  writes: tuple[int, ...]
  dead: tuple[int, ...] = ()


class Builder:
  """Puts a sequence together by calling programs with slots instead of arrays."""

  def __init__(self, consts: Sequence[Any], inputs: Sequence[Any]):
    """Begins with the values of constants, and the types of what the sequence is called with."""
    self._consts, self._sizes = consts, [_size(aval) for aval in (*map(jax.typeof, consts), *inputs)]
    self._given, self._calls = len(self._sizes), []
    self.consts, self.inputs = range(len(consts)), range(len(consts), self._given)

  def __call__(self, program: Program, arguments: Any) -> Any:
    """Adds a call with a tree of slots, and returns that of the results."""
    given = jax.tree.leaves(arguments)
    made = tuple(range(len(self._sizes), len(self._sizes) + len(program.made)))
    self._sizes += map(_size, program.made)
    if made:
      self._calls.append(Call(program, tuple(given[place] for place in program.takes), made))
    return jax.tree.unflatten(jax.tree.structure(program.out), [(made if new else given)[place] for new, place in program.gives])

  def sequence(self, results: Sequence[Any], waits: bool) -> "Sequenced":
    """Returns what computes some slots; values of NumPy among them stand for themselves.

    `waits` says whether programs wait for those before them.
    """
    needed, calls = {slot for slot in results if isinstance(slot, int)}, []
    for call in reversed(self._calls):
      if not needed.isdisjoint(call.writes):
        dead = tuple(slot for slot in {*call.reads, *call.writes} if slot not in needed)
        needed.update(call.reads)
        calls.append(call._replace(dead=dead))
    return Sequenced(calls[::-1], results, self._consts, self._sizes, self._given, waits)


def _size(aval: Any) -> int:
  return aval.size * aval.dtype.itemsize


class Sequenced:
  """Calls of programs, one after the other; the host waits for none of them, unless devices have to take turns."""

  def __init__(self, calls: Sequence[Call], results: Sequence[Any], consts: Sequence[Any], sizes: Sequence[int], given: int, waits: bool):
    self.calls, self._results, self._consts, self._sizes, self._given, self._waits = calls, results, consts, sizes, given, waits

  def __call__(self, leaves: Sequence[Any], prepared: bool) -> list[Any]:
    """Returns the results; `prepared` says whether `first` was called, and with arguments on the same device."""
    values = self._begin(leaves)
    for call in self.calls:
      self._run(call, values, prepared)
    return self._end(values)

  def first(self, leaves: Sequence[Any]) -> list[Any]:
    """Prepares the programs, several at a time, and calls each as soon as it is ready and those before it have been called."""
    values, ready, waiting = self._begin(leaves), {}, collections.deque()
    with _pool() as pool:
      for call in self.calls:
        if call.program not in ready:
          ready[call.program] = call.program.prepare(pool)
        waiting.append(call)
        while waiting and (ready[waiting[0].program].done() or call is self.calls[-1]):
          ready[waiting[0].program].result()
          self._run(waiting.popleft(), values, prepared=True)
    return self._end(values)

  def costs(self) -> dict[str, float]:
    """Returns 'flops', 'bytes accessed' and 'memory' of a call, see `functions.costs`."""
    total = {"flops": 0.0, "bytes accessed": 0.0}
    with _pool() as pool:
      for ready in [program.prepare(pool) for program in {call.program for call in self.calls}]:
        ready.result()
    live = peak = sum(self._sizes[: self._given])
    for call in self.calls:
      counts, memory = call.program.costs()
      total = {name: value + counts.get(name, 0.0) for name, value in total.items()}
      live += sum(self._sizes[slot] for slot in call.writes)
      peak = max(peak, live + memory)
      live -= sum(self._sizes[slot] for slot in call.dead if slot >= self._given)
    return total | {"memory": float(peak)}

  def _begin(self, leaves: Sequence[Any]) -> list[Any]:
    return [*self._consts, *leaves, *[None] * (len(self._sizes) - self._given)]

  def _run(self, call: Call, values: list[Any], prepared: bool) -> None:
    made = call.program([values[slot] for slot in call.reads], prepared)
    if self._waits:
      jax.block_until_ready(made)
    for slot, value in zip(call.writes, made, strict=True):
      values[slot] = value
    for slot in call.dead:
      values[slot] = None

  def _end(self, values: list[Any]) -> list[Any]:
    return [jax.numpy.asarray(slot) if isinstance(slot, np.ndarray) else values[slot] for slot in self._results]


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
  """Within it no cycles are looked for: tracing makes so many objects, and so little garbage, that a quarter of its time went there."""
  collects = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if collects:
      gc.enable()


def _pool() -> concurrent.futures.Executor:
  return concurrent.futures.ThreadPoolExecutor(os.cpu_count())


_CPU_OPTIONS = {
  # Measured on jaxlib 0.10.2, two cores, a supernet of 3 cells: compiles 1.7 times and runs 1.5 times as fast without the new emitters.
  "xla_cpu_use_fusion_emitters": False,
  "xla_cpu_enable_concurrency_optimized_scheduler": False,
}
_TO_MOVE = {"xla_backend_optimization_level": 0}
"""For programs that only copy: they compile in an eighth of the time, and run for half a millisecond at most."""


@functools.cache
def _options(moves: bool) -> dict[str, Any] | None:
  """Returns those of the options for a CPU that this version of XLA knows; an accelerator has none."""
  options = (_CPU_OPTIONS | (_TO_MOVE if moves else {})) if jax.default_backend() == "cpu" else {}
  return {name: value for name, value in options.items() if _is_known(name, value)} or None


@functools.cache
def _is_known(name: str, value: Any) -> bool:
  try:
    jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0).compile()
  except (jax.errors.JaxRuntimeError, RuntimeError, ValueError):
    return False
  return True
