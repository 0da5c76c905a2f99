"""PyramidNet with ShakeDrop.

Sources: Han, Kim and Kim, "Deep Pyramidal Residual Networks", CVPR 2017; Yamada et al., "ShakeDrop Regularization for Deep Residual
Learning", 2018. With 272 layers and alpha 200 the network has 26,210,842 weights on CIFAR-10.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.cells.blocks import BatchNorm, Conv, he_normal_fan_out
from dnas.cells.pooling import average_pool_2x2
from dnas.cells.rectifier import relu
from dnas.cells.sizes import Convolution
from dnas.compiler import marks
from dnas.core import keys
from dnas.core.config import check, check_at_most, check_fraction, check_name, check_not_negative, check_types, named
from dnas.nets.models.base import IMAGE_MODELS
from dnas.nets.residual import ResidualNetwork, block_keys, normalized, pad_channels

STEM_CHANNELS = 16
STAGES = 3
BOTTLENECK = 4  # channels of a bottleneck block's output, over the channels of its 3x3 convolution
SHARED_WIDTHS = 16  # where functions are cut, channels are filled up to a multiple of it
SHARED = {"batch": 0, "image": 1, "pixel": 4}
"""What shares one random number, to how many of the axes [B, H, W, C] have numbers of their own."""


@functools.partial(jax.custom_vjp)
def scaled(x: jax.Array, forward: jax.Array, backward: jax.Array) -> jax.Array:
  """Returns x times `forward`. The gradient in x is multiplied by `backward` instead; the factors have no gradient."""
  return x * forward


def _scaled_forward(x: jax.Array, forward: jax.Array, backward: jax.Array) -> tuple[jax.Array, jax.Array]:
  return x * forward, backward


def _scaled_backward(backward: jax.Array, g: jax.Array) -> tuple[jax.Array, None, None]:
  return g * backward, None, None


scaled.defvjp(_scaled_forward, _scaled_backward)


@dataclasses.dataclass(frozen=True)
class ShakeDrop:
  """Multiplies the residual branch of a block by a random number. Source: Yamada et al., equation 6 and section 3.2.

  In training the factor is b + alpha - b alpha forwards and b + beta - b beta backwards, where b is 1 with probability `keep` and else 0,
  alpha is uniform in [-1, 1], and beta is uniform in [0, 1]. In inference it is their expectation, which is `keep`.

  Attributes:
    gate: what shares one b, of `SHARED`.
    noise: what shares one alpha and one beta.
  """

  gate: str
  noise: str

  def __call__(self, x: jax.Array, keep: jax.Array, key: jax.Array | None, train: bool, channels: int | None = None) -> jax.Array:
    """Maps the output of a branch, [B, H, W, C], to the same shape.

    Args:
      x: the output of the branch.
      keep: the probability of b = 1, a scalar.
      key: typed random key; without one, training changes nothing.
      train: whether the factor is random.
      channels: channels for which numbers are drawn, at least C; the first C are used.
    """
    if not train:
      return x * keep
    if key is None:
      return x
    shape, (*_, last) = (*x.shape[:3], channels or x.shape[3]), x.shape
    gate, noise = (shape[: SHARED[name]] + (1,) * (4 - SHARED[name]) for name in (self.gate, self.noise))
    b = jax.random.bernoulli(keys.derive(key, "gate"), keep, gate)[..., :last]
    alpha = jax.random.uniform(keys.derive(key, "alpha"), noise, x.dtype, -1, 1)[..., :last]
    beta = jax.random.uniform(keys.derive(key, "beta"), noise, x.dtype)[..., :last]
    return scaled(x, jnp.where(b, 1, alpha), jnp.where(b, 1, beta))


class Block(nnx.Module):
  """A residual block that begins with a batch normalization without ReLU, and ends with one. The shortcut appends zeros."""

  def __init__(
    self, channels_in: int, width: int, bottleneck: bool, stride: int, shakedrop: ShakeDrop | None, rng: np.random.Generator
  ):
    """Builds the block; `width` is the number of channels of the 3x3 convolutions. The first of these has the stride."""
    self.stride, self.shakedrop, self.expansion = stride, shakedrop, BOTTLENECK if bottleneck else 1
    widths, kernels = [channels_in, *[width] * (2 if bottleneck else 1), self.expansion * width], (1, 3, 1) if bottleneck else (3, 3)
    strides = [stride if index == kernels.index(3) else 1 for index in range(len(kernels))]
    sizes = zip(widths, widths[1:], kernels, strides, strict=False)
    self.convs = nnx.List([Conv(c, d, (k, k), rng, s, k // 2, he_normal_fan_out) for c, d, k, s in sizes])
    self.norms = nnx.List([BatchNorm(1, channels, affine=True) for channels in widths])

  def __call__(self, x: jax.Array, keep: jax.Array, key: jax.Array | None, train: bool) -> jax.Array:
    """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), D]; `keep` and `key` are those of ShakeDrop."""
    out = normalized(self.norms[0], x, train)
    for index, conv in enumerate(self.convs):
      out = normalized(self.norms[index + 1], conv(relu(out) if index else out), train)
    out = out if self.shakedrop is None else self.shakedrop(out, keep, key, train, self.wide()[-1])
    return out + pad_channels(x if self.stride == 1 else average_pool_2x2(x), out.shape[-1])

  def weights(self) -> list[nnx.Variable]:
    """Returns all weights."""
    trained = [weight for norm in self.norms for weight in (norm.scale, norm.bias) if weight is not None]
    return [*(conv.kernel for conv in self.convs), *trained]

  def stats(self) -> list[nnx.Variable]:
    """Returns all running statistics."""
    return [stat for norm in self.norms for stat in (norm.mean, norm.variance)]

  def wide(self) -> list[int]:
    """Returns the channels before every convolution and after the last, with zeros appended to those of every convolution."""
    width = -(-self.convs[0].kernel[...].shape[-1] // SHARED_WIDTHS) * SHARED_WIDTHS
    return [self.expansion * width, *[width] * (len(self.convs) - 1), self.expansion * width]


def _wide_shapes(block: Block) -> tuple[tuple[int, ...], ...]:
  """Returns the shapes of the weights and then of the statistics, with zeros appended."""
  widths = block.wide()
  kernels = [(*conv.kernel[...].shape[:2], c, d) for conv, c, d in zip(block.convs, widths, widths[1:], strict=False)]
  return (*kernels, *[(1, width) for width in widths for _ in range(2)] * 2)


@functools.partial(marks.segment, static_argnums=(1,))
def _resized(trees: list[list[jax.Array]], shapes: tuple[tuple[tuple[int, ...], ...], ...]) -> list[list[jax.Array]]:
  """Appends zeros to arrays, or cuts them off, in one program for all blocks."""

  def resized(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    kept = x[tuple(slice(0, size) for size in shape)]
    return jnp.pad(kept, [(0, size - have) for have, size in zip(kept.shape, shape, strict=True)])

  return [[resized(x, shape) for x, shape in zip(*pair, strict=True)] for pair in zip(trees, shapes, strict=True)]


@functools.partial(marks.segment, static_argnums=(0,))
def _keeps(probabilities: tuple[float, ...]) -> list[jax.Array]:
  return [jnp.asarray(probability, float) for probability in probabilities]


@dataclasses.dataclass(frozen=True)
class Calls:
  """Calls the blocks, one after the other.

  All blocks have different numbers of channels, and each would be compiled anew. So where functions are cut, the channels are filled up
  with zeros to a multiple of 16, and blocks share their programs. The results are the same, since channels of zeros stay zeros: a batch
  normalization maps them to zeros if its scale and bias are zeros.

  Attributes:
    shakedrop: see `PyramidNet`.
  """

  shakedrop: float

  def __call__(self, blocks: Sequence[Block], x: jax.Array, key: jax.Array | None, train: bool) -> jax.Array:
    """See `ResidualNetwork`."""
    count, channels, called = len(blocks), blocks[-1].norms[-1].mean[...].shape[-1], blocks
    keeps = _keeps(tuple(1 - self.shakedrop * (index + 1) / count for index in range(count)))
    own = [None] * count if key is None else block_keys(key, count)
    wide, shapes = marks.cutting(), tuple(map(_wide_shapes, blocks))
    if wide:
      called = [nnx.clone(block) for block in blocks]
      arrays = [[variable[...] for variable in (*block.weights(), *block.stats())] for block in blocks]
      for block, resized in zip(called, _resized(arrays, shapes), strict=True):
        _set((*block.weights(), *block.stats()), resized)
    for block, keep, key in zip(called, keeps, own, strict=True):
      x = functional.call_segment(block, pad_channels(x, block.wide()[0]) if wide else x, keep, key, train=train)
    if wide and train:
      shapes = tuple(tuple(stat[...].shape for stat in block.stats()) for block in blocks)
      for block, resized in zip(blocks, _resized([[stat[...] for stat in block.stats()] for block in called], shapes), strict=True):
        _set(block.stats(), resized)
    return x[..., :channels]


def _set(variables: Sequence[nnx.Variable], values: Sequence[jax.Array]) -> None:
  for variable, value in zip(variables, values, strict=True):
    variable.set_value(value)


class Stem(nnx.Module):
  """3x3 convolution and batch normalization, without ReLU."""

  def __init__(self, channels_in: int, rng: np.random.Generator):
    self.conv = Conv(channels_in, STEM_CHANNELS, (3, 3), rng, padding=1, draw=he_normal_fan_out)
    self.norm = BatchNorm(1, STEM_CHANNELS, affine=True)

  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Maps [B, H, W, C] to [B, H, W, 16]."""
    return normalized(self.norm, self.conv(images), train)


@IMAGE_MODELS.register("pyramidnet")
@dataclasses.dataclass(frozen=True)
class PyramidNet:
  """PyramidNet with ShakeDrop, by default the network of the ShakeDrop paper.

  Attributes:
    depth: number of layers, 9 n + 2 with bottlenecks and 6 n + 2 without, for n blocks in each of the three stages. Published: 110
      without bottlenecks; 164, 200, 236 and 272 with them.
    alpha: widening: block k of all N blocks has 16 + k alpha / N channels, rounded; a bottleneck puts out four times as many.
    bottleneck: whether a block is a 1x1, a 3x3 and a 1x1 convolution; else it is two 3x3 convolutions.
    shakedrop: probability that ShakeDrop disturbs the last block; it rises linearly over the blocks. 0 leaves ShakeDrop out.
    shakedrop_gate: what shares the draw whether a block is disturbed.
    shakedrop_noise: what shares the factors of a disturbed block.
  """

  depth: int = 272
  alpha: int = 200
  bottleneck: bool = True
  shakedrop: float = 0.5
  shakedrop_gate: str = named("batch", lambda: SHARED)
  shakedrop_noise: str = named("image", lambda: SHARED)

  def __post_init__(self):
    check_types(self)
    check_not_negative(alpha=self.alpha)
    check_at_most(10**4, depth=self.depth, alpha=self.alpha)
    layers = STAGES * (3 if self.bottleneck else 2)
    whole = self.depth > 2 and (self.depth - 2) % layers == 0
    hint = f"blocks {'with' if self.bottleneck else 'without'} bottlenecks make {layers} n + 2 layers, so give for instance"
    check(whole, "depth", self.depth, f"{hint} {layers * max(1, round((self.depth - 2) / layers)) + 2}")
    check_fraction(shakedrop=self.shakedrop)
    check_name("shakedrop_gate", self.shakedrop_gate, SHARED)
    check_name("shakedrop_noise", self.shakedrop_noise, SHARED)

  @staticmethod
  def smallest() -> "PyramidNet":
    """See `ImageModel`."""
    return PyramidNet(depth=11, alpha=4)

  def convolutions(self, image_channels: int) -> list[Convolution]:
    """See `ImageModel`."""
    found, widths = [Convolution(3, image_channels, STEM_CHANNELS)], self.widths()
    for index, width in enumerate(widths):
      before, stride = found[-1].channels_out, self._stride(index, len(widths))
      if self.bottleneck:
        found += [Convolution(1, before, width), Convolution(3, width, width, stride), Convolution(1, width, BOTTLENECK * width)]
      else:
        found += [Convolution(3, before, width, stride), Convolution(3, width, width)]
    return found

  def _stride(self, index: int, count: int) -> int:
    return 2 if index in (count // 3, 2 * count // 3) else 1

  def widths(self) -> list[int]:
    """Returns the channels of every block's 3x3 convolutions."""
    count = (self.depth - 2) // (3 if self.bottleneck else 2)
    return [math.floor(STEM_CHANNELS + self.alpha * index / count + 0.5) for index in range(1, count + 1)]

  def build(self, image_shape: tuple[int, int, int], num_classes: int, rng: np.random.Generator) -> ResidualNetwork:
    """See `ImageModel`. It takes images of any size."""
    shakedrop = ShakeDrop(self.shakedrop_gate, self.shakedrop_noise) if self.shakedrop else None
    stem, blocks, channels, widths = Stem(image_shape[2], rng), [], STEM_CHANNELS, self.widths()
    for index, width in enumerate(widths):
      blocks.append(Block(channels, width, self.bottleneck, self._stride(index, len(widths)), shakedrop, rng))
      channels = BOTTLENECK * width if self.bottleneck else width
    return ResidualNetwork(stem, blocks, True, channels, num_classes, rng, Calls(self.shakedrop))
