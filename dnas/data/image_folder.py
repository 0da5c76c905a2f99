"""A folder of PNG and JPEG files: a subfolder for every class, or folders `train`, `valid` and `test` with such subfolders.

Files are taken in the order of their names, so a division does not depend on the file system.
"""

import io
import pathlib

import numpy as np
from absl import logging
from PIL import Image

from dnas.core.errors import FieldError, InputError, counted
from dnas.data.base import DATASETS
from dnas.data.decoding import Examples
from dnas.data.own_images import OwnImages, parts_among
from dnas.data.published import read_bytes

SUFFIXES = (".png", ".jpg", ".jpeg")


def find(path: pathlib.Path) -> dict[str, str]:
  """See `OwnImages`. Without a folder 'train' that holds folders, the whole folder is the training part."""
  if not path.is_dir():
    raise FieldError("data.data_dir", str(path), "there is no such folder; give one with a subfolder of images for every class")
  folders = _folders(path)
  if not ((path / "train").is_dir() and _folders(path / "train")):
    return {"train": ""}
  parts = parts_among(folders)
  others = [name for name in folders if name not in parts.values()]
  if others:
    hint = f"it holds the folder '{others[0]}' beside 'train'; name it 'valid' or 'test', or take it away"
    raise FieldError("data.data_dir", str(path), hint)
  return parts


def read(path: pathlib.Path, name: str) -> Examples:
  """See `OwnImages`. Raises InputError for a class with files of which none is PNG or JPEG."""
  folder = path / name
  classes = _folders(folder)
  if not classes:
    files = _files(folder)
    found = f"{counted(len(files), 'file')} and no subfolder" if files else "no image"
    raise FieldError("data.data_dir", str(path), f"{folder} holds {found}; give every class a subfolder with its images")
  images: list[pathlib.Path] = []
  labels: list[int] = []
  for label, one in enumerate(classes):
    files = _files(folder / one)
    chosen = [file for file in files if file.suffix.lower() in SUFFIXES]
    if files and not chosen:
      raise InputError(f"{folder / one} holds no PNG or JPEG image, but files such as {files[0].name}; convert them to PNG or JPEG.")
    if len(chosen) < len(files):
      logging.warning("%s of %s are no PNG or JPEG images, and are left out.", counted(len(files) - len(chosen), "file"), folder / one)
    images += chosen
    labels += [label] * len(chosen)

  def image(index: int) -> Image.Image:
    return Image.open(io.BytesIO(read_bytes(images[index])), formats=("PNG", "JPEG"))

  return Examples(np.array(labels, np.int32), tuple(classes), image, lambda index: str(images[index]))


def _folders(path: pathlib.Path) -> list[str]:
  return sorted(each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))


def _files(path: pathlib.Path) -> list[pathlib.Path]:
  return sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))


DATASETS.register("images")(OwnImages("images", find, read))
