"""Whole retrainings on text: what is learned, when averaging begins, what a rollback leaves behind, and exact resumption."""

import collections
import dataclasses
import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Killed, bits, without_seconds
from language_tiny import CONFIG, DATA, dataset, make_task, published_trigger, spoiled

from dnas.cells.language_model import Config as NetworkConfig
from dnas.data import datasets, synthetic
from dnas.data.base import open_test
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.train import language

RUN = dataclasses.replace(CONFIG, epochs=5, learning_rate=40.0)  # so high that averaging begins, and helps


@pytest.fixture(scope="module")
def task():
  return make_task(RUN)


def run_whole(task):
  """The position at the end, and the state after every epoch."""
  position, states = loop.restore(task, None), []
  for _ in loop.run(task, position):
    states.append(position.state)
  return position, states


@pytest.fixture(scope="module")
def unbroken(task):
  return run_whole(task)


# What is learned.


def perplexity_of_words_alone(train, tokens):
  """Of the model that knows how often every word occurs, and nothing else."""
  counts = collections.Counter(train.tolist())
  return math.exp(-np.mean([math.log(counts[word] / len(train)) for word in tokens[1:].tolist()]))


def test_training_learns_what_can_be_learned():
  data = dataclasses.replace(DATA, tokens=0, buckets=1, length_deviation=0.0)
  text = datasets.text_from_config(data)
  bound = math.exp(synthetic.entropy_rate())
  assert bound == pytest.approx(6.89, abs=0.01) and 18.5 < perplexity_of_words_alone(text.train, text.valid) < 20
  config = language.Config(epochs=10, learning_rate=10.0, weight_decay=0.0, gradient_clip=0.5, patience=1)
  plain = NetworkConfig(units=24, dropout_embedding=0, dropout_inputs=0, dropout_hidden=0, dropout_output=0)
  position, _ = run_whole(task := make_task(config, data, plain))
  first, last = position.history[0]["metrics"], position.history[-1]["metrics"]
  test = task.test(position.state, open_test(text, "a test"))
  for perplexity in (last["train/perplexity"], last["valid/perplexity"], test["perplexity"]):
    assert bound < perplexity < 9
  assert 18 < first["train/perplexity"] < 22 and last["averaging"] == 1 and last["valid/perplexity"] < 8


# Records, averages and the best weights.


def test_the_record_of_an_epoch(task, unbroken):
  position, _ = unbroken
  for epoch, record in enumerate(position.history, start=1):
    assert record["step"] == task.end_of_epoch(epoch)
    metrics, averaging = record["metrics"], ["averaging"] * (epoch > 3)
    assert list(metrics) == ["train/loss", "train/perplexity", "valid/loss", "valid/perplexity", "learning_rate", *averaging]
    assert metrics["learning_rate"] == 40
    for split in ("train", "valid"):
      assert metrics[f"{split}/perplexity"] == pytest.approx(math.exp(metrics[f"{split}/loss"]))


def test_the_loss_of_an_epoch_is_the_mean_over_its_words(task, unbroken):
  position, states = unbroken
  state, sums = states[0], collections.Counter()
  for step in range(task.end_of_epoch(1), task.end_of_epoch(2)):
    state, metrics = task.step(state, step)
    sums += {name: float(value) for name, value in metrics.items() if value}
  assert sums["words"] == (DATA.tokens - 1) // DATA.batch_size
  assert position.history[1]["metrics"]["train/loss"] == pytest.approx(sums["nats"] / sums["words"], rel=1e-5)


def test_averaging_begins_with_the_first_loss_that_is_no_better(unbroken):
  position, states = unbroken
  losses = [record["metrics"]["valid/loss"] for record in position.history]
  assert published_trigger(losses, RUN.patience) == 3
  assert [int(state.averaged) > 0 for state in states] == [False, False, True, True, True] and int(states[2].averaged) == 1
  steps = [record["step"] for record in position.history]
  assert [int(state.averaged) for state in states[3:]] == [1 + steps[3] - steps[2], 1 + steps[4] - steps[2]]
  for state in states[3:]:
    assert bits(state.averages) != bits(state.weights)
  np.testing.assert_array_equal(position.state.losses, np.float32(losses))


def test_the_best_weights_are_those_of_the_best_epoch_and_are_tested(task, unbroken):
  position, states = unbroken
  losses = [record["metrics"]["valid/loss"] for record in position.history]
  best = int(np.argmin(losses))
  assert best == 3, "neither the last epoch, nor one before averaging"
  assert bits(position.state.best) == bits(states[best].averages) and float(position.state.best_loss) == np.float32(losses[best])
  for epoch in range(3):  # before averaging, those of the best epoch so far
    assert bits(states[epoch].best) == bits(states[int(np.argmin(losses[: epoch + 1]))].weights)
  tested = task.test(position.state, dataset().valid)
  others = dataclasses.replace(position.state, **{name: states[0].weights for name in ("weights", "averages")})
  assert tested == task.test(others, dataset().valid)
  assert tested["loss"] == pytest.approx(losses[best], abs=0.05)
  large = dataclasses.replace(position.state, best=jax.tree.map(lambda leaf: 20 * leaf, task.init().weights))  # so that it remembers
  difference = task.test(large, dataset().valid)["loss"] - task._evaluate(large.best, task._valid)["loss"]
  assert abs(difference) > 1e-5, "one column against ten"


def test_averages_are_better_than_the_weights_that_they_are_of(task, unbroken):
  _, states = unbroken
  means = {"nats": 1.0, "words": 1.0, "rollbacks": 0.0}
  plain = dataclasses.replace(states[3], averaged=jnp.int32(0))
  assert task.end_epoch(plain, 4, means)[1]["metrics"]["valid/loss"] > float(states[3].best_loss) + 0.1


# Resumption.


def run_killed(task, folder, moments, every=1):
  """The position at the end of a run that is killed at some steps, each by a process of its own, and where it was resumed."""
  resumed_at, moments = [], list(moments)

  def kill_at(step, _):
    if moments and step == moments[0]:
      moments.pop(0)
      raise Killed

  while True:
    with Checkpoints(folder) as checkpoints:
      position = loop.restore(task, checkpoints)
      resumed_at.append(position.step)
      try:
        list(loop.run(task, position, checkpoints, save_every_steps=every, on_step=kill_at))
      except Killed:
        continue
      return position, resumed_at


@pytest.mark.parametrize("every", [1, 4])
def test_a_run_that_is_broken_anywhere_ends_in_the_bits_of_the_unbroken_one(task, unbroken, tmp_path, every):
  ends = [task.end_of_epoch(epoch) for epoch in range(6)]
  moments = [1, ends[1] - 1, ends[1], ends[1] + 6, ends[3] + 1, ends[3] + 6, ends[5] - 1]
  position, resumed_at = run_killed(task, tmp_path, moments, every)
  assert len(resumed_at) == 8 and any(ends[1] < step < ends[2] for step in resumed_at)
  assert any(ends[3] < step < ends[4] for step in resumed_at), "in the midst of an epoch, after averaging began"
  whole, _ = unbroken
  assert bits(position.state) == bits(whole.state) and np.any(position.state.hidden)
  assert without_seconds(position.history) == without_seconds(whole.history)


# Rollback.


class Poisoned:
  """A task whose weights are spoiled before some of its steps."""

  def __init__(self, task, steps):
    self._task, self.epochs, self._steps = task, task.epochs, steps
    self.init, self.end_of_epoch, self.end_epoch = task.init, task.end_of_epoch, task.end_epoch
    self.after = []

  def step(self, state, step):
    after, metrics = self._task.step(spoiled(state) if step in self._steps else state, step)
    if step in self._steps:
      self.after.append(after)
    return after, metrics


@pytest.mark.parametrize("epoch", [1, 4])
def test_a_run_goes_on_from_the_best_weights_after_a_loss_that_is_not_finite(task, unbroken, tmp_path, caplog, epoch):
  _, states = unbroken
  bad = (task.end_of_epoch(epoch) + 2, task.end_of_epoch(epoch) + 5)
  poisoned = Poisoned(task, bad)
  with caplog.at_level(logging.WARNING):
    position, _ = run_whole(poisoned)
  best = states[epoch - 1].best
  assert len(poisoned.after) == 2
  for after in poisoned.after:
    assert bits(after.weights) == bits(after.averages) == bits(after.best) == bits(best) and not np.any(after.hidden)
    assert int(after.averaged) == (epoch == 4)
  told = [record.getMessage() for record in caplog.records if "not finite" in record.getMessage()]
  went_on = f"each time training went on from the weights of epoch {1 + int(np.argmin(states[epoch - 1].losses))}, the best so far."
  assert told == [f"The loss was not finite 2 times in epoch {epoch + 1}; {went_on}"]
  for index, record in enumerate(position.history):
    assert record["metrics"].get("rollbacks", 0) == (2 if index == epoch else 0)
    assert all(math.isfinite(value) for value in record["metrics"].values())
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((position.state.weights, position.state.averages, position.state.best)))

  # The count of rollbacks is resumed too.
  broken, resumed_at = run_killed(Poisoned(task, bad), tmp_path, [bad[0] + 2])
  assert resumed_at[-1] == bad[0] + 1 and bits(broken.state) == bits(position.state)
  assert without_seconds(broken.history) == without_seconds(position.history)


def test_before_any_best_weights_the_loss_ends_the_run(task):
  poisoned = Poisoned(task, (2,))
  with pytest.raises(loop.NonFiniteLoss, match="the loss of step 3 is nan; no checkpoint was saved before: lower the learning rate"):
    run_whole(poisoned)


def test_too_many_rollbacks_end_the_run_in_one_sentence(task, unbroken, tmp_path, monkeypatch):
  monkeypatch.setattr(language, "MAX_ROLLBACKS", 3)
  first = task.end_of_epoch(1)
  with Checkpoints(tmp_path) as checkpoints:
    poisoned = Poisoned(task, range(first, first + 4))
    position = loop.restore(poisoned, checkpoints)
    with pytest.raises(loop.NonFiniteLoss) as error:
      list(loop.run(poisoned, position, checkpoints))
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore(task.init()).step == first
  text = str(error.value)
  assert text.startswith("the loss was not finite 4 times in epoch 2, each time from the weights of epoch 1; lower the learning rate")
  assert "\n" not in text and text.count(".") == 1 and text.endswith(".")
  assert len(position.history) == 1


# Compilation.


def test_nothing_compiles_after_the_first_epoch(compilations):
  task = make_task(dataclasses.replace(RUN, epochs=4))
  shapes = {task._windows(step).tokens.shape for step in range(task.end_of_epoch(1))}
  assert len(shapes) == DATA.buckets, "the first epoch has windows of every length"
  run = loop.run(task, loop.restore(task, None))
  next(run)
  with compilations() as compiled:
    assert len(list(run)) == 3
  assert compiled == []
