"""A small synthetic set for tests and demonstrations: every class is a coloured pattern with noise."""

import numpy as np

from dnas.data.base import DATASETS, ImageDataset, Split, channel_statistics, refuse_data_dir

NUM_TRAIN, NUM_TEST = 512, 128
COLOURS = {"red": (170, 80, 80), "green": (80, 170, 80), "blue": (80, 80, 170), "grey": (110, 110, 110)}


@DATASETS.register("synthetic")
def synthetic(data_dir: str) -> ImageDataset:
  """Makes 512 training and 128 test images of 8x8x3 pixels in four balanced classes; the same ones every time.

  Args:
    data_dir: must be empty.
  """
  refuse_data_dir("synthetic", data_dir)
  train = _draw(NUM_TRAIN, seed=0)
  mean, std = channel_statistics(train.images)
  return ImageDataset("synthetic", train, len(COLOURS), mean, std, tuple(COLOURS), _read_test=lambda: _draw(NUM_TEST, seed=1))


def _draw(count: int, seed: int) -> Split:
  patterns = np.random.default_rng(2).normal(0, 20, size=(len(COLOURS), 8, 8, 3))
  templates = np.array(list(COLOURS.values()))[:, None, None, :] + patterns
  labels = np.arange(count, dtype=np.int32) % len(COLOURS)
  noise = np.random.default_rng(seed).normal(0, 25, size=(count, 8, 8, 3))
  return Split(np.clip(templates[labels] + noise, 0, 255).astype(np.uint8), labels)
