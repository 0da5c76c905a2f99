"""Data sets as values, the split of a search, and the one door to the test set."""

import dataclasses
import math
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from absl import logging

from dnas.core import config
from dnas.core.errors import FieldError
from dnas.core.registry import Registry

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Config:
  """Which data, how it is divided, and how it is augmented.

  Attributes:
    dataset: name of a registered data set; digits is built in.
    data_dir: folder of the data set's published files; empty for a built-in data set, or to download them.
    examples: how many examples of the training set to use, from its start, for a trial run; 0 uses all.
    train_portion: fraction of the training set, from its start, that trains the weights; the rest is the validation set, on which a
      search trains its architecture. Retraining may take 1, all of it.
    batch_size: examples in a training batch.
    eval_batch_size: examples in an evaluation batch; it changes speed and memory, never a result.
    crop_padding: pixels of black border added before the random crop; 0 does not crop. CIFAR recipes take 4.
    flip: whether every other image, at random, is mirrored left to right. CIFAR recipes do so; digits are another thing mirrored.
    cutout_length: side in pixels of the square that cutout erases, an even number; 0 does not erase.
  """

  dataset: str = config.named("digits", lambda: DATASETS)
  data_dir: str = ""
  examples: int = 0
  train_portion: float = 0.5
  batch_size: int = 64
  eval_batch_size: int = 256
  crop_padding: int = 1
  flip: bool = False
  cutout_length: int = 0

  def __post_init__(self):
    config.check(0 < self.train_portion <= 1, "train_portion", self.train_portion, "it must be above 0 and at most 1")
    config.check_positive(batch_size=self.batch_size, eval_batch_size=self.eval_batch_size)
    config.check_not_negative(examples=self.examples, crop_padding=self.crop_padding, cutout_length=self.cutout_length)
    config.check(self.cutout_length % 2 == 0, "cutout_length", self.cutout_length, "it must be even, so that the square has that side")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(Generic[T]):
  """What every data set has: a name, and a test split, of type T, that comes from `open_test` alone.

  Attributes:
    name: the name under which it is registered.
  """

  name: str
  _read_test: Callable[[], T] = dataclasses.field(repr=False, kw_only=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """Examples, in a fixed order.

  Attributes:
    images: uint8 [N, H, W, C].
    labels: int32 [N].
  """

  images: np.ndarray
  labels: np.ndarray

  def __len__(self) -> int:
    return len(self.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDataset(Dataset[Split]):
  """A data set of labelled images.

  Attributes:
    train: the whole published training set, in the published order.
    num_classes: how many classes there are; labels are 0 to num_classes - 1.
    mean: mean of every channel, of pixels scaled to [0, 1].
    std: standard deviation of every channel, of pixels scaled to [0, 1].
    class_names: one name per class.
  """

  train: Split
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  class_names: tuple[str, ...]


DATASETS: Registry[Callable[[str], ImageDataset]] = Registry("dataset")
"""Data set name to its loader, a function of the data folder. `dnas.data.datasets` has registered them all once it is imported."""


def open_test(dataset: Dataset[T], reason: str) -> T:
  """Reads the test split, and logs where it was opened and why.

  Only the final training of an architecture has a reason: searches, evaluators and tuners see training and validation data alone.

  Args:
    dataset: the data set.
    reason: why the test split is needed, for the log.

  Returns:
    A `Split` of images, or the token ids of a text, int32 [N].

  Raises:
    InputError: if the file of the test split is damaged.
  """
  logging.info("The test set of '%s' is opened: %s", dataset.name, reason, stacklevel=2)
  return dataset._read_test()


def first_examples(dataset: ImageDataset, examples: int) -> ImageDataset:
  """Returns the data set with only the first examples of its training set; 0 keeps all.

  Raises:
    FieldError: if there are fewer.
  """
  train = dataset.train
  mend = f"the training set of '{dataset.name}' has {len(train)}, so give at most that, or 0 for all"
  config.check(examples <= len(train), "data.examples", examples, mend)
  return dataclasses.replace(dataset, train=Split(train.images[: examples or None], train.labels[: examples or None]))


def search_split(dataset: ImageDataset, train_portion: float) -> tuple[Split, Split]:
  """Divides the training set in two, contiguously, as the published DARTS code does (CIFAR-10: 25,000 and 25,000).

  Args:
    dataset: the data set.
    train_portion: the fraction that goes to the first part, rounded down to whole examples.

  Returns:
    The part that trains the weights, and the part that trains the architecture and is the validation set.

  Raises:
    FieldError: if a part would be empty.
  """
  train, count = dataset.train, math.floor(train_portion * len(dataset.train))
  if not 0 < count < len(train):
    mend = f"it leaves one part of the {len(train)} examples of '{dataset.name}' empty, so choose it between 0 and 1, such as 0.5"
    raise FieldError("data.train_portion", train_portion, mend)
  return Split(train.images[:count], train.labels[:count]), Split(train.images[count:], train.labels[count:])


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and standard deviation of every channel of uint8 images [N, H, W, C], scaled to [0, 1]."""
  pixels = images / 255.0
  return tuple(pixels.mean(axis=(0, 1, 2)).tolist()), tuple(pixels.std(axis=(0, 1, 2)).tolist())


def refuse_data_dir(name: str, data_dir: str) -> None:
  """Raises FieldError if a data folder is given to a data set that reads none."""
  if data_dir:
    raise FieldError("data.data_dir", data_dir, f"the data set '{name}' is built in and reads no folder, so leave it empty")
