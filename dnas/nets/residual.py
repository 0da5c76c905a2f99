"""Networks of residual blocks, which the human-designed image networks share.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (option A: the shortcut has no weights).
Axes: B batch, H height, W width, C channels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.cells.blocks import BatchNorm, Linear
from dnas.cells.rectifier import relu
from dnas.compiler import marks
from dnas.core import keys


def pad_channels(x: jax.Array, channels: int) -> jax.Array:
  """Appends channels of zeros: [B, H, W, C] to [B, H, W, channels]."""
  return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))


def normalized(norm: BatchNorm, x: jax.Array, train: bool) -> jax.Array:
  """Applies a batch normalization that has no axis for edges to [B, H, W, C]."""
  return norm(x[None], train)[0]


def _block_keys(key: jax.Array, count: int) -> list[jax.Array]:
  numbered = jax.vmap(lambda number: keys.derive(key, "block", number))(jnp.arange(count))
  return [numbered[index] for index in range(count)]


block_keys = marks.segment(_block_keys, static_argnums=(1,))
"""Maps (typed random key, number of blocks) to a key for every block. It is one program: each block's own would be compiled anew."""


def in_turn(blocks: Sequence[Any], x: jax.Array, key: jax.Array | None, train: bool) -> jax.Array:
  """Calls one block after the other, each as a segment (`functional.call_segment`), with (x, key of the block, train)."""
  own = [None] * len(blocks) if key is None else block_keys(key, len(blocks))
  for block, key in zip(blocks, own, strict=True):
    x = functional.call_segment(block, x, key, train=train)
  return x


class ResidualNetwork(nnx.Module):
  """Stem, blocks, global average pooling, linear classifier (`models.base.ImageNetwork`).

  Attributes:
    auxiliary: None.
  """

  def __init__(
    self,
    stem: nnx.Module,
    blocks: Sequence[nnx.Module],
    last_norm: bool,
    channels: int,
    num_classes: int,
    rng: np.random.Generator,
    call: Callable[[Sequence[Any], jax.Array, jax.Array | None, bool], jax.Array] = in_turn,
  ):
    """Puts the parts together.

    Args:
      stem: maps (images, train) to the input of the first block.
      blocks: the blocks.
      last_norm: whether the last block is followed by batch normalization and ReLU.
      channels: channels of the last block's output.
      num_classes: number of classes.
      rng: draws the classifier.
      call: maps (blocks, x, key, train) to the output of the last block.
    """
    self.stem, self.blocks, self.call, self.auxiliary = stem, nnx.List(blocks), call, None
    self.last_norm = BatchNorm(1, channels, affine=True) if last_norm else None
    self.classifier = Linear(channels, num_classes, rng)

  def __call__(
    self, images: jax.Array, train: bool, key: jax.Array | None = None, drop_path: jax.Array | None = None
  ) -> tuple[jax.Array, None]:
    """See `ImageNetwork`. There are no edges, so `drop_path` does nothing."""
    x = self.call(self.blocks, self.stem(images, train), key, train)
    x = x if self.last_norm is None else relu(normalized(self.last_norm, x, train))
    return self.classifier(jnp.mean(x, (1, 2))), None
