"""Mixed operations: the edges of a supernet, convolutional and recurrent.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, equation 2; partial channels: Xu et al., "PC-DARTS", ICLR 2020, equation 2.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.activations import ACTIVATIONS
from dnas.cells.operations import OperationStack
from dnas.core.space import NONE, CellSpace


class MixedEdges(nnx.Module):
  """All edges that leave one state, each a mixture of all operations of the space; the operations run once for the whole stack.

  With partial channels the operations see the first part of the channels, and the others pass by, weighted with the sum of the edge's
  weights (one, or what the weight of the edge itself is); channels are then shuffled, so that each has its turn in the next cell.
  """

  def __init__(
    self,
    space: CellSpace,
    source: int,
    channels: int,
    stride: int,
    rng: np.random.Generator,
    partial_channels: int = 1,
    rematerialize: bool = False,
  ):
    self.rematerialize = rematerialize
    self.targets = tuple(target for origin, target in space.edges if origin == source)
    self.columns = tuple((name, column) for column, name in enumerate(space.operations) if name != NONE)
    self.seen, self.stride, self.groups = channels // partial_channels, stride, partial_channels
    names, edges = [name for name, _ in self.columns], len(self.targets)
    self.operations = OperationStack(names, edges, self.seen, stride, False, rng, space.pool_norm) if edges else None

  def __call__(self, x: jax.Array, mixture: jax.Array, train: bool) -> Mapping[int, jax.Array]:
    """Maps a state, [B, H, W, C], and the weights of its outgoing edges, [edges, operations], to what each target receives.

    The operation `none` would add zero, so only its share of the weights matters.
    """
    if self.operations is None:
      return {}
    outputs = self.operations(x[..., : self.seen], train)
    total = sum(mixture[:, column, None, None, None, None] * outputs[name] for name, column in self.columns).astype(x.dtype)
    if self.groups > 1:
      rest = x[..., self.seen :]
      rest = rest if self.stride == 1 else _max_pool_2x2(rest)
      passing = (mixture.sum(1)[:, None, None, None, None] * rest[None]).astype(x.dtype)
      total = jnp.concatenate([total, passing], -1)
      total = total.reshape(*total.shape[:-1], self.groups, self.seen).swapaxes(-1, -2).reshape(total.shape)
    return {target: total[index] for index, target in enumerate(self.targets)}


def _max_pool_2x2(x: jax.Array) -> jax.Array:
  """Halves height and width of [B, H, W, C]; a last odd row or column is a window of its own."""
  x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-jnp.inf)
  return x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3]).max((2, 4))


def outgoing_rows(space: CellSpace, source: int) -> np.ndarray:
  """Returns which rows of the architecture parameters belong to the edges that leave a state."""
  return np.array([row for row, (origin, _) in enumerate(space.edges) if origin == source], np.int32)


@dataclasses.dataclass(frozen=True)
class MixedActivations:
  """All edges into the nodes of a recurrent cell, each a mixture of all activations of the space (`darts_recurrent.IncomingEdges`).

  Attributes:
    space: the space.
  """

  space: CellSpace

  def sources(self, node: int) -> tuple[int, ...]:
    """Returns all earlier states."""
    return tuple(range(node))

  def __call__(self, node: int, x: jax.Array, mixture: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mixes the activations of [E, B, H] with the rows of this node in `mixture`, [edges, operations]; `none` adds nothing."""
    first = self.space.edges.index((0, node))
    weights = mixture[first : first + node]
    columns = {name: column for column, name in enumerate(self.space.operations) if name != NONE}
    activated = sum(weights[:, column, None, None] * ACTIVATIONS[name](x) for name, column in columns.items())
    return activated, weights[:, np.array(list(columns.values()))].sum(1)
