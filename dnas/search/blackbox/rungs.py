"""Rungs of successive halving: the trials at one budget, ranked by score."""

import bisect
import dataclasses
import math
import operator
from typing import Any, NamedTuple

from dnas.core.errors import FieldError, InputError, counted
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import Space
from dnas.core.trials import trial_id
from dnas.search.blackbox import random_search  # noqa: F401  (registers the strategy that is wrapped by default)
from dnas.search.blackbox.base import STRATEGIES, State, Strategy, score_of


class Entry(NamedTuple):
  """A complete trial: its score (minus infinity if the training failed), its id and its architecture."""

  score: float
  trial: str
  genotype: Genotype


Rung = tuple[Entry, ...]
"""Complete trials at one budget, best first. Trials with equal scores are in the order in which they were told. Trials are unique."""


def with_entry(rung: Rung, proposal: Proposal, evaluation: Evaluation) -> Rung:
  """Returns the rung with one more trial, or the same rung if it has the trial already."""
  entry = Entry(score_of(evaluation), trial_id(proposal), proposal.genotype)
  if entry.trial in map(_trial, rung):
    return rung
  place = bisect.bisect_right(rung, -entry.score, key=_negative_score)
  return (*rung[:place], entry, *rung[place:])


def top(rung: Rung, number: int) -> Rung:
  """Returns the best trials of a rung, at most `number`, without failed trainings."""
  return rung[: min(number, bisect.bisect_left(rung, math.inf, key=_negative_score))]


def promoted(entry: Entry, budget: int) -> Proposal:
  """Returns the proposal that resumes the training of an entry up to a larger budget."""
  return Proposal(entry.genotype, budget, entry.trial)


def names() -> list[str]:
  """Returns the names of the strategies that can be wrapped: those without a wrapped strategy of their own, and without parents."""
  alone = [name for name in STRATEGIES if getattr(STRATEGIES[name], "names_parents", False) is not True]
  return [name for name in alone if "strategy" not in {field.name for field in dataclasses.fields(STRATEGIES[name])}]


def named(strategy: str, space: Space) -> Strategy:
  """Returns the named strategy on a space, with default settings. Raises InputError if there is no such strategy."""
  return STRATEGIES[strategy]().on(space)


def check_fit(name: str, settings: Any, epochs: int) -> None:
  """Raises FieldError if the settings of a strategy, `name`, have a rung above a full training of so many epochs."""
  budgets = settings.rungs() if hasattr(settings, "rungs") else ()
  if budgets and budgets[-1] > epochs:
    of_list = getattr(settings, "budgets", ())
    hint = f"the longest rung has {counted(budgets[-1], 'epoch')} and a full training {epochs}; give at most that"
    raise FieldError(f"{name}.{'budgets' if of_list else 'max_budget'}", ",".join(map(str, of_list)) or settings.max_budget, hint)


def ask_at(strategy: Strategy, state: State, budget: int) -> tuple[Proposal, State]:
  """Asks a wrapped strategy for an architecture, and sets the proposal's budget.

  Raises:
    InputError: if the strategy sets budgets itself.
  """
  proposal, state = strategy.ask(state)
  if proposal.budget is not None or proposal.parent is not None:
    raise InputError(
      f"strategy {type(strategy).__name__} sets budgets itself, so rungs cannot; give a strategy that proposes architectures only."
    )
  return dataclasses.replace(proposal, budget=budget), state


def tell_to(strategy: Strategy, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
  """Tells a wrapped strategy the evaluation of its own proposal, which had no budget."""
  return strategy.tell(state, Proposal(proposal.genotype), evaluation)


_trial = operator.attrgetter("trial")


def _negative_score(entry: Entry) -> float:
  return -entry.score
