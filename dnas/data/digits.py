"""Handwritten digits: 1,797 real grey images of 8x8 pixels, which this package carries; no download.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, licence CC BY 4.0. The file digits.npz holds its test set in the published order, as scikit-learn does:

    pixels   uint8 [1797, 8, 8]   0 to 16
    labels   uint8 [1797]         0 to 9
"""

import pathlib

import numpy as np

from dnas.data.base import DATASETS, ImageDataset, Split, channel_statistics, refuse_data_dir

NUM_TRAIN = 1500
FILE = pathlib.Path(__file__).with_name("digits.npz")


@DATASETS.register("digits")
def digits(data_dir: str) -> ImageDataset:
  """Loads the digits: the first 1,500 train, the last 297 test.

  The published order keeps the pages of a writer together, with the classes in turn. So the test set holds other writers than the
  training set, and both are balanced.

  Args:
    data_dir: must be empty.
  """
  refuse_data_dir("digits", data_dir)
  train = _read(slice(0, NUM_TRAIN))
  mean, std = channel_statistics(train.images)
  return ImageDataset("digits", train, 10, mean, std, tuple("0123456789"), published=True, _read_test=lambda: _read(slice(NUM_TRAIN, None)))


def _read(part: slice) -> Split:
  """Reads a part of the set; its pixels are 0 to 16, and are scaled to 0 to 255."""
  with np.load(FILE, allow_pickle=False) as file:
    pixels, labels = file["pixels"][part], file["labels"][part]
  images = np.round(pixels[..., None] * (255 / 16)).astype(np.uint8)
  return Split(images, labels.astype(np.int32))
