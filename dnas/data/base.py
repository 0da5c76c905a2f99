"""Data sets as values, the split of a search, and `open_test`, the only access to the test set."""

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from absl import logging

from dnas.core import config
from dnas.core.errors import FieldError, InputError, shown
from dnas.data.checks import checked_images, checked_labels, checked_names, fractions
from dnas.data.image_config import DATASETS as DATASETS
from dnas.data.image_config import Config as Config
from dnas.data.splits import SPLITS
from dnas.data.streams import StreamedImages

T = TypeVar("T")

_SUSPICIOUS = 1e-3
"""A standard deviation below it is looked at: it may be what rounding leaves of zero."""

_LEAST = 1e-8
"""No channel that varies has so small a standard deviation, and pixels that are divided by it may not be finite."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(abc.ABC, Generic[T]):
  """Base of all data sets: a name, and a test split of type T that only `open_test` returns.

  Attributes:
    name: the name under which it is registered.
  """

  name: str
  _read_test: Callable[[], T] = dataclasses.field(repr=False, kw_only=True)

  @abc.abstractmethod
  def checked_test(self, test: T) -> T:
    """Returns the test split that was read. Raises InputError if it does not fit the training data."""


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """Examples, in a fixed order; what is given is checked.

  Attributes:
    images: uint8 [N, H, W, C]; or `StreamedImages`, which stand for such an array.
    labels: int32 [N]; any integers may be given. They count from 0.

  Raises:
    InputError: for images or labels of another type or shape, or of unequal numbers.
  """

  images: Any
  labels: np.ndarray

  def __post_init__(self):
    object.__setattr__(self, "images", checked_images(self.images))
    object.__setattr__(self, "labels", checked_labels(self.labels))
    if len(self.images) != len(self.labels):
      raise InputError(f"a split has {len(self.images)} images and {len(self.labels)} labels; give it a label for every image.")

  def __len__(self) -> int:
    return len(self.labels)

  def where(self, chosen: np.ndarray) -> "Split":
    """Returns the examples where `chosen`, bool [N], is true."""
    return Split(self.images[chosen], self.labels[chosen])


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDataset(Dataset[Split]):
  """A data set of labelled images; what is given is checked.

  Attributes:
    train: the whole training set, in the published order if it is a published one.
    num_classes: how many classes there are, at least 2; labels are 0 to num_classes - 1.
    mean: mean of every channel, of pixels scaled to [0, 1].
    std: standard deviation of every channel, of pixels scaled to [0, 1]. A channel that never varies has 1 here, whatever was given.
    class_names: one name per class.
    published: whether the order of the examples is a published one, whose first part trains in published searches. Otherwise the default
      division is stratified, and a class that is missing in a part is an error.
    valid: the validation set, if the data have one of their own. Then the training set is not divided, whatever the configuration says.

  Raises:
    InputError: if they do not fit each other.
  """

  train: Split
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  class_names: tuple[str, ...]
  published: bool = False
  valid: Split | None = None

  def __post_init__(self):
    if not isinstance(self.name, str) or not self.name:
      raise InputError(f"a data set has the name {shown(self.name)}; give a name that is not empty.")
    self._check(isinstance(self.published, bool), f"has published {shown(self.published)}; it must be true or false")
    self._check(isinstance(self.train, Split), f"has a {type(self.train).__name__} as its training split; give a `Split`")
    whole = isinstance(self.num_classes, int | np.integer) and 2 <= self.num_classes < 2**31
    self._check(whole, f"has num_classes {shown(self.num_classes)}; a classifier needs a whole number of at least 2")
    object.__setattr__(self, "num_classes", int(self.num_classes))
    object.__setattr__(self, "class_names", checked_names(self.class_names, f"the class_names of '{self.name}'"))
    names, channels = self.class_names, self.train.images.shape[-1]
    different = len(set(names))
    unique = different == self.num_classes == len(names)
    self._check(unique, f"has {len(names)} class_names, {different} of them different, for {self.num_classes} classes; name each once")
    for field in ("mean", "std"):
      given, values = getattr(self, field), fractions(getattr(self, field))
      self._check(values is not None, f"has {shown(given)} as {field}; give those of pixels in [0, 1], as `channel_statistics` does")
      number = len(values or ())
      self._check(number == channels, f"has {number} values in {field}; its images have {channels} channels, so give {channels}")
      object.__setattr__(self, field, values)
    self._check_labels(self.train, "training")
    if self.valid is not None:
      self._check_fits(self.valid, "validation")
    object.__setattr__(self, "std", self._divisors())

  def checked_test(self, test: Split) -> Split:
    """See `Dataset`."""
    self._check_fits(test, "test")
    return test

  def _check_fits(self, split: Split, which: str) -> None:
    self._check(isinstance(split, Split), f"has a {type(split).__name__} as its {which} split; give a `Split`")
    train, found = self.train.images.shape[1:], split.images.shape[1:]
    self._check(train == found, f"has {which} images of shape {found} and training images of shape {train}; give both the same shape")
    self._check_labels(split, which)

  def _check_labels(self, split: Split, which: str) -> None:
    wrong, last = np.flatnonzero(split.labels >= self.num_classes), self.num_classes - 1
    hint = f"with {self.num_classes} classes they are 0 to {last}, so subtract the number of the first class, or correct num_classes"
    span = f"{split.labels.min()} to {split.labels.max()}"
    self._check(not len(wrong), f"has labels from {span} in its {which} split, and {len(wrong)} of them are above {last}; {hint}")

  def _divisors(self) -> tuple[float, ...]:
    """Returns `std` with 1 for every channel that never varies, and says which."""
    std = list(self.std)
    for channel, value in enumerate(std):
      if value < _LEAST or (value < _SUSPICIOUS and self._is_constant(channel)):
        std[channel] = 1.0
        logging.warning("Channel %d of '%s' has standard deviation %.3g; it is divided by 1.", channel, self.name, value)
    return tuple(std)

  def _is_constant(self, channel: int) -> bool:
    if isinstance(self.train.images, StreamedImages):
      return False
    pixels = self.train.images[..., channel]
    return bool(pixels.min() == pixels.max())

  def _check(self, condition: bool, problem: str) -> None:
    if not condition:
      raise InputError(f"the data set '{self.name}' {problem}.")


def open_test(dataset: Dataset[T], reason: str) -> T:
  """Reads the test split, and logs where it was opened and why.

  Only the final training of an architecture has a reason: searches, evaluators and tuners see training and validation data alone.

  Args:
    dataset: the data set.
    reason: why the test split is needed, for the log.

  Returns:
    A `Split` of images, or the token ids of a text, int32 [N].

  Raises:
    InputError: if the file of the test split is damaged, or does not fit the training data.
  """
  logging.info("The test set of '%s' is opened: %s", dataset.name, reason, stacklevel=2)
  return dataset.checked_test(dataset._read_test())


def subset(dataset: ImageDataset, count: int, data: Config) -> Split:
  """Returns examples of the training set, in its order, chosen as `data.split` says. Raises FieldError if its seed has no effect."""
  train = dataset.train
  return train if count >= len(train) else train.where(_division(dataset, count, data))


def some_examples(dataset: ImageDataset, data: Config) -> ImageDataset:
  """Returns the data set with `data.examples` examples of its training set, chosen as `subset` does; 0 keeps all.

  Raises:
    FieldError: if there are fewer, or as `subset` does.
  """
  count = len(dataset.train)
  hint = f"the training set of '{dataset.name}' has {count}, so give at most that, or 0 for all"
  config.check(data.examples <= count, "data.examples", data.examples, hint)
  return dataclasses.replace(dataset, train=subset(dataset, data.examples, data)) if data.examples else dataset


def search_split(dataset: ImageDataset, data: Config) -> tuple[Split, Split]:
  """Divides the training set in two, as `data.split` says; both parts keep its order.

  The published DARTS code divides CIFAR-10 contiguously, 25,000 and 25,000.

  Args:
    dataset: the data set.
    data: how it is divided; the fraction that goes to the first part is rounded down to whole examples.

  Returns:
    The part that trains the weights, and the part that trains the architecture and is the validation set. These are the training set and
    the validation set of data that have both.

  Raises:
    FieldError: if a part would be empty, or the seed of the division has no effect, or a class is missing in a part of a set that is not
      published; for a published one that is a warning.
  """
  if dataset.valid is not None:
    _check_classes(dataset, dataset.train, "training", data)
    return dataset.train, dataset.valid
  train, count = dataset.train, math.floor(data.train_portion * len(dataset.train))
  if not 0 < count < len(train):
    hint = f"it leaves one part of the {len(train)} examples of '{dataset.name}' empty, so give a number between 0 and 1, such as 0.5"
    raise FieldError("data.train_portion", data.train_portion, hint)
  first = _division(dataset, count, data)
  parts = train.where(first), train.where(~first)
  for part, which in zip(parts, ("training", "validation"), strict=True):
    _check_classes(dataset, part, which, data)
  return parts


def training_split(dataset: ImageDataset, data: Config) -> tuple[Split, Split | None]:
  """Returns the parts of `search_split`; with a `train_portion` of 1 and no validation set of the data, the whole training set and None.

  Raises:
    FieldError: as `search_split` does.
  """
  if data.train_portion < 1 or dataset.valid is not None:
    return search_split(dataset, data)
  _check_classes(dataset, dataset.train, "training", data)
  return dataset.train, None


def class_weights(train: Split, num_classes: int, kind: str) -> tuple[float, ...] | None:
  """Returns the loss weight of every class, [num_classes], or None if all examples have equal weight.

  Args:
    train: the training part.
    num_classes: how many classes there are.
    kind: 'none', or 'balanced' for N / (K n) in a class of n examples, where N examples are in K classes; 0 for a class without any.
  """
  if kind == "none":
    return None
  counts = np.bincount(train.labels, minlength=num_classes)
  weights = np.where(counts, len(train) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)
  return tuple(weights.tolist())


def _division(dataset: ImageDataset, count: int, data: Config) -> np.ndarray:
  name = _split_name(dataset, data)
  idle = name == "contiguous" and data.split_seed
  hint = f"the division of '{dataset.name}' is contiguous, so leave the seed out, or give --data.split=shuffled or stratified"
  config.check(not idle, "data.split_seed", data.split_seed, hint)
  return SPLITS[name](dataset.train.labels, count, data.split_seed)


def _split_name(dataset: ImageDataset, data: Config) -> str:
  return data.split or ("contiguous" if dataset.published else "stratified")


def _check_classes(dataset: ImageDataset, part: Split, which: str, data: Config) -> None:
  """Raises FieldError, or warns if the data set is published, where a class has no example in a part."""
  missing = np.flatnonzero(np.bincount(part.labels, minlength=dataset.num_classes) == 0)
  if not len(missing):
    return
  train, name = dataset.train, dataset.class_names[missing[0]]
  others = f" and {len(missing) - 1} other classes" if len(missing) > 1 else ""
  has = int((train.labels == missing[0]).sum())
  problem = f"the {which} part of '{dataset.name}' has no example of the class '{name}'{others} ({has} of {len(train)} examples are of it)"
  if dataset.published:
    logging.warning("%s.", problem[0].upper() + problem[1:])
    return
  if not has:
    hint = "give more --data.examples" if data.examples else "give examples of it, or leave it out of the class names"
    raise FieldError("data.examples", data.examples, f"{problem}; {hint}")
  split = _split_name(dataset, data)
  hint = "give more examples of it, or another --data.train_portion" if split == "stratified" else "give --data.split=stratified"
  raise FieldError("data.split", split, f"{problem}; {hint}")


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and standard deviation of every channel of uint8 images [N, H, W, C], scaled to [0, 1].

  >>> channel_statistics(np.full((2, 8, 8, 1), 255, np.uint8))
  ((1.0,), (0.0,))

  Raises:
    InputError: for images of another type or shape.
  """
  pixels = checked_images(images) / 255.0
  return tuple(pixels.mean(axis=(0, 1, 2)).tolist()), tuple(pixels.std(axis=(0, 1, 2)).tolist())


def refuse_data_dir(name: str, data_dir: str) -> None:
  """Raises FieldError if a data folder is given to a data set that reads none."""
  if data_dir:
    raise FieldError("data.data_dir", data_dir, f"the data set '{name}' is built in and reads no folder, so leave it empty")
