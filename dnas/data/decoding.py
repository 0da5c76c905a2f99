"""Images of files: decoded by Pillow, brought to one size, and, for a training, cropped at random with random colours."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from dnas.core.errors import InputError, first_line

Sides = tuple[int, int]
"""Height and width in pixels."""

CROP_RATIOS = 3 / 4, 4 / 3
"""Least and largest ratio of width to height of a random crop."""

_ATTEMPTS = 10


@dataclasses.dataclass(frozen=True)
class Examples:
  """The labelled images of a part, none of which is decoded yet.

  Attributes:
    labels: int32 [N].
    class_names: the names of the classes.
    image: number of an example to its image, of Pillow, or uint8 [H, W, C]; several threads may call it.
    name: number of an example to its name in messages.
  """

  labels: np.ndarray
  class_names: tuple[str, ...]
  image: Callable[[int], Image.Image | np.ndarray]
  name: Callable[[int], str]


@dataclasses.dataclass(frozen=True)
class Views:
  """How an image becomes an array of one size.

  Attributes:
    sides: height and width; None leaves an image as it is.
    centre_crop: side of the central square that is taken first, as a share of the shorter side of the image; 0 takes the whole image.
    crop_area: least share of the area of an image that a random crop takes in a training; 0 crops nothing.
    colour_jitter: whether a training changes brightness, contrast, saturation and hue at random, as recipes for ImageNet do.
  """

  sides: Sides | None
  centre_crop: float = 0.0
  crop_area: float = 0.0
  colour_jitter: bool = False

  def plain(self, examples: Examples, index: int) -> np.ndarray:
    """Returns an image for validation and test, uint8 [H, W, C]. Raises InputError, with its name, if it cannot be decoded."""
    return _named(examples, index, self._plain)

  def random(self, examples: Examples, index: int, rng: np.random.Generator) -> np.ndarray:
    """Returns an image for a training, uint8 [H, W, C]. Raises InputError, with its name, if it cannot be decoded."""
    return _named(examples, index, lambda image: self._random(image, rng))

  def _plain(self, image: Image.Image | np.ndarray) -> np.ndarray:
    if not self.centre_crop:
      return pixels(image, self.sides)
    picture = _picture(image)
    side = self.centre_crop * min(picture.size)
    left, top = ((length - side) / 2 for length in picture.size)
    return _resized(picture, self.sides, (left, top, left + side, top + side))

  def _random(self, image: Image.Image | np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if not self.crop_area and not self.colour_jitter:
      return self._plain(image)
    picture = _picture(image)
    if self.crop_area:
      array = _resized(picture, self.sides, random_box(picture.size, self.crop_area, rng))
    else:
      array = self._plain(picture)
    return jittered(array, rng) if self.colour_jitter and array.shape[-1] == 3 else array


def random_box(size: tuple[int, int], crop_area: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
  """Draws a rectangle of an image: its area uniformly, the logarithm of its ratio uniformly, and its place uniformly.

  Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6. After ten draws that do not fit it is the largest
  rectangle in the centre of an admitted ratio, as is common.

  Args:
    size: width and height of the image.
    crop_area: least share of the area.
    rng: the source of the draws.

  Returns:
    Left, upper, right and lower end.
  """
  width, height = size
  for _ in range(_ATTEMPTS):
    area = rng.uniform(crop_area, 1) * width * height
    ratio = math.exp(rng.uniform(math.log(CROP_RATIOS[0]), math.log(CROP_RATIOS[1])))
    wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < wide <= width and 0 < high <= height:
      left, top = (int(rng.integers(0, end + 1)) for end in (width - wide, height - high))
      return left, top, left + wide, top + high
  wide, high = min(width, height * CROP_RATIOS[1]), min(height, width / CROP_RATIOS[0])
  left, top = (width - wide) / 2, (height - high) / 2
  return left, top, left + wide, top + high


JITTER = 0.4
"""Brightness, contrast and saturation are multiplied by 1 - JITTER to 1 + JITTER."""

HUE = 0.2
"""The hue is turned by at most this share of the circle."""


def jittered(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Changes brightness, contrast, saturation and hue of an image uint8 [H, W, 3] at random, in random order.

  Source: the recipe of DARTS for ImageNet, after Howard, "Some Improvements on Deep Convolutional Neural Network Based Image
  Classification", 2013, section 2.2.
  """
  image = Image.fromarray(array)
  enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
  factors, turn = rng.uniform(1 - JITTER, 1 + JITTER, len(enhancers)), rng.uniform(-HUE, HUE)
  for change in rng.permutation(len(enhancers) + 1):
    if change < len(enhancers):
      image = enhancers[change](image).enhance(factors[change])
    else:
      hue, saturation, value = image.convert("HSV").split()
      turned = (np.asarray(hue).astype(np.int16) + round(255 * turn)) % 256
      image = Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")
  return np.asarray(image)


def pixels(image: Image.Image | np.ndarray, sides: Sequence[int] | None) -> np.ndarray:
  """Returns an image as uint8 [H, W, C], resized to a height and a width."""
  if isinstance(image, np.ndarray):
    if sides is None or image.shape[:2] == tuple(sides):
      return image
    return np.stack([_resized(Image.fromarray(channel), sides)[..., 0] for channel in np.moveaxis(image, -1, 0)], -1)
  return _resized(_picture(image), sides)


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
  """Returns an image with so many channels: grey becomes colour, and colour becomes grey."""
  if image.shape[-1] == channels:
    return image
  if image.shape[-1] == 1:
    return np.repeat(image, channels, axis=-1)
  return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def _named(examples: Examples, index: int, decode: Callable[[Image.Image | np.ndarray], np.ndarray]) -> np.ndarray:
  try:
    return decode(examples.image(index))
  except InputError:
    raise
  except Exception as e:  # what is wrong with a file raises anything, also errors of the struct and zlib modules
    hint = "replace it, or take it away"
    raise InputError(f"{examples.name(index)} cannot be decoded as an image ({first_line(e).rstrip('.')}); {hint}.") from None


def _picture(image: Image.Image | np.ndarray) -> Image.Image:
  """Returns an image of Pillow in mode L or RGB, of 8 bits, turned as its camera says."""
  if isinstance(image, np.ndarray):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
  image = ImageOps.exif_transpose(image)
  if image.mode.startswith("I"):  # grey of 16 bits
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
  if image.mode in ("1", "L", "LA", "La"):
    return image.convert("L")
  return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")


def _resized(image: Image.Image, sides: Sequence[int] | None, box: tuple[float, float, float, float] | None = None) -> np.ndarray:
  """Returns a rectangle of an image, or all of it, as uint8 [H, W, C] with a height and a width."""
  if sides is not None and (box is not None or image.size != tuple(sides[::-1])):
    image = image.resize((sides[1], sides[0]), Image.Resampling.BILINEAR, box)
  array = np.asarray(image)
  return array if array.ndim == 3 else array[..., None]
