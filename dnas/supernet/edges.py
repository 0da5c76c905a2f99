"""Mixed operations: the edges of a supernet, convolutional and recurrent.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, equation 2; partial channels: Xu et al., "PC-DARTS", ICLR 2020, equation 2.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.cells.activations import ACTIVATIONS
from dnas.cells.operations import OPERATIONS, OperationStack, Pool
from dnas.core.space import NONE, CellSpace


class MixedEdges(nnx.Module):
  """All edges that leave one state, each a mixture of all operations of the space; what they have in common runs once.

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
    columns = {name: column for column, name in enumerate(space.operations) if name != NONE}
    self.mixing = Mixing(tuple(columns.items()), channels // partial_channels, stride, partial_channels)
    pools = [name for name in columns if isinstance(OPERATIONS[name], Pool)]
    others = [name for name in columns if name not in pools]
    sizes = self.mixing.seen, stride, False, rng
    self.pools = OperationStack(pools, 1, *sizes, space.pool_norm) if self.targets and pools else None
    self.operations = OperationStack(others, len(self.targets), *sizes) if self.targets else None

  def __call__(self, x: jax.Array, mixtures: Sequence[jax.Array], train: bool) -> Mapping[int, jax.Array]:
    """Maps a state, [B, H, W, C], and the weights of each of its outgoing edges, [1, operations], to what each target receives.

    The operation `none` would add zero, so only its share of the weights matters.
    """
    if not self.targets:
      return {}
    options = {"train": train, "rematerialize": self.rematerialize}
    seen = x if self.mixing.groups == 1 else x[..., : self.mixing.seen]
    pooled = {} if self.pools is None else functional.call_segment(self.pools, seen, **options)
    edges = functional.call_stack(self.operations, mixtures, x, pooled, function=self.mixing, **options)
    return dict(zip(self.targets, edges, strict=True))


@dataclasses.dataclass(frozen=True)
class Mixing:
  """The mixture of operations on a stack of edges, equation 2 of DARTS.

  Attributes:
    columns: names of the operations, and their columns among the weights.
    seen: how many channels the operations see.
    stride: 1 or 2.
    groups: the number of partial channels, 1 if the operations see all of them.
  """

  columns: tuple[tuple[str, int], ...]
  seen: int
  stride: int
  groups: int

  def __call__(
    self, operations: OperationStack, mixture: jax.Array, x: jax.Array, pooled: Mapping[str, jax.Array], train: bool
  ) -> list[jax.Array]:
    """Mixes what the operations make of a state, and what is there already.

    Args:
      operations: those that every edge has for itself.
      mixture: the weights, [edges, operations].
      x: the state, [B, H, W, C].
      pooled: name of an operation that the edges share to its output, [1, B, H / stride, W / stride, seen].
      train: whether batch statistics are used and moved.

    Returns:
      For every edge [B, H / stride, W / stride, C].
    """
    outputs = operations(x[..., : self.seen], train) | pooled
    total = sum(mixture[:, column, None, None, None, None] * outputs[name] for name, column in self.columns).astype(x.dtype)
    if self.groups > 1:
      rest = x[..., self.seen :]
      rest = rest if self.stride == 1 else _max_pool_2x2(rest)
      passing = (mixture.sum(1)[:, None, None, None, None] * rest[None]).astype(x.dtype)
      total = jnp.concatenate([total, passing], -1)
      total = total.reshape(*total.shape[:-1], self.groups, self.seen).swapaxes(-1, -2).reshape(total.shape)
    return [edge[0] for edge in jnp.split(total, len(mixture))]


def _max_pool_2x2(x: jax.Array) -> jax.Array:
  """Halves height and width of [B, H, W, C]; a last odd row or column is a window of its own."""
  x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-jnp.inf)
  return x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3]).max((2, 4))


def outgoing_rows(space: CellSpace, source: int) -> tuple[int, ...]:
  """Returns which rows of the architecture parameters belong to the edges that leave a state."""
  return tuple(row for row, (origin, _) in enumerate(space.edges) if origin == source)


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
