"""Optimizers with the order of operations of PyTorch, as in the published recipes."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dnas.core import tree


def sgd(
  *, momentum: float | jax.Array, weight_decay: float | jax.Array, gradient_clip: float | jax.Array, nesterov: bool = False,
  through_clip: bool = True,
) -> tree.Flattened:
  """Stochastic gradient descent: clips the gradient, adds the L2 penalty, applies momentum, and scales by the learning rate.

  The learning rate is part of the state and initially zero. `with_learning_rate` sets it, so it can depend on the length of a sequence. The
  other numbers may be arrays, for instance arguments of a compiled step. One program then serves all values above zero.

  Args:
    momentum: heavy-ball momentum; 0 keeps no moments.
    weight_decay: coefficient of the L2 penalty; it is not clipped.
    gradient_clip: largest global norm of the gradient; 0 does not clip.
    nesterov: whether to use Nesterov momentum.
    through_clip: whether derivatives of a step flow through the clipping factor; else the factor is a constant.
  """
  clip = optax.identity() if _is_zero(gradient_clip) or _is_beyond(gradient_clip) else _clip_by_global_norm(gradient_clip, through_clip)
  heavy_ball = optax.identity() if _is_zero(momentum) else optax.trace(momentum, nesterov)
  chain = optax.chain(clip, optax.add_decayed_weights(weight_decay), heavy_ball, _scale_by_given_learning_rate())
  return tree.flattened(chain)


def _is_zero(value: float | jax.Array) -> bool:
  return isinstance(value, int | float) and value == 0


def _is_beyond(value: float | jax.Array) -> bool:
  """Returns whether a norm is too large for float32, in which its square overflows. Clipping at such a norm does nothing."""
  return isinstance(value, int | float) and value > 1e18


class GivenLearningRate(NamedTuple):
  """Optimizer state: the learning rate of the next step, a scalar."""

  learning_rate: jax.Array


def with_learning_rate(opt_state: Any, learning_rate: tree.Scalar) -> Any:
  """Returns the state of `sgd` with the learning rate of the next step set."""
  return optax.tree.set(opt_state, learning_rate=jnp.asarray(learning_rate, float))


def _scale_by_given_learning_rate() -> optax.GradientTransformation:
  def update(updates: optax.Updates, state: Any, params: Any = None) -> tuple[optax.Updates, Any]:
    return jax.tree.map(lambda u: -state.learning_rate.astype(u.dtype) * u, updates), state

  return optax.GradientTransformation(lambda params: GivenLearningRate(jnp.zeros((), float)), update)


def _clip_by_global_norm(largest: float | jax.Array, through: bool) -> optax.GradientTransformation:
  """Like `optax.clip_by_global_norm`, but differentiable also at a zero gradient, as hypergradients through the step need it."""

  def clip(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
    squared = sum(jnp.vdot(g, g) for g in jax.tree.leaves(updates))
    active = squared > largest**2
    factor = jnp.where(active, largest / jnp.sqrt(jnp.where(active, squared, 1.0)), 1.0)
    factor = factor if through else jax.lax.stop_gradient(factor)
    return jax.tree.map(lambda g: factor.astype(g.dtype) * g, updates)

  return optax.stateless(clip)


def clipped_adam(
  *, weight_decay: float, gradient_clip: float, beta1: float = 0.9, beta2: float = 0.999, through_clip: bool = True
) -> tree.Flattened:
  """Adam that clips the gradient, and then adds the L2 penalty to it. `with_learning_rate` sets the learning rate, as with `sgd`.

  The second moment gets 1e-16 under its root. Else the derivative of a step would be infinite where a gradient has always been zero.

  Args:
    weight_decay: coefficient of the L2 penalty; it is not clipped.
    gradient_clip: largest global norm of the gradient; 0 does not clip.
    beta1: decay of the first moment.
    beta2: decay of the second moment.
    through_clip: as for `sgd`.
  """
  clip = optax.identity() if _is_zero(gradient_clip) or _is_beyond(gradient_clip) else _clip_by_global_norm(gradient_clip, through_clip)
  moments = optax.scale_by_adam(beta1, beta2, eps=1e-8, eps_root=1e-16)
  return tree.flattened(optax.chain(clip, optax.add_decayed_weights(weight_decay), moments, _scale_by_given_learning_rate()))


WEIGHT_OPTIMIZERS = ("sgd", "adam")
"""Names of the optimizers of `of_weights`."""


def of_weights(name: str, *, momentum: float, **settings: Any) -> tree.Flattened:
  """Returns the named optimizer of a network's weights: `sgd`, or `clipped_adam` with the default decays, which has no momentum."""
  return sgd(momentum=momentum, **settings) if name == "sgd" else clipped_adam(**settings)


def adam(learning_rate: float, *, beta1: float, beta2: float, weight_decay: float) -> optax.GradientTransformation:
  """Adam with the L2 penalty in the gradient (unlike AdamW). DARTS uses it for the architecture parameters."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay), optax.scale_by_adam(beta1, beta2, eps=1e-8), optax.scale_by_learning_rate(learning_rate)
  )


def cosine(peak: float, final: float, epoch: float, epochs: int) -> float:
  """Returns the learning rate final + (peak - final) (1 + cos(pi epoch / epochs)) / 2 at an epoch, counted from 0."""
  return final + (peak - final) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def linear(peak: float, final: float, epoch: float, epochs: int) -> float:
  """Returns the learning rate peak + (final - peak) epoch / epochs at an epoch, counted from 0."""
  return peak + (final - peak) * epoch / epochs


def constant(peak: float, final: float, epoch: float, epochs: int) -> float:
  """Returns the peak in every epoch."""
  return peak


def exponential(peak: float, final: float, epoch: float, epochs: int) -> float:
  """Returns the learning rate peak (final / peak)^(epoch / epochs) at an epoch, counted from 0. `final` is above zero."""
  return peak * (final / peak) ** (epoch / epochs)


SCHEDULES = {"cosine": cosine, "linear": linear, "constant": constant, "exponential": exponential}
"""Schedules by name; each maps (learning rate at the start, at the end, epoch, epochs) to the learning rate.

An epoch that has begun counts by its part.
"""
