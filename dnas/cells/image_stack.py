"""The macro architecture of supernets and derived networks: a stem and a stack of cells with reductions at one and two thirds.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, sections 3.1.1 and 3.2, after Zoph et al., 2018.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from dnas.cells import collapse, darts_conv, nasnet
from dnas.cells.blocks import BatchNorm, Conv
from dnas.cells.darts_conv import Cell, EdgeFactory
from dnas.cells.registries import STACKS
from dnas.core.config import check, check_at_most, check_positive, check_types
from dnas.core.genotype import CellGenotype
from dnas.core.space import CellSpace


@dataclasses.dataclass(frozen=True)
class Size:
  """The size of a stack. The configurations of supernets and derived networks inherit it.

  Attributes:
    channels: channels of a state before the first reduction cell.
    cells: number of cells.
    stem_multiplier: channels of the stem, as a multiple of channels.
  """

  channels: int
  cells: int
  stem_multiplier: int = 3

  def __post_init__(self):
    check_types(self)
    check_positive(channels=self.channels, cells=self.cells, stem_multiplier=self.stem_multiplier)
    check_at_most(10**6, channels=self.channels)
    check_at_most(1000, cells=self.cells, stem_multiplier=self.stem_multiplier)


def reduction_indices(num_cells: int) -> tuple[int, int]:
  """Returns the positions of the two reduction cells, L // 3 and 2 L // 3, counted from zero."""
  return num_cells // 3, 2 * num_cells // 3


@STACKS.register(darts_conv.SPACE.name)
@STACKS.register(nasnet.SPACE.name)
class ImageStack(nnx.Module):
  """A 3x3 stem and a stack of cells; the channels double at every reduction cell.

  Reduction cells are of type 'reduce' if the space has that type. Otherwise all cells are of the space's one type.
  """

  num_inputs = 2

  @staticmethod
  def check_space(space: CellSpace) -> None:
    """Raises FieldError unless cells have two inputs, and the space has one cell type, or one besides 'reduce'."""
    check(space.num_inputs == 2, "num_inputs", space.num_inputs, "a cell reads the two cells before it, so it must be 2")
    others = [cell for cell in space.cells if cell != "reduce"]
    fits = len(space.cells) == 1 or len(others) == 1
    check(fits, "cells", space.cells, "give one type, or one type and 'reduce', which halves the image")

  def __init__(
    self,
    wirings: Mapping[str, CellGenotype | CellSpace],
    make_edges: EdgeFactory,
    size: Size,
    image_channels: int,
    affine: bool,
    rng: np.random.Generator,
  ):
    """Builds the stack.

    Args:
      wirings: cell type to a discrete cell, or to the space of all cells.
      make_edges: the factory of the edges.
      size: channels and number of cells.
      image_channels: channels of the images.
      affine: whether batch normalizations in the cells train a scale and a bias.
      rng: source of the initial weights.
    """
    channels, stem_channels = size.channels, size.stem_multiplier * size.channels
    self.stem = Conv(image_channels, stem_channels, (3, 3), rng, padding=1)
    self.stem_norm = BatchNorm(1, stem_channels, affine=True)
    cells, widths, self.cell_types, input_reduced = [], [stem_channels, stem_channels], [], False
    usual = next((cell_type for cell_type in wirings if cell_type != "reduce"), "reduce")
    for index in range(size.cells):
      reduction = index in reduction_indices(size.cells)
      channels *= 2 if reduction else 1
      cell_type = "reduce" if reduction and "reduce" in wirings else usual
      inputs = widths[-2], widths[-1]
      cells.append(Cell(cell_type, wirings[cell_type], make_edges, inputs, channels, reduction, input_reduced, affine, rng))
      widths.append(cells[-1].multiplier * channels)
      self.cell_types.append(cell_type)
      input_reduced = reduction
    self.cell_types = tuple(self.cell_types)
    self.cells = nnx.List(cells)
    self.widths = tuple(widths[2:])

  def __call__(self, images: jax.Array, contexts: Callable[[int, str], Sequence[Any]], train: bool) -> list[jax.Array]:
    """Computes all cells.

    Args:
      images: [B, H, W, C].
      contexts: maps (position, type) of a cell to the contexts of its edges, one per state (`darts_conv.OutgoingEdges`).
      train: whether batch statistics are used and updated.

    Returns:
      The output of each cell, [B, H', W', width].
    """
    stem = self.stem_norm(self.stem(images)[None], train)[0]
    states = [stem, stem]
    for index, cell in enumerate(self.cells):
      states.append(cell(states[-2], states[-1], contexts(index, self.cell_types[index]), train))
    return states[2:]


for space in collapse.COLLAPSE_SPACES:
  STACKS.register(space.name)(ImageStack)
