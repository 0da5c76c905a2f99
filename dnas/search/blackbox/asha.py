"""ASHA: asynchronous successive halving around any strategy.

Source: Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht and Talwalkar, "A System for Massively Parallel Hyperparameter Tuning",
MLSys 2020, algorithm 2. Whenever a worker is free, ASHA finds the highest rung with an unpromoted trial in its top 1 / eta, and promotes
that trial: its training is resumed for the next rung. If there is none, the wrapped strategy proposes a new architecture for the bottom
rung. No worker ever waits.

The wrapped strategy is told only the results of the bottom rung, because scores at different budgets are not comparable.
"""

import dataclasses

from dnas.core.config import check, check_at_most, check_name, check_positive, check_types, named
from dnas.core.errors import InputError, shown
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import Space
from dnas.search.blackbox import base, rungs
from dnas.search.blackbox.base import STRATEGIES, Strategy


@STRATEGIES.register("asha")
@dataclasses.dataclass(frozen=True)
class Config:
  """Rungs of ASHA.

  Attributes:
    strategy: name of the strategy that proposes the architectures of the bottom rung, with its default settings.
    min_budget: epochs of the bottom rung.
    max_budget: largest number of epochs of a rung.
    eta: each rung has eta times the epochs of the rung below, and promotes 1 / eta of its trials.
    budgets: epochs of the rungs, ascending, for evaluators with a few fixed budgets; empty for min_budget * eta^k.
  """

  strategy: str = named("random_search", rungs.names)
  min_budget: int = 1
  max_budget: int = 81
  eta: int = 3
  budgets: tuple[int, ...] = ()

  def __post_init__(self):
    check_types(self)
    check_name("strategy", self.strategy, rungs.names())
    check_positive(min_budget=self.min_budget)
    check_at_most(10**6, max_budget=self.max_budget)
    check(self.eta >= 2, "eta", self.eta, "it must be a whole number of at least 2")
    check(self.max_budget >= self.min_budget, "max_budget", self.max_budget, f"it must be at least min_budget, {self.min_budget}")
    ascending = all(low < high for low, high in zip((0, *self.budgets), self.budgets, strict=False))
    check(ascending, "budgets", self.budgets, "they must be above zero and ascend")

  def rungs(self) -> tuple[int, ...]:
    """Returns the epochs of the rungs, bottom first."""
    if self.budgets:
      return self.budgets
    budgets = [self.min_budget]
    while budgets[-1] * self.eta <= self.max_budget:
      budgets.append(budgets[-1] * self.eta)
    return tuple(budgets)

  def on(self, space: Space) -> "Asha":
    """See `base.Settings`."""
    return self.around(rungs.named(self.strategy, space))

  def around(self, strategy: Strategy) -> "Asha":
    """Returns ASHA around a given strategy, instead of the one that `strategy` names."""
    return Asha(strategy, self.rungs(), self.eta)


@dataclasses.dataclass(frozen=True)
class State:
  """The state of ASHA.

  Attributes:
    strategy: the state of the wrapped strategy.
    rungs: the rungs with the trials told so far, bottom first.
    promoted: ids of the promoted trials of every rung.
  """

  strategy: base.State
  rungs: tuple[rungs.Rung, ...]
  promoted: tuple[frozenset[str], ...]


@dataclasses.dataclass(frozen=True)
class Asha:
  """ASHA around a strategy (a `base.Strategy`).

  Attributes:
    strategy: the strategy that proposes the architectures of the bottom rung.
    budgets: epochs of the rungs, bottom first.
    eta: a rung promotes 1 / eta of its trials.
  """

  strategy: Strategy
  budgets: tuple[int, ...]
  eta: int

  def init(self, seed: int) -> State:
    """See `base.Strategy`."""
    return State(self.strategy.init(seed), ((),) * len(self.budgets), (frozenset(),) * len(self.budgets))

  def ask(self, state: State) -> tuple[Proposal, State]:
    """Promotes a trial from the highest rung that has a candidate, or proposes a new one for the bottom rung; see `base.Strategy`."""
    for k in reversed(range(len(self.budgets) - 1)):
      entry = self._promotable(state.rungs[k], state.promoted[k])
      if entry:
        marked = (*state.promoted[:k], state.promoted[k] | {entry.trial}, *state.promoted[k + 1 :])
        return rungs.promoted(entry, self.budgets[k + 1]), dataclasses.replace(state, promoted=marked)
    proposal, inner = rungs.ask_at(self.strategy, state.strategy, self.budgets[0])
    return proposal, dataclasses.replace(state, strategy=inner)

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """See `base.Strategy`. Raises InputError for a budget that no rung has."""
    if proposal.budget not in self.budgets:
      raise InputError(f"a proposal has the budget {proposal.budget}, and the rungs have {shown(self.budgets)}; tell what was asked.")
    k = self.budgets.index(proposal.budget)
    told = (*state.rungs[:k], rungs.with_entry(state.rungs[k], proposal, evaluation), *state.rungs[k + 1 :])
    inner = state.strategy if k else rungs.tell_to(self.strategy, state.strategy, proposal, evaluation)
    return State(inner, told, state.promoted)

  def _promotable(self, rung: rungs.Rung, promoted: frozenset[str]) -> rungs.Entry | None:
    return next((entry for entry in rungs.top(rung, len(rung) // self.eta) if entry.trial not in promoted), None)
