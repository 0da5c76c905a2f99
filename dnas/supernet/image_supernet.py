"""The convolutional supernet, in the macro architecture of its space.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, section 3.1. The DARTS supernet (CIFAR-10, 16 channels, 8 cells) has 1,930,618 weights.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.blocks import Linear
from dnas.cells.image_stack import Size
from dnas.cells.precision import PRECISIONS, lower
from dnas.cells.registries import STACKS
from dnas.core.config import check_name
from dnas.core.errors import FieldError
from dnas.core.space import CellSpace
from dnas.supernet.edges import EdgeOptions, EdgeWeights, MixedEdges, outgoing_rows
from dnas.supernet.relaxations import EDGES


@dataclasses.dataclass(frozen=True)
class Config(Size):
  """Size and precision of the supernet.

  Attributes:
    precision: type of activations and products: float32 or bfloat16; weights and statistics are float32.
    rematerialize: whether gradients store only the states of cells and recompute the arrays inside edges; less memory, longer steps.
  """

  channels: int = 16
  cells: int = 8
  precision: str = "float32"
  rematerialize: bool = False

  def __post_init__(self):
    super().__post_init__()
    check_name("precision", self.precision, PRECISIONS)


class ImageSupernet(nnx.Module):
  """The convolutional supernet: a stem, cells of mixed operations, global average pooling, a linear classifier.

  Attributes:
    edge_types: the type of cell of every module of mixed edges, in the order of the stack.
  """

  def __init__(
    self,
    config: Config,
    space: CellSpace,
    image_channels: int,
    num_classes: int,
    rng: np.random.Generator,
    options: EdgeOptions = EdgeOptions(),  # noqa: B008  (frozen)
  ):
    """Builds the supernet. Raises FieldError for a size that the space's stack does not support."""

    def make_edges(cell_type: str, source: int, channels: int, stride: int, rng: np.random.Generator) -> MixedEdges:
      edge_types.append(cell_type)
      return MixedEdges(space, source, channels, stride, rng, options, config.rematerialize)

    edge_types: list[str] = []
    self.precision, self.options, self.cell_types = config.precision, options, space.cells
    wirings = {cell_type: space for cell_type in space.cells}
    self.rows = tuple(outgoing_rows(space, source) for source in range(space.num_inputs + space.num_nodes))
    try:
      self.stack = STACKS[space.name](wirings, make_edges, config, image_channels, affine=False, rng=rng)
    except FieldError as e:
      raise e.within("supernet") from None
    self.edge_types = tuple(edge_types)
    self.classifier = Linear(self.stack.widths[-1], num_classes, rng)

  def __call__(self, images: jax.Array, mixture: Mapping[str, jax.Array], train: bool) -> jax.Array:
    """Returns logits, [B, classes].

    Args:
      images: float32 [B, H, W, C].
      mixture: cell type to the weights of its mixed operations, [edges, operations]. With partial channels also 'CELL edges' to the weights
        of the edges of CELL, [edges].
      train: whether batch statistics are used and updated.
    """

    def weights_of(cell_type: str) -> list[EdgeWeights]:
      parts = [jnp.split(mixture[cell_type], len(mixture[cell_type]))]
      if self.options.partial_channels > 1:
        parts.append(jnp.split(mixture[cell_type + EDGES], len(parts[0])))
      return [EdgeWeights(*edge) for edge in zip(*parts, strict=True)]

    of_edges = {cell_type: weights_of(cell_type) for cell_type in self.cell_types}

    def contexts(index: int, cell_type: str) -> list[list[EdgeWeights]]:
      return [[of_edges[cell_type][row] for row in rows] for rows in self.rows]

    features = self.stack(lower(images, self.precision), contexts, train)[-1]
    return self.classifier(features.astype(images.dtype).mean((1, 2)))
