"""Optimizers of architecture parameters that Optax lacks."""

import jax
import jax.numpy as jnp
import optax

from dnas.core.space import CellSpace
from dnas.supernet.relaxations import EDGES, Arch, softmax_by_target


def exponentiated_gradient(learning_rate: float, space: CellSpace) -> optax.GradientTransformation:
  """The exponentiated gradient: p becomes p exp(-lr g), normalized, so that the parameters stay on their simplices.

  A row of [edges, operations] is a simplex, and so are the edges that enter one node. It is computed with logarithms, since the plain form
  overflows. Source: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search", ICLR 2021, algorithm 1.

  Args:
    learning_rate: the learning rate.
    space: the space, for its edges.
  """

  def step(name: str, gradient: jax.Array, point: jax.Array) -> jax.Array:
    logits = jnp.log(jnp.maximum(point, jnp.finfo(point.dtype).tiny)) - learning_rate * gradient
    return (softmax_by_target(space, logits) if name.endswith(EDGES) else jax.nn.softmax(logits, -1)) - point

  def update(gradients: Arch, arch: Arch | None) -> Arch:
    return {name: step(name, gradient, arch[name]) for name, gradient in gradients.items()}

  return optax.stateless(update)
