"""Mixed operations: the edges of a supernet, convolutional and recurrent.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, equation 2.
"""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

from dnas.cells.activations import ACTIVATIONS
from dnas.cells.operations import OperationStack
from dnas.core.space import NONE, CellSpace


class MixedEdges(nnx.Module):
  """All edges that leave one state, each a mixture of all operations of the space; the operations run once for the whole stack."""

  def __init__(self, space: CellSpace, source: int, channels: int, stride: int, rng: np.random.Generator):
    self.targets = tuple(target for origin, target in space.edges if origin == source)
    self.columns = {name: column for column, name in enumerate(space.operations) if name != NONE}
    self.operations = OperationStack(tuple(self.columns), len(self.targets), channels, stride, False, rng) if self.targets else None

  def __call__(self, x: jax.Array, mixture: jax.Array, train: bool) -> Mapping[int, jax.Array]:
    """Maps a state, [B, H, W, C], and the weights of its outgoing edges, [edges, operations], to what each target receives.

    The operation `none` would add zero, so only its share of the weights matters.
    """
    if self.operations is None:
      return {}
    outputs = self.operations(x, train)
    total = sum(mixture[:, self.columns[name], None, None, None, None] * output for name, output in outputs.items())
    return {target: total[index] for index, target in enumerate(self.targets)}


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
