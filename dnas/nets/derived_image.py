"""The image network of a genotype, as the paper of its space trains it on CIFAR-10.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, section 3.2. At 36 channels and 20 cells the network of the second-order cell has
3,349,342 weights. The auxiliary head has 476,426 more, which the paper does not count.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.blocks import BatchNorm, Conv, Linear
from dnas.cells.image_stack import Size
from dnas.cells.precision import PRECISIONS, lower
from dnas.cells.registries import STACKS, Auxiliary
from dnas.core import keys
from dnas.core.config import check, check_fraction, check_name
from dnas.core.errors import FieldError
from dnas.core.genotype import Genotype
from dnas.nets.edges import DiscreteEdges, DropPath


@dataclasses.dataclass(frozen=True)
class Config(Size):
  """Size of the derived network.

  Attributes:
    auxiliary: whether an auxiliary head is trained. The sides of images must be 29 to 32 pixels, and with the stem imagenet 193 to 256. The
      head reads the second reduction cell; in the spaces nasnet_a and amoebanet the cell before that, in naonet the cell after.
    precision: type of activations and products: float32 or bfloat16; weights and statistics are float32.
    rematerialize: whether gradients store only the states of cells and recompute the arrays inside edges; less memory, longer steps.
    drop_path_by_depth: whether the probability to drop an edge rises linearly from cell to cell, to its full value in the last cell
      (ScheduledDropPath, Zoph et al., 2018); otherwise it is the same in all cells.
    dropout: probability to drop a feature before the classifier.
  """

  channels: int = 36
  cells: int = 20
  auxiliary: bool = True
  precision: str = "float32"
  rematerialize: bool = False
  drop_path_by_depth: bool = False
  dropout: float = 0.0

  def __post_init__(self):
    super().__post_init__()
    check_name("precision", self.precision, PRECISIONS)
    check_fraction(dropout=self.dropout)


class AuxiliaryHead(nnx.Module):
  """A second classifier on an intermediate cell (Szegedy et al., 2015).

  ReLU, average pooling over 5x5 pixels, 1x1 convolution to 128 channels, convolution to 768 channels, linear layer. The
  kernel of the last convolution covers the whole output of the pooling. The stride of the pooling is 3. On images of ImageNet it is 2, and
  the last convolution has no batch normalization, as in the code that DARTS published.
  """

  def __init__(self, channels: int, num_classes: int, rng: np.random.Generator, place: Auxiliary):
    """Builds the head at a place of a stack."""
    self.stride, size = place.stride, place.size
    self.conv1 = Conv(channels, 128, (1, 1), rng)
    self.norm1 = BatchNorm(1, 128, affine=True)
    self.conv2 = Conv(128, 768, (size, size), rng)
    self.norm2 = nnx.data(BatchNorm(1, 768, affine=True) if place.normalized else None)
    self.classifier = Linear(768, num_classes, rng)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Maps [B, H, W, C] to logits, [B, classes]."""
    x = jax.nn.relu(x)
    x = jax.lax.reduce_window(x, x.dtype.type(0), jax.lax.add, (1, 5, 5, 1), (1, self.stride, self.stride, 1), "VALID") / 25
    x = jax.nn.relu(self.norm1(self.conv1(x)[None], train)[0])
    x = self.conv2(x)
    x = jax.nn.relu(x if self.norm2 is None else self.norm2(x[None], train)[0])
    return self.classifier(x.astype(self.classifier.kernel[...].dtype).mean((1, 2)))


class DerivedImageNetwork(nnx.Module):
  """Stem, cells of a genotype, global average pooling, linear classifier, and the auxiliary head."""

  def __init__(self, config: Config, genotype: Genotype, image_shape: tuple[int, int, int], num_classes: int, rng: np.random.Generator):
    """Builds the network; `image_shape` is (H, W, C).

    Raises:
      FieldError: for a size that the stack of the space does not support, or an auxiliary head that does not fit the stack or the images.
    """

    def make_edges(
      cell_type: str, source: int, channels: int, stride: int, rng: np.random.Generator, channels_in: int | None = None
    ) -> DiscreteEdges:
      return DiscreteEdges(genotype[cell_type], source, channels, stride, rng, stack.num_inputs, config.rematerialize, channels_in)

    stack, self.precision = STACKS[genotype.space], config.precision
    self.num_states = {name: stack.num_inputs + len(cell.nodes) for name, cell in genotype.cells}
    try:
      self.stack = stack(dict(genotype.cells), make_edges, config, image_shape[2], affine=True, rng=rng)
    except FieldError as e:
      raise e.within("network") from None
    self.classifier = Linear(self.stack.widths[-1], num_classes, rng)
    self.dropout, self.depth = config.dropout, config.cells if config.drop_path_by_depth else None
    self.auxiliary_cell, auxiliary = 0, None
    if config.auxiliary:
      if self.stack.auxiliary is None:
        hint = f"the networks of space '{genotype.space}' have no auxiliary head at {config.cells} cells; set it to false"
        raise FieldError("network.auxiliary", True, hint)
      place = self.stack.auxiliary
      (least, most), smallest, largest = place.images, min(image_shape[:2]), max(image_shape[:2])
      hint = f"the auxiliary head needs images of {least} to {most} pixels and these have {smallest}; set it to false"
      check(least <= smallest and largest <= most, "network.auxiliary", True, hint)
      self.auxiliary_cell = place.cell
      auxiliary = AuxiliaryHead(self.stack.widths[place.cell], num_classes, rng, place)
    self.auxiliary = nnx.data(auxiliary)

  def __call__(
    self, images: jax.Array, train: bool, key: jax.Array | None = None, drop_path: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array | None]:
    """See `models.base.ImageNetwork`. Drop-path and dropout need the key."""
    drop_key = None if key is None else keys.derive(key, "drop_path")

    def contexts(index: int, cell_type: str) -> list[DropPath | None]:
      states = range(self.num_states[cell_type])
      if drop_key is None or drop_path is None:
        return [None for _ in states]
      rate = drop_path if self.depth is None else drop_path * ((index + 1) / self.depth)
      return [DropPath(keys.derive(drop_key, index, state), rate) for state in states]

    outputs = self.stack(lower(images, self.precision), contexts, train)
    auxiliary = None
    if self.auxiliary is not None and train:
      auxiliary = self.auxiliary(outputs[self.auxiliary_cell], train)
    features = jnp.mean(outputs[-1].astype(images.dtype), (1, 2))
    if self.dropout and train and key is not None:
      kept = jax.random.bernoulli(keys.derive(key, "dropout"), 1 - self.dropout, features.shape)
      features = jnp.where(kept, features / (1 - self.dropout), 0)
    return self.classifier(features), auxiliary
