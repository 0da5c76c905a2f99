"""The training images of CIFAR-10 without loss in two files, for machines to which a large archive cannot be brought.

A file is an npz with half of the images. Its array `mosaic` holds the bytes of one lossless WebP image, in which the images stand in rows
of `COLUMNS`. Its array `labels` holds the labels, uint8 [N].
"""

import hashlib
import io
import pathlib

import numpy as np
from PIL import Image

from dnas.core import durable
from dnas.core.errors import InputError, counted
from dnas.data.published import read_bytes

FILES = ("cifar10_train_1_of_2.npz", "cifar10_train_2_of_2.npz")
DIGESTS = (
  "a59507c109da6b41ebff2878a3b3f2fc2972b3bb53f8bc09afe583a2101774e3",
  "a10bdc6f8ab173445d304d3d34501a61240787bbd9cc99aea17056e45e6804ef",
)
"""SHA-256 of the pixels and then the labels of each file, as published."""

COLUMNS = 500
SIDE = 32
"""Pixels of an image in height and width. A WebP image has at most 16,383 of them."""


def write(images: np.ndarray, labels: np.ndarray, folder: pathlib.Path) -> list[pathlib.Path]:
  """Writes the two files into a folder, reads them again, and returns their paths.

  Args:
    images: the published training images in their order, uint8 [N, 32, 32, 3].
    labels: their labels, [N].
    folder: it is made if needed.

  Raises:
    InputError: if these are not the published images.
    OSError: if a file cannot be written.
  """
  durable.make_folder(folder)
  halves = np.array_split(np.arange(len(labels)), len(FILES))
  for name, half, digest in zip(FILES, halves, DIGESTS, strict=True):
    if _digest(images[half], labels[half]) != digest:
      raise InputError(f"{counted(len(labels), 'image')} to pack are not the published training images of CIFAR-10; give their folder.")
    packed, content = io.BytesIO(), io.BytesIO()
    Image.fromarray(_mosaic(images[half])).save(packed, format="WEBP", lossless=True)
    np.savez(content, mosaic=np.frombuffer(packed.getvalue(), np.uint8), labels=labels[half].astype(np.uint8))
    durable.write(folder / name, content.getvalue(), shared=True)
  read(folder)
  return [folder / name for name in FILES]


def is_in(folder: pathlib.Path) -> bool:
  """Returns whether a folder has one of the files; a folder that cannot be read has none."""
  try:
    return any((folder / name).is_file() for name in FILES)
  except OSError:
    return False


def read(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Returns the training images, uint8 [N, 32, 32, 3], and their labels, int32 [N], in the published order.

  Raises:
    InputError: if a file is missing, cannot be read or is damaged.
  """
  halves = [_read(folder / name, digest) for name, digest in zip(FILES, DIGESTS, strict=True)]
  images, labels = zip(*halves, strict=True)
  return np.concatenate(images), np.concatenate(labels).astype(np.int32)


def _read(path: pathlib.Path, digest: str) -> tuple[np.ndarray, np.ndarray]:
  if not path.is_file():
    raise InputError(f"{path} is missing, and the other file is there; bring both files that benchmarks.pack_cifar10 has made.")
  content = read_bytes(path)
  try:
    with np.load(io.BytesIO(content)) as arrays:
      labels, packed = arrays["labels"], arrays["mosaic"].tobytes()
    with Image.open(io.BytesIO(packed), formats=["WEBP"]) as mosaic:
      images = _images(np.asarray(mosaic.convert("RGB")))[: len(labels)]
    right = labels.dtype == np.uint8 and labels.ndim == 1 and _digest(images, labels) == digest
  except Exception:  # whatever NumPy and Pillow make of damaged bytes
    right = False
  if not right:
    raise InputError(f"{path} is damaged: its images and labels are not those that were published; bring it again.")
  return images, labels


def _mosaic(images: np.ndarray) -> np.ndarray:
  """Maps images [N, 32, 32, 3] to one image [rows * 32, COLUMNS * 32, 3]; zeros fill the last row."""
  rows = -(-len(images) // COLUMNS)
  filled = np.zeros((rows * COLUMNS, *images.shape[1:]), np.uint8)
  filled[: len(images)] = images
  return filled.reshape(rows, COLUMNS, SIDE, SIDE, 3).swapaxes(1, 2).reshape(rows * SIDE, COLUMNS * SIDE, 3)


def _images(mosaic: np.ndarray) -> np.ndarray:
  """Is the inverse of `_mosaic`, the filling included."""
  return np.ascontiguousarray(mosaic.reshape(-1, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2)).reshape(-1, SIDE, SIDE, 3)


def _digest(images: np.ndarray, labels: np.ndarray) -> str:
  return hashlib.sha256(np.ascontiguousarray(images).tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
