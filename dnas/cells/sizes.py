"""Estimates of the memory of networks, from their sizes alone: no network is built.

They count only arrays that are certainly there. Weights of an image network: stem, the 1x1 convolutions on the inputs of a cell, half a
channels x channels matrix per operation, and classifier. Weights of a language model: embedding and the products of the cell. Activations,
as float32 and once each: every state of every cell, the outputs of all operations unless they are recomputed. Of a text: the logits twice.
Of a human-designed network: its convolutions or matrices, and what goes into each of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dnas.core.genotype import CellGenotype
from dnas.core.memory import Estimate

_FLOAT = 4


class Convolution(NamedTuple):
  """A square convolution, with the channels of its inputs and its outputs."""

  kernel: int
  channels_in: int
  channels_out: int
  stride: int = 1


def image_network(
  *,
  channels: int,
  cells: int,
  stem_multiplier: int,
  image_shape: Sequence[int],
  num_classes: int,
  states: int,
  outputs: int,
  edges: int,
  operations: int,
  keeps_edges: bool,
  batch: int,
  eval_batch: int,
  padding: int,
) -> Estimate:
  """Returns the estimate of a stack of cells whose channels double, and whose images halve, at one and two thirds.

  Args:
    channels: channels of a state before the first reduction.
    cells: number of cells.
    stem_multiplier: channels of the stem, as a multiple of `channels`.
    image_shape: (H, W, C).
    num_classes: number of classes.
    states: states of a cell, its inputs included.
    outputs: number of states that a cell concatenates.
    edges: edges of a cell.
    operations: operations of an edge.
    keeps_edges: whether a gradient stores the outputs of the operations.
    batch: examples in a batch of a gradient.
    eval_batch: examples in a batch of a validation.
    padding: pixels added on every side of the images of a batch.
  """
  height, width, image_channels = image_shape
  weights = 9 * image_channels * stem_multiplier * channels
  kept = largest = 0  # array elements per example
  for index in range(cells):
    stage = (index >= cells // 3) + (index >= 2 * cells // 3)
    own = channels * 2**stage
    state = own * max(height >> stage, 1) * max(width >> stage, 1)
    weights += own**2 * (2 * outputs * (outputs > 1) + edges * operations // 2)
    kept += state * (states + edges * operations * keeps_edges)
    largest = max(largest, state * (states + operations))
  weights += outputs * channels * 4 * num_classes
  padded = (height + 2 * padding) * (width + 2 * padding) * image_channels
  return Estimate(_FLOAT * weights, max(_FLOAT * batch * kept + batch * padded, _FLOAT * eval_batch * largest))


def language_model(
  *, units: int, vocabulary: int, nodes: int, activations: int, length: int, batch: int, eval_length: int, eval_batch: int
) -> Estimate:
  """Returns the estimate of a recurrent language model.

  Args:
    units: units of the cell, and features of an embedded word.
    vocabulary: number of words.
    nodes: nodes of the cell.
    activations: number of activations that an edge mixes; 1 in a derived network.
    length: time steps of the longest window of a gradient.
    batch: columns in a gradient.
    eval_length: time steps of a window of a validation.
    eval_batch: columns in a validation.
  """
  weights = vocabulary * (units + 1) + 2 * units**2 * (2 + nodes)
  kept = 2 * vocabulary + units * (2 + nodes * activations)
  return Estimate(_FLOAT * weights, _FLOAT * max(length * batch * kept, eval_length * eval_batch * vocabulary))


def convolutions(layers: Sequence[Convolution], image_shape: Sequence[int], batch: int, eval_batch: int, padding: int) -> Estimate:
  """Returns the estimate of convolutions one after the other on images (H, W, C); the other arguments as in `image_network`."""
  height, width, channels = image_shape
  batch_of_images = batch * (height + 2 * padding) * (width + 2 * padding) * channels
  weights = kept = largest = 0
  for layer in layers:
    weights += layer.kernel**2 * layer.channels_in * layer.channels_out
    read = layer.channels_in * height * width
    height, width = -(-height // layer.stride), -(-width // layer.stride)
    kept += read
    largest = max(largest, read + layer.channels_out * height * width)
  return Estimate(_FLOAT * weights, max(_FLOAT * batch * kept + batch_of_images, _FLOAT * eval_batch * largest))


def matrices(
  shapes: Sequence[tuple[int, int]], *, vocabulary: int, length: int, batch: int, eval_length: int, eval_batch: int
) -> Estimate:
  """Returns the estimate of a language model of such matrices, (rows, columns); the other arguments as in `language_model`."""
  weights = vocabulary * shapes[0][0] + sum(rows * columns for rows, columns in shapes)
  kept = 2 * vocabulary + sum(rows for rows, _ in shapes)
  return Estimate(_FLOAT * weights, _FLOAT * max(length * batch * kept, eval_length * eval_batch * vocabulary))


def of_genotype(cells: Sequence[CellGenotype]) -> tuple[int, int, int]:
  """Returns the numbers of nodes, edges and outputs of the discrete cell with the most nodes."""
  sizes = [(len(cell.nodes), sum(len(node) for node in cell.nodes), len(cell.concat)) for cell in cells]
  return max(sizes)
