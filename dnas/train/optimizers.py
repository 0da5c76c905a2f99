"""Optimizers in the order of operations of PyTorch, with which the recipes were published."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def sgd(
  schedule: Callable[[jax.Array], jax.Array], *, momentum: float, weight_decay: float, gradient_clip: float
) -> optax.GradientTransformation:
  """Stochastic gradient descent: clip, then add the L2 penalty, then momentum, then the learning rate.

  Args:
    schedule: step number to learning rate.
    momentum: of the heavy-ball kind, without Nesterov.
    weight_decay: coefficient of the L2 penalty; it is not clipped.
    gradient_clip: largest global norm of the gradient; 0 does not clip.
  """
  clip = _clip_by_global_norm(gradient_clip) if gradient_clip else optax.identity()
  chain = optax.chain(clip, optax.add_decayed_weights(weight_decay), optax.trace(momentum), optax.scale_by_learning_rate(schedule))
  return optax.flatten(chain)  # one vector of all weights: a few kernels to compile and launch, where every leaf would bring its own


def _clip_by_global_norm(largest: float) -> optax.GradientTransformation:
  """Like `optax.clip_by_global_norm`, with a derivative at a gradient of zero too, which hypergradients through the step need."""

  def clip(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
    squared = sum(jnp.vdot(g, g) for g in jax.tree.leaves(updates))
    active = squared > largest**2
    factor = jnp.where(active, largest / jnp.sqrt(jnp.where(active, squared, 1.0)), 1.0)
    return jax.tree.map(lambda g: factor.astype(g.dtype) * g, updates)

  return optax.stateless(clip)


def adam(learning_rate: float, *, beta1: float, beta2: float, weight_decay: float) -> optax.GradientTransformation:
  """Adam with the L2 penalty in the gradient (unlike AdamW): what DARTS uses for its architecture."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay), optax.scale_by_adam(beta1, beta2, eps=1e-8), optax.scale_by_learning_rate(learning_rate)
  )


def cosine_by_epoch(peak: float, final: float, epochs: int, steps_per_epoch: int) -> Callable[[jax.Array], jax.Array]:
  """Returns the learning rate final + (peak - final) (1 + cos(pi epoch / epochs)) / 2, constant within an epoch (counted from 0)."""

  def schedule(step: jax.Array) -> jax.Array:
    epoch = jnp.minimum(step // steps_per_epoch, epochs)
    return final + (peak - final) * (1 + jnp.cos(math.pi * epoch / epochs)) / 2

  return schedule
