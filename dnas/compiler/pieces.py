"""A traced function as pieces: every marked part is one, and what lies between them is cut into as few pieces as possible."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dnas.compiler.marks import is_marked

try:
  from jax.extend import core as jex
except ImportError:  # in a version to come; then nothing can be cut
  jex = None

Variable, Equation = Any, Any


class Piece(NamedTuple):
  """Equations that are compiled together; pieces with equal keys are the same function, `call`, of arrays to a list of arrays."""

  name: str
  key: Any
  call: Callable[..., list[jax.Array]]
  inputs: list[Variable]
  outputs: list[Variable]
  eqns: list[Equation]


class Traced(NamedTuple):
  """A function of a flat list of arrays: its variables, the values of constants, equations, and a tree of the types of its results."""

  consts: dict[Variable, Any]
  inputs: list[Variable]
  eqns: list[Equation]
  results: list[Any]
  out: Any
  debug_info: Any

  def part(self, inputs: list[Variable], eqns: list[Equation], results: list[Any]) -> Callable[..., list[jax.Array]]:
    """Returns a function of some of its variables that computes others by these equations."""
    body = jex.Jaxpr(list(self.consts), inputs, results, eqns, debug_info=self.debug_info)
    return jex.jaxpr_as_fun(jex.ClosedJaxpr(body, list(self.consts.values())))


def trace(function: Callable[..., Any], shapes: Sequence[Any]) -> Traced:
  """Traces a function of arrays. Raises NotImplementedError if it cannot be cut."""
  if jex is None:
    raise NotImplementedError("jax.extend.core is missing")
  closed, out = jax.make_jaxpr(function, return_shape=True)(*shapes)
  jaxpr = getattr(closed, "jaxpr", closed)  # a class of its own up to JAX 0.10
  if jaxpr.effects:
    raise NotImplementedError("it has effects, such as printing, whose order would be lost")
  consts = dict(zip(jaxpr.constvars, closed.consts, strict=True))
  return Traced(consts, jaxpr.invars, jaxpr.eqns, jaxpr.outvars, out, jaxpr.debug_info.with_unknown_names())


def variables(atoms: Iterable[Any]) -> list[Variable]:
  """Returns those that are no constants."""
  return [atom for atom in atoms if not isinstance(atom, jex.Literal)]


_FLAT = frozenset("stop_gradient floor ceil round sign".split())
"""Names of primitives whose derivative is zero everywhere."""


def reached(eqns: Sequence[Equation], start: Iterable[Any], backward: bool = False) -> set[Variable]:
  """Returns the variables with a derivative in some of those in `start`, these included; or the variables in which those have one."""
  found = set(variables(start))
  for eqn in reversed(eqns) if backward else eqns:
    ends = (eqn.outvars, eqn.invars) if backward else (eqn.invars, eqn.outvars)
    inner = eqn.params.get("jaxpr") if eqn.primitive.name == "jit" else None
    if eqn.primitive.name in _FLAT or not any(v in found for v in variables(ends[0])):
      continue
    if inner is not None:
      jaxpr = getattr(inner, "jaxpr", inner)
      within = (jaxpr.outvars, jaxpr.invars) if backward else (jaxpr.invars, jaxpr.outvars)
      given = [v for v, outer in zip(within[0], ends[0], strict=True) if variables([outer]) and outer in found]
      known = reached(jaxpr.eqns, given, backward)
      made = [outer for v, outer in zip(within[1], ends[1], strict=True) if variables([v]) and v in known]
    else:
      made = ends[1]
    found.update(v for v in variables(made) if jnp.issubdtype(v.aval.dtype, jnp.inexact))
  return found


def cut(traced: Traced) -> list[Piece]:
  """Cuts a function at the marks."""
  wanted, pieces = set(variables(traced.results)), []
  for name, eqns in reversed(list(_groups(traced))):
    made = dict.fromkeys(v for eqn in eqns for v in eqn.outvars)
    inputs = [v for v in dict.fromkeys(v for eqn in eqns for v in variables(eqn.invars)) if v not in made]
    outputs = [v for v in made if v in wanted]
    wanted.update(inputs)
    call = traced._replace(consts={}).part(inputs, eqns, outputs)
    pieces.append(Piece(name, _key(eqns, inputs, outputs), call, inputs, outputs, eqns))
  return pieces[::-1]


def _groups(traced: Traced) -> Iterator[tuple[str, list[Equation]]]:
  """Yields every needed marked equation on its own, and before it, as late as possible, the others that it depends on."""
  pending: list[Equation] = []
  for eqn in [*_needed(traced.eqns, traced.results), None]:
    name = str(eqn.params.get("name", "")) if eqn else ""
    if eqn and not is_marked(name):
      pending.append(eqn)
      continue
    before = _needed(pending, eqn.invars if eqn else traced.results)
    pending = [other for other in pending if not any(other is one for one in before)]
    yield from [("between", before)] if before else []
    yield from [(name, [eqn])] if eqn else []


def _needed(eqns: Sequence[Equation], results: Iterable[Any]) -> list[Equation]:
  wanted, found = set(variables(results)), []
  for eqn in reversed(eqns):
    if not wanted.isdisjoint(eqn.outvars):
      wanted.update(variables(eqn.invars))
      found.append(eqn)
  return found[::-1]


def _key(eqns: Sequence[Equation], inputs: Sequence[Variable], outputs: Sequence[Variable]) -> Any:
  """Identifies equations by primitives, parameters, types and wiring, and functions inside them by identity."""
  numbers: dict[Any, int] = {v: number for number, v in enumerate(inputs)}

  def name(atom: Any) -> Any:
    literal = isinstance(atom, jex.Literal)
    return (atom.aval, np.asarray(atom.val).tobytes()) if literal else numbers.setdefault(atom, len(numbers))

  steps = tuple((e.primitive, tuple(sorted(e.params.items())), repr(e.ctx), *map(name, [*e.invars, *e.outvars])) for e in eqns)
  key = tuple(v.aval for v in inputs), steps, tuple(map(name, outputs))
  try:
    return hash(key) and key
  except TypeError:  # a parameter that only equals itself
    return object()
