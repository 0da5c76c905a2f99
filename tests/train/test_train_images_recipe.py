"""The settings of a training on images: schedule by epoch or by step, milestones, what is penalized, smoothed labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dnas.cells import functional
from dnas.cells.blocks import BatchNorm, Linear
from dnas.core import tree
from dnas.core.errors import FieldError
from dnas.data import base, datasets
from dnas.train import images, metrics

DATA = base.Config(dataset="synthetic", examples=64, batch_size=16, train_portion=1.0)


class Tiny(nnx.Module):
  """A normalization and a linear classifier."""

  auxiliary = None

  def __init__(self, image_shape, num_classes, rng):
    self.norm = BatchNorm(1, image_shape[2], affine=True)
    self.classifier = Linear(image_shape[2], num_classes, rng)

  def __call__(self, x, train, key=None, drop_path=None):
    return self.classifier(self.norm(x[None], train)[0].mean((1, 2))), None


def task_of(**changes):
  return images.RetrainTask(images.Config(**{"epochs": 10, "learning_rate": 0.1, **changes}), Tiny, DATA, datasets.from_config(DATA), 0)


def rates_of(task, *steps):
  found = []
  take = task._step
  task._step = lambda state, batch, key, rates: (found.append(rates), (state, {}))[1]
  for step in steps:
    task.step(task.init(), step)
  task._step = take
  return found


def test_rates_change_at_the_ends_of_epochs_or_at_every_step():
  by_epoch, by_step = task_of(drop_path=0.5), task_of(drop_path=0.5, every_step=True)
  steps = by_epoch.end_of_epoch(1)
  assert steps == 4
  at = 3 * steps + 1
  for task, epoch in ((by_epoch, 3.0), (by_step, 3.25)):
    (found,) = rates_of(task, at)
    assert float(found.learning_rate) == pytest.approx(0.05 * (1 + np.cos(np.pi * epoch / 10)), rel=1e-6)
    assert float(found.drop_path) == pytest.approx(0.05 * epoch, rel=1e-6)


def test_milestones_multiply_the_learning_rate_where_their_epochs_end():
  task = task_of(schedule="constant", milestones=(3, 7), milestone_factor=0.2)
  rates = [float(task.rates(epoch).learning_rate) for epoch in range(10)]
  np.testing.assert_allclose(rates, [0.1] * 3 + [0.02] * 4 + [0.004] * 3, rtol=1e-6)


def test_drop_path_changes_at_every_step_and_the_learning_rate_at_the_ends_of_epochs():
  task = task_of(drop_path=0.5, drop_path_every_step=True)
  (found,) = rates_of(task, 3 * task.end_of_epoch(1) + 1)
  assert float(found.drop_path) == pytest.approx(0.05 * 3.25, rel=1e-6)
  assert float(found.learning_rate) == float(task.rates(3).learning_rate)


def test_a_warm_up_rises_to_the_schedule():
  schedule = {"schedule": "constant", "milestones": (1, 7), "milestone_factor": 0.5}
  by_step = task_of(**schedule, warmup_epochs=2, warmup_learning_rate=0.02, every_step=True)
  rates = [float(by_step.rates(epoch).learning_rate) for epoch in (0, 0.5, 1, 1.5, 2, 7)]
  np.testing.assert_allclose(rates, [0.02, 0.04, 0.035, 0.0425, 0.05, 0.025], rtol=1e-6)
  by_epoch = task_of(schedule="constant", warmup_epochs=1, warmup_learning_rate=0.01)  # that of ResNet-110
  assert [float(by_epoch.rates(epoch).learning_rate) for epoch in (0, 0.75, 1)] == pytest.approx([0.01, 0.01, 0.1], rel=1e-6)
  for epochs in (-1, 10):
    with pytest.raises(FieldError, match=f"warmup_epochs is {epochs}; give 0 to 9"):
      images.Config(epochs=10, warmup_epochs=epochs)
  with pytest.raises(FieldError, match="warmup_learning_rate is 0.0; the first epoch would train with a learning rate of 0; give"):
    images.Config(epochs=10, warmup_epochs=2, warmup_learning_rate=0.0)


@pytest.mark.parametrize("milestones", [(0, 3), (3, 3), (7, 3), (10,)])
def test_milestones_that_are_no_rising_epochs_are_refused(milestones):
  with pytest.raises(FieldError, match=f"milestones is {','.join(map(str, milestones))}; give rising numbers of epochs, between 0 and 10"):
    images.Config(epochs=10, milestones=milestones)


@pytest.mark.parametrize("all_weights", [True, False])
def test_the_penalty_takes_all_weights_or_kernels_alone(all_weights):
  def after(decay):
    task = task_of(momentum=0.0, gradient_clip=0.0, weight_decay=decay, decay_vectors=all_weights)
    return task.step(task.init(), 0)[0].weights

  before, without, penalized = task_of().init().weights, after(0.0), after(0.5)
  difference = jax.tree.map(lambda a, b: np.asarray(a - b), without, penalized)
  kernel = before["classifier"]["kernel"]
  np.testing.assert_allclose(difference["classifier"]["kernel"], 0.1 * 0.5 * np.asarray(kernel), rtol=1e-3, atol=1e-7)
  vectors = [difference["norm"]["scale"], difference["norm"]["bias"], difference["classifier"]["bias"]]
  assert tree.size(difference) == kernel.size + sum(vector.size for vector in vectors)
  assert any(np.abs(vector).max() > 1e-3 for vector in vectors) == all_weights


def test_smoothed_labels_are_a_mixture_with_the_uniform_distribution():
  logits, labels = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32), jnp.array([0, 3, 1, 1, 2])
  targets = 0.7 * np.eye(4)[labels] + 0.3 / 4
  expected = -(targets * np.asarray(jax.nn.log_softmax(logits))).sum(-1)
  np.testing.assert_allclose(metrics.cross_entropy(logits, labels, None, 0.3), expected, rtol=1e-5)


def test_a_training_smooths_its_labels():
  loss = [float(task.step(task.init(), 0)[1]["loss"]) for task in (task_of(), task_of(label_smoothing=0.3))]
  state, task = task_of().init(), task_of(label_smoothing=0.3)
  key = images.step_key(state.key, np.int32(0))
  batch = task._pipeline.shuffled(0, key)
  (logits, _), _ = functional.apply(task.network, functional.Variables(state.weights, state.stats), batch[0], train=True)
  np.testing.assert_allclose(loss[1], metrics.cross_entropy(logits, batch[1], None, 0.3).mean(), rtol=1e-5)
  assert abs(loss[1] - loss[0]) > 1e-3
