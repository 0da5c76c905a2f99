"""Images that are decoded when a batch needs them, by processes of Grain. So a set may be larger than all memory.

A batch is a function of a seed and the number of its step, whatever the number of processes. A resumed run begins its stream at its step.
"""

import dataclasses
import functools
from collections.abc import Generator
from typing import Any

import numpy as np
from absl import flags

from dnas.core import keys
from dnas.core.errors import InputError
from dnas.core.extras import needed_by
from dnas.data.decoding import Examples, Views, with_channels

_ENDLESS = 2**48
"""Positions of the stream of a training: more than any training reads."""


class StreamedImages:
  """Stands for an array of images, uint8 [N, H, W, C], none of which is decoded.

  Attributes:
    examples: where the images come from.
    views: how they become arrays.
    numbers: numbers of the examples, int [N].
    shape: (N, H, W, C).
  """

  ndim, dtype, nbytes = 4, np.dtype(np.uint8), 0

  def __init__(self, examples: Examples, views: Views, numbers: np.ndarray, channels: int):
    """Stands for the examples with these numbers; `views.sides` is given."""
    assert views.sides is not None
    self.examples, self.views, self.numbers = examples, views, numbers
    self.shape = (len(numbers), *views.sides, channels)

  def __len__(self) -> int:
    return len(self.numbers)

  @property
  def size(self) -> int:
    """Number of values."""
    return int(np.prod(self.shape))

  def __getitem__(self, chosen: Any) -> "StreamedImages":
    """Returns the images that an index of the first axis chooses: bool [N], integers or a slice."""
    return StreamedImages(self.examples, self.views, self.numbers[chosen], self.shape[-1])

  def plain(self, index: int) -> np.ndarray:
    """Returns an image for validation and test, uint8 [H, W, C]. Raises InputError, with its name, if it cannot be decoded."""
    return with_channels(self.views.plain(self.examples, int(self.numbers[index])), self.shape[-1])

  def random(self, index: int, rng: np.random.Generator) -> np.ndarray:
    """Returns an image for a training. Raises InputError as `plain` does."""
    return with_channels(self.views.random(self.examples, int(self.numbers[index]), rng), self.shape[-1])


@dataclasses.dataclass(frozen=True)
class Training:
  """The images of a training, by their position in its stream of batches: a source of Grain, and what it decodes.

  Every epoch has an order of its own. Its last batch is filled up with the first examples of that order.

  Attributes:
    images: the images.
    labels: int32 [N].
    batch_size: examples in a batch.
    seed: seed of orders and augmentation.
  """

  images: StreamedImages
  labels: np.ndarray
  batch_size: int
  seed: int

  def __len__(self) -> int:
    return _ENDLESS * self.batch_size

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the image at a position, uint8 [H, W, C], and its label."""
    step, place = divmod(index, self.batch_size)
    epoch, batch = divmod(step, -(-len(self.labels) // self.batch_size))
    order = _order(self.seed, epoch, len(self.labels))
    number = int(order[(batch * self.batch_size + place) % len(order)])
    return {"images": self.images.random(number, keys.generator(self.seed, "views", index)), "labels": self.labels[number]}


@dataclasses.dataclass(frozen=True)
class Whole:
  """All images of a validation or a test, in their order, in batches of which the last is filled up with the first images.

  Attributes:
    images: the images.
    labels: int32 [N].
    batch_size: examples in a batch.
  """

  images: StreamedImages
  labels: np.ndarray
  batch_size: int

  def __len__(self) -> int:
    return -(-len(self.labels) // self.batch_size) * self.batch_size

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the image at a position, uint8 [H, W, C], and its label."""
    number = index % len(self.labels)
    return {"images": self.images.plain(number), "labels": self.labels[number]}


def stream(source: Training | Whole, workers: int, first: int = 0) -> Generator[tuple[np.ndarray, np.ndarray]]:
  """Yields the batches of a source from batch `first` on: images uint8 [B, H, W, C] and labels int32 [B].

  Args:
    source: the images by position.
    workers: processes that decode; 0 decodes in threads of this process.
    first: number of the first batch.

  Raises:
    InputError: for an image that cannot be decoded, with its name.
  """
  with needed_by("--data.stream"):
    import grain  # here, because it is slow to import and most data are in memory

  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Grain reads flags of its own, which keep their defaults
  batches = grain.MapDataset.source(source).batch(source.batch_size)[first:]
  dataset = batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2))
  if workers:
    dataset = dataset.mp_prefetch(grain.multiprocessing.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2))
  iterator = iter(dataset)
  try:
    for batch in iterator:
      yield batch["images"], batch["labels"]
  except InputError as e:
    raise InputError(str(e).partition("\n")[0]) from None  # Grain adds lines about its traceback
  finally:
    iterator.close()


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
  return keys.generator(seed, "order", epoch).permutation(count)
