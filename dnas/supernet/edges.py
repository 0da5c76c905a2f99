"""Mixed operations: the edge factory of a supernet.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, equation 2.
"""

from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

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
