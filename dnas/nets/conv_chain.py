"""The network of a chain of convolutions.

Source of the space: Elsken, Metzen and Hutter, "Simple and Efficient Architecture Search for Convolutional Neural Networks" (NASH), 2017.
Axes: B batch, H height, W width, C channels in, D channels out.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import convolution, functional, pooling
from dnas.cells.blocks import BatchNorm, Linear, he_normal, on_device
from dnas.cells.precision import lower
from dnas.cells.rectifier import relu
from dnas.cells.sizes import Convolution
from dnas.core import keys
from dnas.core.chain_space import Layer, layers_of, widths_of
from dnas.core.config import check
from dnas.core.genotype import Genotype
from dnas.nets.derived_image import Config
from dnas.nets.residual import normalized


def convolutions(config: Config, genotype: Genotype, image_channels: int) -> list[Convolution]:
  """Returns the convolutions of a network one after the other. They tell the memory of a training before it is built."""
  layers, found = layers_of(genotype), list[Convolution]()
  widths = [image_channels, *(config.channels * width for width in widths_of(layers)[1:])]
  for number, layer in enumerate(layers):
    if layer.pools:
      found[-1] = found[-1]._replace(stride=2)
    else:
      found.append(Convolution(layer.kernel, widths[number], widths[number + 1]))
  return found


class ChainConvolution(nnx.Module):
  """A convolution at stride 1, batch normalization, the sum with skips, ReLU.

  The sum is (1 - a_1 - ... - a_n) x + a_1 s_1 + ... + a_n s_n for the normalized convolution x and the skips s. The weights a of the skips
  are trained. They begin at 1 / (n + 1), where the sum is convex, and are not bound to stay there. All states are at least 0.
  """

  def __init__(self, layer: Layer, channels_in: int, channels: int, rng: np.random.Generator):
    """Draws the weights. A separable convolution has a depthwise and a pointwise kernel, with nothing between them."""
    size = layer.kernel
    if layer.kind == "conv":
      self.kernel = he_normal(rng, (size, size, channels_in, channels), size * size * channels_in)
    else:
      self.depthwise = he_normal(rng, (1, size, size, channels_in), 2 * size * size)  # keeps the variance, as no ReLU follows
      self.pointwise = he_normal(rng, (channels_in, channels), channels_in)
    self.norm = BatchNorm(1, channels, affine=True)
    count = len(layer.skips)
    self.skip_weights = nnx.Param(on_device(np.full(count, 1 / (count + 1)))) if count else None

  def __call__(self, x: jax.Array, skips: Sequence[jax.Array], train: bool) -> jax.Array:
    """Maps [B, H, W, C], and skips [B, H, W, D], to [B, H, W, D]."""
    if hasattr(self, "kernel"):
      kernel = self.kernel[...].astype(x.dtype)
      out = convolution.dense(x, kernel, padding=kernel.shape[0] // 2)
    else:
      filtered = convolution.depthwise(x[None], self.depthwise[...].astype(x.dtype))[0]
      out = filtered @ self.pointwise[...].astype(x.dtype)
    out = normalized(self.norm, out, train)
    if self.skip_weights is not None:
      weights = self.skip_weights[...].astype(x.dtype)
      out = (1 - weights.sum()) * out + sum(weights[index] * skip for index, skip in enumerate(skips))
    return relu(out)


class ChainPooling(nnx.Module):
  """Maximum or average over windows of 2x2 pixels at stride 2."""

  def __init__(self, layer: Layer):
    self.pool = {"max_pool": pooling.max_pool, "avg_pool": pooling.avg_pool}[layer.kind]

  def __call__(self, x: jax.Array, skips: Sequence[jax.Array], train: bool) -> jax.Array:
    """Maps [B, H, W, C] to [B, ceil(H / 2), ceil(W / 2), C]; there are no skips."""
    return self.pool(x[None], 2, 2)[0]


class ChainNetwork(nnx.Module):
  """The layers of a chain, global average pooling, and a linear classifier (`models.base.ImageNetwork`).

  Attributes:
    auxiliary: None.
  """

  def __init__(self, config: Config, genotype: Genotype, image_shape: tuple[int, int, int], num_classes: int, rng: np.random.Generator):
    """Builds the network; `image_shape` is (H, W, C).

    Of `config` it takes the channels of a layer of width 1, the precision and the dropout. Raises FieldError for an auxiliary head.
    """
    hint = f"the networks of space '{genotype.space}' have no auxiliary head; set it to false"
    check(not config.auxiliary, "network.auxiliary", config.auxiliary, hint)
    layers = layers_of(genotype)
    widths = [image_shape[2], *(config.channels * width for width in widths_of(layers)[1:])]
    self.layers = nnx.List(
      [
        ChainPooling(layer) if layer.pools else ChainConvolution(layer, widths[number], widths[number + 1], rng)
        for number, layer in enumerate(layers)
      ]
    )
    self.skips = tuple(layer.skips for layer in layers)
    self.classifier = Linear(widths[-1], num_classes, rng)
    self.precision, self.dropout, self.auxiliary = config.precision, config.dropout, None

  def states(self, images: jax.Array, train: bool) -> list[jax.Array]:
    """Returns the image and the output of every layer, [B, H', W', D]."""
    states = [lower(images, self.precision)]
    for layer, sources in zip(self.layers, self.skips, strict=True):
      states.append(functional.call_segment(layer, states[-1], tuple(states[source] for source in sources), train=train))
    return states

  def __call__(
    self, images: jax.Array, train: bool, key: jax.Array | None = None, drop_path: jax.Array | None = None
  ) -> tuple[jax.Array, None]:
    """See `models.base.ImageNetwork`. There are no edges to drop, so `drop_path` does nothing. Dropout needs the key."""
    features = jnp.mean(self.states(images, train)[-1].astype(images.dtype), (1, 2))
    if self.dropout and train and key is not None:
      kept = jax.random.bernoulli(keys.derive(key, "dropout"), 1 - self.dropout, features.shape)
      features = jnp.where(kept, features / (1 - self.dropout), 0)
    return self.classifier(features), None
