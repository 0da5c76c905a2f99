"""The loop: exact resumption, the order of dispatch and reading, when it saves, and how it ends before its time."""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import without_seconds
from run_toy import Toy, bits

from dnas.core.errors import InputError
from dnas.run.checkpoint import Checkpoints
from dnas.run.loop import NonFiniteLoss, Position, Stopped, epoch_of, restore, run
from dnas.run.stop import SIGNALS, StopRequest

STEPS, EPOCHS = 4, 3


@dataclasses.dataclass
class StopAt:
  """A request that comes when a number of steps has been dispatched."""

  position: Position
  step: int

  @property
  def requested(self) -> bool:
    return self.position.step >= self.step


def finish(task, folder, stop_at=None, **kwargs):
  """Runs a new process's worth: restore, then run to the end or to the stop."""
  with Checkpoints(folder) as checkpoints:
    position = restore(task, checkpoints)
    stop = None if stop_at is None else StopAt(position, stop_at)
    yielded = []
    try:
      yielded += run(task, position, checkpoints, stop=stop, **kwargs)
    except Stopped:
      assert stop is not None
    return position, yielded


@pytest.fixture(scope="module")
def unbroken():
  position = restore(Toy(STEPS, EPOCHS), None)
  return position, list(run(Toy(STEPS, EPOCHS), position))


def test_the_record_of_an_epoch(unbroken):
  position, yielded = unbroken
  assert yielded == position.history and [(r["epoch"], r["step"]) for r in yielded] == [(1, 4), (2, 8), (3, 12)]
  assert {"metrics", "genotype", "mixture", "seconds"} < set(yielded[0]) and yielded[0]["seconds"] < yielded[1]["seconds"]


def test_means_are_those_of_the_steps():
  task = Toy(STEPS, 1)
  state, losses = task.init(), []
  for step in range(STEPS):
    state, metrics = task.step(state, step)
    losses.append(np.float32(metrics["loss"]))
  (record,) = run(task, restore(task, None))
  assert record["metrics"]["train/loss"] == float(((losses[0] + losses[1]) + losses[2]) + losses[3]) / STEPS


@pytest.mark.parametrize("every", [0, 3])
@pytest.mark.parametrize("broken_at", [1, 4, 6, 8, 11])
def test_a_broken_run_ends_in_the_bits_of_the_unbroken_one(unbroken, tmp_path, broken_at, every):
  task = Toy(STEPS, EPOCHS)
  first, _ = finish(task, tmp_path, broken_at, save_every_steps=every)
  assert first.step == broken_at
  second, yielded = finish(task, tmp_path, save_every_steps=every)
  assert bits(second.state) == bits(unbroken[0].state) and second.step == STEPS * EPOCHS
  assert without_seconds(second.history) == without_seconds(unbroken[0].history)
  assert [record["epoch"] for record in yielded] == list(range(broken_at // STEPS + 1, EPOCHS + 1))
  assert second.seconds > first.seconds > 0
  third, yielded = finish(task, tmp_path)
  assert not yielded and bits(third.state) == bits(second.state) and third.history == second.history


def test_broken_after_every_step(unbroken, tmp_path):
  for step in range(1, STEPS * EPOCHS + 1):
    position, _ = finish(Toy(STEPS, EPOCHS), tmp_path, step)
  assert bits(position.state) == bits(unbroken[0].state) and without_seconds(position.history) == without_seconds(unbroken[0].history)


LOG = []


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass
class Noted:
  """A metric that notes when it is read."""

  value: jax.Array

  def tree_flatten(self):
    return (self.value,), None

  @classmethod
  def tree_unflatten(cls, _, values):
    return cls(*values)

  def __float__(self):
    LOG.append(f"read {int(self.value)}")
    return float(self.value)


class NotedTask:
  """The losses are 1, 10, 100 ..., so that a number tells which steps it is the sum of."""

  epochs = 2

  def end_of_epoch(self, epoch):
    return 3 * epoch

  def init(self):
    return jnp.zeros(())

  def step(self, state, step):
    LOG.append(f"dispatch {10**step}")
    return state + 1, {"loss": Noted(jnp.float32(10**step))}

  def end_epoch(self, state, epoch, means):
    LOG.append(f"end {epoch}")
    return state, {"metrics": means}


class StepsSaved:
  """Notes saves instead of writing them."""

  folder, latest = "somewhere", None

  def __init__(self):
    self.steps = []

  def restore(self, like, grown=None):
    return None

  def save(self, step, state, extra):
    self.steps.append(step)
    LOG.append(f"save {step}")

  def wait(self):
    LOG.append("wait")


def test_a_loss_is_read_after_the_next_dispatch_and_before_a_save():
  LOG.clear()
  list(run(NotedTask(), Position(jnp.zeros(())), StepsSaved(), save_every_steps=2))
  assert LOG == [
    *("dispatch 1", "dispatch 10", "read 1", "read 10", "read 11", "save 2"),
    *("dispatch 100", "read 100", "read 111", "end 1", "save 3"),
    *("dispatch 1000", "read 1000", "read 1000", "save 4"),
    *("dispatch 10000", "dispatch 100000", "read 10000", "read 100000", "read 111000", "end 2", "save 6", "wait"),
  ]


def test_when_it_saves():
  saved = StepsSaved()
  task = Toy(steps_per_epoch=5, epochs=2)
  list(run(task, restore(task, saved), saved, save_every_steps=2))
  assert saved.steps == [2, 4, 5, 6, 8, 10]
  saved = StepsSaved()
  list(run(task, restore(task, saved), saved))
  assert saved.steps == [5, 10]


def test_on_step_sees_every_step_once():
  task, seen = Toy(STEPS, 2), []
  list(run(task, restore(task, None), on_step=lambda step, loss: seen.append((step, loss))))
  assert [step for step, _ in seen] == list(range(1, 9)) and all(isinstance(loss, float) for _, loss in seen)


@pytest.mark.parametrize("nan_at", [0, 3, 5, 8])
def test_a_nan_ends_the_run_and_is_never_saved(tmp_path, nan_at):
  task = Toy(STEPS, EPOCHS, nan_at=nan_at)
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(NonFiniteLoss) as error:
      list(run(task, restore(task, checkpoints), checkpoints, save_every_steps=1))
    found = checkpoints.restore(task.init())
  text = str(error.value)
  assert f"loss of step {nan_at + 1} is nan" in text and "\n" not in text and text.endswith(".")
  if nan_at == 0:
    assert found is None and "no checkpoint was saved" in text
  else:
    assert found.step == nan_at and f"of step {nan_at}, is kept in {tmp_path}" in text
    assert np.isfinite(found.state.params["w"]).all()


class BadlyValidated(Toy):
  """Its second epoch has a validation loss that is not finite."""

  def __init__(self, loss):
    super().__init__(STEPS, EPOCHS)
    self.loss = loss

  def end_epoch(self, state, epoch, means):
    state, record = super().end_epoch(state, epoch, means)
    return state, record | {"metrics": record["metrics"] | ({"valid/loss": self.loss} if epoch == 2 else {})}


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_validation_loss_that_is_not_finite_ends_the_run_and_its_epoch_is_not_saved(tmp_path, loss):
  task = BadlyValidated(loss)
  with Checkpoints(tmp_path) as checkpoints:
    position = restore(task, checkpoints)
    with pytest.raises(NonFiniteLoss) as error:
      list(run(task, position, checkpoints))
    found = checkpoints.restore(task.init())
  text = str(error.value)
  assert text.startswith(f"the validation loss of epoch 2 is {loss}; the last good checkpoint, of step {STEPS}, is kept in {tmp_path}")
  assert text.endswith("lower the learning rate or clip the gradient, and give another --workdir.") and "\n" not in text
  assert found.step == STEPS and len(found.extra["history"]) == len(position.history) == 1


class SilentlyBroken(Toy):
  def step(self, state, step):
    state, metrics = super().step(state, step)
    if step == 2:
      state = dataclasses.replace(state, params=state.params | {"bias": jnp.asarray(jnp.nan, jnp.bfloat16)})
    return state, metrics | {"loss": jnp.float32(1.0)}


def test_a_state_with_nan_is_not_saved_even_if_the_loss_is_finite(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    task = SilentlyBroken(STEPS, EPOCHS)
    with pytest.raises(NonFiniteLoss, match=r"holds nan after step 3.*of step 2, is kept"):
      list(run(task, restore(task, checkpoints), checkpoints, save_every_steps=1))
    assert checkpoints.restore(task.init()).step == 2


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_after_the_step_and_the_handlers_come_back(tmp_path, number):
  before = [signal.getsignal(number) for number in SIGNALS]
  task, told = Toy(STEPS, EPOCHS), []
  with Checkpoints(tmp_path) as checkpoints, StopRequest(told.append) as stop:
    with pytest.raises(Stopped) as error:
      position = restore(task, checkpoints)
      list(run(task, position, checkpoints, stop=stop, on_step=lambda step, _: step == 5 and os.kill(os.getpid(), number)))
  assert str(error.value) == "stopped as requested after step 6 of 12; the same command continues the run."
  assert restore(task, Checkpoints(tmp_path)).step == 6 == position.step
  assert [signal.getsignal(number) for number in SIGNALS] == before
  assert len(told) == 1 and number.name in told[0]


def test_a_stop_in_the_last_step_is_no_stop(unbroken):
  task = Toy(STEPS, EPOCHS)
  position = restore(task, None)
  assert len(list(run(task, position, stop=StopAt(position, STEPS * EPOCHS)))) == EPOCHS
  assert bits(position.state) == bits(unbroken[0].state)


def test_a_stop_without_checkpoints_says_that_nothing_is_saved():
  task = Toy(STEPS, EPOCHS)
  position = restore(task, None)
  with pytest.raises(Stopped, match="after step 2 of 12; nothing is saved"):
    list(run(task, position, stop=StopAt(position, 2)))


class FullDisk(StepsSaved):
  def wait(self):
    if self.steps:
      raise InputError("no space.")


def test_a_failed_last_save_ends_the_run_in_its_error():
  task = Toy(STEPS, 1)
  with pytest.raises(InputError, match="no space"):
    list(run(task, restore(task, None), FullDisk()))
  # A loss that is not finite stays the news, whatever becomes of the save.
  disk, task = FullDisk(), Toy(STEPS, 1, nan_at=2)
  with pytest.raises(NonFiniteLoss):
    list(run(task, restore(task, None), disk, save_every_steps=1))


class Uneven(Toy):
  """Epochs of 1, 5, 2 and 4 steps."""

  ends = (0, 1, 6, 8, 12)

  def __init__(self):
    super().__init__(STEPS, epochs=4)

  def end_of_epoch(self, epoch):
    return self.ends[epoch]


def test_epochs_of_different_lengths():
  position = restore(Uneven(), None)
  records = list(run(Uneven(), position))
  assert [record["step"] for record in records] == [1, 6, 8, 12] == [record["step"] for record in position.history]
  assert [epoch_of(Uneven(), step) for step in range(12)] == [0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
  assert [epoch_of(Toy(STEPS, EPOCHS), step) for step in range(STEPS * EPOCHS)] == [step // STEPS for step in range(STEPS * EPOCHS)]
  task, losses = Uneven(), []
  state = task.init()
  for step in range(6):
    state, metrics = task.step(state, step)
    losses.append(np.float32(metrics["loss"]))
    if step == 0:
      state, _ = task.end_epoch(state, 1, {name: float(value) for name, value in metrics.items()})
  assert records[1]["metrics"]["train/loss"] == pytest.approx(np.mean(losses[1:]), rel=1e-6)


@pytest.mark.parametrize("broken_at", [1, 3, 6, 7, 10])
def test_epochs_of_different_lengths_are_resumed_to_the_bit(tmp_path, broken_at):
  whole = restore(Uneven(), None)
  list(run(Uneven(), whole))
  assert finish(Uneven(), tmp_path, broken_at)[0].step == broken_at
  second, _ = finish(Uneven(), tmp_path)
  assert bits(second.state) == bits(whole.state) and without_seconds(second.history) == without_seconds(whole.history)
