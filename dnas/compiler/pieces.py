"""Cuts a traced function into pieces: one for each marked part, and as few as possible for the equations between them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dnas.compiler.marks import is_marked

try:
  from jax.extend import core

  jex: Any = core
except ImportError:  # a later version of JAX may lack it; then nothing can be cut
  jex = None

Variable = Any
Equation = Any


class Piece(NamedTuple):
  """Equations that are compiled together. `call` maps arrays to a list of arrays; pieces with equal keys compute the same function."""

  name: str
  key: Any
  call: Callable[..., list[jax.Array]]
  inputs: list[Variable]
  outputs: list[Variable]
  eqns: list[Equation]


class Traced(NamedTuple):
  """A jaxpr of a function of a flat list of arrays: its constants with their values, inputs, equations, results, and types (`out`)."""

  consts: dict[Variable, Any]
  inputs: list[Variable]
  eqns: list[Equation]
  results: list[Any]
  out: Any
  debug_info: Any

  def part(self, inputs: list[Variable], eqns: list[Equation], results: list[Any]) -> Callable[..., list[jax.Array]]:
    """Returns the function from the variables `inputs` to the variables `results` that these equations compute."""
    body = jex.Jaxpr(list(self.consts), inputs, results, eqns, debug_info=self.debug_info)
    return jex.jaxpr_as_fun(jex.ClosedJaxpr(body, list(self.consts.values())))


def trace(function: Callable[..., Any], shapes: Sequence[Any]) -> Traced:
  """Traces a function of arrays. Raises NotImplementedError if it cannot be cut."""
  if jex is None:
    raise NotImplementedError("jax.extend.core is missing")
  closed, out = jax.make_jaxpr(function, return_shape=True)(*shapes)
  jaxpr = getattr(closed, "jaxpr", closed)  # up to JAX 0.10 a ClosedJaxpr wraps a Jaxpr
  if jaxpr.effects:
    raise NotImplementedError("it has effects, such as printing, whose order would be lost")
  consts = dict(zip(jaxpr.constvars, closed.consts, strict=True))
  return Traced(consts, jaxpr.invars, jaxpr.eqns, jaxpr.outvars, out, jaxpr.debug_info.with_unknown_names())


def variables(atoms: Iterable[Any]) -> list[Variable]:
  """Returns the atoms that are variables, not literals."""
  return [atom for atom in atoms if not isinstance(atom, jex.Literal)]


_FLAT = frozenset("stop_gradient floor ceil round sign".split())
"""Names of primitives whose derivative is zero everywhere."""


def reached(eqns: Sequence[Equation], start: Iterable[Any], backward: bool = False) -> set[Variable]:
  """Returns `start` and all variables with a derivative in it; if `backward`, all variables in which `start` has a derivative."""
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
  """Yields every needed marked equation on its own. The other equations come as late as possible, just before the one that needs them."""
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
  """Returns the key of a piece: primitives, parameters, types and wiring of its equations. Functions inside them compare by identity."""
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
