"""Augmentation of image batches on the device: the published DARTS recipe, as pure functions.

The order is crop, flip, normalize, cutout: the crop pads before normalization, so the border is black, and cutout erases after it, so
the square is the mean colour.

Axes: B batch, H height, W width, C channels.
"""

import functools

import jax
import jax.numpy as jnp

from dnas.core import keys


@functools.partial(jax.jit, static_argnames=("mean", "std", "crop_padding", "flip", "cutout_length"))
def augment(
  key: jax.Array,
  images_BHWC: jax.Array,
  *,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  crop_padding: int,
  flip: bool,
  cutout_length: int,
) -> jax.Array:
  """Returns a random crop, mirrored or not, normalized, with a square cut out, of every image.

  Args:
    key: typed random key; every image of the batch draws its own crop, flip and square from it.
    images_BHWC: uint8.
    mean: of every channel, of pixels scaled to [0, 1].
    std: as `mean`.
    crop_padding: pixels of black border added before the crop; 0 does not crop.
    flip: whether to mirror every image with probability 1/2.
    cutout_length: side of the square in pixels; 0 does not cut.

  Returns:
    float32 of the same shape.
  """
  if crop_padding:
    images_BHWC = random_crop(keys.derive(key, "crop"), images_BHWC, crop_padding)
  if flip:
    images_BHWC = random_flip(keys.derive(key, "flip"), images_BHWC)
  x_BHWC = normalize(images_BHWC, mean, std)
  return cutout(keys.derive(key, "cutout"), x_BHWC, cutout_length) if cutout_length else x_BHWC


@functools.partial(jax.jit, static_argnames=("mean", "std"))
def normalize(images_BHWC: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
  """Returns (images / 255 - mean) / std as float32; validation and test apply nothing else.

  Args:
    images_BHWC: uint8.
    mean: of every channel, of pixels scaled to [0, 1].
    std: as `mean`.
  """
  mean_C, std_C = jnp.array(mean, float), jnp.array(std, float)
  return (images_BHWC.astype(float) / 255 - mean_C[None, None, None]) / std_C[None, None, None]


def random_crop(key: jax.Array, images_BHWC: jax.Array, padding: int) -> jax.Array:
  """Pads every image with zeros on all sides, and returns a window of the old size at a random offset of its own.

  Args:
    key: typed random key.
    images_BHWC: uint8, not yet normalized.
    padding: pixels on every side; the offsets are 0 to 2 * padding, uniformly.
  """
  size = images_BHWC.shape[1:]
  padded = jnp.pad(images_BHWC, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  offsets_B2 = jax.random.randint(key, (len(images_BHWC), 2), 0, 2 * padding + 1)
  return jax.vmap(lambda image, offset: jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), size))(padded, offsets_B2)


def random_flip(key: jax.Array, images_BHWC: jax.Array) -> jax.Array:
  """Mirrors every image left to right with probability 1/2.

  Args:
    key: typed random key.
    images_BHWC: of any type.
  """
  mirrored_B = jax.random.bernoulli(key, shape=images_BHWC.shape[:1])
  return jnp.where(mirrored_B[:, None, None, None], images_BHWC[:, :, ::-1], images_BHWC)


def cutout(key: jax.Array, x_BHWC: jax.Array, length: int) -> jax.Array:
  """Sets a square to zero, around a random pixel of every image and clipped at the border.

  As in the code that DARTS published after T. DeVries, G. W. Taylor, arXiv:1708.04552: rows from centre - length // 2 up to, and
  without, centre + length // 2, and columns likewise.

  Args:
    key: typed random key.
    x_BHWC: normalized images, so that zero is the mean colour.
    length: side of the square in pixels, even.
  """
  batch, height, width, _ = x_BHWC.shape
  centres_B2 = jax.random.randint(key, (batch, 2), 0, jnp.array([[height, width]]))
  rows_BH = _in_window(centres_B2[:, :1], height, length)
  columns_BW = _in_window(centres_B2[:, 1:], width, length)
  erased_BHW = rows_BH[:, :, None] & columns_BW[:, None, :]
  return jnp.where(erased_BHW[..., None], jnp.zeros((), x_BHWC.dtype), x_BHWC)


def _in_window(centres_B1: jax.Array, size: int, length: int) -> jax.Array:
  """Returns bool [B, size]: whether a position is within half the length of the centre."""
  distance = jnp.arange(size)[None] - centres_B1
  return (distance >= -(length // 2)) & (distance < length // 2)
