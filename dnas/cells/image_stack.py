"""The macro architecture of supernets and derived networks: a stem and a stack of cells with reductions at one and two thirds.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, sections 3.1.1 and 3.2, after Zoph et al., 2018.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from dnas.cells import collapse, darts_conv, nasnet, residual_conv
from dnas.cells.blocks import BatchNorm, Conv
from dnas.cells.darts_conv import Cell, EdgeFactory
from dnas.cells.rectifier import relu
from dnas.cells.registries import AUXILIARY_SIDES, STACKS, Auxiliary
from dnas.core.config import check, check_at_most, check_name, check_positive, check_types, named
from dnas.core.genotype import CellGenotype
from dnas.core.space import CellSpace

STEMS = ("small", "imagenet")


@dataclasses.dataclass(frozen=True)
class Size:
  """The size of a stack. The configurations of supernets and derived networks inherit it.

  Attributes:
    channels: channels of a state before the first reduction cell.
    cells: number of cells.
    stem_multiplier: channels of the stem, as a multiple of channels.
    stem: what precedes the cells: small, one 3x3 convolution, for images of CIFAR; or imagenet, three of stride 2.
  """

  channels: int
  cells: int
  stem_multiplier: int = 3
  stem: str = named("small", lambda: STEMS)

  def __post_init__(self):
    check_types(self)
    check_name("stem", self.stem, STEMS)
    check_positive(channels=self.channels, cells=self.cells, stem_multiplier=self.stem_multiplier)
    check_at_most(10**6, channels=self.channels)
    check_at_most(1000, cells=self.cells, stem_multiplier=self.stem_multiplier)


def reduction_indices(num_cells: int) -> tuple[int, int]:
  """Returns the positions of the two reduction cells, L // 3 and 2 L // 3, counted from zero."""
  return num_cells // 3, 2 * num_cells // 3


class Place(NamedTuple):
  """What a stack prescribes for one of its cells.

  Attributes:
    cell_type: the type of the cell.
    channels: channels of every state.
    reduction: whether the cell halves height and width.
    input_reduced: whether the previous cell is a reduction cell.
  """

  cell_type: str
  channels: int
  reduction: bool
  input_reduced: bool


def places(size: Size, cell_types: Iterable[str]) -> list[Place]:
  """Returns the places of a stack. Reduction cells are of type 'reduce' if it exists, and the others of the other type."""
  types, reductions = tuple(cell_types), set(reduction_indices(size.cells))
  usual = next((cell_type for cell_type in types if cell_type != "reduce"), "reduce")
  found: list[Place] = []
  for index in range(size.cells):
    reduction, stage = index in reductions, sum(index >= place for place in reductions)
    cell_type = "reduce" if reduction and "reduce" in types else usual
    found.append(Place(cell_type, size.channels * 2**stage, reduction, index - 1 in reductions))
  return found


class LargeStem(nnx.Module):
  """The stem of DARTS for ImageNet: three 3x3 convolutions of stride 2. The cells read the outputs of the second and of the third.

  Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, section 3.3 and the released code.
  """

  def __init__(self, image_channels: int, channels: int, rng: np.random.Generator):
    widths = image_channels, channels // 2, channels, channels
    pairs = list(zip(widths[:-1], widths[1:], strict=True))
    self.convs = nnx.List([Conv(before, after, (3, 3), rng, stride=2, padding=1) for before, after in pairs])
    self.norms = nnx.List([BatchNorm(1, after, affine=True) for _, after in pairs])

  def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
    """Maps [B, H, W, C] to the two inputs of the first cell, [B, H / 4, W / 4, D] and [B, H / 8, W / 8, D], each side rounded up."""
    x, outputs = images, []
    for conv, norm in zip(self.convs, self.norms, strict=True):
      x = norm(conv(relu(x) if outputs else x)[None], train)[0]
      outputs.append(x)
    return outputs[1], outputs[2]


def check_cell_types(space: CellSpace) -> None:
  """Raises FieldError unless cells have two inputs, and the space has one cell type, or one besides 'reduce'."""
  check(space.num_inputs == 2, "num_inputs", space.num_inputs, "a cell reads the two cells before it, so it must be 2")
  others = [cell for cell in space.cells if cell != "reduce"]
  fits = len(space.cells) == 1 or len(others) == 1
  check(fits, "cells", space.cells, "give one type, or one type and 'reduce', which halves the image")


@STACKS.register(darts_conv.SPACE.name)
@STACKS.register(nasnet.SPACE.name)
@STACKS.register(residual_conv.SPACE.name)
class ImageStack(nnx.Module):
  """A stem and a stack of cells; the channels double at every reduction cell.

  Reduction cells are of type 'reduce' if the space has that type. Otherwise all cells are of the space's one type.
  """

  num_inputs = 2

  @staticmethod
  def check_space(space: CellSpace) -> None:
    """See `check_cell_types`. Raises FieldError also if cells may concatenate their inputs."""
    check_cell_types(space)
    check(not space.inputs_in_concat, "inputs_in_concat", True, "cells of this stack concatenate nodes alone, so it must be False")

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
    stem_channels, large = size.stem_multiplier * size.channels, size.stem == "imagenet"
    if large:
      hint = "the stem imagenet ends in `channels` channels, so it must be 1"
      check(size.stem_multiplier == 1, "stem_multiplier", size.stem_multiplier, hint)
      self.large_stem = LargeStem(image_channels, stem_channels, rng)
    else:
      self.stem = Conv(image_channels, stem_channels, (3, 3), rng, padding=1)
      self.stem_norm = BatchNorm(1, stem_channels, affine=True)
    self.large = large
    cells, widths, planned = [], [stem_channels, stem_channels], places(size, wirings)
    planned[0] = planned[0]._replace(input_reduced=large)  # the first input of the first cell is twice as large as the second
    for cell_type, channels, reduction, input_reduced in planned:
      inputs = widths[-2], widths[-1]
      cells.append(Cell(cell_type, wirings[cell_type], make_edges, inputs, channels, reduction, input_reduced, affine, rng))
      widths.append(cells[-1].multiplier * channels)
    self.cell_types = tuple(place.cell_type for place in planned)
    self.cells = nnx.List(cells)
    self.widths = tuple(widths[2:])
    last = reduction_indices(size.cells)[1]
    of_large = Auxiliary(last, 2, stride=2, images=AUXILIARY_SIDES["imagenet"], normalized=False)
    self.auxiliary = of_large if large else Auxiliary(last, size=2)

  def __call__(self, images: jax.Array, contexts: Callable[[int, str], Sequence[Any]], train: bool) -> list[jax.Array]:
    """Computes all cells.

    Args:
      images: [B, H, W, C].
      contexts: maps (position, type) of a cell to the contexts of its edges, one per state (`darts_conv.OutgoingEdges`).
      train: whether batch statistics are used and updated.

    Returns:
      The output of each cell, [B, H', W', width].
    """
    if self.large:
      states = [*self.large_stem(images, train)]
    else:
      states = [self.stem_norm(self.stem(images)[None], train)[0]] * 2
    for index, cell in enumerate(self.cells):
      states.append(cell(states[-2], states[-1], contexts(index, self.cell_types[index]), train))
    return states[2:]


for space in collapse.COLLAPSE_SPACES:
  STACKS.register(space.name)(ImageStack)
