"""Every human-designed language model is trained like the derived ones: it learns, and a run that is killed ends in the same bits.

Averages from the first step and weights to start from, as in finetuning, are tested here too.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from helpers import Killed, bits, quick_jit, without_seconds
from language_tiny import CONFIG, DATA, dataset, make_task

from dnas.core import keys
from dnas.core.errors import InputError
from dnas.nets.models import LANGUAGE_MODELS
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.train import language

RUN = dataclasses.replace(CONFIG, epochs=3, learning_rate=5.0, gradient_clip=1.0, weight_decay=0.0)


def network_of(name):
  settings = LANGUAGE_MODELS[name].smallest()
  fields = [field.name for field in dataclasses.fields(settings)]
  rates = {field: 0.1 for field in fields if field.startswith(("dropout", "weight_drop"))}
  return dataclasses.replace(settings, **rates).build(len(dataset().vocabulary), keys.generator(0, "weights"))


@functools.cache
def task_of(name, config=RUN):
  task = language.RetrainTask(config, network_of(name), DATA, dataset(), seed=5)
  task._step = quick_jit(functools.partial(language.train_step, network=task.network, optimizer=task._optimizer))
  return task


@functools.cache
def unbroken(name):
  position = loop.restore(task_of(name), None)
  list(loop.run(task_of(name), position))
  return position


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_network_learns(name):
  first, *_, last = [record["metrics"] for record in unbroken(name).history]
  assert last["train/loss"] < first["train/loss"] - 0.02 and last["valid/loss"] < first["valid/loss"]
  tested = task_of(name).test(unbroken(name).state, dataset().valid)
  assert tested["loss"] == pytest.approx(last["valid/loss"], abs=0.05)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_run_that_is_killed_ends_in_the_bits_of_the_unbroken_one(name, tmp_path):
  task, moments = task_of(name), [2, task_of(name).end_of_epoch(1) + 3]

  def kill(step, _):
    if moments and step == moments[0]:
      moments.pop(0)
      raise Killed

  position, starts = None, []
  while position is None or position.step < task.end_of_epoch(RUN.epochs):
    with Checkpoints(tmp_path) as checkpoints:
      position = loop.restore(task, checkpoints)
      starts.append(position.step)
      try:
        list(loop.run(task, position, checkpoints, save_every_steps=2, on_step=kill))
      except Killed:
        continue
  assert len(starts) == 3 and starts[-1] > task.end_of_epoch(1), "resumed within an epoch"
  assert bits(position.state) == bits(unbroken(name).state) and all(leaf.any() for leaf in jax.tree.leaves(position.state.hidden))
  assert without_seconds(position.history) == without_seconds(unbroken(name).history)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_hidden_states_of_all_layers_begin_at_zero_in_every_epoch(name):
  task, state = task_of(name), unbroken(name).state
  zero = dataclasses.replace(state, hidden=jax.tree.map(np.zeros_like, state.hidden))
  first = task.end_of_epoch(1)
  assert bits(task.step(state, first)[0]) == bits(task.step(zero, first)[0])
  assert bits(task.step(state, first + 1)[0].weights) != bits(task.step(zero, first + 1)[0].weights)


# Finetuning.

FROM_START = dataclasses.replace(CONFIG, average_from_start=True, patience=2)


def test_averages_from_the_start_are_the_mean_of_all_weights():
  task, plain = make_task(FROM_START), make_task()
  state, other = task.init(), plain.init()
  seen = [state.weights]
  for step in range(5):
    state, other = task.step(state, step)[0], plain.step(other, step)[0]
    seen.append(state.weights)
    assert bits(state.weights) == bits(other.weights), "averaging does not change what is averaged"
  for average, *weights in zip(jax.tree.leaves(state.averages), *map(jax.tree.leaves, seen), strict=True):
    np.testing.assert_allclose(average, np.mean(weights, 0, np.float64), rtol=1e-5, atol=1e-6)
  after, record = task.end_epoch(state, 1, {"nats": 1.0, "words": 1.0, "rollbacks": 0.0})
  assert record["metrics"]["averaging"] == 1 and bits(after.best) == bits(state.averages) != bits(state.weights)


@pytest.mark.parametrize(
  "losses, stopped",
  [
    ([5, 4, 3], False),
    ([5, 6], False),  # the two epochs before it are too few to have an older one
    ([5, 4, 3, 4.9], False),
    ([5, 4, 3, 5.1], True),  # above the 5, the only one that is older than two epochs
    ([5, 4, 3, 4, 4.1], True),
    ([5, 4, 3, 4, 3.9], False),
  ],
)
def test_training_that_averages_from_the_start_ends_at_the_trigger(losses, stopped):
  history = [{"metrics": {"valid/loss": float(loss)}} for loss in losses]
  assert make_task(FROM_START).stops(history) == stopped
  assert not make_task(dataclasses.replace(CONFIG, patience=2)).stops(history)
  assert not make_task(dataclasses.replace(FROM_START, patience=0)).stops(history)


def test_training_starts_from_given_weights():
  given = jax.tree.map(np.asarray, unbroken("awd_lstm").state.best)
  task = language.RetrainTask(RUN, network_of("awd_lstm"), DATA, dataset(), seed=6, initial=given)
  state = task.init()
  assert bits(state.weights) == bits(state.averages) == bits(state.best) == bits(given) != bits(task_of("awd_lstm").init().weights)


def test_weights_of_another_network_are_refused():
  given = task_of("awd_lstm").init().weights
  message = "^the weights to start from are of another network; train the one that they belong to, with the same vocabulary.$"
  for wrong in (task_of("mos_lstm").init().weights, given | {"bias": given["bias"][:-1]}):
    with pytest.raises(InputError, match=message):
      language.RetrainTask(RUN, network_of("awd_lstm"), DATA, dataset(), seed=6, initial=wrong)
