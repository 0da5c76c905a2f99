"""A traced function as pieces: every marked part is one, and what lies between them is cut into as few as there must be."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

try:
  from jax.extend import core as jex
except ImportError:  # in a version to come; then nothing can be cut
  jex = None

Variable = Any
Equation = Any


class Piece(NamedTuple):
  """Equations that are compiled together.

  Attributes:
    name: for the profiler.
    key: equal for pieces that are the same function; it keeps what it is told by.
    call: the function, of arrays to a list of arrays.
    inputs: the variables that it takes.
    outputs: the variables that it makes and that something else needs.
    eqns: the equations.
  """

  name: str
  key: Any
  call: Callable[..., list[jax.Array]]
  inputs: list[Variable]
  outputs: list[Variable]
  eqns: list[Equation]


class Traced(NamedTuple):
  """A function of a flat list of arrays: its constants with their variables, and the variables or constants that it takes and returns."""

  consts: list[tuple[Variable, Any]]
  inputs: list[Variable]
  results: list[Any]
  eqns: list[Equation]
  debug_info: Any


def trace(function: Callable[..., Any], shapes: Sequence[Any]) -> tuple[Traced, Any]:
  """Traces a function of arrays, and returns with it the shapes of its results."""
  closed, out = jax.make_jaxpr(function, return_shape=True)(*shapes)
  jaxpr = getattr(closed, "jaxpr", closed)  # a class of its own up to JAX 0.10
  if jaxpr.effects:
    raise NotImplementedError("it has effects, which would lose their order")
  consts = list(zip(jaxpr.constvars, closed.consts, strict=True))
  return Traced(consts, list(jaxpr.invars), list(jaxpr.outvars), list(jaxpr.eqns), jaxpr.debug_info.with_unknown_names()), out


def function_of(traced: Traced) -> Callable[..., list[jax.Array]]:
  """Returns a traced function as one that can be called."""
  variables, values = [v for v, _ in traced.consts], [value for _, value in traced.consts]
  body = jex.Jaxpr(variables, traced.inputs, traced.results, traced.eqns, debug_info=traced.debug_info)
  return jex.jaxpr_as_fun(jex.ClosedJaxpr(body, values))


def variables(atoms: Sequence[Any]) -> list[Variable]:
  """Returns those that are no constants."""
  return [atom for atom in atoms if not isinstance(atom, jex.Literal)]


def constant(atom: Any) -> np.ndarray | None:
  """Returns the value of what is no variable; None of a variable."""
  return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, jex.Literal) else None


def shape_of(v: Variable) -> jax.ShapeDtypeStruct:
  """Returns the type of a variable as `jax.jit` takes it."""
  return jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, weak_type=v.aval.weak_type)


_MOVES = frozenset("broadcast_in_dim concatenate reshape slice split squeeze".split())


def only_moves(eqns: Sequence[Equation]) -> bool:
  """Returns whether equations copy and compute nothing."""
  return all(eqn.primitive.name in _MOVES or eqn.primitive.name == "jit" and only_moves(_inner(eqn)) for eqn in eqns)


def _inner(eqn: Equation) -> Sequence[Equation]:
  inner = eqn.params["jaxpr"]
  return getattr(inner, "jaxpr", inner).eqns


def needed(eqns: Sequence[Equation], results: Sequence[Any]) -> list[Equation]:
  """Returns the equations that some results need."""
  wanted, found = set(variables(results)), []
  for eqn in reversed(eqns):
    if not wanted.isdisjoint(eqn.outvars):
      wanted.update(variables(eqn.invars))
      found.append(eqn)
  return found[::-1]


def cut(traced: Traced, is_marked: Callable[[str], bool]) -> list[Piece]:
  """Cuts a function at the calls with marked names."""
  groups = list(_groups(traced, is_marked))
  wanted, pieces = set(variables(traced.results)), []
  for eqns in reversed(groups):
    made = dict.fromkeys(v for eqn in eqns for v in eqn.outvars)
    inputs = list(dict.fromkeys(v for eqn in eqns for v in variables(eqn.invars) if v not in made))
    outputs = [v for v in made if v in wanted]
    wanted |= set(inputs)
    if outputs:
      body = function_of(Traced([], inputs, outputs, eqns, traced.debug_info))
      name = str(eqns[0].params.get("name", "")) if len(eqns) == 1 else ""
      pieces.append(Piece(name or "between", _key(eqns, inputs, outputs), body, inputs, outputs, eqns))
  return pieces[::-1]


def _groups(traced: Traced, is_marked: Callable[[str], bool]) -> Iterator[list[Equation]]:
  """Yields every marked equation by itself, and before it what it needs of the others, as late as possible."""
  pending: list[Equation] = []
  for eqn in traced.eqns:
    if not is_marked(str(eqn.params.get("name", ""))):
      pending.append(eqn)
      continue
    before = needed(pending, eqn.invars)
    if before:
      yield before
      taken = set(map(id, before))
      pending = [other for other in pending if id(other) not in taken]
    yield [eqn]
  rest = needed(pending, traced.results)
  if rest:
    yield rest


def _key(eqns: Sequence[Equation], inputs: Sequence[Variable], outputs: Sequence[Variable]) -> Any:
  """Tells equations by their primitives, parameters, types and wiring; inner functions are told by themselves."""
  numbers: dict[Any, int] = {v: number for number, v in enumerate(inputs)}

  def name(atom: Any) -> Any:
    if isinstance(atom, jex.Literal):
      return atom.aval, np.asarray(atom.val).tobytes()
    return numbers.setdefault(atom, len(numbers))

  steps = [
    (eqn.primitive, tuple(sorted(eqn.params.items())), repr(eqn.ctx), *map(name, eqn.invars), *map(name, eqn.outvars)) for eqn in eqns
  ]
  key = tuple(v.aval for v in inputs), tuple(map(name, outputs)), tuple(steps)
  try:
    hash(key)
  except TypeError:  # a parameter that only equals itself
    return object()
  return key
