"""Simulated workers: the course of an asynchronous search over simulated time, without the accelerators.

An event queue holds the ends of the running jobs, and the deaths and returns of workers. At each moment, all jobs that end are told first,
in the order in which they were started. Then free workers get jobs, the lowest worker number first. A job whose worker dies is lost, and is
restarted before a new proposal is asked. So a simulation is a function of the strategy, its seed, the evaluations and the deaths.
"""

import dataclasses
import heapq
import itertools
import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from dnas.core.config import check, check_at_most, check_positive
from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.evaluate.base import Evaluator
from dnas.search.blackbox import base
from dnas.search.blackbox.base import Strategy


@runtime_checkable
class Synchronous(Protocol):
  """A strategy that may make free workers wait for others."""

  def waits(self, state: base.State) -> bool:
    """Returns whether the strategy needs another result before it can be asked."""
    ...


@dataclasses.dataclass(frozen=True)
class Death:
  """The death of a worker.

  Attributes:
    worker: number of the worker, from 0.
    time: time of the death, in seconds.
    back: time of the worker's return, in seconds; infinity for never.
  """

  worker: int
  time: float
  back: float = math.inf


@dataclasses.dataclass(frozen=True)
class Job:
  """The evaluation of one proposal on one worker.

  Attributes:
    worker: number of the worker.
    proposal: the proposal.
    start: start time, in seconds.
    end: time of completion or loss, in seconds.
    evaluation: the evaluation; None if the worker died.
  """

  worker: int
  proposal: Proposal
  start: float
  end: float
  evaluation: Evaluation | None


@dataclasses.dataclass(frozen=True)
class Simulation:
  """The result of a simulation.

  Attributes:
    jobs: complete and lost jobs, in the order in which they ended.
    state: the strategy's state at the end.
    idle: seconds that each worker was alive without a job.
  """

  jobs: tuple[Job, ...]
  state: base.State
  idle: tuple[float, ...]


def simulate(
  strategy: Strategy,
  seed: int,
  evaluate: Evaluator,
  num_workers: int,
  seconds: float,
  deaths: Sequence[Death] = (),
) -> Simulation:
  """Simulates a strategy on several workers.

  Args:
    strategy: the strategy; if it is `Synchronous`, free workers wait while its `waits` is true.
    seed: seed of the strategy.
    evaluate: the evaluator; a job takes as long as the cost of its evaluation.
    num_workers: number of workers.
    seconds: end of the simulation, finite; jobs that end later are dropped.
    deaths: the deaths of workers.

  Raises:
    InputError: if the number of workers or of seconds is not above zero, a death is of a worker that does not exist or has invalid times,
      or an evaluation costs nothing.
  """
  whole = isinstance(num_workers, int) and not isinstance(num_workers, bool)
  check(whole, "num_workers", num_workers, "give a whole number")
  check_positive(num_workers=num_workers, seconds=seconds)
  check_at_most(1e6, num_workers=num_workers)
  check(seconds < math.inf, "seconds", seconds, "it must be finite")
  for death in deaths:
    check(0 <= death.worker < num_workers, "deaths", death, f"the workers are 0 to {num_workers - 1}")
    check(0 <= death.time < death.back, "deaths", death, "a worker dies at second 0 or later, and comes back after it died")
  return _Clock(strategy, evaluate, num_workers).run(strategy.init(seed), seconds, deaths)


_END, _DEATH, _BACK = range(3)  # the order of events at the same time


class _Clock:
  """The mutable state of one simulation."""

  def __init__(self, strategy: Strategy, evaluate: Evaluator, num_workers: int):
    self._strategy, self._evaluate = strategy, evaluate
    self._alive = set(range(num_workers))
    self._running: dict[int, tuple[int, Job]] = {}  # worker to (number of the job, the job as it is if the worker lives)
    self._idle, self._lost, self._jobs = [0.0] * num_workers, [], []
    self._numbers = itertools.count()
    self._events: list[tuple[float, int, int, int]] = []  # (time, kind, number, worker)

  def run(self, state: base.State, seconds: float, deaths: Sequence[Death]) -> Simulation:
    for death in deaths:
      heapq.heappush(self._events, (death.time, _DEATH, next(self._numbers), death.worker))
      heapq.heappush(self._events, (death.back, _BACK, next(self._numbers), death.worker))
    now = 0.0
    while True:
      while self._events and self._events[0][0] <= now:
        state = self._happen(*heapq.heappop(self._events), state)
      state = self._serve(state, now)
      later = min(self._events[0][0] if self._events else math.inf, seconds)
      for worker in self._alive - self._running.keys():
        self._idle[worker] += later - now
      now = later
      if not self._events or self._events[0][0] > seconds:
        return Simulation(tuple(self._jobs), state, tuple(self._idle))

  def _happen(self, time: float, kind: int, number: int, worker: int, state: base.State) -> base.State:
    if kind == _BACK:
      self._alive.add(worker)
    elif kind == _DEATH:
      self._alive.discard(worker)
      if worker in self._running:
        _, job = self._running.pop(worker)
        self._jobs.append(dataclasses.replace(job, end=time, evaluation=None))
        self._lost.append(job.proposal)
    elif self._running.get(worker, (None, None))[0] == number:  # else the worker died during this job
      _, job = self._running.pop(worker)
      self._jobs.append(job)
      assert job.evaluation is not None
      return self._strategy.tell(state, job.proposal, job.evaluation)
    return state

  def _serve(self, state: base.State, now: float) -> base.State:
    """Starts jobs on the free workers: lost jobs first, then new proposals, unless the strategy waits."""
    for worker in sorted(self._alive - self._running.keys()):
      if self._lost:
        proposal = self._lost.pop(0)
      elif isinstance(self._strategy, Synchronous) and self._strategy.waits(state):
        break
      else:
        proposal, state = self._strategy.ask(state)
      evaluation, number = self._evaluate(proposal), next(self._numbers)
      if evaluation.cost <= 0:
        raise InputError(f"an evaluation of {proposal.genotype} cost {evaluation.cost} seconds; simulated time needs a cost above zero.")
      self._running[worker] = number, Job(worker, proposal, now, now + evaluation.cost, evaluation)
      heapq.heappush(self._events, (now + evaluation.cost, _END, number, worker))
    return state
