"""Wide residual network (WideResNet).

Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016. WideResNet-28-10 has 36,479,194 weights on CIFAR-10.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.blocks import BatchNorm, Conv, he_normal_fan_out
from dnas.cells.rectifier import relu
from dnas.cells.sizes import Convolution
from dnas.core.config import check, check_at_most, check_fraction, check_positive, check_types
from dnas.nets.models.base import IMAGE_MODELS
from dnas.nets.residual import ResidualNetwork, normalized

STEM_CHANNELS = 16
STAGES = 3


def dropout(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
  """Sets every element to zero with probability `rate`, and scales the others by 1 / (1 - rate)."""
  return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


class Stem(nnx.Module):
  """3x3 convolution."""

  def __init__(self, channels_in: int, rng: np.random.Generator):
    self.conv = Conv(channels_in, STEM_CHANNELS, (3, 3), rng, padding=1, draw=he_normal_fan_out)

  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Maps [B, H, W, C] to [B, H, W, 16]."""
    return self.conv(images)


class Block(nnx.Module):
  """Twice batch normalization, ReLU and a 3x3 convolution, with dropout before the second convolution.

  A block that changes the number of channels has a 1x1 convolution as its shortcut, which reads the first ReLU.
  """

  def __init__(self, channels_in: int, channels: int, stride: int, rate: float, rng: np.random.Generator):
    self.norm1 = BatchNorm(1, channels_in, affine=True)
    self.conv1 = Conv(channels_in, channels, (3, 3), rng, stride, padding=1, draw=he_normal_fan_out)
    self.norm2 = BatchNorm(1, channels, affine=True)
    self.conv2 = Conv(channels, channels, (3, 3), rng, padding=1, draw=he_normal_fan_out)
    changes = channels != channels_in or stride > 1
    self.shortcut = Conv(channels_in, channels, (1, 1), rng, stride, draw=he_normal_fan_out) if changes else None
    self.rate = rate

  def __call__(self, x: jax.Array, key: jax.Array | None, train: bool) -> jax.Array:
    """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), D]. Dropout needs a key and training."""
    first = relu(normalized(self.norm1, x, train))
    out = relu(normalized(self.norm2, self.conv1(first), train))
    out = dropout(key, out, self.rate) if self.rate and train and key is not None else out
    return self.conv2(out) + (x if self.shortcut is None else self.shortcut(first))


@IMAGE_MODELS.register("wide_resnet")
@dataclasses.dataclass(frozen=True)
class WideResNet:
  """Wide residual network, by default WideResNet-28-10.

  Attributes:
    depth: number of layers, 6 n + 4 for n blocks in each of the three stages. Published: 16, 22, 28 and 40.
    widen_factor: the stages have 16, 32 and 64 times as many channels. Published: 1 to 12.
    dropout: probability that dropout in a block drops an activation. Published: 0, and 0.3 on CIFAR.
  """

  depth: int = 28
  widen_factor: int = 10
  dropout: float = 0.0

  def __post_init__(self):
    check_types(self)
    check_positive(widen_factor=self.widen_factor)
    check_at_most(10**4, depth=self.depth, widen_factor=self.widen_factor)
    check_fraction(dropout=self.dropout)
    hint = f"three stages of blocks make 6 n + 4 layers, so give for instance {6 * max(1, round((self.depth - 4) / 6)) + 4}"
    check(self.depth > 4 and (self.depth - 4) % 6 == 0, "depth", self.depth, hint)

  @staticmethod
  def smallest() -> "WideResNet":
    """See `ImageModel`."""
    return WideResNet(depth=10, widen_factor=1, dropout=0.2)

  def convolutions(self, image_channels: int) -> list[Convolution]:
    """See `ImageModel`."""
    return [Convolution(3, image_channels, STEM_CHANNELS), *(conv for block in self._blocks() for conv in block)]

  def _blocks(self) -> list[tuple[Convolution, Convolution]]:
    blocks, width = [], STEM_CHANNELS
    for stage in range(STAGES):
      for index in range((self.depth - 4) // 6):
        before, width = width, STEM_CHANNELS * self.widen_factor * 2**stage
        blocks.append((Convolution(3, before, width, 2 if stage and not index else 1), Convolution(3, width, width)))
    return blocks

  def build(self, image_shape: tuple[int, int, int], num_classes: int, rng: np.random.Generator) -> ResidualNetwork:
    """See `ImageModel`. It takes images of any size."""
    stem, convs = Stem(image_shape[2], rng), self._blocks()
    blocks = [Block(first.channels_in, first.channels_out, first.stride, self.dropout, rng) for first, _ in convs]
    return ResidualNetwork(stem, blocks, True, convs[-1][1].channels_out, num_classes, rng)
