"""Trained weights as the start of another training: other classes, a frozen network, another network."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers import bits

from dnas.cells import functional
from dnas.core import keys
from dnas.core.errors import InputError
from dnas.data import base, datasets
from dnas.nets.models import IMAGE_MODELS
from dnas.train import images, transfer

pytestmark = pytest.mark.usefixtures("quick_compilation")

DATA = base.Config(dataset="synthetic", train_portion=1.0, batch_size=64)
MODEL = IMAGE_MODELS["resnet"].smallest()
CLASSIFIER = {"['classifier']['kernel']", "['classifier']['bias']"}


@pytest.fixture(scope="module")
def dataset():
  return datasets.load("synthetic")


@pytest.fixture(scope="module")
def halved(dataset):
  """The same images in two classes."""
  split = base.Split(dataset.train.images, dataset.train.labels % 2)
  return dataclasses.replace(dataset, train=split, num_classes=2, class_names=("even", "odd"))


@pytest.fixture(scope="module")
def trained(dataset):
  """Variables that are not those of any new network."""
  variables = functional.split(MODEL.build((8, 8, 3), 4, keys.generator(5, "weights")))[1]
  return jax.tree.map(lambda x: x + 0.25, variables)


def task_of(dataset, initial, **changes):
  config = images.Config(epochs=2, learning_rate=0.1, drop_path=0.0, **changes)
  return images.RetrainTask(config, MODEL.build, DATA, dataset, 0, initial)


def by_path(weights):
  return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(weights)}


def test_the_classifier_is_what_depends_on_the_number_of_classes():
  for name in IMAGE_MODELS:
    model = IMAGE_MODELS[name].smallest()
    few, many = (functional.split(model.build((32, 32, 3), classes, np.random.default_rng(0)))[1] for classes in (4, 5))
    assert transfer.classifier_of(few, many) == CLASSIFIER, name


def test_other_classes_get_a_new_classifier_and_keep_all_else(halved, trained):
  state, fresh = task_of(halved, trained).init(), by_path(task_of(halved, None).init().weights)
  assert bits(state.stats) == bits(trained.stats)
  for path, leaf in by_path(state.weights).items():
    assert bits(leaf) == bits(fresh[path] if path in CLASSIFIER else by_path(trained.weights)[path]), path


def test_the_same_number_of_classes_keeps_the_classifier(dataset, trained):
  state = task_of(dataset, trained).init()
  assert bits(state.weights) == bits(trained.weights)


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_a_frozen_network_stays_to_the_last_bit(decay_vectors, halved, trained):
  task = task_of(halved, trained, freeze=True, weight_decay=0.1, decay_vectors=decay_vectors)
  first = state = task.init()
  for step in range(3):
    state, metrics = task.step(state, step)
  before, after = by_path(first.weights), by_path(state.weights)
  assert {path for path in before if bits(before[path]) != bits(after[path])} == CLASSIFIER
  assert bits(first.stats) == bits(state.stats) and np.isfinite(float(metrics["loss"]))


def test_a_frozen_step_is_that_of_the_classifier_in_closed_form(halved, trained):
  task = task_of(halved, trained, freeze=True, weight_decay=0.1, momentum=0.0, gradient_clip=0.0)
  state = task.init()
  after, metrics = task.step(state, 0)
  kernel, bias = (np.asarray(state.weights["classifier"][name], np.float64) for name in ("kernel", "bias"))
  moved = (kernel - np.asarray(after.weights["classifier"]["kernel"])) / 0.1 - 0.1 * kernel
  by_bias = (bias - np.asarray(after.weights["classifier"]["bias"])) / 0.1 - 0.1 * bias
  scale = max(np.abs(moved).max(), 1)
  assert np.allclose(moved.sum(1) / scale, 0, atol=1e-5) and np.allclose(by_bias.sum(), 0, atol=1e-5)  # softmax less one-hot sums to 0
  assert np.abs(by_bias).max() > 1e-3 and np.abs(moved).max() > 1e-3


def test_weights_of_another_network_are_refused(dataset, trained):
  with pytest.raises(InputError, match="of another network"):
    task_of(dataset, functional.Variables({"stem": trained.weights["classifier"]}, trained.stats))
  wider = jax.tree.map(lambda x: np.concatenate([x, x]), trained)
  with pytest.raises(InputError, match="of another network"):
    task_of(dataset, wider)
