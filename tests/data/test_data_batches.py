"""Batches: what an epoch and a validation visit."""

import collections

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.core.errors import FieldError
from dnas.data import batches
from dnas.data.base import Split


def _split(count: int) -> batches.DeviceSplit:
  """A split in which the label, and the first pixel, of an example are its number."""
  images = np.zeros((count, 2, 2, 1), np.uint8)
  images[:, 0, 0, 0] = np.arange(count) % 256
  return batches.to_device(Split(images, np.arange(count, dtype=np.int32)))


def _epoch(split: batches.DeviceSplit, key: jax.Array, epoch: int, batch_size: int) -> list[np.ndarray]:
  order = batches.epoch_permutation(key, epoch, len(split))
  chex.clear_trace_counter()
  step = jax.jit(chex.assert_max_traces(lambda split, order, index: batches.shuffled_batch(split, order, index, batch_size), n=1))
  labels = [np.asarray(step(split, order, index)[1]) for index in range(batches.num_batches(len(split), batch_size))]
  return labels


def test_to_device_keeps_values_and_types():
  split = _split(5)
  assert (split.images.dtype, split.labels.dtype, len(split)) == (jnp.uint8, jnp.int32, 5)
  assert len(jax.tree.leaves(split)) == 2


@pytest.mark.parametrize(("count", "batch_size", "expected"), [(25000, 64, 391), (50000, 96, 521), (8, 4, 2), (9, 4, 3), (3, 4, 1)])
def test_num_batches_counts_the_ragged_batch(count: int, batch_size: int, expected: int):
  assert batches.num_batches(count, batch_size) == expected


@pytest.mark.parametrize(("count", "batch_size"), [(20, 8), (16, 8), (8, 8), (9, 1)])
def test_an_epoch_visits_every_example_and_fills_up_with_its_first_ones(count: int, batch_size: int):
  visited = np.concatenate(_epoch(_split(count), jax.random.key(0), 0, batch_size))
  assert sorted(visited[:count]) == list(range(count))
  np.testing.assert_array_equal(visited[count:], visited[: len(visited) - count])
  assert len(visited) % batch_size == 0


def test_epochs_and_keys_differ_and_are_reproducible():
  split = _split(50)
  first = np.concatenate(_epoch(split, jax.random.key(0), 0, 10))
  np.testing.assert_array_equal(first, np.concatenate(_epoch(split, jax.random.key(0), 0, 10)))
  assert not np.array_equal(first, np.concatenate(_epoch(split, jax.random.key(0), 1, 10)))
  assert not np.array_equal(first, np.concatenate(_epoch(split, jax.random.key(1), 0, 10)))


def test_images_belong_to_their_labels():
  split = _split(40)
  for images, labels in (
    batches.shuffled_batch(split, batches.epoch_permutation(jax.random.key(0), 0, 40), 1, 16),
    batches.random_batch(split, jax.random.key(0), 16),
    batches.padded_batch(split, 2, 16)[:2],
  ):
    assert images.shape == (16, 2, 2, 1) and images.dtype == jnp.uint8 and labels.dtype == jnp.int32
    np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


@pytest.mark.parametrize(("count", "batch_size"), [(6, 3), (64, 64), (5, 1)])
def test_random_batches_hold_different_examples(count: int, batch_size: int):
  chex.clear_trace_counter()
  step = jax.jit(chex.assert_max_traces(lambda split, key: batches.random_batch(split, key, batch_size)[1], n=1))
  for seed in range(20):
    labels = np.asarray(step(_split(count), jax.random.key(seed)))
    assert len(set(labels.tolist())) == batch_size and labels.min() >= 0 and labels.max() < count


def test_random_batches_are_uniform_over_all_subsets():
  split, draws = _split(5), 4000
  keys = jax.random.split(jax.random.key(0), draws)
  labels = np.sort(np.asarray(jax.jit(jax.vmap(lambda key: batches.random_batch(split, key, 3)[1]))(keys)))
  counts = np.array(list(collections.Counter(map(tuple, labels.tolist())).values()))
  assert len(counts) == 10
  assert ((counts - draws / 10) ** 2 / (draws / 10)).sum() < 27.9, "chi-square with 9 degrees of freedom, p = 0.001"


@pytest.mark.parametrize(("count", "batch_size"), [(20, 8), (16, 8), (3, 8)])
def test_a_validation_counts_every_example_once(count: int, batch_size: int):
  split = _split(count)
  chex.clear_trace_counter()
  step = jax.jit(chex.assert_max_traces(lambda split, index: batches.padded_batch(split, index, batch_size), n=1))
  seen = np.zeros(count)
  for index in range(batches.num_batches(count, batch_size)):
    _, labels, weights = step(split, index)
    assert labels.shape == weights.shape == (batch_size,) and weights.dtype == jnp.float32
    np.add.at(seen, np.asarray(labels), np.asarray(weights))
  np.testing.assert_array_equal(seen, np.ones(count))


def test_a_training_batch_larger_than_the_split_names_the_flag():
  split = _split(4)
  expected = "data.batch_size is 5; the split has 4 examples, so make it 4 or less."
  with pytest.raises(FieldError) as shuffled:
    batches.shuffled_batch(split, jnp.arange(4), 0, 5)
  with pytest.raises(FieldError) as drawn:
    jax.jit(lambda split: batches.random_batch(split, jax.random.key(0), 5))(split)
  assert str(shuffled.value) == str(drawn.value) == expected
