"""Compilation of one function as several programs, of which equal ones are one.

A network repeats itself: its cells are alike, and so are the gradients of its cells. A step evaluates its network several times. XLA
compiles every repetition anew where it stands in one program, and that is most of what a search waits for. Two kinds of functions are
therefore marked: a `segment` is a part of a network, an `evaluation` is all of it. `Segmented` compiles what is marked in a function, or
what became of it by differentiation and vectorization, as programs of their own, and what lies in between in pieces. The host then calls
one program after the other, at some microseconds each, and waits for none of them.

To `jax.jit`, what is marked is a function like any other.
"""

import abc
import collections
import concurrent.futures
import contextlib
import contextvars
import functools
import gc
import os
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex
from jax.extend.core import primitives

from dnas.core import executables
from dnas.core.descriptions import Describer

Tree = Any

_SEGMENT, _EVALUATION = "segment_", "evaluation_"


def segment(function: Callable[..., Any], static_argnums: Sequence[int] = ()) -> Callable[..., Any]:
  """Marks a part of a network. Call it with arrays, and with hashable values at `static_argnums`."""
  return jax.jit(_named(_SEGMENT, function), static_argnums=static_argnums)


def evaluation(function: Callable[..., Any]) -> Callable[..., Any]:
  """Marks an evaluation of a whole network, by a name that any way of compilation keeps."""
  return _named(_EVALUATION, function)


def choosing(function: Callable[..., Any], choose: Callable[[Tree], Tree]) -> Callable[..., Any]:
  """Returns a function of the same name, and so of the same mark, that returns some of the results."""
  return functools.wraps(function)(lambda *args: choose(function(*args)))


_TRACED: contextvars.ContextVar[bool] = contextvars.ContextVar("traced in segments", default=False)


def traced_in_segments() -> bool:
  """Returns whether what is traced now will be compiled in segments, each a program."""
  return _TRACED.get()


@contextlib.contextmanager
def _tracing_segments(fine: bool) -> Iterator[None]:
  token = _TRACED.set(fine)
  try:
    yield
  finally:
    _TRACED.reset(token)


def _named(mark: str, function: Callable[..., Any]) -> Callable[..., Any]:
  @functools.wraps(function)
  def marked(*args: Any) -> Any:
    return function(*args)

  marked.__name__ = mark + function.__name__
  return marked


class Sequenced(abc.ABC):
  """A function compiled as several programs; call it as you would call `jax.jit(function)`."""

  def __init__(self, function: Callable[..., Any]):
    self._function, self._traced = function, jax.jit(function)
    self._made: dict[Any, tuple[_Sequence, Any]] = {}
    self._called: set[Any] = set()

  def __call__(self, *args: Any) -> Any:
    """Calls the programs one after the other. Within a function that is being traced it is a function like any other."""
    leaves, structure = jax.tree.flatten(args)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
      return self._traced(*args)
    kind, prepares = _kind(leaves, structure), _prepares(leaves)
    if (kind, prepares) in self._called:
      sequence, out = self._made[kind]
      return jax.tree.unflatten(out, sequence(leaves, prepares))
    with _no_garbage_collection():
      sequence, out = self.made(leaves, structure)
      results = sequence.first(leaves) if prepares else sequence(leaves, prepared=False)
    self._called.add((kind, prepares))
    return jax.tree.unflatten(out, results)

  def costs(self, *args: Any) -> dict[str, float]:
    """Returns floating-point operations ('flops') and bytes ('bytes accessed') of a call, by XLA's count, and its memory.

    'memory' is the largest sum, at any time of a call, of its arguments, of what it still needs or returns, and of what the program that
    runs then has for itself, in bytes.
    """
    return self.made(*jax.tree.flatten(args))[0].costs()

  def _cache_size(self) -> int:
    """Returns with how many kinds of arguments it was called, as a function of `jax.jit` does."""
    return len(self._called)

  def made(self, leaves: list[Any], structure: Any) -> tuple["_Sequence", Any]:
    """Returns the programs for arguments of this kind, which may not be compiled yet, and the structure of the results."""
    kind = _kind(leaves, structure)
    if kind not in self._made:
      self._made[kind] = self._make(leaves, structure)
    return self._made[kind]

  @abc.abstractmethod
  def _make(self, leaves: list[Any], structure: Any) -> tuple["_Sequence", Any]: ...


class Segmented(Sequenced):
  """A function compiled as several programs; call it as you would call `jax.jit(function)`.

  Attributes:
    chosen: a function that returns some of the results, by those of the programs that they take; None if none are chosen.
  """

  def __init__(
    self,
    function: Callable[..., Any],
    compiler_options: Mapping[str, Any] | None = None,
    fine: bool = True,
    choose: Callable[[Tree], Tree] | None = None,
  ):
    """Compiles nothing yet.

    Args:
      function: the function, of trees of arrays.
      compiler_options: for all programs.
      fine: whether segments are programs; otherwise evaluations are.
      choose: takes some results out of the tree of all. A segment that makes something for them and other things beside is then two
        programs, of which `chosen` calls the first.
    """
    super().__init__(function)
    self._options, self._fine, self._choose = dict(compiler_options or {}), fine, choose
    self.chosen = _Chosen(self, choose) if choose else None

  def _make(self, leaves: list[Any], structure: Any) -> tuple["_Sequence", Any]:
    with _tracing_segments(self._fine):
      closed, shapes = jax.make_jaxpr(self._function, return_shape=True)(*jax.tree.unflatten(structure, leaves))
    out, mark = jax.tree.structure(shapes), _SEGMENT if self._fine else _EVALUATION
    chosen = jax.tree.leaves(self._choose(_numbered(out))) if self._choose else ()
    # Devices of a CPU are threads: programs that wait for each other can take all of them, so there they run one after the other.
    waits = len(_devices(leaves)) > 1 and jax.default_backend() == "cpu"
    return _build(_inlined(closed) if self._fine else closed, self._options, mark, waits, chosen), out


class _Chosen(Sequenced):
  """Some of the results of a segmented function."""

  def __init__(self, whole: Segmented, choose: Callable[[Tree], Tree]):
    super().__init__(choosing(whole._function, choose))
    self._whole, self._choose = whole, choose

  def _make(self, leaves: list[Any], structure: Any) -> tuple["_Sequence", Any]:
    sequence, out = self._whole.made(leaves, structure)
    chosen = self._choose(_numbered(out))
    return sequence.only(jax.tree.leaves(chosen)), jax.tree.structure(chosen)


def _numbered(structure: Any) -> Tree:
  return jax.tree.unflatten(structure, range(structure.num_leaves))


def _kind(leaves: list[Any], structure: Any) -> tuple[Any, ...]:
  return structure, tuple(map(jax.typeof, leaves))


def _prepares(leaves: list[Any]) -> bool:
  """Returns whether programs are prepared for such arguments: on the first device, unless JAX looks for NaN, where it takes one apart."""
  return _devices(leaves) <= set(jax.local_devices()[:1]) and not (jax.config.jax_debug_nans or jax.config.jax_debug_infs)


def _devices(leaves: list[Any]) -> set[jax.Device]:
  return set().union(*(sharding.device_set for sharding in {leaf.sharding for leaf in leaves if isinstance(leaf, jax.Array)}))


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
  """Within it no cycles are looked for: tracing makes so many objects, and so little garbage, that a quarter of its time went there."""
  if not gc.isenabled():
    yield
    return
  gc.disable()
  try:
    yield
  finally:
    gc.enable()


class _Call(NamedTuple):
  """One call of a program: which values it takes, which it makes, and which nobody needs after it."""

  program: "_Program"
  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  dead: tuple[int, ...] = ()


class _Sequence:
  """The programs of a traced function in the order in which they are called; values are numbered."""

  def __init__(
    self, calls: Sequence[_Call], results: Sequence[Any], consts: Sequence[Any], avals: Sequence[Any], num_given: int, waits: bool
  ):
    """Finds out until when values are needed.

    Args:
      calls: the calls, in order.
      results: numbers of the values that are returned, or constants.
      consts: values of the first numbers.
      avals: types of all values.
      num_given: how many values are constants or arguments.
      waits: whether a program waits for the one before it.
    """
    self._results, self._consts, self._avals, self._num_given, self._waits = results, consts, avals, num_given, waits
    last = {number: index for index, call in enumerate(calls) for number in (*call.outputs, *call.inputs)}
    last |= {result: len(calls) for result in results if isinstance(result, int)}
    dead = [[number for number in {*call.inputs, *call.outputs} if last[number] == index] for index, call in enumerate(calls)]
    self._calls = [call._replace(dead=tuple(numbers)) for call, numbers in zip(calls, dead, strict=True)]

  def only(self, chosen: Sequence[int]) -> "_Sequence":
    """Returns what computes some of the results."""
    results = [self._results[index] for index in chosen]
    needed, calls = {result for result in results if isinstance(result, int)}, []
    for call in reversed(self._calls):
      if not needed.isdisjoint(call.outputs):
        calls.append(call)
        needed.update(call.inputs)
    return _Sequence(calls[::-1], results, self._consts, self._avals, self._num_given, self._waits)

  def __call__(self, leaves: list[Any], prepared: bool) -> list[Any]:
    """Calls the programs one after the other; `prepared` says whether `first` was called, and with arguments on the same device."""
    values = self._given(leaves)
    for call in self._calls:
      self._call(call, values, prepared)
    return self._returned(values)

  def first(self, leaves: list[Any]) -> list[Any]:
    """Prepares the programs, several at a time, and calls each as soon as it is ready and those before it have been called."""
    values, ready, waiting = self._given(leaves), {}, collections.deque()
    with _compiling() as pool:
      for call in self._calls:
        if call.program not in ready:
          ready[call.program] = call.program.prepare(pool)
        waiting.append(call)
        while waiting and (ready[waiting[0].program].done() or call is self._calls[-1]):
          ready[waiting[0].program].result()
          self._call(waiting.popleft(), values, prepared=True)
    return self._returned(values)

  def _given(self, leaves: list[Any]) -> list[Any]:
    values = [*self._consts, *leaves]
    return values + [None] * (len(self._avals) - len(values))

  def _call(self, call: _Call, values: list[Any], prepared: bool) -> None:
    made = call.program([values[number] for number in call.inputs], prepared)
    if self._waits:
      jax.block_until_ready(made)
    for number, value in zip(call.outputs, made, strict=True):
      values[number] = value
    for number in call.dead:
      values[number] = None

  def _returned(self, values: list[Any]) -> list[Any]:
    return [values[result] if isinstance(result, int) else result for result in self._results]

  def costs(self) -> dict[str, float]:
    """See `Sequenced.costs`."""
    total = {"flops": 0.0, "bytes accessed": 0.0}
    with _compiling() as pool:
      for ready in [program.prepare(pool) for program in {call.program for call in self._calls}]:
        ready.result()
    sizes = [int(np.prod(aval.shape, dtype=np.int64)) * aval.dtype.itemsize for aval in self._avals]
    live = peak = sum(sizes[: self._num_given])
    for program, _, outputs, dead in self._calls:
      costs, memory = program.costs()
      total = {name: value + costs.get(name, 0.0) for name, value in total.items()}
      live += sum(sizes[number] for number in outputs)
      peak = max(peak, live + memory)
      live -= sum(sizes[number] for number in dead if number >= self._num_given)
    return total | {"memory": float(peak)}


@contextlib.contextmanager
def _compiling() -> Iterator[concurrent.futures.Executor]:
  """Programs that are prepared within it are compiled several at a time, and kept by `executables`."""
  with executables.instead_of_jax(), concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    yield pool


def _build(closed: jex.ClosedJaxpr, compiler_options: Mapping[str, Any], mark: str, waits: bool, chosen: Sequence[int]) -> _Sequence:
  """Returns the programs of a traced function, those for the results at the chosen places apart from the others."""
  jaxpr, describe, bodies = closed.jaxpr, Describer(), {}
  pieces = list(_pieces(jaxpr, mark, [jaxpr.outvars[place] for place in chosen]))
  last = {name: index for index, piece in enumerate(pieces) for name in piece.takes}
  last |= dict.fromkeys(_variables(jaxpr.outvars), len(pieces))
  given = [*jaxpr.constvars, *jaxpr.invars]
  numbers, avals, calls = {v: number for number, v in enumerate(given)}, [v.aval for v in given], []
  for index, piece in enumerate(pieces):
    kept = [place for place, name in enumerate(piece.makes) if last.get(name, -1) > index]  # what nobody needs is not computed
    key = id(piece.eqns), *kept
    if key not in bodies:
      bodies[key] = _body(jaxpr, piece.inputs, [piece.outputs[place] for place in kept], piece.eqns)
    program = _program(piece.name, bodies[key], compiler_options, describe)
    inputs = tuple(numbers[name] for name in piece.takes)
    outputs = tuple(range(len(avals), len(avals) + len(kept)))
    numbers |= zip([piece.makes[place] for place in kept], outputs, strict=True)
    avals += [piece.outputs[place].aval for place in kept]
    calls.append(_Call(program, inputs, outputs))
  results = [_constant(v) if isinstance(v, jex.Literal) else numbers[v] for v in jaxpr.outvars]
  return _Sequence(calls, results, list(closed.consts), avals, len(given), waits)


def _is_marked(eqn: jex.JaxprEqn, mark: str) -> bool:
  return eqn.primitive.name == "jit" and eqn.params["name"].startswith(mark)


def _inlined(closed: jex.ClosedJaxpr) -> jex.ClosedJaxpr:
  """Returns a function whose segments all stand at its top level: calls that hold some are taken apart."""

  def holds(eqn: jex.JaxprEqn) -> bool:
    inner = eqn.params["jaxpr"].jaxpr.eqns if eqn.primitive.name == "jit" and not _is_marked(eqn, _SEGMENT) else []
    return any(_is_marked(one, _SEGMENT) or holds(one) for one in inner)

  return _taken_apart(closed, holds)


def _opened(closed: jex.ClosedJaxpr) -> jex.ClosedJaxpr:
  """Returns a function without checkpoints at its top level, which bind a compiler alone."""
  return _taken_apart(closed, lambda eqn: eqn.primitive is primitives.remat_p)


def _taken_apart(closed: jex.ClosedJaxpr, opens: Callable[[jex.JaxprEqn], bool]) -> jex.ClosedJaxpr:
  """Returns a function with the equations of the calls that are to be opened, and of those in them, in their place."""
  jaxpr, eqns, constants = closed.jaxpr, [], dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))

  def copy(jaxpr: jex.Jaxpr, names: dict[Any, Any]) -> list[Any]:
    """Adds the equations of a function, whose arguments and constants have these names, and returns those of its results."""

    def named(atoms: Sequence[Any]) -> list[Any]:
      return [atom if isinstance(atom, jex.Literal) else names[atom] for atom in atoms]

    for eqn in jaxpr.eqns:
      if opens(eqn):
        inner, consts = eqn.params["jaxpr"], []
        if isinstance(inner, jex.ClosedJaxpr):  # it is that of a `jit`
          inner, consts = inner.jaxpr, [jex.Var(v.aval) for v in inner.jaxpr.constvars]
          constants.update(zip(consts, eqn.params["jaxpr"].consts, strict=True))
        given = zip([*inner.constvars, *inner.invars], [*consts, *named(eqn.invars)], strict=True)
        outputs = copy(inner, dict(given))
      else:
        outputs = [jex.Var(v.aval) for v in eqn.outvars]
        eqns.append(eqn.replace(invars=named(eqn.invars), outvars=outputs))
      names.update(zip(eqn.outvars, outputs, strict=True))
    return named(jaxpr.outvars)

  if not any(map(opens, jaxpr.eqns)):
    return closed
  results = copy(jaxpr, {v: v for v in [*jaxpr.constvars, *jaxpr.invars]})
  debug_info = jaxpr.debug_info.with_unknown_names()
  return jex.ClosedJaxpr(jex.Jaxpr(list(constants), jaxpr.invars, results, eqns, debug_info=debug_info), list(constants.values()))


class _Piece(NamedTuple):
  """Equations that become one program: the variables that they take and make, and the names of these in the whole function."""

  name: str
  eqns: Sequence[jex.JaxprEqn]
  inputs: Sequence[Any]
  outputs: Sequence[Any]
  takes: Sequence[Any]
  makes: Sequence[Any]


def _piece(name: str, eqns: Sequence[jex.JaxprEqn], outputs: Sequence[Any] | None = None, names: Mapping[Any, Any] | None = None) -> _Piece:
  made = dict.fromkeys(v for eqn in eqns for v in eqn.outvars)
  inputs = list(dict.fromkeys(v for eqn in eqns for v in _variables(eqn.invars) if v not in made))
  outputs, names = list(made) if outputs is None else outputs, names or {}
  return _Piece(name, eqns, inputs, outputs, [names.get(v, v) for v in inputs], [names.get(v, v) for v in outputs])


def _pieces(jaxpr: jex.Jaxpr, mark: str, chosen: Sequence[Any]) -> Iterator[_Piece]:
  """Yields the equations in pieces: every marked one by itself, and before it what it needs of the others, as late as possible.

  A marked one that makes something for the chosen results, and other things that are needed, is two pieces, in this order.
  """
  pending: list[jex.JaxprEqn] = []
  for_chosen = _needed(jaxpr.eqns, chosen)
  for_others = _needed(jaxpr.eqns, jaxpr.outvars) - for_chosen
  splits: dict[Any, Any] = {}  # of functions that were split: what `_split` found

  def take(names: Sequence[Any]) -> Iterator[_Piece]:
    needed = _needed(pending, names)
    taken = [eqn for eqn in pending if not needed.isdisjoint(eqn.outvars)]
    pending[:] = [eqn for eqn in pending if needed.isdisjoint(eqn.outvars)]
    if taken:
      yield _piece("between", taken)

  for eqn in jaxpr.eqns:
    if not _is_marked(eqn, mark):
      pending.append(eqn)
      continue
    for piece in _split(eqn, for_chosen, for_others, splits):
      yield from take(piece.takes)
      yield piece
  for results in (chosen, jaxpr.outvars):
    yield from take(results)


def _needed(eqns: Sequence[jex.JaxprEqn], results: Sequence[Any]) -> set[Any]:
  """Returns the variables that some results need, themselves included."""
  needed = set(_variables(results))
  for eqn in reversed(eqns):
    if not needed.isdisjoint(eqn.outvars):
      needed.update(_variables(eqn.invars))
  return needed


def _split(eqn: jex.JaxprEqn, first: set[Any], second: set[Any], splits: dict[Any, Any]) -> list[_Piece]:
  """Returns a call as a piece that makes what is in the first set, and one for the second; as a single one if that is all it makes."""
  name, whole = eqn.params["name"], eqn.params["jaxpr"]
  halves = tuple(tuple(place for place, v in enumerate(eqn.outvars) if v in names) for names in (first, second))
  # A constant, or a value that is passed on or returned twice, has no place or name of its own.
  plain = not whole.consts and len(_variables(eqn.invars)) == len(eqn.invars)
  plain = plain and len({*_variables(whole.jaxpr.outvars), *whole.jaxpr.invars}) == len(whole.jaxpr.outvars) + len(whole.jaxpr.invars)
  if not plain or not all(halves):
    return [_piece(name, [eqn])]
  if id(whole) not in splits:
    splits[id(whole)] = _opened(whole).jaxpr
  inner = splits[id(whole)]
  if (id(whole), halves) not in splits:
    splits[id(whole), halves] = _in_two(inner, *([inner.outvars[place] for place in half] for half in halves))
  before, after, kept = splits[id(whole), halves]
  names = {v: (id(eqn), v) for v in kept}  # what the second takes from the first has no name outside
  names |= zip([*inner.invars, *inner.outvars], [*eqn.invars, *eqn.outvars], strict=True)
  outputs = [inner.outvars[place] for place in halves[1]]
  pieces = _piece(name, before, kept, names), _piece(name, after, [v for v in outputs if v not in kept], names)
  return [piece for piece in pieces if piece.eqns]


def _in_two(inner: jex.Jaxpr, first: Sequence[Any], second: Sequence[Any]) -> tuple[list[jex.JaxprEqn], list[jex.JaxprEqn], list[Any]]:
  """Returns the equations that some results need, what others need beside, and what the first make of the results and for the second.

  What is cheap to make of the function's arguments is not handed over but made twice.
  """
  for_first, for_second = _needed(inner.eqns, first), _needed(inner.eqns, second)
  before = [e for e in inner.eqns if not for_first.isdisjoint(e.outvars)]
  after = [e for e in inner.eqns if for_first.isdisjoint(e.outvars) and not for_second.isdisjoint(e.outvars)]
  again = _cheap(before, inner.invars)
  wanted = _needed(again, _piece("", after).inputs)
  after = [*(e for e in again if not wanted.isdisjoint(e.outvars)), *after]
  kept = {*first, *second, *_piece("", after).inputs}
  return before, after, [v for e in before for v in e.outvars if v in kept]


def _without_barriers(jaxpr: jex.Jaxpr) -> jex.Jaxpr:
  """Returns a function without the roundings to its own precision by which `jax.checkpoint` keeps what it saves from the compiler.

  They would compute it twice, once as it is and once rounded, and what is computed anew is in another program.
  """
  same: dict[Any, Any] = {}

  def named(atoms: Sequence[Any]) -> list[Any]:
    return [atom if isinstance(atom, jex.Literal) else same.get(atom, atom) for atom in atoms]

  eqns = []
  for eqn in jaxpr.eqns:
    inputs, params = named(eqn.invars), eqn.params
    if eqn.primitive is primitives.reduce_precision_p:
      precision = jnp.finfo(inputs[0].aval.dtype)
      if (params["exponent_bits"], params["mantissa_bits"]) == (precision.nexp, precision.nmant):
        same[eqn.outvars[0]] = inputs[0]
        continue
    if eqn.primitive.name == "jit":
      inner = params["jaxpr"]
      params = params | {"jaxpr": jex.ClosedJaxpr(_without_barriers(inner.jaxpr), inner.consts)}
    eqns.append(eqn.replace(invars=inputs, params=params))
  return jaxpr.replace(eqns=eqns, outvars=named(jaxpr.outvars))


_MOVES = frozenset("concatenate reshape split squeeze".split())
"""Names of primitives that copy."""

_TO_MOVE = {"xla_backend_optimization_level": 0}
"""Options of a CPU for programs that only copy: they compile in an eighth of the time, and run for half a millisecond at most."""

_ELEMENTWISE = _MOVES | frozenset(
  "abs add and broadcast_in_dim convert_element_type copy div eq exp ge gt integer_pow le log logistic lt max min mul name ne neg not or"
  " rsqrt select_n sign sqrt square stop_gradient sub tanh".split()
)
"""Names of primitives that a compiler fuses with whatever takes their results."""


def _cheap(eqns: Sequence[jex.JaxprEqn], given: Sequence[Any]) -> list[jex.JaxprEqn]:
  """Returns the elementwise equations that need nothing but what is given, what these make, and what is small beside their results.

  The parts of an array are cheap wherever it comes from.
  """
  known, cheap = set(given), []
  for eqn in eqns:
    size = max((v.aval.size for v in eqn.outvars), default=0)
    near = all(v in known or 16 * v.aval.size <= size for v in _variables(eqn.invars))
    if eqn.primitive.name == "split" or (near and _is_of(_ELEMENTWISE, eqn)):
      known.update(eqn.outvars)
      cheap.append(eqn)
  return cheap


def _is_of(names: Collection[str], eqn: jex.JaxprEqn) -> bool:
  """Returns whether an equation consists of primitives of these names."""
  name = eqn.primitive.name
  return name in names or (name == "jit" and all(_is_of(names, inner) for inner in eqn.params["jaxpr"].jaxpr.eqns))


def _body(jaxpr: jex.Jaxpr, inputs: Sequence[Any], outputs: Sequence[Any], eqns: Sequence[jex.JaxprEqn]) -> jex.Jaxpr:
  """Returns some equations of a function as a function."""
  return jex.Jaxpr([], inputs, outputs, eqns, debug_info=jaxpr.debug_info.with_unknown_names())


def _shape(aval: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def _variables(atoms: Sequence[Any]) -> list[Any]:
  return [atom for atom in atoms if not isinstance(atom, jex.Literal)]


def _constant(literal: jex.Literal) -> jax.Array:
  return jnp.asarray(literal.val, literal.aval.dtype)


_PROGRAMS: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
"""Programs by what they compute, as long as something that calls them lives."""


def forget() -> None:
  """Lets functions that are compiled from now on share no program with those of before."""
  _PROGRAMS.clear()


class _Program:
  """A compiled function; if it was not prepared, it is one of `jax.jit`.

  Attributes:
    name: its name.
  """

  def __init__(self, name: str, body: jex.Jaxpr, compiler_options: Mapping[str, Any], description: str | None):
    """Compiles nothing yet; the description is of function and options, if it holds in another process too."""

    def program(*args: Any) -> list[Any]:
      return jex.jaxpr_as_fun(jex.ClosedJaxpr(_without_barriers(body), []))(*args)

    program.__name__ = name
    self.name, self._description = name, description
    self._jitted = jax.jit(program, compiler_options=dict(compiler_options) or None)
    self._shapes = [_shape(v.aval) for v in body.invars]
    self._compiled: Callable[..., Any] | None = None

  def __call__(self, args: Sequence[Any], prepared: bool) -> list[Any]:
    """Calls it; `prepared` says whether it was, and whether the arguments are all on the first device."""
    return (self._compiled if prepared else self._jitted)(*args)

  def prepare(self, pool: concurrent.futures.Executor) -> concurrent.futures.Future:
    """Loads it from disk, or has it compiled for the first device; the future is done once it can be called so."""
    self._compiled = self._compiled or executables.load(self._description)
    if self._compiled is None:
      return pool.submit(self._compile, self.lower())
    ready: concurrent.futures.Future = concurrent.futures.Future()
    ready.set_result(None)
    return ready

  def costs(self) -> tuple[Mapping[str, float], int]:
    """Returns XLA's counts, once it is prepared, and the bytes that it has for itself."""
    memory = self._compiled.memory_analysis()
    return self._compiled.cost_analysis() or {}, memory.temp_size_in_bytes if memory else 0

  def lower(self) -> Any:
    """Returns what a compiler takes."""
    return self._jitted.lower(*self._shapes)

  def _compile(self, lowered: Any) -> None:
    self._compiled = executables.compiled(lowered, self._description)


def _program(name: str, body: jex.Jaxpr, compiler_options: Mapping[str, Any], describe: Describer) -> _Program:
  """Returns the compiled function that computes `body`; one of this name is made only if there is none."""
  if compiler_options and all(_is_of(_MOVES, eqn) for eqn in body.eqns):
    compiler_options = {**compiler_options, **_TO_MOVE}
  key = describe(body), tuple(compiler_options.items()), jax.default_backend()
  program = _PROGRAMS.get(key)
  if program is None:
    lasting = None if key[0].objects else repr((key[0].digest, sorted(compiler_options.items())))
    program = _PROGRAMS[key] = _Program(name, body, compiler_options, lasting)
  return program
