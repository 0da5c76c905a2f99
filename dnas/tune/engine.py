"""The driver of a study: it asks for trials, runs them on workers, and tells the study their results.

The storage is the only record of the study. A trial is a training in a folder of its own. If its worker, its node or the driver dies, the
trial stays RUNNING. The driver submits it again under the same number, and it resumes from its checkpoint. So every trial ends once.
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
from dnas.tune.executors import Executor
from dnas.tune.jobs import Done
from dnas.tune.space import Point, SearchSpace

MAX_DEATHS = 5
"""A trial fails when this many workers have died while running it."""


class Assignment(NamedTuple):
  """A trial as it is sent to a worker.

  Attributes:
    address: address of the study.
    config: configuration of the study.
    number: number of the trial.
    point: point of the search space that the trial evaluates.
    folder: folder of its training.
    resumed: epochs that an earlier trial has trained in this folder; 0 for a new training.
  """

  address: studies.Address
  config: studies.Config
  number: int
  point: Point
  folder: str
  resumed: int


class Result(NamedTuple):
  """The result of a trial, as a worker returns it.

  Attributes:
    values: values of the objectives; None if the trial was pruned or its loss did not stay finite.
    epochs: epochs that this trial has trained, without those of an earlier trial in the same folder.
    seconds: duration of the training so far.
    notes: further attributes to store with the trial.
  """

  values: tuple[float, ...] | None
  epochs: int
  seconds: float
  notes: dict[str, Any] = {}


RunTrial = Callable[[Assignment, Any], Result]
"""Maps (assignment, payload) to a result. It must be a module-level function, since it is pickled."""


class Reports:
  """Reports the value of each epoch from a worker to its study, and asks the pruner whether the trial ends."""

  def __init__(self, assignment: Assignment):
    """Opens the study."""
    self._assignment, self._seen = assignment, 0
    self._database = assignment.address.open()
    self._study = assignment.address.load(assignment.config, self._database)
    self._trial_id = studies.trial_id(self._study, self._database, assignment.number)
    self.pruned_at = self._database.get_trial(self._trial_id).user_attrs.get("pruned_at", 0)

  def ends(self, values: list[float]) -> bool:
    """Reports the values of all epochs so far, each value once. Returns whether the pruner ends the trial."""
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
  """Runs a trial in a worker, under a lock, since the trial's earlier process may still run on a node that was lost.

  Raises:
    InputError: if another process still holds the lock after `_WAIT` seconds.
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
      raise InputError(f"{assignment.folder} is still in use by another process after {_WAIT} s; end that process.")
    return run_trial(assignment, payload)


_WAIT = 120  # seconds


def point_of(trial: FrozenTrial) -> Point:
  """Returns the point of a trial. The trial must have the attribute 'point', which the driver sets after it has asked."""
  values, decisions = trial.user_attrs["point"]
  return Point(values, decisions and tuple(decisions))


class Stopped(RuntimeError):
  """The driver was asked to stop. The study is consistent and can be resumed."""


@dataclasses.dataclass
class Driver:
  """Runs a study until it has its planned number of trials.

  Attributes:
    study: the study, from `studies.open_study`.
    address: address under which workers open the study.
    config: configuration of the study.
    space: the search space.
    executor: the executor that runs the trials.
    run_trial: the function that runs one trial.
    payload: second argument of `run_trial`.
    folder: parent of the trial folders.
    owner: the run to which the study belongs.
    first: parameters of the first trial, such as the defaults; None takes them from the sampler too.
    stopping: returns whether to stop; called about once a second.
    on_end: called with every trial that has ended.
    exhausted: maps all trials to whether no further one begins, although fewer than planned have. Those that have begun go on. It is
      called before a trial begins or goes on.
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
  exhausted: Callable[[list[FrozenTrial]], bool] = lambda trials: False

  def __post_init__(self):
    self._active: dict[int, Assignment] = {}  # job number to its assignment
    self._deaths: dict[int, int] = {}
    self._database = self.address.open()

  def run(self) -> None:
    """Runs the trials that are missing.

    Raises:
      InputError: if no trial was completed or pruned, and one failed with an InputError or three failed; if the study belongs to another
        run; or if another process ended a trial of this driver.
      Stopped: if `stopping` returned True.
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
    studies.check_owner(self.study, self.owner)  # if two runs create a study at once, it belongs to the second
    running = {assignment.number for assignment in self._active.values()}
    trials = self.study.get_trials(deepcopy=False)
    exhausted = self.exhausted(trials)
    for trial in trials:
      if trial.state is TrialState.RUNNING and trial.number not in running:
        if "point" in trial.user_attrs:
          return self._assignment(trial)
        self.study.tell(trial.number, state=TrialState.FAIL)  # a driver died while it was asking for this trial
    if exhausted:
      return None
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
    trial.set_user_attr("point", [point.values, point.decisions and list(point.decisions)])  # last: a trial with a point can be run
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
      done = done._replace(error=RuntimeError(f"{MAX_DEATHS} workers died in it; is there too little memory?"))
    studies.check_owner(self.study, self.owner)
    try:
      if done.error is not None:
        self._fail(assignment, done.error)
      else:
        self._tell(assignment, done.value)
    except optuna.exceptions.UpdateFinishedTrialError:
      hint = "run a study in one process at a time, or give another --study_name"
      raise InputError(f"trial {number} of the study '{self.address.name}' was ended by another process; {hint}.") from None
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
      raise InputError(f"trial {assignment.number} failed, and no trial before it finished: {str(error).rstrip('.')}.")

  def _note(self, assignment: Assignment, **notes: Any) -> None:
    for name, value in notes.items():
      self._database.set_trial_user_attr(studies.trial_id(self.study, self._database, assignment.number), name, value)
