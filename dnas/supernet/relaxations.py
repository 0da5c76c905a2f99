"""Relaxations: from architecture parameters to the weights of mixed operations."""

from collections.abc import Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core.space import CellSpace

Arch = Mapping[str, jax.Array]
"""Cell type to its architecture parameters, float32 [edges, operations]."""


class Relaxation(Protocol):
  """How discrete choices become weights; pure and differentiable."""

  def __call__(self, arch: Arch, key: jax.Array, progress: jax.Array) -> Mapping[str, jax.Array]:
    """Maps parameters to the weights of the mixed operations.

    Args:
      arch: cell type to parameters, [edges, operations].
      key: typed random key, the same in every evaluation of one step.
      progress: the complete fraction of the search, a scalar in [0, 1).

    Returns:
      Cell type to weights, [edges, operations].
    """


def initial_arch(space: CellSpace, key: jax.Array, scale: float) -> Arch:
  """Draws initial architecture parameters from scale * N(0, 1); DARTS's scale is 0.001."""
  keys = jax.random.split(key, len(space.cells))
  return {cell: scale * jax.random.normal(k, space.arch_shape(), jnp.float32) for cell, k in zip(space.cells, keys, strict=True)}


def softmax(arch: Arch, key: jax.Array, progress: jax.Array) -> Mapping[str, jax.Array]:
  """Softmax over the operations of an edge, `none` included (DARTS, equation 2)."""
  return {cell: jax.nn.softmax(parameters, -1) for cell, parameters in arch.items()}


def to_numpy(mixture: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
  """Copies mixture weights to the host."""
  return {cell: np.asarray(weights) for cell, weights in mixture.items()}
