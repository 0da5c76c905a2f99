"""Multiply-adds of a function, counted in its jaxpr.

A multiply-add of a product or a convolution counts one, also where it reads padding. Any other arithmetic on a floating-point number counts
a half. Copies, casts and integers count nothing. The count follows from the shapes alone, so it depends neither on the device nor on the
compiler.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Equation = Any

ARITHMETIC = frozenset(
  "add add_any sub mul div neg max min abs sign exp exp2 expm1 log log1p logistic tanh sin cos erf sqrt rsqrt cbrt pow integer_pow "
  "square select_n clamp".split()
)
"""Names of primitives that compute every number of their result by one operation."""

_REDUCTIONS = frozenset("reduce_sum reduce_max reduce_min reduce_prod argmax argmin cumsum cumprod cummax cumlogsumexp".split())
"""Names of primitives that use every number of their argument in one operation."""


def multiply_adds(function: Callable[..., Any], *args: Any) -> float:
  """Returns the multiply-adds of one call of a function of trees of arrays. The function is traced and not run.

  A loop of unknown length counts as one turn, and a condition as its most expensive branch.
  """
  return _of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def _of_jaxpr(jaxpr: Any) -> float:
  return sum(_of_equation(eqn) for eqn in jaxpr.eqns)


def _of_equation(eqn: Equation) -> float:
  name, params = eqn.primitive.name, eqn.params
  if name in PRODUCTS:
    return of_product(eqn)
  if name == "cond":
    return max(map(_of_jaxpr, inner_jaxprs(params)))
  inner = list(inner_jaxprs(params))
  if inner:
    return params.get("length", 1) * sum(map(_of_jaxpr, inner))
  if name in ARITHMETIC:
    return _half(eqn.outvars[0].aval)
  if name in _REDUCTIONS:
    return _half(eqn.invars[0].aval)
  if name.startswith("reduce_window"):
    return _half(eqn.outvars[0].aval) * math.prod(params["window_dimensions"])
  return 0.0


PRODUCTS = "dot_general", "conv_general_dilated"
"""Names of the primitives that `of_product` counts."""


def of_product(eqn: Equation) -> float:
  """Returns the multiply-adds of a product or a convolution."""
  params = eqn.params
  if eqn.primitive.name == "dot_general":
    (contracted, _), _ = params["dimension_numbers"]
    return float(eqn.outvars[0].aval.size * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted))
  kernel, layout = eqn.invars[1].aval, params["dimension_numbers"]
  size = eqn.outvars[0].aval.size * kernel.size / kernel.shape[layout.rhs_spec[0]]
  return size / math.prod(params["lhs_dilation"])  # the other factors are zeros between the numbers


def _half(aval: Any) -> float:
  return 0.5 * aval.size if jnp.issubdtype(aval.dtype, np.floating) else 0.0


def inner_jaxprs(params: Any) -> Iterator[Any]:
  """Yields the jaxprs among the parameters of an equation, without their constants."""
  for value in params.values():
    for one in value if isinstance(value, tuple | list) else (value,):
      jaxpr = getattr(one, "jaxpr", one)
      if hasattr(jaxpr, "eqns"):
        yield jaxpr
