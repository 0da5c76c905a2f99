"""Images of a user's own: from files to a data set. How a kind of files is read is in a file for each kind, by two functions.

Images become grey (one channel) if all training and validation images are grey, else colour (three channels). Transparency is left out, and
a photograph is turned as its camera says. Mean and standard deviation are those of the training part.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from dnas.core import keys, memory
from dnas.core.errors import FieldError, InputError, counted, unreadable
from dnas.data import splits
from dnas.data.about import About
from dnas.data.base import ImageDataset, Split
from dnas.data.decoding import Examples, Views, with_channels
from dnas.data.image_config import Config
from dnas.data.streams import StreamedImages

NAMES: Mapping[str, tuple[str, ...]] = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}
"""Part of a data set to the names that files give it."""

_SAMPLE = 10_000
"""Images of which the statistics of a stream are computed, at most."""


def parts_among(names: Collection[str]) -> dict[str, str]:
  """Returns part to its name, for every part that is among the names."""
  return {part: name for part, known in NAMES.items() for name in known[::-1] if name in names}


@dataclasses.dataclass(frozen=True)
class OwnImages:
  """A registered data set that reads the files of a user.

  Attributes:
    name: the name under which it is registered.
    find: path to the parts that are there, 'train', and 'valid' and 'test' if given, with what `read` calls them. It is quick.
    read: (path, what it calls a part) to the examples of that part.
  """

  name: str
  find: Callable[[pathlib.Path], Mapping[str, str]]
  read: Callable[[pathlib.Path, str], Examples]

  def parts(self, data_dir: str) -> Mapping[str, str]:
    """Returns the parts that are there.

    Raises:
      InputError: if there is no training part, or nothing that can be read.
    """
    if not data_dir:
      raise FieldError("data.data_dir", "empty", f"the data set '{self.name}' reads files of your own, so give their path")
    try:
      parts = self.find(pathlib.Path(data_dir))
    except (OSError, ValueError) as e:  # a path that no file can have is a ValueError
      if isinstance(e, InputError):
        raise
      raise unreadable(data_dir, e) from None
    if "train" not in parts:
      raise FieldError("data.data_dir", data_dir, "it has no training part; name one part 'train'")
    return parts

  def __call__(self, data_dir: str, config: Config = Config()) -> ImageDataset:  # noqa: B008  (frozen)
    """Decodes the training and the validation part. The images of the test part are decoded when the test set is opened.

    Raises:
      InputError: if there are fewer than two classes, a class is empty in a part, an image cannot be decoded, or images differ in size and
        `config.image_size` is empty.
    """
    parts = self.parts(data_dir)
    whole = self._part(data_dir, "train", parts["train"])
    names = whole.class_names
    trains = np.ones(len(whole.labels), bool)
    if "test" not in parts:
      trains = _training_part(whole, config)
    if config.stream:
      return self._stream(data_dir, parts, whole, trains, config)
    train = [(whole, index) for index in np.flatnonzero(trains).tolist()]
    given = self._part(data_dir, "valid", parts["valid"], names) if "valid" in parts else None
    valid = [(given, index) for index in range(len(given.labels))] if given else []
    pixels = _decoded([*train, *valid], config)
    channels = max(image.shape[-1] for image in pixels)

    def split(numbers: Sequence[tuple[Examples, int]], images: Sequence[np.ndarray]) -> Split:
      stacked = np.stack([with_channels(image, channels) for image in images])
      return Split(stacked, np.array([examples.labels[index] for examples, index in numbers], np.int32))

    def read_test() -> Split:
      of = self._part(data_dir, "test", parts["test"], names) if "test" in parts else whole
      indices = range(len(of.labels)) if "test" in parts else np.flatnonzero(~trains).tolist()
      numbers = [(of, index) for index in indices]
      images = _decoded(numbers, config)
      for (examples, index), image in zip(numbers, images, strict=True):
        if image.shape[:2] != size:
          raise _different(examples.name(index), image.shape, "the training images", size)
      if any(image.shape[-1] > channels for image in images):
        logging.warning("The test set of '%s' has colour images, and the training set none: they become grey.", self.name)
      return split(numbers, images)

    training, size = split(train, pixels[: len(train)]), pixels[0].shape[:2]
    validation = split(valid, pixels[len(train) :]) if valid else None
    mean, std = _statistics(training.images)
    return ImageDataset(self.name, training, len(names), mean, std, names, valid=validation, _read_test=read_test)

  def _stream(
    self, data_dir: str, parts: Mapping[str, str], whole: Examples, trains: np.ndarray, config: Config
  ) -> ImageDataset:
    """Decodes nothing but a sample of the training part, for the statistics."""
    names = whole.class_names

    def part(name: str) -> Split:
      examples = self._part(data_dir, name, parts[name], names)
      return _streamed(examples, np.arange(len(examples.labels)), config)

    training = _streamed(whole, np.flatnonzero(trains), config)
    sample = np.flatnonzero(trains)
    if len(sample) > _SAMPLE:
      sample = np.sort(keys.generator(0, "sample of the statistics").choice(sample, _SAMPLE, replace=False))
    decoded = _decoded([(whole, index) for index in sample.tolist()], config)
    mean, std = _statistics(np.stack([with_channels(image, 3) for image in decoded]))
    read_test = (lambda: part("test")) if "test" in parts else (lambda: _streamed(whole, np.flatnonzero(~trains), config))
    valid = part("valid") if "valid" in parts else None
    return ImageDataset(self.name, training, len(names), mean, std, names, valid=valid, _read_test=read_test)

  def _part(self, data_dir: str, part: str, name: str, names: tuple[str, ...] = ()) -> Examples:
    """Returns the examples of a part, with labels by `names`, the classes of the training part. Raises InputError for an empty class."""
    try:
      examples = self.read(pathlib.Path(data_dir), name)
    except OSError as e:
      raise unreadable(e.filename or data_dir, e) from None
    names = names or examples.class_names
    if len(names) < 2:
      told = f"it holds one class, '{names[0]}'" if names else "it holds no class"
      raise FieldError("data.data_dir", data_dir, f"{told}, and a classifier needs two or more; give examples of another one")
    unknown = [one for one in examples.class_names if one not in names]
    if unknown:
      raise FieldError("data.data_dir", data_dir, f"its {part} part has the class '{unknown[0]}', which the training part lacks")
    labels = np.array([names.index(one) for one in examples.class_names], np.int32)[examples.labels]
    if (lacking := _lacking(labels, len(names))) is not None:
      hint = f"its {part} part has no example of the class '{names[lacking]}'; add some, or take the class away from all parts"
      raise FieldError("data.data_dir", data_dir, hint)
    return dataclasses.replace(examples, labels=labels, class_names=names)


def described(dataset: ImageDataset) -> str:
  """Returns what a run keeps of its data, as JSON: classes, numbers of examples, shape, statistics, and a digest of pixels and labels.

  The digest of streamed images is that of their names and labels.
  """
  digest, counts = hashlib.sha256(), {}
  for part, split in (("train", dataset.train), ("valid", dataset.valid)):
    if split is not None:
      counts[part] = np.bincount(split.labels, minlength=dataset.num_classes).tolist()
      if isinstance(split.images, StreamedImages):
        examples = split.images.examples
        digest.update("\n".join(examples.name(int(number)) for number in split.images.numbers).encode(errors="replace"))
      else:
        digest.update(np.ascontiguousarray(split.images).data)
      digest.update(np.ascontiguousarray(split.labels).data)
  about: dict[str, Any] = json.loads(About.of(dataset).to_json())
  return json.dumps(about | {"examples_by_class": counts, "sha256": digest.hexdigest()}, indent=2) + "\n"


def _training_part(examples: Examples, config: Config) -> np.ndarray:
  """Returns bool [N], which examples are not divided off as the test set. Raises FieldError if that leaves a class empty in a part."""
  labels, names = examples.labels, examples.class_names
  count = len(labels) - max(round(config.test_portion * len(labels)), 1)
  trains = splits.stratified(labels, count, config.test_seed, "test set")
  for which, part in (("test", labels[~trains]), ("training", labels[trains])):
    if (lacking := _lacking(part, len(names))) is not None:
      has = counted(int((labels == lacking).sum()), "example")
      hint = f"it leaves the {which} part no example of the class '{names[lacking]}', which has {has}; give more, or another portion"
      raise FieldError("data.test_portion", config.test_portion, hint)
  return trains


def _lacking(labels: np.ndarray, classes: int) -> int | None:
  """Returns the first class without an example, if there is one."""
  missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
  return int(missing[0]) if len(missing) else None


def _decoded(numbers: Sequence[tuple[Examples, int]], config: Config) -> list[np.ndarray]:
  """Returns images of one size, each uint8 [H, W, C]. Raises InputError for one that cannot be decoded, or is of another size."""
  views = _views(config)

  def decode(number: tuple[Examples, int]) -> np.ndarray:
    return views.plain(*number)

  first = decode(numbers[0])
  if first.nbytes * len(numbers) > memory.available():
    needed, there = memory.shown_bytes(first.nbytes * len(numbers)), memory.shown_bytes(memory.available())
    hint = "give --data.stream, or lower --data.image_size"
    raise InputError(f"{len(numbers):,} images of {_sides(first.shape)} need {needed}, and there are {there}; {hint}.")
  with concurrent.futures.ThreadPoolExecutor() as pool:
    images = [first, *pool.map(decode, numbers[1:])]
  for (examples, index), image in zip(numbers, images, strict=True):
    if image.shape[:2] != first.shape[:2]:
      raise _different(numbers[0][0].name(numbers[0][1]), first.shape, examples.name(index), image.shape)
  return images


def _views(config: Config) -> Views:
  sides = (config.image_size * 2)[:2]
  return Views((sides[0], sides[1]) if sides else None, config.centre_crop, config.crop_area, config.colour_jitter)


def _streamed(examples: Examples, numbers: np.ndarray, config: Config) -> Split:
  """Returns examples whose images are decoded when they are needed, as colour images."""
  return Split(StreamedImages(examples, _views(config), numbers, 3), examples.labels[numbers])


def _different(one: str, shape: Sequence[int], other: str, other_shape: Sequence[int]) -> InputError:
  sizes = f"{one} {_sides(shape)} and {other} {_sides(other_shape)}"
  return InputError(f"images have different sizes, {sizes} (height x width); give --data.image_size, such as 32 or 32,48.")


def _sides(shape: Sequence[int]) -> str:
  return f"{shape[0]}x{shape[1]}"


def _statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and standard deviation of every channel of pixels in [0, 1], by counts of the 256 levels, which need no large array."""
  levels, mean, std = np.arange(256) / 255, [], []
  for channel in np.moveaxis(images, -1, 0):
    share = _counts(channel) / channel.size
    mean.append(float(share @ levels))
    std.append(float(np.sqrt(share @ (levels - mean[-1]) ** 2)))
  return tuple(mean), tuple(std)


def _counts(images: Iterable[np.ndarray]) -> np.ndarray:
  return sum((np.bincount(image.ravel(), minlength=256) for image in images), np.zeros(256, np.int64))
