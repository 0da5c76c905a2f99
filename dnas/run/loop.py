"""The training loop: it dispatches steps, saves checkpoints, and yields one record per epoch.

Networks and data belong to the `Task`. The loop reads the loss of step k - 1 only after it has dispatched step k, so an accelerator always
has work, and the host is never more than one step ahead. A checkpoint holds the whole state of a run, including the history and the sums of
the current epoch's metrics. So a resumed run ends bit-identically to an uninterrupted one. Time is recorded and influences nothing.
"""

import bisect
import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NotRequired, Protocol, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import devices, keys, memory_maps
from dnas.core.errors import InputError
from dnas.run.checkpoint import Checkpoints, State
from dnas.run.stop import StopRequest

OnStep = Callable[[int, float], None]
"""Called with the number of complete steps and the loss of the last of them."""

VALID_LOSS = "valid/loss"
"""Name of the validation loss, which must be finite if an epoch has it."""


class EpochRecord(TypedDict):
  """The record of an epoch, as JSON can hold it.

  Attributes:
    metrics: scalars by name, such as 'train/loss' (nats) or 'valid/accuracy' (a fraction).
    genotype: the architecture that the search would return now, as JSON.
    mixture: mixture weights of the architecture, as nested lists.
    seeds: the records of the single searches, where several run side by side; `metrics` are then their means.
  """

  metrics: dict[str, float]
  genotype: NotRequired[str]
  mixture: NotRequired[Any]
  seeds: NotRequired[list[dict[str, Any]]]


class HistoryRecord(EpochRecord):
  """The record of an epoch with what the loop adds.

  Attributes:
    epoch: number of complete epochs.
    step: number of complete steps.
    seconds: wall time of the run so far, over all resumes.
  """

  epoch: int
  step: int
  seconds: float


class Task(Protocol):
  """A training or a search; implement one per kind of run.

  Keep everything that changes from step to step in the state that you return: the loop restores nothing else. Derive all randomness from
  the state and the step number (`step_key`).

  Attributes:
    epochs: number of epochs of the run.
  """

  epochs: int

  def end_of_epoch(self, epoch: int) -> int:
    """Return the number of steps in the first `epoch` epochs: 0 for 0, and at least one more for each further epoch.

    Epochs may differ in length, but every call must give the same numbers: `return epoch * self._steps_per_epoch`.
    """
    ...

  def init(self) -> State:
    """Return the state before the first step: any tree of arrays, keys as raw uint32 data.

    The loop calls this once per process, even if it then restores a checkpoint, whose shapes and dtypes must equal those of your result.
    """
    ...

  def step(self, state: State, step: int) -> tuple[State, Mapping[str, jax.Array]]:
    """Dispatch step number `step` (from 0) and return without waiting for it; you may donate `state`.

    Return the new state and scalar metrics on the device. Their names are the same at every step, and include 'loss':

        return self._step(state, self._batches[step % len(self._batches)], step)     # self._step = jax.jit(...)
    """
    ...

  def end_epoch(self, state: State, epoch: int, means: Mapping[str, float]) -> tuple[State, EpochRecord]:
    """Validate, and return the state for the next epoch and the record of this one; you may block.

        return state, {"metrics": {"train/loss": means["loss"]}}

    `epoch` is the number of complete epochs, including this one; `means` are the means of its steps' metrics.
    """
    ...


@dataclasses.dataclass
class Position:
  """The progress of a run; `run` updates it in place.

  Attributes:
    state: the state after `step` steps.
    step: number of complete steps.
    history: the records of the complete epochs.
    seconds: wall time spent, over all resumes.
    sums: sum of each metric over the current epoch's steps, float32 scalars on the device; None before its first step.
  """

  state: State
  step: int = 0
  history: list[HistoryRecord] = dataclasses.field(default_factory=list)
  seconds: float = 0.0
  sums: Mapping[str, jax.Array] | None = None


class NonFiniteLoss(RuntimeError):
  """A training or validation loss is not finite, or the state holds a nan. The message is one sentence for the user."""


class Stopped(RuntimeError):
  """The run was asked to stop and has saved. The message is one sentence for the user."""


def restore(task: Task, checkpoints: Checkpoints | None, grown: Mapping[str, float] = MappingProxyType({})) -> Position:
  """Returns the position of the newest undamaged checkpoint, or the start of the run if there is none.

  Args:
    task: the task.
    checkpoints: those of the run; None for a run without any.
    grown: see `Checkpoints.restore`.

  Raises:
    InputError: from `Checkpoints.restore`.
  """
  state = devices.replicate(task.init())
  found = checkpoints.restore(state, grown=grown) if checkpoints else None
  if found is None:
    return Position(state)
  sums = found.extra["sums"]
  if sums is not None:
    sums = {name: jnp.float32(value) for name, value in sums.items()}
  return Position(found.state, found.step, found.extra["history"], found.extra["seconds"], sums)


def run(
  task: Task,
  position: Position,
  checkpoints: Checkpoints | None = None,
  *,
  save_every_steps: int = 0,
  stop: StopRequest | None = None,
  on_step: OnStep | None = None,
  early_stop: Callable[[list[HistoryRecord]], bool] = lambda history: False,
) -> Iterator[HistoryRecord]:
  """Trains from a position to the end, and yields each epoch's record after appending it to `position.history`.

  Args:
    task: the task to train.
    position: the start, from `restore`; it is updated in place and holds the result.
    checkpoints: saved to at the end of every epoch and every `save_every_steps` steps; None saves nothing.
    save_every_steps: interval of further saves in steps; 0 saves only at the ends of epochs.
    stop: checked after every step; when requested, the run saves and raises `Stopped`.
    on_step: called once per step, one step late.
    early_stop: maps the history to whether the run ends before its last epoch; it must depend on the history alone.

  Raises:
    NonFiniteLoss: if a step's loss or an epoch's validation loss is not finite, or a state to save holds a nan; such a state is not saved.
    Stopped: if `stop` is requested before the run is complete.
    InputError: if a checkpoint cannot be written.
  """
  memory_maps.spare()  # a process may have trained many networks before
  loop = _Loop(task, position, checkpoints, on_step)

  def complete() -> bool:
    return len(position.history) >= task.epochs or early_stop(position.history)

  while not complete():
    end = task.end_of_epoch(len(position.history) + 1)
    while position.step < end:
      loop.step()
      stopping = stop is not None and loop.agreed(stop.requested)
      if position.step < end and (stopping or (save_every_steps and position.step % save_every_steps == 0)):
        loop.save()
        if stopping:
          loop.raise_stopped()
    loop.end_epoch()
    loop.save()
    yield position.history[-1]
    if stop is not None and bool(devices.vote(stop.requested)) and not complete():
      loop.raise_stopped()
  if checkpoints:
    checkpoints.wait()


def epoch_of(task: Task, step: int) -> int:
  """Returns the number of epochs that are complete before step number `step`."""
  return bisect.bisect_right(range(task.epochs), step, key=lambda epoch: task.end_of_epoch(epoch + 1))


@jax.jit
def step_key(key_data: jax.Array, step: jax.Array) -> jax.Array:
  """Returns the typed random key of a step, from the run's raw key data."""
  return keys.derive(jax.random.wrap_key_data(key_data), "step", step)


class _Loop:
  """The state and the parts of `run`. `_unread` holds the last step's number and loss until the host reads the loss."""

  def __init__(self, task: Task, position: Position, checkpoints: Checkpoints | None, on_step: OnStep | None):
    self.task, self.position, self.checkpoints, self.on_step = task, position, checkpoints, on_step
    self._unread: tuple[int, jax.Array] | None = None
    self._vote: bool | jax.Array = False
    self._began = time.monotonic() - position.seconds

  def step(self) -> None:
    """Dispatches a step, and then reads the loss of the previous step."""
    position = self.position
    position.state, metrics = self.task.step(position.state, position.step)
    position.sums = _add(position.sums, dict(metrics))
    position.step += 1
    before, self._unread = self._unread, (position.step, metrics["loss"])
    self._read(before)

  def agreed(self, requested: bool) -> bool:
    """Returns whether a stop is requested. Several processes vote and read the result one step late, so that none waits for the others."""
    before, self._vote = self._vote, devices.vote(requested)
    return self._vote if isinstance(self._vote, bool) else bool(before)

  def end_epoch(self) -> None:
    """Reads the outstanding loss, ends the epoch in the task, and adds the epoch's record to the history."""
    position = self.position
    self._read_last()
    steps = position.step - self.task.end_of_epoch(len(position.history))
    means = {name: float(total) / steps for name, total in (position.sums or {}).items()}
    position.state, record = self.task.end_epoch(position.state, len(position.history) + 1, means)
    position.sums = None
    self._check_validation(record["metrics"])
    self._note_time()
    record = {"epoch": len(position.history) + 1, "step": position.step, "seconds": position.seconds, **record}
    position.history.append(json.loads(json.dumps(record)))  # as a checkpoint will restore it

  def save(self) -> None:
    """Starts a checkpoint of the position. Raises NonFiniteLoss if the loss is not finite or the state holds a nan."""
    self._read_last()
    if self.checkpoints is None:
      return
    position, state = self.position, jax.device_get(self.position.state)
    if any(np.isnan(leaf).any() for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)):
      raise NonFiniteLoss(f"the state holds nan after step {position.step}, though its loss is finite; {self._advice()}")
    self._note_time()
    sums = None if position.sums is None else {name: float(total) for name, total in position.sums.items()}
    self.checkpoints.save(position.step, state, {"history": position.history, "seconds": position.seconds, "sums": sums})

  def raise_stopped(self) -> None:
    """Waits for the last checkpoint, and raises Stopped."""
    if self.checkpoints:
      self.checkpoints.wait()
    saved = "the same command continues the run" if self.checkpoints else "nothing is saved, since the run keeps no checkpoints"
    raise Stopped(f"stopped as requested after step {self.position.step} of {self.task.end_of_epoch(self.task.epochs)}; {saved}.")

  def _note_time(self) -> None:
    self.position.seconds = time.monotonic() - self._began

  def _read_last(self) -> None:
    last, self._unread = self._unread, None
    self._read(last)

  def _read(self, unread: tuple[int, jax.Array] | None) -> None:
    if unread is None:
      return
    step, loss = unread[0], float(unread[1])
    if not math.isfinite(loss):
      raise NonFiniteLoss(f"the loss of step {step} is {loss}; {self._advice()}")
    if self.on_step:
      self.on_step(step, loss)

  def _check_validation(self, metrics: Mapping[str, float]) -> None:
    loss = metrics.get(VALID_LOSS, 0.0)
    if not math.isfinite(loss):
      raise NonFiniteLoss(f"the validation loss of epoch {len(self.position.history) + 1} is {loss}; {self._advice()}")

  def _advice(self) -> str:
    if self.checkpoints:
      with contextlib.suppress(InputError):  # a failed save matters less here; `latest` names a complete checkpoint
        self.checkpoints.wait()
    if self.checkpoints and self.checkpoints.latest is not None:
      kept = f"the last good checkpoint, of step {self.checkpoints.latest}, is kept in {self.checkpoints.folder}"
    else:
      kept = "no checkpoint was saved before"
    return f"{kept}: lower the learning rate or clip the gradient, and give another --workdir."


@jax.jit
def _add(sums: Mapping[str, jax.Array] | None, metrics: Mapping[str, jax.Array]) -> Mapping[str, jax.Array]:
  """Returns the sums with the metrics of one step added, in float32."""
  metrics = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), metrics)
  return metrics if sums is None else jax.tree.map(jnp.add, sums, metrics)
