"""Hyperband around any strategy: synchronous successive halving in brackets with different numbers of trials and budgets.

Source: Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR
2018, algorithm 1. After the last bracket, the first one starts again. A promoted training is resumed.

A rung must be complete before its best trials are promoted, so workers wait for each other (`Hyperband.waits`). The wrapped strategy is
told the results of the first rung of every bracket. The budgets of these rungs differ from bracket to bracket.
"""

import dataclasses

from dnas.core.config import check, check_at_most, check_name, check_positive, check_types, named
from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import Space
from dnas.search.blackbox import base, rungs
from dnas.search.blackbox.base import STRATEGIES, Strategy


@STRATEGIES.register("hyperband")
@dataclasses.dataclass(frozen=True)
class Config:
  """Brackets of Hyperband.

  Attributes:
    strategy: name of the strategy that proposes the architectures of the first rungs, with its default settings.
    min_budget: smallest number of epochs of a rung.
    max_budget: epochs of the last rung of every bracket.
    eta: each rung has eta times the epochs of the previous rung, and 1 / eta of its trials.
  """

  strategy: str = named("random_search", rungs.names)
  min_budget: int = 1
  max_budget: int = 81
  eta: int = 3

  def __post_init__(self):
    check_types(self)
    check_name("strategy", self.strategy, rungs.names())
    check_positive(min_budget=self.min_budget)
    check_at_most(10**6, max_budget=self.max_budget)
    check(self.eta >= 2, "eta", self.eta, "it must be a whole number of at least 2")
    check(self.max_budget >= self.min_budget, "max_budget", self.max_budget, f"it must be at least min_budget, {self.min_budget}")

  def brackets(self) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Returns the rungs of every bracket as (number of trials, epochs). The bracket with the most trials is first."""
    largest = 0
    while self.min_budget * self.eta ** (largest + 1) <= self.max_budget:
      largest += 1
    out = []
    for s in reversed(range(largest + 1)):
      trials = -(-(largest + 1) * self.eta**s // (s + 1))  # rounded up
      out.append(tuple((trials // self.eta**i, self.max_budget // self.eta ** (s - i)) for i in range(s + 1)))
    return tuple(out)

  def rungs(self) -> tuple[int, ...]:
    """Returns the epochs of all rungs, ascending."""
    return tuple(sorted({epochs for bracket in self.brackets() for _, epochs in bracket}))

  def on(self, space: Space) -> "Hyperband":
    """See `base.Settings`."""
    return self.around(rungs.named(self.strategy, space))

  def around(self, strategy: Strategy) -> "Hyperband":
    """Returns Hyperband around a given strategy, instead of the one that `strategy` names."""
    return Hyperband(strategy, self.brackets())


@dataclasses.dataclass(frozen=True)
class State:
  """The state of Hyperband.

  Attributes:
    strategy: the state of the wrapped strategy.
    bracket: number of the current bracket.
    position: number of the current rung in its bracket.
    queue: proposals promoted from the previous rung that were not asked yet.
    asked: number of trials of this rung that were asked.
    told: number of trials of this rung that are complete.
    rung: the complete trials of this rung.
  """

  strategy: base.State
  bracket: int = 0
  position: int = 0
  queue: tuple[Proposal, ...] = ()
  asked: int = 0
  told: int = 0
  rung: rungs.Rung = ()


@dataclasses.dataclass(frozen=True)
class Hyperband:
  """Hyperband around a strategy (a `base.Strategy`).

  Attributes:
    strategy: the strategy that proposes the architectures of the first rungs.
    brackets: the rungs of every bracket, as (number of trials, epochs).
  """

  strategy: Strategy
  brackets: tuple[tuple[tuple[int, int], ...], ...]

  def init(self, seed: int) -> State:
    """See `base.Strategy`."""
    return State(self.strategy.init(seed))

  def waits(self, state: State) -> bool:
    """Returns whether a free worker must wait: all trials of the rung were asked, and not all are complete."""
    return state.asked == self._size(state)

  def ask(self, state: State) -> tuple[Proposal, State]:
    """See `base.Strategy`. Raises InputError while the state `waits`."""
    if self.waits(state):
      raise InputError("Hyperband is asked while a rung is incomplete; tell the running evaluations first, or see `waits`.")
    asked = state.asked + 1
    if state.position:
      return state.queue[0], dataclasses.replace(state, queue=state.queue[1:], asked=asked)
    budget = self.brackets[state.bracket][0][1]
    proposal, inner = rungs.ask_at(self.strategy, state.strategy, budget)
    return proposal, dataclasses.replace(state, strategy=inner, asked=asked)

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """Completes a trial. After the last trial of a rung, promotes its best or starts the next bracket; see `base.Strategy`."""
    size = self._size(state)
    if not state.position:
      state = dataclasses.replace(state, strategy=rungs.tell_to(self.strategy, state.strategy, proposal, evaluation))
    rung, told = rungs.with_entry(state.rung, proposal, evaluation), state.told + 1
    if told < size:
      return dataclasses.replace(state, rung=rung, told=told)
    later = self.brackets[state.bracket][state.position + 1 :]
    queue = tuple(rungs.promoted(entry, later[0][1]) for entry in rungs.top(rung, later[0][0])) if later else ()
    if queue:
      return State(state.strategy, state.bracket, state.position + 1, queue)
    return State(state.strategy, (state.bracket + 1) % len(self.brackets))

  def _size(self, state: State) -> int:
    """Returns the size of the rung. It is below the plan if the previous rung had duplicate architectures or failed trainings."""
    planned, _ = self.brackets[state.bracket][state.position]
    return state.asked + len(state.queue) if state.position else planned
