"""A loss of four layers that is cut, its derivatives, and what they are compared with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dnas.compiler.functions import Compiled, compiled
from dnas.compiler.marks import segment

N = 5


@functools.partial(segment, static_argnums=(0,))
def layer(power: int, weights: jax.Array, x: jax.Array, factor: jax.Array) -> jax.Array:
  return jnp.tanh(x @ weights) ** power * factor


def loss(weights: list[jax.Array], factors: jax.Array, x: jax.Array):
  """Four layers of two kinds; what else it returns are arrays, a constant, an input, integers and nothing."""
  for index, w in enumerate(weights):
    x = layer(1 + index % 2, w, x, factors[index]) + x
  return jnp.square(x).mean(), {"mean": x.mean(), "constant": 1.5, "number": 3, "factors": factors, "places": jnp.argsort(x[0]), "no": None}


def draw(seed: int = 0, batch: int = 3):
  rng = np.random.default_rng(seed)
  weights = [jnp.asarray(rng.normal(size=(N, N)), jnp.float32) for _ in range(4)]
  return weights, jnp.asarray(rng.normal(size=4), jnp.float32), jnp.asarray(rng.normal(size=(batch, N)), jnp.float32)


def direction(seed: int = 1):
  return draw(seed)[0]


def close(ours, theirs):
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    assert jnp.result_type(one) == jnp.result_type(other) and jnp.shape(one) == jnp.shape(other)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6 * max(1.0, float(np.abs(other).max())))


def programs(function: Compiled) -> list[str]:
  """Returns the names of the different programs of a function that was called with one kind of arguments and was cut."""
  (found,) = function.chains.values()
  return [program.jitted.__name__ for program in dict.fromkeys(call.program for call in found[0].calls)]


DERIVATIVES = {
  "both": lambda of: of.gradient((0, 1)),
  "weights": lambda of: of.gradient((0,)),
  "factors": lambda of: of.gradient((1,)),
  "hessian product": lambda of: of.hessian_product(along=0),
  "value": lambda of: compiled(loss),
}


def arguments_of(name: str, seed: int = 0):
  return (*draw(seed), direction(seed + 1)) if name == "hessian product" else draw(seed)
