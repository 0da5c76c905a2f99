"""The macro architecture of NAS-Bench-201: a stem and three stages of equal cells. Residual blocks between stages halve the image.

Source: Dong and Yang, "NAS-Bench-201", ICLR 2020, section 2.1. The published size is 16 channels and 15 cells, five per stage.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.blocks import BatchNorm, Conv
from dnas.cells.darts_conv import EdgeFactory
from dnas.cells.image_stack import Size
from dnas.cells.nasbench201 import SPACE
from dnas.cells.pooling import average_pool_2x2
from dnas.cells.rectifier import relu
from dnas.cells.registries import STACKS
from dnas.core.config import check
from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype
from dnas.core.space import CellSpace

STAGES = 3


class Cell(nnx.Module):
  """One cell. A node is the sum of the edges that enter it; the last node is the output."""

  def __init__(self, cell_type: str, num_nodes: int, make_edges: EdgeFactory, channels: int, rng: np.random.Generator):
    """Builds the cell; `make_edges` is the factory of its edges, all of stride 1."""
    self.outgoing = nnx.List([make_edges(cell_type, source, channels, 1, rng) for source in range(num_nodes)])

  def __call__(self, x: jax.Array, contexts: Sequence[Any], train: bool) -> jax.Array:
    """Maps [B, H, W, C] to the same shape; `contexts` holds the context of every state's outgoing edges."""
    states = [x] + [jnp.zeros_like(x)] * len(self.outgoing)
    for source, edges in enumerate(self.outgoing):  # every edge into this state left an earlier one, so its sum is complete
      for target, contribution in edges(states[source], contexts[source], train).items():
        states[target] = states[target] + contribution
    return states[-1]


class ResidualReduction(nnx.Module):
  """A basic residual block of stride 2 (He et al., 2016), whose shortcut is an average pooling and a 1x1 convolution."""

  def __init__(self, channels_in: int, channels: int, rng: np.random.Generator):
    self.conv1 = Conv(channels_in, channels, (3, 3), rng, stride=2, padding=1)
    self.norm1 = BatchNorm(1, channels, affine=True)
    self.conv2 = Conv(channels, channels, (3, 3), rng, padding=1)
    self.norm2 = BatchNorm(1, channels, affine=True)
    self.shortcut = Conv(channels_in, channels, (1, 1), rng)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [B, H, W, C] to [B, ceil(H / 2), ceil(W / 2), D]."""
    out = self.norm1(self.conv1(relu(x))[None], train)[0]
    out = self.norm2(self.conv2(relu(out))[None], train)[0]
    return out + self.shortcut(average_pool_2x2(x))


@STACKS.register(SPACE.name)
class ResidualStack(nnx.Module):
  """The stack of cells, with the constructor and call signature of `image_stack.ImageStack`."""

  num_inputs = 1

  @staticmethod
  def check_space(space: CellSpace) -> None:
    """Raises FieldError unless the space has one cell type, with one input and one output."""
    check(len(space.cells) == 1, "cells", space.cells, "this space has one type of cell, so give one")
    check(space.num_inputs == 1, "num_inputs", space.num_inputs, "a cell reads one cell, so it must be 1")
    check(len(space.concat) == 1, "num_outputs", space.num_outputs, "the last node is the output of a cell, so it must be 1")

  def __init__(
    self,
    wirings: Mapping[str, CellGenotype | CellSpace],
    make_edges: EdgeFactory,
    size: Size,
    image_channels: int,
    affine: bool,
    rng: np.random.Generator,
  ):
    """Builds the stack. The arguments are those of `image_stack.ImageStack`; `affine` is ignored, since `make_edges` decides it.

    Raises:
      FieldError: if the number of cells is not a multiple of three, or `stem_multiplier` is not 1.
      InputError: if the output of a cell is not its last node.
    """
    channels, num_cells, multiplier = size.channels, size.cells, size.stem_multiplier
    check(num_cells % STAGES == 0, "cells", num_cells, f"this space has three equal stages of cells, so give a multiple of {STAGES}")
    check(size.stem == "small", "stem", size.stem, "the stack of this space has the stem small alone")
    check(multiplier == 1, "stem_multiplier", multiplier, "the stem of this space is as wide as its first stage, so it must be 1")
    ((self.cell_type, wiring),) = wirings.items()
    num_nodes = wiring.num_nodes if isinstance(wiring, CellSpace) else len(wiring.nodes)
    if tuple(wiring.concat) != (num_nodes,):
      raise InputError(f"cell '{self.cell_type}': concat is {list(wiring.concat)}; the last node is the output, so give [{num_nodes}].")
    self.stem = Conv(image_channels, channels, (3, 3), rng, padding=1)
    self.stem_norm = BatchNorm(1, channels, affine=True)
    stages, reductions = [], []
    for stage in range(STAGES):
      width = channels * 2**stage
      if stage:
        reductions.append(ResidualReduction(width // 2, width, rng))
      stages.append(nnx.List([Cell(self.cell_type, num_nodes, make_edges, width, rng) for _ in range(num_cells // STAGES)]))
    self.stages, self.reductions = nnx.List(stages), nnx.List(reductions)
    self.last_norm = BatchNorm(1, channels * 2 ** (STAGES - 1), affine=True)
    self.auxiliary = None
    self.widths = tuple(channels * 2**stage for stage in range(STAGES) for _ in range(num_cells // STAGES))

  def __call__(self, images: jax.Array, contexts: Callable[[int, str], Sequence[Any]], train: bool) -> list[jax.Array]:
    """Computes all cells. The last output is normalized and rectified. See `image_stack.ImageStack`."""
    x, outputs = self.stem_norm(self.stem(images)[None], train)[0], []
    for stage, cells in enumerate(self.stages):
      x = self.reductions[stage - 1](x, train) if stage else x
      for cell in cells:
        x = cell(x, contexts(len(outputs), self.cell_type), train)
        outputs.append(x)
    outputs[-1] = relu(self.last_norm(outputs[-1][None], train)[0])
    return outputs
