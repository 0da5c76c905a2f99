"""Images and labels in one file .npz: train_images, train_labels, and if given valid_*, test_* and class_names."""

import pathlib
import zipfile

import numpy as np

from dnas.core.errors import FieldError, InputError, counted, first_line
from dnas.data.base import DATASETS
from dnas.data.checks import checked_images, checked_labels, checked_names
from dnas.data.decoding import Examples
from dnas.data.own_images import OwnImages, parts_among


def find(path: pathlib.Path) -> dict[str, str]:
  """See `OwnImages`."""
  if not path.is_file():
    raise FieldError("data.data_dir", str(path), "there is no such file; give one that numpy.savez wrote")
  return parts_among([name.removesuffix("_images") for name in _names(path)])


def read(path: pathlib.Path, name: str) -> Examples:
  """See `OwnImages`. Raises InputError for arrays that are no images and labels of one number."""
  try:
    images = _array(path, f"{name}_images")
    images = checked_images(images[..., None] if images.ndim == 3 else images)
    labels = checked_labels(_array(path, f"{name}_labels"))
  except InputError as e:
    raise InputError(f"{path}, {name} part: {str(e).removesuffix('.')}.") from None
  if len(images) != len(labels):
    numbers = f"{counted(len(images), 'image')} and {counted(len(labels), 'label')}"
    raise InputError(f"{path} has {numbers} in its {name} part; give a label for every image.")
  if "class_names" in _names(path):
    names = checked_names(_array(path, "class_names").tolist(), f"the class_names of {path}")
  else:
    names = tuple(map(str, range(int(checked_labels(_array(path, "train_labels")).max(initial=0)) + 1)))
  if labels.max(initial=0) >= len(names):
    raise InputError(f"{path} has the label {labels.max()} in its {name} part and {len(names)} classes; labels count from 0.")
  return Examples(labels, names, lambda index: images[index], lambda index: f"{path}, {name}_images[{index}]")


def _names(path: pathlib.Path) -> list[str]:
  try:
    with zipfile.ZipFile(path) as archive:
      return [name.removesuffix(".npy") for name in archive.namelist()]
  except zipfile.BadZipFile:
    raise FieldError("data.data_dir", str(path), "it is no npz file; give one that numpy.savez wrote") from None


def _array(path: pathlib.Path, name: str) -> np.ndarray:
  try:
    with np.load(path) as arrays:
      return arrays[name]
  except KeyError:
    raise InputError(f"the array '{name}' is missing; add it.") from None
  except Exception as e:  # a damaged file raises anything; an array of objects is a program, which is not run
    raise InputError(f"the array '{name}' cannot be read ({first_line(e).rstrip('.')}); write the file again.") from None


DATASETS.register("arrays")(OwnImages("arrays", find, read))
