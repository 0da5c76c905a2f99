"""Relaxations: maps from architecture parameters to the weights of mixed operations.

A relaxation is a frozen dataclass. It draws the initial architecture parameters of a search. It maps the parameters to the weights of one
step, and to the noise-free weights of validation and discretization.
"""

import dataclasses
from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import keys
from dnas.core.space import NONE, CellSpace
from dnas.core.spaces import DecisionSpace
from dnas.core.tree import Scalar

Arch = Mapping[str, jax.Array]
"""Cell type, or name of a choice, to its architecture parameters, float32 [edges, operations].

A method with edge weights adds 'CELL edges', float32 [edges].
"""

Mixture = Mapping[str, jax.Array | np.ndarray]
"""Cell type to the weights of its mixed operations, [edges, operations]; for a supernet also 'CELL edges' to the edge weights, [edges]."""

OpMask = Mapping[str, jax.Array | np.ndarray]
"""Cell type to a mask, float32 [edges, operations]: 1 where an operation still takes part in the search, 0 where it is ruled out."""

EDGES = " edges"
"""Suffix of the keys of edge parameters and edge weights."""


@dataclasses.dataclass(frozen=True)
class Relaxation:
  """A pure, differentiable map from parameters to weights. This base class is the softmax over operations (DARTS, equation 2).

  Other relaxations derive from this class and override the methods that differ.
  """

  def init(self, space: DecisionSpace, key: jax.Array, scale: float) -> Arch:
    """Draws initial parameters from scale * N(0, 1); the scale of DARTS is 0.001."""
    return {cell: scale * jax.random.normal(keys.derive(key, cell), shape) for cell, shape in space.arch_shapes.items()}

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar) -> Mixture:
    """Maps parameters to the weights of one step.

    Args:
      arch: the parameters.
      key: typed random key, the same for every gradient of one step.
      progress: the completed fraction of the search, a scalar in [0, 1].
    """
    return self.mean(arch)

  def mean(self, arch: Arch) -> Mixture:
    """Maps parameters to the noise-free weights that validation and discretization use."""
    return {cell: jax.nn.softmax(parameters, -1) for cell, parameters in arch.items()}

  def restricted(self, arch: Arch, op_mask: OpMask) -> Arch:
    """Returns the parameters for a search in which some operations are ruled out.

    A relaxation that draws operations, or whose weights do not sum to one, must know the mask here. For others `restrict` is enough.
    """
    return arch

  def edges(self, arch: Arch) -> Mapping[str, jax.Array]:
    """Returns the weights of the edges themselves, cell type to [edges]. The weights of the operations already contain this factor."""
    return {cell: jnp.ones(len(parameters)) for cell, parameters in arch.items()}

  def penalty(self, arch: Arch) -> jax.Array:
    """Returns a penalty on the architecture parameters, a scalar. The architecture step adds its gradient to the hypergradient."""
    return jnp.float32(0)


def restrict(mixture: Mixture, op_mask: OpMask) -> Mixture:
  """Sets the weights of ruled-out operations to zero, and scales the other weights so that the sum of every edge stays the same.

  If all allowed operations of an edge have weight zero, they share its sum equally.
  """
  out = {}
  for cell, weights in mixture.items():
    chex.assert_equal_shape([weights, op_mask[cell]])
    kept = weights * op_mask[cell]
    sums = kept.sum(-1, keepdims=True)
    alone = op_mask[cell] / jnp.maximum(op_mask[cell].sum(-1, keepdims=True), 1)
    whole = weights.sum(-1, keepdims=True)
    out[cell] = jnp.where(sums > 0, kept * (whole / jnp.where(sums > 0, sums, 1)), alone * whole)
  return out


def noise_free(relax: Relaxation, arch: Arch, op_mask: OpMask) -> Mixture:
  """Returns the noise-free mixture without the operations that are ruled out."""
  return restrict(relax.mean(relax.restricted(arch, op_mask)), op_mask)


def without_ruled_out(arch: Arch, op_mask: OpMask) -> Arch:
  """Returns logits under which ruled-out operations have a weight of zero, whatever is added to the logits."""
  return {cell: jnp.where(op_mask[cell] > 0, parameters, -1e9) for cell, parameters in arch.items()}


def with_edges(space: DecisionSpace, mixture: Mixture, edges: Mixture, op_mask: OpMask) -> Mixture:
  """Returns the mixture with the edge weights added as 'CELL edges'. An edge that allows no operation but `none` gets the weight zero."""

  def allows_any(cell: str) -> jax.Array | np.ndarray:
    columns = np.array([name != NONE for name in space.columns_of(cell)], np.float32)
    return (op_mask[cell] * columns[None]).sum(-1) > 0

  return {**mixture, **{cell + EDGES: weights * allows_any(cell) for cell, weights in edges.items()}}


def everything(space: DecisionSpace) -> OpMask:
  """Returns masks that allow all operations on every edge, or the operations of `CellSpace.edge_choices` if the space has them."""
  if not isinstance(space, CellSpace) or space.edge_choices is None:
    return {cell: np.ones(shape, np.float32) for cell, shape in space.arch_shapes.items()}
  masks = [[[name in choices for name in space.operations] for choices in edges] for edges in space.edge_choices]
  return dict(zip(space.cells, np.array(masks, np.float32), strict=True))


def to_numpy(mixture: Mixture) -> dict[str, np.ndarray]:
  """Copies mixture weights to the host."""
  return {cell: np.asarray(weights) for cell, weights in mixture.items()}


def gumbel_softmax(arch: Arch, key: jax.Array, temperature: Scalar) -> Mixture:
  """Returns the softmax of (parameters + Gumbel noise) / temperature."""
  return {cell: jax.nn.softmax((p + jax.random.gumbel(keys.derive(key, cell), p.shape)) / temperature, -1) for cell, p in arch.items()}
