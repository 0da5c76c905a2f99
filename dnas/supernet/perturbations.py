"""Perturbations of the architecture parameters in the weight step, so that the search prefers flat minima.

Source: Chen and Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based Regularization", ICML 2020 (SDARTS). The
paper perturbs the weights of the mixed operations. This file perturbs the architecture parameters, before their relaxation.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from dnas.core import keys
from dnas.core.tree import Scalar
from dnas.supernet.relaxations import Arch

ArchGradient = Callable[[Arch], tuple[jax.Array, Arch]]
"""Maps architecture parameters to the training loss and its gradient with respect to these parameters, at fixed weights."""


class Perturbation(Protocol):
  """Chooses architecture parameters near the current ones for the weight step. Implement it as a frozen dataclass of its settings."""

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar, gradient: ArchGradient) -> Arch:
    """Returns the architecture parameters for the weight step; `progress` is the completed fraction of the search."""
    ...


@dataclasses.dataclass(frozen=True)
class Unperturbed:
  """No perturbation: returns the architecture parameters unchanged."""

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar, gradient: ArchGradient) -> Arch:
    """See `Perturbation`."""
    return arch


@dataclasses.dataclass(frozen=True)
class UniformNoise:
  """Random smoothing, SDARTS-RS (equation 4): adds uniform noise from a cube.

  Attributes:
    radius: half the edge length of the cube at the end of the search.
    start: half the edge length at the start of the search; it grows linearly.
  """

  radius: float = 0.3
  start: float = 0.03

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar, gradient: ArchGradient) -> Arch:
    """See `Perturbation`."""
    return _add_noise(arch, key, self.start + (self.radius - self.start) * progress)


@dataclasses.dataclass(frozen=True)
class Adversarial:
  """Adversarial perturbation, SDARTS-ADV (equation 5): searches a cube for the largest training loss by projected gradient ascent.

  The ascent starts at a random point of the cube and takes one gradient per step. If it ends at a lower loss than the loss at the
  unperturbed parameters, the unperturbed parameters are returned. This comparison takes two more gradients.

  Attributes:
    radius: half the edge length of the cube at the end of the search.
    start: half the edge length at the start of the search; it grows linearly.
    steps: number of ascent steps, each 2 radius / steps long.
  """

  radius: float = 0.3
  start: float = 0.03
  steps: int = 7

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar, gradient: ArchGradient) -> Arch:
    """See `Perturbation`."""
    radius = self.start + (self.radius - self.start) * progress
    near = _add_noise(arch, key, radius)
    for _ in range(self.steps):
      near = _ascend(arch, near, gradient(near)[1], radius, 2 * radius / self.steps)
    return _worse(arch, gradient(arch)[0], near, gradient(near)[0])


@jax.jit
def _add_noise(arch: Arch, key: jax.Array, radius: jax.Array) -> Arch:
  return {name: x + radius * jax.random.uniform(keys.derive(key, name), x.shape, x.dtype, -1, 1) for name, x in arch.items()}


@jax.jit
def _worse(arch: Arch, loss: jax.Array, near: Arch, loss_near: jax.Array) -> Arch:
  """Returns `near`, or `arch` if the loss at `near` is lower."""
  return jax.tree.map(lambda old, new: jnp.where(loss_near < loss, old, new), arch, near)


@jax.jit
def _ascend(center: Arch, point: Arch, gradient: Arch, radius: jax.Array, length: jax.Array) -> Arch:
  def moved(middle: jax.Array, x: jax.Array, g: jax.Array) -> jax.Array:
    return jnp.clip(x + length * jnp.sign(g), middle - radius, middle + radius)

  return jax.tree.map(moved, center, point, gradient)
