"""Augmentation against plain NumPy loops."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.core import keys
from dnas.data import augment, base

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def _images(count: int, height: int = 7, width: int = 9, channels: int = 3) -> np.ndarray:
  """Images without a black pixel, no two alike."""
  return np.random.default_rng(0).integers(1, 256, size=(count, height, width, channels), dtype=np.uint8)


def _windows(image: np.ndarray, padding: int) -> dict[tuple[int, int], np.ndarray]:
  """Every window of the padded image, cut out pixel by pixel."""
  height, width, _ = image.shape
  windows = {}
  for top in range(2 * padding + 1):
    for left in range(2 * padding + 1):
      window = np.zeros_like(image)
      for row in range(height):
        for column in range(width):
          source = row + top - padding, column + left - padding
          if 0 <= source[0] < height and 0 <= source[1] < width:
            window[row, column] = image[source]
      windows[top, left] = window
  return windows


def test_normalize_is_the_published_formula():
  images = _images(4)
  expected = np.empty(images.shape)
  for channel in range(3):
    expected[..., channel] = (images[..., channel] / 255 - MEAN[channel]) / STD[channel]
  x = augment.normalize(jnp.asarray(images), MEAN, STD)
  assert x.dtype == jnp.float32
  np.testing.assert_allclose(x, expected, atol=1e-5)


def test_an_image_is_standardized_by_its_own_pixels():
  images = np.concatenate([_images(3), np.full((1, *_images(1).shape[1:]), 7, np.uint8)])
  expected = np.zeros(images.shape)
  for index, image in enumerate(images[:3].astype(np.float64)):
    expected[index] = (image - image.mean()) / np.sqrt(((image - image.mean()) ** 2).mean())
  x = augment.normalize(jnp.asarray(images), MEAN, STD, standardize_images=True)
  assert x.dtype == jnp.float32
  np.testing.assert_allclose(x, expected, atol=1e-4)  # a uniform image is zero
  nearly = np.zeros((1, 2, 2, 1), np.uint8)
  nearly[0, 0, 0] = 1  # its deviation is below 1 / sqrt(4)
  np.testing.assert_allclose(augment.normalize(jnp.asarray(nearly), (0.5,), (0.5,), True)[0, 0, 0, 0], 0.75 / 0.5, rtol=1e-6)


def test_crop_is_a_window_of_the_image_padded_with_black():
  padding, images = 2, _images(200)
  crops = np.asarray(augment.random_crop(jax.random.key(0), jnp.asarray(images), padding))
  assert crops.dtype == np.uint8
  offsets = []
  for image, crop in zip(images, crops, strict=True):
    found = [offset for offset, window in _windows(image, padding).items() if np.array_equal(window, crop)]
    assert len(found) == 1
    offsets += found
  assert set(offsets) == {(top, left) for top in range(5) for left in range(5)}, "an offset never occurs in 200 draws"


def test_a_reflecting_crop_is_a_window_of_the_mirrored_image():
  padding, images = 2, _images(60)
  _, height, width, _ = images.shape
  crops = np.asarray(augment.random_crop(jax.random.key(0), jnp.asarray(images), padding, reflect=True))
  black = np.asarray(augment.random_crop(jax.random.key(0), jnp.asarray(images), padding))
  inside = (black != 0).all(-1)
  np.testing.assert_array_equal(crops[inside], black[inside])  # the same offsets
  for image, crop, kept in zip(images, crops, inside, strict=True):
    rows, columns = kept.any(1).argmax(), kept.any(0).argmax()  # how many are border at the top and at the left
    top = -rows if rows else height - kept.any(1).sum()
    left = -columns if columns else width - kept.any(0).sum()
    for row in range(height):
      for column in range(width):
        y, x = abs(row + top), abs(column + left)
        np.testing.assert_array_equal(crop[row, column], image[min(y, 2 * height - 2 - y), min(x, 2 * width - 2 - x)])


def _erased(count: int, probability: float) -> tuple[np.ndarray, np.ndarray]:
  """Images of one colour that random erasing changed, and where: bool [N, H, W]."""
  images = np.full((count, 32, 32, 3), 7, np.uint8)
  out = np.asarray(augment.random_erase(jax.random.key(5), jnp.asarray(images), probability))
  return out, (out != 7).any(-1)


def test_random_erasing_fills_one_rectangle_with_random_colours():
  out, changed = _erased(500, 1.0)
  for image, where in zip(out, changed, strict=True):
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    inside = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (inside == 7).all(-1).mean() < 0.01 and where.sum() == (inside != 7).any(-1).sum(), "a rectangle, and nothing else"
    height, width = inside.shape[:2]
    (least, most), widths = height + np.array([-0.5, 0.5]), width + np.array([-0.5, 0.5])
    area, ratio = (least * widths[0], most * widths[1]), (least / widths[1], most / widths[0])
    assert area[1] >= 0.02 * 1024 and area[0] <= 0.4 * 1024, "sizes are rounded to whole pixels"
    assert ratio[1] >= 0.3 and ratio[0] <= 1 / 0.3
  colours = out[changed]
  assert out.dtype == np.uint8 and len(np.unique(colours)) == 256 and abs(colours.mean() - 127.5) < 1
  assert changed.any((0, 2)).all() and changed.any((0, 1)).all(), "rectangles reach every row and every column"


def test_random_erasing_draws_area_ratio_and_corner_until_they_fit():
  """The shares of erased pixels have the distribution of the paper's loop, here in NumPy."""
  rng, shares = np.random.default_rng(0), []
  while len(shares) < 4000:
    area, ratio = rng.uniform(0.02, 0.4) * 1024, rng.uniform(0.3, 1 / 0.3)
    height, width = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
    if rng.integers(32) + height <= 32 and rng.integers(32) + width <= 32:
      shares.append(height * width / 1024)
  found = _erased(4000, 1.0)[1].mean((1, 2))
  assert found.min() > 0.015
  np.testing.assert_allclose(np.quantile(found, (0.1, 0.5, 0.9)), np.quantile(shares, (0.1, 0.5, 0.9)), rtol=0.12)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_random_erasing_changes_images_with_its_probability(probability):
  assert _erased(2000, probability)[1].any((1, 2)).mean() == pytest.approx(probability, abs=0.04)


def test_flip_mirrors_about_half_of_the_images_left_to_right():
  images = _images(400)
  flipped = np.asarray(augment.random_flip(jax.random.key(0), jnp.asarray(images)))
  mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(flipped, images, strict=True)]
  same = [np.array_equal(new, old) for new, old in zip(flipped, images, strict=True)]
  assert all(m != s for m, s in zip(mirrored, same, strict=True))
  assert 150 < sum(mirrored) < 250


def test_cutout_erases_a_square_that_is_clipped_at_the_border():
  height, width, length = 7, 9, 4
  masks = {}
  for row in range(height):
    for column in range(width):
      mask = np.ones((height, width), bool)
      for y in range(max(row - length // 2, 0), min(row + length // 2, height)):
        for x in range(max(column - length // 2, 0), min(column + length // 2, width)):
          mask[y, x] = False
      masks[row, column] = mask
  x = np.random.default_rng(0).normal(size=(2000, height, width, 3)).astype(np.float32)
  out = np.asarray(augment.cutout(jax.random.key(0), jnp.asarray(x), length))
  kept = (out != 0).all(-1)
  np.testing.assert_array_equal(out, x * kept[..., None])
  seen = {mask.tobytes() for mask in kept}
  assert seen == {mask.tobytes() for mask in masks.values()}
  assert {int((~mask).sum()) for mask in kept} >= {4, 16}, "a corner erases 2x2, the middle 4x4"


def test_augment_composes_crop_flip_erasing_normalize_cutout_in_this_order():
  key, images = jax.random.key(3), jnp.asarray(_images(64))
  crop_key, flip_key, erase_key, cutout_key = (keys.derive(key, name) for name in ("crop", "flip", "random_erasing", "cutout"))
  out = augment.augment(key, images, mean=MEAN, std=STD, crop_padding=2, flip=True, random_erasing=0.5, cutout_length=4)
  expected = augment.random_flip(flip_key, augment.random_crop(crop_key, images, 2))
  expected = augment.random_erase(erase_key, expected, 0.5)
  expected = augment.cutout(cutout_key, augment.normalize(expected, MEAN, STD), 4)
  np.testing.assert_allclose(out, expected, atol=1e-6)
  black = augment.normalize(jnp.zeros((1, 1, 1, 3), jnp.uint8), MEAN, STD)[0, 0, 0]
  out = augment.augment(key, images, mean=MEAN, std=STD, crop_padding=2, flip=False, cutout_length=0)
  assert np.isclose(out, black).all(-1).any(), "the border is black, not the mean"


@pytest.mark.parametrize(
  "change",
  [
    {"crop_padding": 0},
    {"crop_reflect": True},
    {"flip": False},
    {"random_erasing": 0.5},
    {"cutout_length": 0},
    {"mean": (0, 0, 0)},
    {"std": (1, 1, 1)},
    {"standardize_images": True},
  ],
)
def test_every_option_of_augment_changes_its_result(change: dict):
  key, images = jax.random.key(1), jnp.asarray(_images(8))
  options = dict(mean=MEAN, std=STD, crop_padding=2, flip=True, cutout_length=4)
  assert not np.array_equal(augment.augment(key, images, **options), augment.augment(key, images, **(options | change)))


def test_augment_without_options_normalizes_and_is_deterministic():
  images = jnp.asarray(_images(8))
  plain = functools.partial(augment.augment, mean=MEAN, std=STD, crop_padding=0, flip=False, cutout_length=0)
  np.testing.assert_array_equal(plain(jax.random.key(0), images), augment.normalize(images, MEAN, STD))
  random = functools.partial(augment.augment, mean=MEAN, std=STD, crop_padding=2, flip=True, cutout_length=4)
  np.testing.assert_array_equal(random(jax.random.key(0), images), random(jax.random.key(0), images))
  assert not np.array_equal(random(jax.random.key(0), images), random(jax.random.key(1), images))


def test_a_configuration_sets_every_option():
  config = base.Config(crop_padding=3, crop_reflect=True, flip=True, random_erasing=0.25, cutout_length=6, standardize_images=True)
  expected = {"crop_padding": 3, "crop_reflect": True, "flip": True, "random_erasing": 0.25, "cutout_length": 6}
  expected |= {"standardize_images": True}
  assert augment.options(config) == expected


def test_augment_compiles_once_and_vmaps_over_keys():
  images = jnp.asarray(_images(8))
  options = dict(mean=MEAN, std=STD, crop_padding=1, flip=True, cutout_length=2)
  chex.clear_trace_counter()
  step = jax.jit(chex.assert_max_traces(lambda key, images: augment.augment(key, images, **options), n=1))
  single = [step(jax.random.key(seed), images) for seed in range(2)]
  several = jax.vmap(lambda key: augment.augment(key, images, **options))(jnp.stack([jax.random.key(0), jax.random.key(1)]))
  np.testing.assert_allclose(several, jnp.stack(single), atol=1e-6)
