"""A regression whose best choices are known: the squares of the inputs, and the informative one of three branches."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.choices import Choice, InputChoice
from dnas.data.pairs import Arrays


def centred(x):
  return x**2 - 1


class Toy(nnx.Module):
  """Targets are the squares of the last input; the other inputs are noise."""

  def __init__(self, rngs: nnx.Rngs):
    self.shape = Choice("shape", skip=nnx.identity, square=centred, sine=jnp.sin)
    self.merge = InputChoice("merge", ("first", "second", "third"))
    self.scales = nnx.List([nnx.Linear(1, 1, use_bias=False, rngs=rngs) for _ in range(3)])

  def __call__(self, x: jax.Array) -> jax.Array:
    x = self.shape(x)
    return self.merge([scale(x[:, i : i + 1]) for i, scale in enumerate(self.scales)])[:, 0]


def squared_error(outputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
  return ((outputs - targets) ** 2).mean(), {"error": jnp.abs(outputs - targets).mean()}


def arrays(**settings) -> Arrays:
  rng = np.random.default_rng(0)
  x = rng.normal(size=(512, 3)).astype(np.float32)
  return Arrays((x, centred(x[:, 2])), **({"batch_size": 32} | settings))


BEST = "shape=square,merge=third"
