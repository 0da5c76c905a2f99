"""The macro architecture of NASNet, AmoebaNet and NAONet on CIFAR-10: a stem, and cells that read the two outputs before them.

At 20 cells there are three stages of N = 6 normal cells. A reduction cell stands between two stages. The papers count the normal cells
alone, 18. A reduction cell is an ordinary link of the chain. So the normal cell after it reads the state before the reduction too, which a
factorized reduction halves.

The first cell has no output of two cells before. In its place it reads the stem itself, with the stem's channels: no convolution brings
them to those of the cell. So each operation on this state changes the number of channels, and so does the concatenation. The mixed
operations of a supernet cannot do so, since partial channels pass by them. There a convolution brings the stem to the channels of the cell.

Convolutions and poolings of stride 2 are centred at even pixels, as elsewhere in this package. TensorFlow, in which the networks were
trained, puts the odd zero of the padding at the end, so its windows lie one pixel lower and further right.

Sources: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", CVPR 2018, section 3 and appendix A, and the
released code; He et al., "Delving Deep into Rectifiers", ICCV 2015, for the initialization.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import amoebanet, functional, naonet, nasnet_a
from dnas.cells.blocks import BatchNorm, Conv, ConvBN, FactorizedReduce, ReluConvBN, redraw_by_fan_out
from dnas.cells.darts_conv import OutgoingEdges
from dnas.cells.image_stack import Place, Size, check_cell_types, places, reduction_indices
from dnas.cells.operations import changes_channels
from dnas.cells.rectifier import relu
from dnas.cells.registries import STACKS, Auxiliary
from dnas.core.config import check
from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype
from dnas.core.space import CellSpace


class EdgeFactory(Protocol):
  """Makes the edges that leave one state, as `darts_conv.EdgeFactory`. For a discrete cell it may be given `channels_in` by name."""

  def __call__(
    self, cell_type: str, source: int, channels: int, stride: int, rng: np.random.Generator, **channels_in: int
  ) -> OutgoingEdges:
    """Returns the module for state `source`; `channels_in` is given if the state has another number of channels than its edges."""
    ...


def _of_one(block: nnx.Module, x: jax.Array, train: bool) -> jax.Array:
  return block(x[None], train)[0]


class Cell(nnx.Module):
  """One cell: its inputs brought to its size, edges, sums, concatenation of nodes and perhaps inputs."""

  def __init__(
    self,
    place: Place,
    wiring: CellGenotype | CellSpace,
    make_edges: EdgeFactory,
    channels_in: tuple[int, int],
    first: bool,
    affine: bool,
    rng: np.random.Generator,
  ):
    """Builds the cell.

    Args:
      place: the cell's type and size.
      wiring: a discrete cell, or the space of all cells.
      make_edges: the factory of the edges.
      channels_in: channels of the output before the previous one, and of the previous one.
      first: whether this is the first cell of its stack, so that a discrete cell reads the stem itself as its first input.
      affine: whether batch normalizations train a scale and a bias.
      rng: source of the initial weights.

    Raises:
      InputError: if a reduction cell concatenates an input, whose images are larger than those of its nodes.
    """
    discrete = isinstance(wiring, CellGenotype)
    channels, num_nodes = place.channels, len(wiring.nodes) if isinstance(wiring, CellGenotype) else wiring.num_nodes
    self.num_nodes, self.concat = num_nodes, tuple(wiring.concat)
    if place.reduction and min(self.concat) < 2:
      larger = f"concat is {list(self.concat)}; it halves the image, so leave out the inputs, 0 and 1"
      raise InputError(f"cell '{place.cell_type}': {larger}.")
    if place.input_reduced:
      before = FactorizedReduce(1, channels_in[0], channels, affine, rng)
    elif (first and discrete) or channels_in[0] == channels:
      before = None
    else:
      before = ReluConvBN(1, channels_in[0], channels, affine, rng)
    widened = {"channels_in": channels_in[0]} if before is None and channels_in[0] != channels else {}
    self.preprocess0 = nnx.data(before)
    self.preprocess1 = ReluConvBN(1, channels_in[1], channels, affine, rng)
    outgoing = []
    for source in range(2 + num_nodes):
      stride = 2 if place.reduction and source < 2 else 1
      outgoing.append(make_edges(place.cell_type, source, channels, stride, rng, **(widened if source == 0 else {})))
    self.outgoing = nnx.List(outgoing)
    projected = widened and 0 in self.concat
    self.projection0 = nnx.data(ConvBN(1, channels_in[0], channels, affine, rng) if projected else None)

  def __call__(self, input0: jax.Array, input1: jax.Array, contexts: Sequence[Any], train: bool) -> jax.Array:
    """Computes the cell.

    Args:
      input0: output before the previous one, [B, H0, W0, C0].
      input1: previous output, [B, H, W, C1].
      contexts: the context of every state's outgoing edges (see `darts_conv.OutgoingEdges`).
      train: whether batch statistics are used and updated.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), states in the concatenation * channels].
    """
    inputs = (self.preprocess0, input0), (self.preprocess1, input1)
    states = [x if block is None else functional.call_segment(block, x, train=train, function=_of_one) for block, x in inputs]
    sums: list[jax.Array | float] = [0.0] * self.num_nodes
    for source, edges in enumerate(self.outgoing):
      if source >= 2:
        states.append(sums[source - 2])  # every edge into this node left an earlier state, so its sum is complete
      for target, contribution in edges(states[source], contexts[source], train).items():
        sums[target - 2] = sums[target - 2] + contribution
    if self.projection0 is not None:
      states[0] = functional.call_segment(self.projection0, states[0], train=train, function=_of_one)
    return jnp.concatenate([states[state] for state in self.concat], -1)


@STACKS.register(nasnet_a.SPACE.name)
@STACKS.register(amoebanet.SPACE.name)
class NasnetStack(nnx.Module):
  """A 3x3 stem and a stack of cells, with the constructor and call signature of `image_stack.ImageStack`.

  Convolutions begin with normal weights of variance 2 / fan-out. An auxiliary head reads the last cell before the second reduction.

  Attributes:
    auxiliary_offset: position of the cell that an auxiliary head reads, relative to the second reduction cell.
    auxiliary_size: see `image_stack.Auxiliary`.
  """

  num_inputs = 2
  auxiliary_offset, auxiliary_size = -1, 4

  @staticmethod
  def check_space(space: CellSpace) -> None:
    """See `check_cell_types`. Raises FieldError also if an operation cannot change the number of channels, as the first cell needs."""
    check_cell_types(space)
    unfit = [name for name in space.operations if not changes_channels(name)]
    hint = "these cannot change the number of channels, as the first cell of this stack needs"
    check(not unfit, "operations", ", ".join(unfit), hint)

  def __init__(
    self,
    wirings: Mapping[str, CellGenotype | CellSpace],
    make_edges: EdgeFactory,
    size: Size,
    image_channels: int,
    affine: bool,
    rng: np.random.Generator,
  ):
    """Builds the stack. The arguments are those of `image_stack.ImageStack`. Raises InputError as `Cell` does."""
    check(size.stem == "small", "stem", size.stem, "the stack of this space has the stem small alone")
    stem_channels = size.stem_multiplier * size.channels
    self.stem = Conv(image_channels, stem_channels, (3, 3), rng, padding=1)
    self.stem_norm = BatchNorm(1, stem_channels, affine=True)
    cells, widths, planned = [], [stem_channels, stem_channels], places(size, wirings)
    for index, place in enumerate(planned):
      inputs = widths[-2], widths[-1]
      cells.append(Cell(place, wirings[place.cell_type], make_edges, inputs, index == 0, affine, rng))
      widths.append(len(cells[-1].concat) * place.channels)
    self.cell_types = tuple(place.cell_type for place in planned)
    self.cells = nnx.List(cells)
    self.widths = tuple(widths[2:])
    position = reduction_indices(size.cells)[1] + self.auxiliary_offset
    self.auxiliary = Auxiliary(position, self.auxiliary_size) if 0 <= position < size.cells else None
    redraw_by_fan_out(self, rng)

  def __call__(self, images: jax.Array, contexts: Callable[[int, str], Sequence[Any]], train: bool) -> list[jax.Array]:
    """Computes all cells. The last output is rectified. See `image_stack.ImageStack`."""
    stem = self.stem_norm(self.stem(images)[None], train)[0]
    states = [stem, stem]
    for index, cell in enumerate(self.cells):
      states.append(cell(states[-2], states[-1], contexts(index, self.cell_types[index]), train))
    return [*states[2:-1], relu(states[-1])]


@STACKS.register(naonet.SPACE.name)
class NaonetStack(NasnetStack):
  """The stack of NAONet: the auxiliary head reads the first cell after the second reduction."""

  auxiliary_offset, auxiliary_size = 1, 2
