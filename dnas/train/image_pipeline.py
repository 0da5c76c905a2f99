"""Batches of images on the device, and evaluation over whole splits."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.compiler.counts import multiply_adds
from dnas.compiler.functions import compiled
from dnas.core import devices, keys
from dnas.core.config import check
from dnas.core.errors import counted
from dnas.data import augment, base, batches, metrics
from dnas.data.about import About
from dnas.data.streams import Whole, stream
from dnas.train.metrics import accuracies, correct, cross_entropy

Tree = Any
Predict = Callable[[Tree, jax.Array], jax.Array]
"""Maps (variables of a network, images float32 [B, H, W, C]) to logits [B, classes]."""


_FEW = 1000
"""So many streamed images are validated sooner without starting processes."""


class Pipeline:
  """Batches of one split, augmented on the device. A batch is taken from a shuffled epoch, or drawn independently.

  Attributes:
    steps_per_epoch: number of batches that visit every example.
  """

  def __init__(self, split: base.Split, dataset: base.ImageDataset, config: base.Config, key: jax.Array):
    """Copies the split to the device.

    Args:
      split: the examples.
      dataset: the data set that the split is from.
      config: batch size and augmentation.
      key: typed random key of the order.

    Raises:
      FieldError: if a batch is larger than the split, or the devices cannot share it.
    """
    self.steps_per_epoch = steps_per_epoch(split, config)
    self._split, self._key, self._permutation = batches.to_device(split), key, (-1, None)
    prepare = functools.partial(augment.augment, mean=dataset.mean, std=dataset.std, **augment.options(config))

    @jax.jit
    def shuffled(split: batches.DeviceSplit, permutation: jax.Array, index: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
      images, labels = devices.split(batches.shuffled_batch(split, permutation, index, config.batch_size))
      return prepare(key, images), labels

    @jax.jit
    def drawn(split: batches.DeviceSplit, key: jax.Array) -> tuple[jax.Array, jax.Array]:
      key_draw, key_augment = keys.derive(key, "draw"), keys.derive(key, "augment")
      images, labels = devices.split(batches.random_batch(split, key_draw, config.batch_size))
      return prepare(key_augment, images), labels

    self._shuffled, self._drawn = shuffled, drawn

  def reordered(self, key: jax.Array) -> "Pipeline":
    """Returns a pipeline with another order of the examples. Both share the split on the device."""
    other = copy.copy(self)
    other._key, other._permutation = key, (-1, None)
    return other

  def shuffled(self, step: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns a batch of the shuffled epoch: images float32 [B, H, W, C] and labels [B]. `step` counts all epochs; `key` augments."""
    epoch, index = divmod(step, self.steps_per_epoch)
    if self._permutation[0] != epoch:
      self._permutation = epoch, devices.replicate(batches.epoch_permutation(self._key, epoch, len(self._split)))
    return self._shuffled(self._split, self._permutation[1], np.int32(index), key)

  def first(self, count: int) -> batches.DeviceSplit:
    """Returns the first `count` examples of the split, or all if there are fewer."""
    return batches.DeviceSplit(self._split.images[:count], self._split.labels[:count])

  def drawn(self, key: jax.Array, step: int = 0) -> tuple[jax.Array, jax.Array]:
    """Returns a batch of distinct examples drawn uniformly, independently of earlier batches; it depends on the key alone."""
    return self._drawn(self._split, key)


def steps_per_epoch(split: base.Split, config: base.Config) -> int:
  """Returns how many batches visit every example of a split.

  Raises:
    FieldError: if a batch is larger than the split, or the devices cannot share it.
  """
  hint = f"the split has {counted(len(split), 'example')}, so give at most that"
  check(config.batch_size <= len(split), "data.batch_size", config.batch_size, hint)
  devices.check_batch("data.batch_size", config.batch_size)
  return batches.num_batches(len(split), config.batch_size)


class Evaluate:
  """Computes loss (nats), accuracies (fractions, see `train.metrics`) and the metrics of the configuration over a whole split.

  Attributes:
    sums: compiled function of (variables of the network, split, number of the batch, number of examples that count, which are the first
      ones). It returns one array: for every class how many examples were right and how many were seen, and then the sums of the losses
      and of every metric.
  """

  def __init__(
    self,
    predict: Predict,
    dataset: base.ImageDataset | About,
    config: base.Config,
    class_weights: tuple[float, ...] | None = None,
    one_program: bool = False,
  ):
    """Prepares the programs.

    Args:
      predict: the network, in inference mode.
      dataset: gives the normalization and the classes.
      config: gives the batch size of validation and test, the metrics, and whether images are standardized.
      class_weights: weights of the classes in the loss, the mean of the weighted cross-entropies; accuracies are never weighted.
      one_program: whether the network is compiled as one program. On a CPU a network of one operation per edge computes up to 1.6 times as
        fast in this form. A supernet would take five times as long to compile, and four times as long to compute.

    Raises:
      FieldError: if the devices cannot share a batch of validation.
    """
    devices.check_batch("data.eval_batch_size", config.eval_batch_size)
    self._batch_size, self._dataset, self._metrics, self._workers = config.eval_batch_size, dataset, config.metrics, config.stream_workers

    def sums(network: Tree, split: batches.DeviceSplit, index: jax.Array, seen: jax.Array) -> jax.Array:
      images, labels, weights = devices.split(batches.padded_batch(split, index, self._size(split), seen))
      logits = predict(network, augment.normalize(images, dataset.mean, dataset.std, config.standardize_images))
      loss = (cross_entropy(logits, labels, class_weights) * weights).sum()
      counts = jnp.stack([correct(logits, labels) * weights, weights], 1)
      own = [jnp.where(weights > 0, metrics.values(name, logits, labels), 0).sum() for name in config.metrics]
      return devices.replicate(jnp.append(jax.ops.segment_sum(counts, labels, dataset.num_classes), jnp.stack([loss, *own])))

    self.sums = (jax.jit if one_program else compiled)(sums)

  def _size(self, split: batches.DeviceSplit | base.Split) -> int:
    return min(self._batch_size, devices.shareable(len(split)))

  def __call__(self, network: Tree, split: batches.DeviceSplit | base.Split) -> dict[str, float]:
    """Returns 'loss', the accuracies and the metrics of a split."""
    sums = np.asarray(sum(self.sums(network, *batch) for batch in self._batches(split)))
    counts, (loss, *own) = np.split(sums, [2 * self._dataset.num_classes])
    right, seen = np.reshape(counts, (self._dataset.num_classes, 2)).T
    means = {name: float(value / len(split)) for name, value in zip(self._metrics, own, strict=True)}
    return {"loss": float(loss / len(split)), **accuracies(right, seen, self._dataset.class_names), **means}

  def _batches(self, split: batches.DeviceSplit | base.Split) -> Iterator[tuple[batches.DeviceSplit, np.int32, np.int32]]:
    """Yields the split with the number of every batch, or the batches of streamed images, each as a split of its own."""
    size, count = self._size(split), len(split)
    if isinstance(split, batches.DeviceSplit):
      yield from ((split, np.int32(index), np.int32(count)) for index in range(batches.num_batches(count, size)))
      return
    workers = self._workers if count > _FEW else 0
    with contextlib.closing(stream(Whole(split.images, split.labels, size), workers)) as decoded:
      for index, (images, labels) in enumerate(decoded):
        batch = devices.replicate(batches.DeviceSplit(jnp.array(images), jnp.array(labels)))
        yield batch, np.int32(0), np.int32(min(count - index * size, size))

  def multiply_adds(self, network: Tree, split: batches.DeviceSplit | base.Split) -> float:
    """Returns the multiply-adds of one evaluation (`compiler.counts`), without doing it."""
    size = self._size(split)
    if not isinstance(split, batches.DeviceSplit):
      shape = (size, *split.images.shape[1:])
      arrays: Any = [jax.ShapeDtypeStruct(*array) for array in ((shape, np.uint8), (shape[:1], np.int32))]
      split = batches.DeviceSplit(*arrays)
    return batches.num_batches(len(split), size) * multiply_adds(self.sums, network, split, np.int32(0), np.int32(size))
