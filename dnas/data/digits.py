"""Handwritten digits: 1,797 real grey images of 8x8 pixels, which scikit-learn carries; no download.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

import numpy as np

from dnas.data.base import DATASETS, ImageDataset, Split, channel_statistics, refuse_data_dir

NUM_TRAIN = 1500


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
  from sklearn.datasets import load_digits  # here, because its import takes longer than that of JAX

  pixels, labels = load_digits(return_X_y=True)
  images = np.round(pixels.reshape(-1, 8, 8)[part, :, :, None] * (255 / 16)).astype(np.uint8)
  return Split(images, labels[part].astype(np.int32))
