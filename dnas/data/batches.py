"""Batches of data sets that are stored whole on the device as uint8.

Every batch has the same shape, so a step compiles once. All functions but `to_device` are pure and may be called inside `jax.jit`, with
`index` traced. Pass a `DeviceSplit` into a jitted function as an argument; closed over, it would be compiled in as a constant.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from dnas.core import devices, keys
from dnas.core.errors import FieldError, counted
from dnas.data.base import Split
from dnas.data.streams import StreamedImages


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DeviceSplit:
  """A split on the device, a tree of two arrays.

  Attributes:
    images: uint8 [N, H, W, C].
    labels: int32 [N].
  """

  images: jax.Array
  labels: jax.Array

  def __len__(self) -> int:
    return len(self.labels)


def to_device(split: Split) -> DeviceSplit:
  """Copies a split to the device (25,000 CIFAR images are 77 MB). Raises FieldError for streamed images."""
  if isinstance(split.images, StreamedImages):
    raise FieldError("data.stream", True, "searches by gradients and trainings stream images, and nothing else does; leave it out here")
  return devices.replicate(DeviceSplit(jnp.asarray(split.images), jnp.asarray(split.labels)))


def num_batches(num_examples: int, batch_size: int) -> int:
  """Returns how many batches visit every example, the last of which may be ragged."""
  return -(-num_examples // batch_size)


@functools.partial(jax.jit, static_argnames="num_examples")
def epoch_permutation(key: jax.Array, epoch: jax.Array | int, num_examples: int) -> jax.Array:
  """Returns the order in which an epoch visits the examples, int32 [num_examples].

  It depends on the key and the epoch alone, so a resumed run continues in the order of the unbroken one. It costs a sort: compute it
  once an epoch, not in every step.

  Args:
    key: typed random key of the data order.
    epoch: number of the epoch; it may be traced.
    num_examples: length of the split.
  """
  return jax.random.permutation(keys.derive(key, epoch), num_examples).astype(jnp.int32)


def shuffled_batch(split: DeviceSplit, permutation: jax.Array, index: jax.Array | int, batch_size: int) -> tuple[jax.Array, jax.Array]:
  """Returns one training batch of an epoch.

  The `num_batches` batches of an epoch visit every example. The last one is filled up with the first examples of the same permutation,
  so that its shape is that of the others (the published code ends an epoch of 25,000 with a batch of 40 where this gives 64).

  Args:
    split: the training examples.
    permutation: from `epoch_permutation`, int32 [N].
    index: number of the batch within the epoch; it may be traced.
    batch_size: examples in a batch.

  Returns:
    Images uint8 [batch_size, H, W, C] and labels int32 [batch_size].

  Raises:
    FieldError: if the batch is larger than the split.
  """
  _check_batch_size(split, batch_size)
  positions = (index * batch_size + jnp.arange(batch_size)) % len(split)
  return _take(split, permutation[positions])


def random_batch(split: DeviceSplit, key: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
  """Returns a batch of different examples, uniformly drawn; batches of different keys are independent.

  These are the published architecture batches, the first of a newly shuffled iterator in every step. They are drawn by the algorithm
  of R. Floyd (J. Bentley, Programming Pearls: A Sample of Brilliance, 1987), exact and a hundred times cheaper than a permutation.

  Args:
    split: the examples to draw from.
    key: typed random key of this step.
    batch_size: examples in a batch.

  Returns:
    Images uint8 [batch_size, H, W, C] and labels int32 [batch_size].

  Raises:
    FieldError: if the batch is larger than the split.
  """
  _check_batch_size(split, batch_size)
  last = jnp.arange(len(split) - batch_size, len(split))
  drawn = jax.random.randint(key, (batch_size,), 0, last + 1)

  def add(i: jax.Array, chosen: jax.Array) -> jax.Array:
    return chosen.at[i].set(jnp.where(jnp.any(chosen == drawn[i]), last[i], drawn[i]))

  return _take(split, jax.lax.fori_loop(0, batch_size, add, jnp.full_like(drawn, -1)))


def padded_batch(
  split: DeviceSplit, index: jax.Array | int, batch_size: int, count: jax.Array | int | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns one batch of validation or test, in the order of the split.

  Over the `num_batches` batches every example has weight 1 exactly once; the last batch is filled up with the first examples, of weight 0.
  A mean over the split is the sum of weighted values over the sum of weights.

  Args:
    split: the examples, of any number.
    index: number of the batch; it may be traced.
    batch_size: examples in a batch, those of weight 0 included.
    count: how many examples of the split have weight 1, the first ones; all of them by default.

  Returns:
    Images uint8 [batch_size, H, W, C], labels int32 [batch_size] and weights float32 [batch_size].
  """
  positions = index * batch_size + jnp.arange(batch_size)
  images, labels = _take(split, positions % len(split))
  return images, labels, (positions < (len(split) if count is None else count)).astype(jnp.float32)


def _take(split: DeviceSplit, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
  return split.images[indices], split.labels[indices]


def _check_batch_size(split: DeviceSplit, batch_size: int) -> None:
  if batch_size > len(split):
    raise FieldError("data.batch_size", batch_size, f"the split has {counted(len(split), 'example')}, so make it {len(split)} or less")
