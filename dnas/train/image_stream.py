"""Batches of images that are streamed from files, with the interface of `image_pipeline.Pipeline`."""

import copy
import functools
import weakref
from collections.abc import Generator

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import devices, keys
from dnas.data import augment, base, batches
from dnas.data.streams import Training, stream
from dnas.train.image_pipeline import Pipeline, steps_per_epoch

Batch = tuple[jax.Array, jax.Array]


class StreamPipeline:
  """Batches of one streamed split. The order of an epoch, and the view of every image, follow from the key.

  Attributes:
    steps_per_epoch: number of batches that visit every example.
  """

  def __init__(self, split: base.Split, dataset: base.ImageDataset, config: base.Config, key: jax.Array):
    """See `Pipeline`. Raises FieldError if a batch is larger than the split, or the devices cannot share it."""
    self.steps_per_epoch = steps_per_epoch(split, config)
    self._split, self._config, self._key = split, config, key
    self._streams = self._opened()
    prepare = functools.partial(augment.augment, mean=dataset.mean, std=dataset.std, **augment.options(config))

    @jax.jit
    def prepared(images: jax.Array, labels: jax.Array, key: jax.Array) -> Batch:
      images, labels = devices.split((images, labels))
      return prepare(key, images), labels

    self._prepared = prepared

  def reordered(self, key: jax.Array) -> "StreamPipeline":
    """Returns a pipeline with another order of the examples."""
    other = copy.copy(self)
    other._key, other._streams = key, other._opened()
    return other

  def _opened(self) -> dict[str, tuple[int, Generator[tuple[np.ndarray, np.ndarray]]]]:
    """Returns where streams are kept, which are closed with the pipeline, or when Python ends."""
    streams: dict[str, tuple[int, Generator[tuple[np.ndarray, np.ndarray]]]] = {}
    weakref.finalize(self, _close, streams)
    return streams

  def shuffled(self, step: int, key: jax.Array) -> Batch:
    """Returns a batch of the shuffled epoch: images float32 [B, H, W, C] and labels [B]. `step` counts all epochs; `key` augments."""
    return self._prepared(*self._next("shuffled", step), key)

  def drawn(self, key: jax.Array, step: int) -> Batch:
    """Returns a batch of shuffled epochs, which are independent of those of `shuffled`."""
    return self._prepared(*self._next("drawn", step), keys.derive(key, "augment"))

  def first(self, count: int) -> batches.DeviceSplit:
    """Returns the first `count` examples of the split, or all if there are fewer."""
    count = min(count, len(self._split))
    images = np.stack([self._split.images.plain(index) for index in range(count)])
    return batches.to_device(base.Split(images, self._split.labels[:count]))

  def _next(self, name: str, step: int) -> Batch:
    """Returns the batch of a step. A stream goes on where it was; another step begins it anew."""
    position, iterator = self._streams.pop(name, (-1, None))
    if iterator is None or position != step:
      if iterator is not None:
        iterator.close()
      seed = int.from_bytes(np.asarray(jax.random.key_data(keys.derive(self._key, name))).tobytes(), "little")
      source = Training(self._split.images, self._split.labels, self._config.batch_size, seed)
      iterator = stream(source, self._config.stream_workers, step)
    images, labels = next(iterator)
    self._streams[name] = step + 1, iterator
    return devices.replicate((jnp.array(images), jnp.array(labels)))  # copies: a batch lies in memory that Grain uses again


def _close(streams: dict[str, tuple[int, Generator[tuple[np.ndarray, np.ndarray]]]]) -> None:
  for _, iterator in streams.values():
    iterator.close()


def pipeline(split: base.Split, dataset: base.ImageDataset, config: base.Config, key: jax.Array) -> Pipeline | StreamPipeline:
  """Returns the batches of a split, whose images are in memory or are streamed. Raises FieldError as the pipelines do."""
  return (StreamPipeline if config.stream else Pipeline)(split, dataset, config, key)


def placed(split: base.Split) -> batches.DeviceSplit | base.Split:
  """Copies a split to the device. Streamed images stay where they are."""
  return split if isinstance(split.images, base.StreamedImages) else batches.to_device(split)
