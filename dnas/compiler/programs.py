"""Finds the large programs that a function calls, so that they can be lowered and compiled without being run."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from dnas.compiler.counts import inner_jaxprs
from dnas.compiler.pieces import jex

_PROGRAM = "program_"


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
  """Returns the function with a name by which `programs_of` knows it, once `jax.jit` has compiled it."""
  program = lambda *args: function(*args)  # noqa: E731
  program.__name__ = _PROGRAM + name.strip("_")
  return program


class Called(NamedTuple):
  """A program that a function calls.

  Attributes:
    name: what it computes.
    function: the function of `jax.jit`, which takes a flat list of arrays.
    arguments: the types of these arrays.
    calls: how often it is called.
  """

  name: str
  function: Any
  arguments: list[jax.ShapeDtypeStruct]
  calls: int


def programs_of(function: Callable[..., Any], *args: Any) -> list[Called]:
  """Returns the programs that a call of a function of trees of arrays calls. The function is traced and not run.

  Programs are those of `compiler.functions`: gradients, Hessian products, whole steps. The many small ones around them are left out. Raises
  NotImplementedError where this version of JAX does not let a traced function be called.
  """
  if jex is None:
    raise NotImplementedError("jax.extend.core is missing")
  found: dict[int, Called] = {}
  for eqn in _calls(jax.make_jaxpr(function)(*args).jaxpr):
    jaxpr = eqn.params["jaxpr"]
    known = found.get(id(jaxpr))
    types = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    program = known.function if known else jax.jit(jex.jaxpr_as_fun(jaxpr))
    found[id(jaxpr)] = Called(eqn.params["name"].removeprefix(_PROGRAM), program, types, (known.calls if known else 0) + 1)
  return list(found.values())


def _calls(jaxpr: Any) -> Iterator[Any]:
  """Yields the equations that call programs, from the outside in, without those within a program."""
  for eqn in jaxpr.eqns:
    if str(eqn.params.get("name", "")).startswith(_PROGRAM):
      yield eqn
    else:
      for inner in inner_jaxprs(eqn.params):
        yield from _calls(inner)
