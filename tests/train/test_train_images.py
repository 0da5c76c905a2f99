"""Batches and evaluation of image tasks, with a linear network that compiles at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.core.errors import FieldError
from dnas.data import augment, base, batches, datasets
from dnas.train import images, metrics


@pytest.fixture(scope="module")
def dataset():
  return datasets.load("synthetic")


def linear(weights, x):
  return x.reshape(len(x), -1) @ weights


@pytest.mark.parametrize("size", [1, 100, 128, 129])
def test_evaluation_counts_every_example_once(dataset, size):
  split = base.Split(dataset.train.images[:size], dataset.train.labels[:size])
  weights = np.random.default_rng(0).normal(size=(split.images[0].size, dataset.num_classes)).astype(np.float32) / 30
  evaluate = images.make_evaluate(linear, dataset, base.Config(eval_batch_size=32))
  found = evaluate(weights, batches.to_device(split))
  x = np.asarray(augment.normalize(jnp.asarray(split.images), dataset.mean, dataset.std)).reshape(size, -1)
  logits = x.astype(np.float64) @ weights
  log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  assert found["loss"] == pytest.approx(-log_p[np.arange(size), split.labels].mean(), rel=1e-4)
  assert found["accuracy"] == pytest.approx((logits.argmax(1) == split.labels).mean(), rel=1e-6)


def test_evaluation_does_not_depend_on_its_batch_size(dataset):
  split = batches.to_device(dataset.train)
  weights = np.random.default_rng(1).normal(size=(dataset.train.images[0].size, dataset.num_classes)).astype(np.float32)
  results = [images.make_evaluate(linear, dataset, base.Config(eval_batch_size=size))(weights, split) for size in (48, 512)]
  assert results[0]["accuracy"] == results[1]["accuracy"] and results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-5)


def test_pipeline_is_a_function_of_key_and_step(dataset):
  config = base.Config(batch_size=100)
  first, again = (images.Pipeline(dataset.train, dataset, config, jax.random.key(3)) for _ in range(2))
  key = jax.random.key(7)
  for step in (7, 0, 6):  # not in order, across epochs: a resumed run begins anywhere
    for a, b in zip(first.shuffled(step, key), again.shuffled(step, key), strict=True):
      np.testing.assert_array_equal(a, b)
  assert first.steps_per_epoch == 6
  assert not np.array_equal(first.shuffled(0, key)[1], first.shuffled(6, key)[1])  # another epoch, another order


def test_batches_of_an_epoch_visit_every_example(dataset):
  config = base.Config(batch_size=100, crop_padding=0, flip=False)
  pipeline = images.Pipeline(dataset.train, dataset, config, jax.random.key(0))
  seen = np.concatenate([pipeline.shuffled(step, jax.random.key(0))[0] for step in range(pipeline.steps_per_epoch)])
  whole = np.asarray(augment.normalize(jnp.asarray(dataset.train.images), dataset.mean, dataset.std))
  rows = {row.tobytes() for row in seen.reshape(len(seen), -1)}
  assert {row.tobytes() for row in whole.reshape(len(whole), -1)} == rows


def test_batch_larger_than_the_split_is_refused(dataset):
  with pytest.raises(FieldError, match=r"^data\.batch_size is 513; the split has 512 examples, so give at most that\.$"):
    images.Pipeline(dataset.train, dataset, base.Config(batch_size=513), jax.random.key(0))


def test_metrics_by_hand():
  logits, labels = jnp.array([[0.0, 0.0], [2.0, 1.0], [0.0, 3.0]]), jnp.array([0, 1, 1])
  expected = [np.log(2), np.log(1 + np.e), np.log(1 + np.exp(-3))]
  np.testing.assert_allclose(metrics.cross_entropy(logits, labels), expected, rtol=1e-6)
  np.testing.assert_array_equal(metrics.correct(logits, labels), [1, 0, 1])
