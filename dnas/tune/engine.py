"""The driver of a study: it asks, gives trials to workers, and tells. The storage is the truth, and it holds nothing else.

A trial is a training in a folder of its own. What breaks it off, be it the death of its worker, of its node or of the driver, leaves it
running in the study; it is then given out again, under its number, and goes on from its checkpoint. So every trial ends once.
"""

import dataclasses
import fcntl
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import optuna
from absl import logging
from optuna.trial import FrozenTrial, TrialState

from dnas.core.errors import InputError
from dnas.tune import study as studies
from dnas.tune.executors import Done, Executor
from dnas.tune.space import Point, SearchSpace

MAX_DEATHS = 5
"""So many workers that die over one trial make it a failed one."""


class Assignment(NamedTuple):
  """A trial as a worker gets it.

  Attributes:
    address: of the study.
    config: of the study.
    number: of the trial.
    point: what it tries.
    folder: of its training.
    resumed: after how many epochs another trial has left that training; 0 for a new one.
  """

  address: studies.Address
  config: studies.Config
  number: int
  point: Point
  folder: str
  resumed: int


class Result(NamedTuple):
  """What a worker answers.

  Attributes:
    values: of the objectives; None for a trial that was pruned or did not stay finite.
    epochs: how many epochs the trial has trained, those of another trial before it not counted.
    seconds: what its training has taken so far.
    notes: what else is to be kept with the trial.
  """

  values: tuple[float, ...] | None
  epochs: int
  seconds: float
  notes: dict[str, Any] = {}


RunTrial = Callable[[Assignment, Any], Result]
"""(assignment, what else the trials need) to a result; a function of a module."""


class Reports:
  """The line from a worker to its study: what each epoch was worth, and whether the pruner ends the trial."""

  def __init__(self, assignment: Assignment):
    """Opens the study."""
    self._assignment, self._seen = assignment, 0
    self._database = assignment.address.open()
    self._study = assignment.address.load(assignment.config, self._database)
    self._trial_id = studies.trial_id(self._study, self._database, assignment.number)
    self.pruned_at = self._database.get_trial(self._trial_id).user_attrs.get("pruned_at", 0)

  def ends(self, values: list[float]) -> bool:
    """Reports the values of the epochs so far, each once, and returns whether the trial ends here."""
    trial_id = self._trial_id
    if len(self._study.directions) > 1 or self._assignment.config.pruner == "none":
      return False
    for epoch in range(self._seen + 1, len(values) + 1):
      self._database.set_trial_intermediate_value(trial_id, epoch, values[epoch - 1])
      ended = self._study.pruner.prune(self._study, self._database.get_trial(trial_id))
      if ended and epoch > self._assignment.resumed and not self.pruned_at:
        self.pruned_at = epoch
        self._database.set_trial_user_attr(trial_id, "pruned_at", epoch)
      self._seen = epoch
    return bool(self.pruned_at)


def work(run_trial: RunTrial, assignment: Assignment, payload: Any) -> Result:
  """Runs a trial in a worker, alone: one whose node was lost may have a process there that does not know it yet.

  Raises:
    InputError: if another process does not leave the trial.
  """
  path = pathlib.Path(assignment.folder).with_suffix(".lock")
  path.parent.mkdir(parents=True, exist_ok=True)
  with open(path, "w") as lock:
    for _ in range(_WAIT):
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
      except BlockingIOError:
        time.sleep(1)
    else:
      raise InputError(f"{assignment.folder} is in use by another process, even after {_WAIT} s; end that.")
    return run_trial(assignment, payload)


_WAIT = 120  # seconds


def point_of(trial: FrozenTrial) -> Point:
  """Returns the point of a trial that the driver has asked for."""
  values, decisions = trial.user_attrs["point"]
  return Point(values, decisions and tuple(decisions))


class Stopped(RuntimeError):
  """The driver was asked to stop; the study is as it should be."""


@dataclasses.dataclass
class Driver:
  """Runs a study to its planned number of trials.

  Attributes:
    study: the study, from `studies.open_study`.
    address: where workers find it.
    config: what it is run by.
    space: what is tuned.
    executor: where trials run.
    run_trial: what runs one.
    payload: what else `run_trial` gets.
    folder: below which every trial has its own.
    owner: the run to which the study belongs.
    first: parameters of the first trial, such as the defaults; None asks the sampler for all.
    stopping: whether to stop, looked at about once a second.
    on_end: called with every trial that has ended.
  """

  study: optuna.Study
  address: studies.Address
  config: studies.Config
  space: SearchSpace
  executor: Executor
  run_trial: RunTrial
  payload: Any
  folder: pathlib.Path
  owner: studies.Owner = studies.Owner()
  first: dict[str, Any] | None = None
  stopping: Callable[[], bool] = lambda: False
  on_end: Callable[[FrozenTrial], None] = lambda trial: None

  def __post_init__(self):
    self._active: dict[int, Assignment] = {}  # by job
    self._deaths: dict[int, int] = {}
    self._database = self.address.open()

  def run(self) -> None:
    """Runs what is missing.

    Raises:
      InputError: where no trial can run: the first one failed, or three and no other came to an end; or where the study turns out to be
        that of another run.
      Stopped: if asked to stop.
    """
    while True:
      if self.stopping():
        raise Stopped
      while len(self._active) < self.executor.workers and (assignment := self._next()) is not None:
        self._active[self.executor.submit(work, self.run_trial, assignment, self.payload)] = assignment
      if not self._active:
        return
      for done in self.executor.wait(1.0):
        self._end(done)

  def _next(self) -> Assignment | None:
    studies.check_owner(self.study, self.owner)  # of two that have made a study at once, the second has it
    running = {assignment.number for assignment in self._active.values()}
    trials = self.study.get_trials(deepcopy=False)
    for trial in trials:
      if trial.state is TrialState.RUNNING and trial.number not in running:
        if "point" in trial.user_attrs:
          return self._assignment(trial)
        self.study.tell(trial.number, state=TrialState.FAIL)  # it was being asked for when a driver died
    if self.config.pruner == "successive_halving" and self.config.promote:
      promoted = studies.promotable(self.study, self.config.eta)
      if promoted is not None:
        notes = {name: promoted.user_attrs[name] for name in ("point", "folder")}
        notes |= {"promotes": promoted.number, "resumed": promoted.last_step}
        self.study.enqueue_trial(promoted.params, notes)
        return self._ask(promoted.number)
    planned = [trial for trial in trials if "point" in trial.user_attrs and "promotes" not in trial.user_attrs]
    waiting = any(trial.state is TrialState.WAITING for trial in trials)
    if len(planned) >= self.config.trials and not waiting:
      return None
    if not trials and self.first is not None:
      self.study.enqueue_trial(self.first)
    return self._ask(len(planned))

  def _ask(self, stream: int) -> Assignment:
    studies.with_sampler(self.study, self.config, stream)
    trial = self.study.ask()
    point = self.space.suggest(trial)
    if "folder" not in trial.user_attrs:
      trial.set_user_attr("folder", str(self.folder / f"trial_{trial.number:04d}"))
    trial.set_user_attr("point", [point.values, point.decisions and list(point.decisions)])  # the last word: now it can be run
    return self._assignment(self.study.get_trials(deepcopy=False)[trial.number])

  def _assignment(self, trial: FrozenTrial) -> Assignment:
    attrs = trial.user_attrs
    folder, resumed = attrs["folder"], attrs.get("resumed", 0)
    return Assignment(self.address, self.config, trial.number, point_of(trial), folder, resumed)

  def _end(self, done: Done) -> None:
    assignment = self._active.pop(done.job)
    number = assignment.number
    if done.died:
      self._deaths[number] = self._deaths.get(number, 0) + 1
      logging.warning("The worker of trial %d died; the trial goes on from its last checkpoint.", number)
      if self._deaths[number] < MAX_DEATHS:
        self._active[self.executor.submit(work, self.run_trial, assignment, self.payload)] = assignment
        return
      done = done._replace(error=RuntimeError(f"{MAX_DEATHS} workers died over it; is there too little memory?"))
    studies.check_owner(self.study, self.owner)
    try:
      if done.error is not None:
        self._fail(assignment, done.error)
      else:
        self._tell(assignment, done.value)
    except optuna.exceptions.UpdateFinishedTrialError:
      mend = "let one process at a time run a study, and give the other another --study_name"
      raise InputError(f"trial {number} of the study '{self.address.name}' was ended by another process; {mend}.") from None
    self.on_end(self.study.get_trials(deepcopy=False)[number])

  def _tell(self, assignment: Assignment, result: Result) -> None:
    self._note(assignment, epochs=result.epochs, seconds=result.seconds, **result.notes)
    if result.values is None:
      self.study.tell(assignment.number, state=TrialState.PRUNED)
    else:
      self.study.tell(assignment.number, result.values)

  def _fail(self, assignment: Assignment, error: Exception) -> None:
    self._note(assignment, error=str(error))
    self.study.tell(assignment.number, state=TrialState.FAIL)
    states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
    if TrialState.COMPLETE in states or TrialState.PRUNED in states:
      return
    if isinstance(error, InputError) or states.count(TrialState.FAIL) >= 3:
      raise InputError(f"trial {assignment.number} failed, and none before it came to an end: {str(error).rstrip('.')}.")

  def _note(self, assignment: Assignment, **notes: Any) -> None:
    for name, value in notes.items():
      self._database.set_trial_user_attr(studies.trial_id(self.study, self._database, assignment.number), name, value)
