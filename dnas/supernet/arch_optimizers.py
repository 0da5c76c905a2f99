"""Optimizers of architecture parameters that Optax lacks."""

import functools

import jax
import jax.numpy as jnp
import optax

from dnas.core.space import CellSpace
from dnas.supernet.relaxations import EDGES, Arch, softmax_by_target


def exponentiated_gradient(learning_rate: float, space: CellSpace, smallest: float = 0.0) -> optax.GradientTransformation:
  """Returns the exponentiated gradient optimizer: p becomes p exp(-lr g), normalized, so that the parameters stay on their simplices.

  One simplex is a row of [edges, operations], or the edges that enter one node. The update uses logarithms, since the plain form overflows.
  Source: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search", ICLR 2021, algorithm 1.

  Args:
    learning_rate: the learning rate.
    space: the space, for its edges.
    smallest: smaller weights are raised to this value before a second normalization; 0.00001 in the published code, 0 leaves it out.
  """

  def step(name: str, gradient: jax.Array, point: jax.Array) -> jax.Array:
    logits = jnp.log(jnp.maximum(point, jnp.finfo(point.dtype).tiny)) - learning_rate * gradient
    normalized = functools.partial(softmax_by_target, space) if name.endswith(EDGES) else functools.partial(jax.nn.softmax, axis=-1)
    after = normalized(logits)
    return (normalized(jnp.log(jnp.maximum(after, smallest))) if smallest else after) - point

  def update(gradients: Arch, arch: Arch | None) -> Arch:
    return {name: step(name, gradient, arch[name]) for name, gradient in gradients.items()}

  return optax.stateless(update)
