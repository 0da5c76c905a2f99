"""Batches and validation of image tasks, with a linear network that compiles at once."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dnas.cells import functional
from dnas.cells.registries import IMAGE_GENOTYPES, SPACES
from dnas.core.errors import FieldError
from dnas.data import augment, base, batches, datasets
from dnas.evaluate import weight_sharing
from dnas.nets import derived_image
from dnas.search.gradient import image_workload
from dnas.supernet import image_supernet
from dnas.train import images, metrics
from dnas.train.image_pipeline import Evaluate, Pipeline


@pytest.fixture(scope="module")
def dataset():
  return datasets.load("synthetic")


def linear(weights, x):
  return x.reshape(len(x), -1) @ weights


@pytest.mark.parametrize("size", [1, 100, 128, 129])
def test_validation_counts_every_example_once(dataset, size):
  split = base.Split(dataset.train.images[:size], dataset.train.labels[:size])
  weights = np.random.default_rng(0).normal(size=(split.images[0].size, dataset.num_classes)).astype(np.float32) / 30
  evaluate = Evaluate(linear, dataset, base.Config(eval_batch_size=32))
  found = evaluate(weights, batches.to_device(split))
  x = np.asarray(augment.normalize(jnp.asarray(split.images), dataset.mean, dataset.std)).reshape(size, -1)
  logits = x.astype(np.float64) @ weights
  log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  assert found["loss"] == pytest.approx(-log_p[np.arange(size), split.labels].mean(), rel=1e-4)
  assert found["accuracy"] == pytest.approx((logits.argmax(1) == split.labels).mean(), rel=1e-6)


def test_validation_and_training_standardize_images_alike(dataset):
  split = base.Split(dataset.train.images[:100], dataset.train.labels[:100])
  pixels = split.images.reshape(100, -1).astype(np.float64)
  x = (pixels - pixels.mean(1, keepdims=True)) / pixels.std(1, keepdims=True)
  weights = np.random.default_rng(0).normal(size=(x.shape[1], dataset.num_classes)).astype(np.float32) / 30
  config = base.Config(batch_size=100, crop_padding=0, standardize_images=True)
  logits = x @ weights
  losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(100), split.labels]
  assert Evaluate(linear, dataset, config)(weights, batches.to_device(split))["loss"] == pytest.approx(losses.mean(), rel=1e-4)
  images, _ = Pipeline(split, dataset, config, jax.random.key(0)).shuffled(0, jax.random.key(0))
  np.testing.assert_allclose(np.sort(np.asarray(images).reshape(100, -1), 0), np.sort(x, 0), atol=1e-4)


def test_validation_does_not_depend_on_its_batch_size_and_form(dataset):
  split = batches.to_device(dataset.train)
  weights = np.random.default_rng(1).normal(size=(dataset.train.images[0].size, dataset.num_classes)).astype(np.float32)
  sizes = (48, False), (512, True)
  results = [Evaluate(linear, dataset, base.Config(eval_batch_size=size), one_program=one)(weights, split) for size, one in sizes]
  assert results[0]["accuracy"] == results[1]["accuracy"] and results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-5)


def test_a_validation_batch_is_no_larger_than_the_split(dataset):
  split = batches.to_device(dataset.train)
  weights = np.random.default_rng(1).normal(size=(dataset.train.images[0].size, dataset.num_classes)).astype(np.float32)
  whole, huge = (Evaluate(linear, dataset, base.Config(eval_batch_size=size))(weights, split) for size in (512, 10**9))
  assert huge == whole


def test_accuracy_by_class_is_that_of_every_class_alone_and_balanced_is_their_mean(dataset):
  weights = np.random.default_rng(2).normal(size=(dataset.train.images[0].size, dataset.num_classes)).astype(np.float32) / 30
  evaluate = Evaluate(linear, dataset, base.Config(eval_batch_size=32))
  few = dataset.train.where((dataset.train.labels != 3) & ((dataset.train.labels == 0) | (np.arange(512) < 80)))
  found = evaluate(weights, batches.to_device(few))
  alone = {}
  for label, name in enumerate(dataset.class_names[:3]):
    alone[name] = evaluate(weights, batches.to_device(few.where(few.labels == label)))["accuracy"]
  by_class = {name.removeprefix("accuracy_by_class/"): value for name, value in found.items() if name.startswith("accuracy_by_class/")}
  assert by_class == pytest.approx(alone), "a class without examples has no accuracy"
  assert found["balanced_accuracy"] == pytest.approx(np.mean(list(alone.values()))) and len(set(alone.values())) > 1
  assert abs(found["balanced_accuracy"] - found["accuracy"]) > 0.01, "the classes are of different sizes"


def test_answering_one_class_always_has_the_balanced_accuracy_of_chance():
  right, seen = np.array([95.0, 0, 0, 0, 0]), np.array([95.0, 2, 2, 1, 0])
  found = metrics.accuracies(right, seen, ("a", "b", "c/d", "e", "f"))
  assert (found["accuracy"], found["balanced_accuracy"]) == (0.95, 0.25)
  assert found["accuracy_by_class/a"] == 1 and found["accuracy_by_class/c/d"] == 0 and "accuracy_by_class/f" not in found


def test_class_weights_weigh_the_evaluated_loss_and_no_accuracy(dataset):
  split, class_weights = dataset.train, (0.5, 2.0, 1.5, 0.0)
  weights = np.random.default_rng(3).normal(size=(split.images[0].size, dataset.num_classes)).astype(np.float32) / 30
  config = base.Config(eval_batch_size=48)
  plain = Evaluate(linear, dataset, config)
  weighted = Evaluate(linear, dataset, config, class_weights)(weights, batches.to_device(split))
  parts = [plain(weights, batches.to_device(split.where(split.labels == label)))["loss"] for label in range(4)]
  assert weighted.pop("loss") == pytest.approx(np.dot(class_weights, parts) / 4, rel=1e-5)  # the classes are of one size
  assert weighted == {name: value for name, value in plain(weights, batches.to_device(split)).items() if name != "loss"}


LOGITS = np.random.default_rng(4).normal(size=(16, 4)).astype(np.float32)
LABELS = np.arange(16) % 3


def of_darts_v2(**size):
  network = derived_image.Config(**size, auxiliary=False)
  return functools.partial(derived_image.DerivedImageNetwork, network, IMAGE_GENOTYPES["DARTS_V2"])


def losses_of(kind, dataset, config):
  """The loss of weights and of architecture, of a retraining, or of shared weights, for LOGITS and LABELS."""
  batch, space = (jnp.zeros((16, 8, 8, 3)), jnp.asarray(LABELS)), SPACES["darts_conv"]
  size = {"channels": 2, "cells": 1}
  if kind == "search":
    workload = image_workload.ImageWorkload(image_supernet.Config(**size), config, space, dataset, 0)
    return workload.loss({}, {}, {}, batch, jax.random.key(0))[0]
  if kind == "shared weights":
    task = weight_sharing.SharedWeightsTask(weight_sharing.Config(), image_supernet.Config(**size), config, space, dataset, 0)
    return task._loss({}, {}, batch, {})[0]
  build = of_darts_v2(**size)
  task = images.RetrainTask(images.Config(drop_path=0.0), build, config, dataset, 0)
  return task._loss({}, {}, batch, jax.random.key(0), task.rates(0))[0]


@pytest.mark.parametrize("kind", ["search", "retraining", "shared weights"])
def test_class_weights_are_in_every_loss(dataset, kind, monkeypatch):
  logits = (jnp.asarray(LOGITS), None) if kind == "retraining" else jnp.asarray(LOGITS)
  monkeypatch.setattr(functional, "apply", lambda *_, **__: (logits, {}))
  uneven = dataclasses.replace(dataset, train=dataset.train.where((dataset.train.labels > 0) | (np.arange(512) % 8 == 0)))
  config = base.Config(batch_size=16, split="stratified", class_weights="balanced")
  each = metrics.cross_entropy(LOGITS, LABELS)
  class_weights = np.array(base.class_weights(base.search_split(uneven, config)[0], 4, "balanced"))
  assert class_weights[0] > 1.5 > 1 > class_weights[1]
  assert losses_of(kind, uneven, config) == pytest.approx((class_weights[LABELS] * np.asarray(each)).mean(), rel=1e-6)
  assert losses_of(kind, uneven, dataclasses.replace(config, class_weights="none")) == each.mean()


def test_pipeline_is_a_function_of_key_and_step(dataset):
  config = base.Config(batch_size=100)
  first, again = (Pipeline(dataset.train, dataset, config, jax.random.key(3)) for _ in range(2))
  key = jax.random.key(7)
  for step in (7, 0, 6):  # not in order, across epochs: a resumed run begins anywhere
    for a, b in zip(first.shuffled(step, key), again.shuffled(step, key), strict=True):
      np.testing.assert_array_equal(a, b)
  assert first.steps_per_epoch == 6
  assert not np.array_equal(first.shuffled(0, key)[1], first.shuffled(6, key)[1])  # another epoch, another order


def test_batches_of_an_epoch_visit_every_example(dataset):
  config = base.Config(batch_size=100, crop_padding=0, flip=False)
  pipeline = Pipeline(dataset.train, dataset, config, jax.random.key(0))
  seen = np.concatenate([pipeline.shuffled(step, jax.random.key(0))[0] for step in range(pipeline.steps_per_epoch)])
  whole = np.asarray(augment.normalize(jnp.asarray(dataset.train.images), dataset.mean, dataset.std))
  rows = {row.tobytes() for row in seen.reshape(len(seen), -1)}
  assert {row.tobytes() for row in whole.reshape(len(whole), -1)} == rows


def test_batch_larger_than_the_split_is_refused(dataset):
  with pytest.raises(FieldError, match=r"^data\.batch_size is 513; the split has 512 examples, so give at most that\.$"):
    Pipeline(dataset.train, dataset, base.Config(batch_size=513), jax.random.key(0))


def test_metrics_by_hand():
  logits, labels = jnp.array([[0.0, 0.0], [2.0, 1.0], [0.0, 3.0]]), jnp.array([0, 1, 1])
  expected = [np.log(2), np.log(1 + np.e), np.log(1 + np.exp(-3))]
  np.testing.assert_allclose(metrics.cross_entropy(logits, labels), expected, rtol=1e-6)
  np.testing.assert_array_equal(metrics.correct(logits, labels), [1, 0, 1])


def test_trainings_that_differ_in_numbers_share_the_program_of_the_optimizer(dataset, compilations):
  compiled = []
  for changes in ({"learning_rate": 0.1}, {"learning_rate": 0.2, "momentum": 0.5, "gradient_clip": 3.0, "epochs": 7}):
    build = of_darts_v2(channels=6, cells=1)  # a size of its own, whose programs no other test has compiled
    parts = images.Config(**changes), build, base.Config(batch_size=32), dataset
    task = images.RetrainTask(*parts, seed=0)
    with compilations() as messages:
      task.step(task.init(), 0)
    compiled.append([message for message in messages if "_moved" in message])
  assert len(compiled[0]) == 1 and compiled[1] == []
