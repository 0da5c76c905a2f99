"""Augmentation of image batches on the device: the published recipes, as pure functions.

The order is crop, flip, random erasing, normalize, cutout. The crop pads raw pixels, so a border of zeros is black. Random erasing fills
raw pixels with random colours. Cutout sets normalized pixels to zero, which is the mean colour.

Axes: B batch, H height, W width, C channels.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from dnas.core import keys
from dnas.data import base

_OPTIONS = "crop_padding", "crop_reflect", "flip", "random_erasing", "cutout_length", "standardize_images"


def options(config: base.Config) -> dict[str, Any]:
  """Returns the arguments of `augment` that a configuration sets."""
  return {name: getattr(config, name) for name in _OPTIONS}


@functools.partial(jax.jit, static_argnames=("mean", "std", *_OPTIONS))
def augment(
  key: jax.Array,
  images_BHWC: jax.Array,
  *,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  crop_padding: int,
  flip: bool,
  cutout_length: int,
  crop_reflect: bool = False,
  random_erasing: float = 0.0,
  standardize_images: bool = False,
) -> jax.Array:
  """Augments every image: random crop, flip, random erasing, normalization, cutout.

  Args:
    key: typed random key; every image of the batch draws its own crop, flip, rectangle and square from it.
    images_BHWC: uint8.
    mean: mean of every channel, of pixels scaled to [0, 1].
    std: standard deviation of every channel, likewise.
    crop_padding: pixels of border added before the crop; 0 does not crop.
    flip: whether to mirror every image with probability 1/2.
    cutout_length: side of the square in pixels; 0 does not cut.
    crop_reflect: whether the border mirrors the image; else it is black.
    random_erasing: probability to erase a rectangle of an image; 0 erases none.
    standardize_images: see `normalize`.

  Returns:
    float32 of the same shape.
  """
  if crop_padding:
    images_BHWC = random_crop(keys.derive(key, "crop"), images_BHWC, crop_padding, crop_reflect)
  if flip:
    images_BHWC = random_flip(keys.derive(key, "flip"), images_BHWC)
  if random_erasing:
    images_BHWC = random_erase(keys.derive(key, "random_erasing"), images_BHWC, random_erasing)
  x_BHWC = normalize(images_BHWC, mean, std, standardize_images)
  return cutout(keys.derive(key, "cutout"), x_BHWC, cutout_length) if cutout_length else x_BHWC


@functools.partial(jax.jit, static_argnames=("mean", "std", "standardize_images"))
def normalize(
  images_BHWC: jax.Array, mean: tuple[float, ...], std: tuple[float, ...], standardize_images: bool = False
) -> jax.Array:
  """Returns (images / 255 - mean) / std as float32; validation and test apply nothing else.

  Args:
    images_BHWC: uint8.
    mean: mean of every channel, of pixels scaled to [0, 1].
    std: standard deviation of every channel, likewise.
    standardize_images: whether the mean and the deviation are those of the image itself, over its N = H W C values from 0 to 255. A
      deviation below 1 / sqrt(N) is raised to 1 / sqrt(N), so a uniform image becomes zero.
  """
  if standardize_images:
    x_BHWC = images_BHWC.astype(float)
    mean_B111, std_B111 = (statistic(x_BHWC, (1, 2, 3), keepdims=True) for statistic in (jnp.mean, jnp.std))
    return (x_BHWC - mean_B111) / jnp.maximum(std_B111, math.prod(x_BHWC.shape[1:]) ** -0.5)
  mean_C, std_C = jnp.array(mean, float), jnp.array(std, float)
  return (images_BHWC.astype(float) / 255 - mean_C[None, None, None]) / std_C[None, None, None]


def random_crop(key: jax.Array, images_BHWC: jax.Array, padding: int, reflect: bool = False) -> jax.Array:
  """Pads every image on all sides, and returns a window of the old size at a random offset of its own.

  Args:
    key: typed random key.
    images_BHWC: uint8, not yet normalized.
    padding: pixels on every side; the offsets are 0 to 2 * padding, uniformly.
    reflect: whether to pad with the mirror image, without repeating the outermost pixels; else with zeros.
  """
  size, border = images_BHWC.shape[1:], ((0, 0), (padding, padding), (padding, padding), (0, 0))
  padded = jnp.pad(images_BHWC, border, "reflect") if reflect else jnp.pad(images_BHWC, border)
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

  The rows are centre - length // 2 to centre + length // 2 - 1, and the columns likewise. The code that DARTS published does the same,
  after T. DeVries, G. W. Taylor, arXiv:1708.04552.

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


ERASED_SHARES = 0.02, 0.4
"""Least and largest share of the pixels of an image that random erasing draws."""

ERASED_RATIOS = 0.3, 1 / 0.3
"""Least and largest ratio of height to width that random erasing draws."""

_ATTEMPTS = 100


def random_erase(key: jax.Array, images_BHWC: jax.Array, probability: float) -> jax.Array:
  """With a given probability, fills a random rectangle of an image with random colours.

  Source: Zhong et al., "Random Erasing Data Augmentation", 2017, algorithm 1. Area, ratio and corner are uniform, and drawn again until the
  rectangle lies within the image. As in the published code, after 100 draws that do not fit the image is left as it is.

  Args:
    key: typed random key.
    images_BHWC: uint8, not yet normalized.
    probability: probability that an image is changed.
  """
  batch, height, width, _ = images_BHWC.shape
  chosen_B = jax.random.bernoulli(keys.derive(key, "chosen"), probability, (batch,))
  draws_4BA = jax.random.uniform(keys.derive(key, "rectangle"), (4, batch, _ATTEMPTS))
  area_BA, ratio_BA = (low + (high - low) * draw for (low, high), draw in zip((ERASED_SHARES, ERASED_RATIOS), draws_4BA[:2], strict=True))
  area_BA = area_BA * (height * width)
  sizes = jnp.round(jnp.sqrt(area_BA * ratio_BA)), jnp.round(jnp.sqrt(area_BA / ratio_BA))
  corners = jnp.floor(draws_4BA[2] * height), jnp.floor(draws_4BA[3] * width)
  fits_BA = (corners[0] + sizes[0] <= height) & (corners[1] + sizes[1] <= width)
  first_B1 = fits_BA.argmax(-1)[:, None]
  (top, left), (rows, columns) = (tuple(jnp.take_along_axis(x, first_B1, 1) for x in pair) for pair in (corners, sizes))
  inside_BH = (jnp.arange(height)[None] >= top) & (jnp.arange(height)[None] < top + rows)
  inside_BW = (jnp.arange(width)[None] >= left) & (jnp.arange(width)[None] < left + columns)
  erased_BHW = (chosen_B & fits_BA.any(-1))[:, None, None] & inside_BH[:, :, None] & inside_BW[:, None, :]
  colours_BHWC = jax.random.bits(keys.derive(key, "colours"), images_BHWC.shape, images_BHWC.dtype)
  return jnp.where(erased_BHW[..., None], colours_BHWC, images_BHWC)


def _in_window(centres_B1: jax.Array, size: int, length: int) -> jax.Array:
  """Returns bool [B, size]: whether a position is within half the length of the centre."""
  distance = jnp.arange(size)[None] - centres_B1
  return (distance >= -(length // 2)) & (distance < length // 2)
