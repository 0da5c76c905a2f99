"""PC-DARTS: operations on a part of the channels, and edge weights."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import keys
from dnas.core.config import check_positive, check_types
from dnas.core.errors import InputError
from dnas.core.space import CellSpace
from dnas.core.spaces import DecisionSpace
from dnas.core.tree import Scalar
from dnas.search.gradient.methods.base import METHODS, DifferentiableMethod
from dnas.supernet.relaxations import EDGES, Arch, Mixture, OpMask, Relaxation


@dataclasses.dataclass(frozen=True)
class EdgeNormalized(Relaxation):
  """Multiplies a relaxation of the operations by edge weights, which sum to one over the edges that enter a node.

  Source: Xu et al., "PC-DARTS", ICLR 2020, equation 4.

  Attributes:
    operations: the relaxation of the operations.
    space: the space.
  """

  operations: Relaxation
  space: CellSpace

  def init(self, space: DecisionSpace, key: jax.Array, scale: float) -> Arch:
    """Draws the parameters of operations and edges."""
    space = with_edges_of(space)
    arch = dict(self.operations.init(space, keys.derive(key, "operations"), scale))
    for cell in space.cells:
      arch[cell + EDGES] = scale * jax.random.normal(keys.derive(key, "edges", cell), (len(space.edges),))
    return arch

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar) -> Mixture:
    """See `Relaxation`."""
    return self._times_edges(self.operations(self._of_operations(arch), key, progress), arch)

  def restricted(self, arch: Arch, op_mask: OpMask) -> Arch:
    """See `Relaxation`."""
    return {**arch, **self.operations.restricted(self._of_operations(arch), op_mask)}

  def mean(self, arch: Arch) -> Mixture:
    """Returns the noise-free weights of the operations times those of their edges."""
    return self._times_edges(self.operations.mean(self._of_operations(arch)), arch)

  def edges(self, arch: Arch) -> Mapping[str, jax.Array]:
    """See `Relaxation`."""
    return {cell: softmax_by_target(self.space, arch[cell + EDGES]) for cell in self.space.cells}

  def penalty(self, arch: Arch) -> jax.Array:
    """Returns the penalty of the operations' relaxation."""
    return self.operations.penalty(self._of_operations(arch))

  def _of_operations(self, arch: Arch) -> Arch:
    return {cell: arch[cell] for cell in self.space.cells}

  def _times_edges(self, mixture: Mixture, arch: Arch) -> Mixture:
    edges = self.edges(arch)
    return {cell: weights * edges[cell][:, None] for cell, weights in mixture.items()}


@METHODS.register("pc_darts")
@dataclasses.dataclass(frozen=True)
class PCDarts(DifferentiableMethod):
  """Operations on a part of the channels, and edge weights. Source: Xu et al., "PC-DARTS", ICLR 2020.

  Attributes:
    partial_channels: K; the operations of an edge see one K-th of the channels.
  """

  partial_channels: int = 4  # type: ignore[misc]

  def __post_init__(self):
    check_types(self)
    check_positive(partial_channels=self.partial_channels)

  def relaxation(self, space: DecisionSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return EdgeNormalized(Relaxation(), with_edges_of(space))


def with_edges_of(space: DecisionSpace) -> CellSpace:
  """Returns a space whose architectures have edges that can have weights, as it is. Raises InputError for another."""
  if not isinstance(space, CellSpace):
    hint = "choose another method, or gaea without edge_weights"
    raise InputError(f"edge weights are those of the edges of a cell, and space '{space.name}' has no such edges; {hint}.")
  return space


def softmax_by_target(space: DecisionSpace, values: jax.Array) -> jax.Array:
  """Returns the softmax of `values`, [edges], over the edges that enter each node."""
  edges = with_edges_of(space).edges
  same = np.array([[a[1] == b[1] for b in edges] for a in edges])
  highest = jnp.where(same, values[None], -jnp.inf).max(1)
  exponentials = jnp.exp(values - jax.lax.stop_gradient(highest))
  return exponentials / (same.astype(np.float32) @ exponentials)
