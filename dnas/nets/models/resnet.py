"""ResNet for small images.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2. On CIFAR-10 the networks have 269,722 weights
with 20 layers and 1,727,962 with 110.
"""

import dataclasses

import jax
import numpy as np
from flax import nnx

from dnas.cells.blocks import BatchNorm, Conv, he_normal
from dnas.cells.rectifier import relu
from dnas.cells.sizes import Convolution
from dnas.core.config import check, check_at_most, check_positive, check_types
from dnas.nets.models.base import IMAGE_MODELS
from dnas.nets.residual import ResidualNetwork, normalized, pad_channels

STAGES = 3


class Stem(nnx.Module):
  """3x3 convolution, batch normalization, ReLU."""

  def __init__(self, channels_in: int, channels: int, rng: np.random.Generator):
    self.conv = Conv(channels_in, channels, (3, 3), rng, padding=1, draw=he_normal)
    self.norm = BatchNorm(1, channels, affine=True)

  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Maps [B, H, W, C] to [B, H, W, D]."""
    return relu(normalized(self.norm, self.conv(images), train))


class Block(nnx.Module):
  """Two 3x3 convolutions, each with batch normalization. The ReLU after the second one follows the sum with the shortcut.

  The shortcut has no weights (option A): at stride 2 it takes every other pixel and appends channels of zeros.
  """

  def __init__(self, channels_in: int, channels: int, stride: int, rng: np.random.Generator):
    self.conv1 = Conv(channels_in, channels, (3, 3), rng, stride, padding=1, draw=he_normal)
    self.norm1 = BatchNorm(1, channels, affine=True)
    self.conv2 = Conv(channels, channels, (3, 3), rng, padding=1, draw=he_normal)
    self.norm2 = BatchNorm(1, channels, affine=True)
    self.channels, self.stride = channels, stride

  def __call__(self, x: jax.Array, key: jax.Array | None, train: bool) -> jax.Array:
    """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), D]; there is no noise, so `key` does nothing."""
    out = relu(normalized(self.norm1, self.conv1(x), train))
    out = normalized(self.norm2, self.conv2(out), train)
    return relu(out + pad_channels(x[:, :: self.stride, :: self.stride], self.channels))


@IMAGE_MODELS.register("resnet")
@dataclasses.dataclass(frozen=True)
class ResNet:
  """The residual networks of He et al. on CIFAR-10, by default the one with 20 layers.

  Attributes:
    depth: number of layers, 6 n + 2 for n blocks in each of the three stages. Published: 20, 32, 44, 56, 110 and 1202.
    channels: channels of the first stage; the second and third have two and four times as many. Published: 16.
  """

  depth: int = 20
  channels: int = 16

  def __post_init__(self):
    check_types(self)
    check_positive(channels=self.channels)
    check_at_most(10**4, depth=self.depth, channels=self.channels)
    hint = f"three stages of blocks make 6 n + 2 layers, so give for instance {6 * max(1, round((self.depth - 2) / 6)) + 2}"
    check(self.depth > 2 and (self.depth - 2) % 6 == 0, "depth", self.depth, hint)

  @staticmethod
  def smallest() -> "ResNet":
    """See `ImageModel`."""
    return ResNet(depth=8, channels=2)

  def convolutions(self, image_channels: int) -> list[Convolution]:
    """See `ImageModel`."""
    return [Convolution(3, image_channels, self.channels), *(conv for block in self._blocks() for conv in block)]

  def _blocks(self) -> list[tuple[Convolution, Convolution]]:
    blocks, width = [], self.channels
    for stage in range(STAGES):
      for index in range((self.depth - 2) // 6):
        before, width = width, self.channels * 2**stage
        blocks.append((Convolution(3, before, width, 2 if stage and not index else 1), Convolution(3, width, width)))
    return blocks

  def build(self, image_shape: tuple[int, int, int], num_classes: int, rng: np.random.Generator) -> ResidualNetwork:
    """See `ImageModel`. It takes images of any size."""
    stem, convs = Stem(image_shape[2], self.channels, rng), self._blocks()
    blocks = [Block(first.channels_in, first.channels_out, first.stride, rng) for first, _ in convs]
    return ResidualNetwork(stem, blocks, False, convs[-1][1].channels_out, num_classes, rng)
