"""Workers simulated in time: what an asynchronous search would have done, and when, on accelerators that nobody needs to have.

A queue of events holds when each running job ends and when each worker dies or comes back. At one moment, all that ends is told first, in
the order in which it was given out; then free workers are served, lowest number first. A job whose worker dies is lost and given again,
before anything new is asked. So a simulation is a function of the strategy, its seed, the evaluations and the deaths.
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
  """A strategy that makes free workers wait for others."""

  def waits(self, state: base.State) -> bool:
    """Returns whether the strategy must be told something before it can be asked."""


@dataclasses.dataclass(frozen=True)
class Death:
  """A worker that dies.

  Attributes:
    worker: its number, from 0.
    time: when, in seconds.
    back: when it is there again, in seconds; infinity for never.
  """

  worker: int
  time: float
  back: float = math.inf


@dataclasses.dataclass(frozen=True)
class Job:
  """What one worker did with one proposal.

  Attributes:
    worker: its number.
    proposal: what was asked.
    start: when the job was given out, in seconds.
    end: when it was complete or lost.
    evaluation: what was told; None if the worker died.
  """

  worker: int
  proposal: Proposal
  start: float
  end: float
  evaluation: Evaluation | None


@dataclasses.dataclass(frozen=True)
class Simulation:
  """How a search went.

  Attributes:
    jobs: complete and lost jobs, in the order in which they ended.
    state: the strategy's state at the end.
    idle: for every worker, for how many seconds of the simulation it was alive without a job.
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
  """Runs a strategy on workers for some time.

  Args:
    strategy: what to ask and to tell; if it is `Synchronous`, free workers wait where it says so.
    seed: of the strategy.
    evaluate: the evaluator; the cost that it answers is the time that the job takes.
    num_workers: how many jobs run at once.
    seconds: when the simulation ends, which is finite; jobs that end later are dropped.
    deaths: workers that die.

  Raises:
    InputError: for a number of workers or of seconds that is not above zero, or a death of a worker that does not exist, and for an
      evaluation that costs nothing.
  """
  whole = isinstance(num_workers, int) and not isinstance(num_workers, bool)
  check(whole, "num_workers", num_workers, "give a whole number")
  check_positive(num_workers=num_workers, seconds=seconds)
  check_at_most(1e6, num_workers=num_workers)
  check(seconds < math.inf, "seconds", seconds, "it must be finite")
  for death in deaths:
    check(0 <= death.worker < num_workers, "deaths", death, f"the workers are 0 to {num_workers - 1}")
    check(0 <= death.time < death.back, "deaths", death, "a worker dies at zero seconds or later, and comes back after that")
  return _Clock(strategy, evaluate, num_workers).run(strategy.init(seed), seconds, deaths)


_END, _DEATH, _BACK = range(3)  # at one moment, in this order


class _Clock:
  """The moving parts of one simulation."""

  def __init__(self, strategy: Strategy, evaluate: Evaluator, num_workers: int):
    self._strategy, self._evaluate = strategy, evaluate
    self._alive, self._running = set(range(num_workers)), {}  # worker to (number of the job, the job as if it will end)
    self._idle, self._lost, self._jobs = [0.0] * num_workers, [], []
    self._numbers, self._events = itertools.count(), []

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
    elif self._running.get(worker, (None, None))[0] == number:  # else the worker died over this job
      _, job = self._running.pop(worker)
      self._jobs.append(job)
      return self._strategy.tell(state, job.proposal, job.evaluation)
    return state

  def _serve(self, state: base.State, now: float) -> base.State:
    """Gives jobs to the free workers, as far as there are any."""
    for worker in sorted(self._alive - self._running.keys()):
      if self._lost:
        proposal = self._lost.pop(0)
      elif isinstance(self._strategy, Synchronous) and self._strategy.waits(state):
        break
      else:
        proposal, state = self._strategy.ask(state)
      evaluation, number = self._evaluate(proposal), next(self._numbers)
      if evaluation.cost <= 0:
        raise InputError(f"an evaluation of {proposal.genotype} cost {evaluation.cost} seconds; in simulated time it must cost something.")
      self._running[worker] = number, Job(worker, proposal, now, now + evaluation.cost, evaluation)
      heapq.heappush(self._events, (now + evaluation.cost, _END, number, worker))
    return state
