"""Checks of images, labels and token ids, made once when a data set is built."""

from typing import Any

import numpy as np

from dnas.core.errors import InputError, shown
from dnas.data.streams import StreamedImages


def checked_images(images: Any) -> Any:
  """Returns images as an array, uint8 [N, H, W, C] of at least one pixel. `StreamedImages` stay what they are.

  Raises:
    InputError: with how to convert them, if they are of another type or shape.
  """
  images = images if isinstance(images, StreamedImages) else _array(images, "images")
  shape = list(images.shape)
  if images.dtype != np.uint8:
    hint = "convert floats in [0, 1] by np.round(255 * images).astype(np.uint8), and integers from 0 to 255 by images.astype(np.uint8)"
    raise InputError(f"images are {images.dtype} {shape}, and must be uint8 [N, H, W, C]; {hint}.")
  if images.ndim != 4:
    hint = "give grey images a last axis, by images[..., None]" if images.ndim == 3 else "give axes for rows, columns and channels"
    raise InputError(f"images have shape {shape}, and it must be [N, H, W, C]; {hint}.")
  if not images.size:
    raise InputError(f"images have shape {shape}, so there is no image; give at least one, of at least one pixel.")
  if shape[1] <= 4 < shape[3]:
    hint = "give [N, H, W, C], by images.transpose(0, 2, 3, 1)"
    raise InputError(f"images have shape {shape}, which looks like channels first; {hint}.")
  return images


def checked_labels(labels: Any) -> np.ndarray:
  """Returns labels as an array, int32 [N].

  Raises:
    InputError: if they are not integers from 0 to 2**31 - 1, or not one-dimensional.
  """
  return _checked_numbers(labels, "labels", "convert one-hot rows by labels.argmax(1)")


def checked_ids(ids: Any, words: int, what: str) -> np.ndarray:
  """Returns token ids as an array, int32 [N].

  Args:
    ids: the ids.
    words: how many words the vocabulary has.
    what: name of the text, for the message, such as "test text of 'ptb'".

  Raises:
    InputError: if they are no ids of that vocabulary, or of another shape, or fewer than two.
  """
  ids = _checked_numbers(ids, f"the ids of the {what}", "join the lines")
  if len(ids) < 2:
    raise InputError(f"The {what} has {len(ids)} token(s); give at least two, as a model predicts the next token.")
  if ids.max() >= words:
    raise InputError(f"The {what} has ids up to {ids.max()}, and its vocabulary {words} words; ids are 0 to {words - 1}.")
  return ids


def checked_names(names: Any, what: str) -> tuple[str, ...]:
  """Returns names as a tuple of texts; whole numbers may be given.

  Raises:
    InputError: if they are not a sequence of texts or whole numbers, or a name is empty.
  """
  try:
    names = tuple(names)
  except TypeError:
    raise InputError(f"{what} are {shown(names)}; give a sequence of names.") from None
  for name in names:
    whole = isinstance(name, int | np.integer) and not isinstance(name, bool) and abs(name) < 2**63
    if not (whole or (isinstance(name, str) and name)):
      raise InputError(f"{what} contain {shown(name)}; give a sequence of names, none of them empty.")
  return tuple(map(str, names))


def fractions(numbers: Any) -> tuple[float, ...] | None:
  """Returns numbers as floats if all are from 0 to 1, and None otherwise."""
  numbers = np.ravel(_array(numbers, "statistics"))
  fits = numbers.dtype.kind in "iuf" and ((numbers >= 0) & (numbers <= 1)).all()
  return tuple(map(float, numbers)) if fits else None


def _checked_numbers(numbers: Any, what: str, flat: str) -> np.ndarray:
  numbers = _array(numbers, what)
  if numbers.ndim != 1:
    raise InputError(f"{what} have shape {list(numbers.shape)}, and it must be [N]; {flat}.")
  if numbers.dtype.kind not in "iu":
    raise InputError(f"{what} are {numbers.dtype}, and must be integers that count from 0; convert them by .astype(np.int32).")
  if len(numbers) and not 0 <= numbers.min() <= numbers.max() < 2**31:
    raise InputError(f"{what} go from {numbers.min()} to {numbers.max()}, and must count from 0; subtract the smallest.")
  return numbers.astype(np.int32, copy=False)


def _array(values: Any, what: str) -> np.ndarray:
  try:
    return np.asarray(values)
  except (ValueError, TypeError, OverflowError):
    raise InputError(f"{what} are arrays of different shapes; give all of them one shape.") from None
