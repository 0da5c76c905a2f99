"""Networks of residual blocks, which the human-designed image networks share.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (option A: the shortcut has no weights).
Axes: B batch, H height, W width, C channels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.cells.blocks import BatchNorm, Linear
from dnas.cells.rectifier import relu
from dnas.core import keys


def pad_channels(x: jax.Array, channels: int) -> jax.Array:
  """Appends channels of zeros: [B, H, W, C] to [B, H, W, channels]."""
  return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))


def normalized(norm: BatchNorm, x: jax.Array, train: bool) -> jax.Array:
  """Applies a batch normalization that has no axis for edges to [B, H, W, C]."""
  return norm(x[None], train)[0]


class ResidualNetwork(nnx.Module):
  """Stem, blocks, global average pooling, linear classifier (`models.base.ImageNetwork`). Every block is a segment.

  Attributes:
    auxiliary: None.
  """

  def __init__(
    self, stem: nnx.Module, blocks: Sequence[nnx.Module], last_norm: bool, channels: int, num_classes: int, rng: np.random.Generator
  ):
    """Puts the parts together.

    Args:
      stem: maps (images, train) to the input of the first block.
      blocks: each maps (x, key, train) to the input of the next one.
      last_norm: whether the last block is followed by batch normalization and ReLU.
      channels: channels of the last block's output.
      num_classes: number of classes.
      rng: draws the classifier.
    """
    self.stem, self.blocks, self.auxiliary = stem, nnx.List(blocks), None
    self.last_norm = BatchNorm(1, channels, affine=True) if last_norm else None
    self.classifier = Linear(channels, num_classes, rng)

  def __call__(
    self, images: jax.Array, train: bool, key: jax.Array | None = None, drop_path: jax.Array | None = None
  ) -> tuple[jax.Array, None]:
    """See `ImageNetwork`. There are no edges, so `drop_path` does nothing."""
    x = self.stem(images, train)
    for index, block in enumerate(self.blocks):
      x = functional.call_segment(block, x, None if key is None else keys.derive(key, "block", index), train=train)
    x = x if self.last_norm is None else relu(normalized(self.last_norm, x, train))
    return self.classifier(jnp.mean(x, (1, 2))), None
