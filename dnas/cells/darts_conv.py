"""The convolutional cell of DARTS and its search space.

A cell is a directed acyclic graph over states: two inputs (the outputs of the two preceding cells) and intermediate nodes. A node is the
sum of the edges that enter it. The output concatenates nodes. Source: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search",
ICLR 2019, sections 2.1 and 3.1.1.

The supernet and the derived network share this wiring. They differ only in the factory that makes the edges.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.cells.blocks import FactorizedReduce, ReluConvBN
from dnas.cells.registries import SPACES
from dnas.core.genotype import CellGenotype
from dnas.core.space import CellSpace

SPACE = CellSpace(
  name="darts_conv",
  cells=("normal", "reduce"),
  operations=("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
SPACES.register(SPACE.name)(SPACE)


class OutgoingEdges(Protocol):
  """The edges that leave one state of a cell: a module that calls its parts as segments (`functional.call_segment`)."""

  def __call__(self, x: jax.Array, context: Any, train: bool) -> Mapping[int, jax.Array]:
    """Maps the state.

    Args:
      x: the state, [B, H, W, C].
      context: argument of the edges at every call: mixture weights in a supernet, drop-path in a derived network.
      train: whether batch statistics are used and updated.

    Returns:
      Target node to the sum of its edges from this state, [B, ceil(H / stride), ceil(W / stride), C].
    """
    ...


class EdgeFactory(Protocol):
  """Makes the edges that leave one state."""

  def __call__(self, cell_type: str, source: int, channels: int, stride: int, rng: np.random.Generator) -> OutgoingEdges:
    """Returns the module for state `source` of a cell of this type; stride is 2 for the inputs of a reduction cell."""
    ...


def _of_one(block: nnx.Module, x: jax.Array, train: bool) -> jax.Array:
  """Calls a block for stacks on a single state: adds and removes the edge axis."""
  return block(x[None], train)[0]


class Cell(nnx.Module):
  """One convolutional cell: preprocessing of its two inputs, edges, sums, concatenation."""

  def __init__(
    self,
    cell_type: str,
    wiring: CellGenotype | CellSpace,
    make_edges: EdgeFactory,
    channels_in: tuple[int, int],
    channels: int,
    reduction: bool,
    input_reduced: bool,
    affine: bool,
    rng: np.random.Generator,
  ):
    """Builds the cell.

    Args:
      cell_type: a cell type of the space, such as 'normal' or 'reduce'.
      wiring: a discrete cell, or the space of all cells.
      make_edges: the factory of the edges.
      channels_in: channels of the cell before the previous one, and of the previous one.
      channels: channels of every state.
      reduction: whether the cell halves height and width.
      input_reduced: whether the previous cell was a reduction cell, so that the first input must be halved.
      affine: whether batch normalizations train a scale and a bias.
      rng: source of the initial weights.
    """
    self.num_nodes = wiring.num_nodes if isinstance(wiring, CellSpace) else len(wiring.nodes)
    self.concat = tuple(wiring.concat)
    first = FactorizedReduce if input_reduced else ReluConvBN
    self.preprocess0 = first(1, channels_in[0], channels, affine, rng)
    self.preprocess1 = ReluConvBN(1, channels_in[1], channels, affine, rng)
    strides = [2 if reduction and source < 2 else 1 for source in range(2 + self.num_nodes)]
    self.outgoing = nnx.List([make_edges(cell_type, source, channels, stride, rng) for source, stride in enumerate(strides)])

  @property
  def multiplier(self) -> int:
    """Number of states that the output concatenates."""
    return len(self.concat)

  def __call__(self, input0: jax.Array, input1: jax.Array, contexts: Sequence[Any], train: bool) -> jax.Array:
    """Computes the cell.

    Args:
      input0: output of the cell before the previous one, [B, H0, W0, C0].
      input1: output of the previous cell, [B, H, W, C1].
      contexts: the context of every state's outgoing edges (see `OutgoingEdges`).
      train: whether batch statistics are used and updated.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), multiplier * channels].
    """
    inputs = (self.preprocess0, input0), (self.preprocess1, input1)
    states = [functional.call_segment(preprocess, x, train=train, function=_of_one) for preprocess, x in inputs]
    sums: list[jax.Array | float] = [0.0] * self.num_nodes
    for source, edges in enumerate(self.outgoing):
      if source >= 2:
        states.append(sums[source - 2])  # every edge into this node left an earlier state, so its sum is complete
      for target, contribution in edges(states[source], contexts[source], train).items():
        sums[target - 2] = sums[target - 2] + contribution
    return jnp.concatenate([states[state] for state in self.concat], -1)
