"""The interface of black-box strategies, which propose the next architecture to evaluate.

A strategy is three pure functions on an immutable state: `init`, `ask` and `tell`. It has no loop, no evaluator and no clock, so any
program can drive it. `replay` restores its state from a journal of its proposals and their evaluations.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import numpy as np

from dnas.core import keys
from dnas.core.errors import InputError, counted
from dnas.core.records import Evaluation, Proposal
from dnas.core.registry import Registry, is_settings
from dnas.core.spaces import Space

State = Any
"""The immutable state of a strategy: its memory, its seed, and its number of draws."""


class Strategy(Protocol):
  """A black-box search strategy over one space. No call changes a state in place; `ask` and `tell` return the next state.

  Keep the seed and the number of draws in the state, and take the random generator of a draw from `generator(seed, draws)`:

    def ask(self, state):
      rng = generator(state.seed, state.asked)
      return Proposal(self.space.sample(rng)), dataclasses.replace(state, asked=state.asked + 1)
  """

  def init(self, seed: int) -> State:
    """Returns the initial state; `seed` is not negative."""
    ...

  def ask(self, state: State) -> tuple[Proposal, State]:
    """Returns the next proposal to evaluate, and the next state."""
    ...

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """Returns the next state, which includes the evaluation of a proposal of this strategy."""
    ...


class Settings(Protocol):
  """The settings of a strategy: a frozen dataclass whose docstring has an 'Attributes' section.

  If proposals name the trials whose weights they inherit, the class or the instance has `names_parents`, which is True.

  A strategy searches for the score alone, unless its class has `multi_objective`, which is True. Then `on(space, costs)` also takes the
  names of the costs that it minimizes, which evaluations have in their metrics; `costs` is empty by default.
  """

  __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

  def on(self, space: Space) -> Strategy:
    """Returns the strategy on a space. Raises InputError if it cannot search that space."""
    ...


STRATEGIES: Registry[type[Settings]] = Registry("strategy", is_settings("a strategy", "on"))
"""Settings of the strategies by name: `STRATEGIES["random_search"]().on(space)`. Each module of this package registers its own."""


def generator(seed: int, draw: int) -> np.random.Generator:
  """Returns the random generator of one draw. Streams of different (seed, draw), both not negative, are independent."""
  return keys.generator(seed, "strategy", draw)


def score_of(evaluation: Evaluation) -> float:
  """Returns the score by which architectures are ranked: minus infinity if the training failed, so that its score is not finite."""
  return evaluation.score if math.isfinite(evaluation.score) else -math.inf


def cost_of(evaluation: Evaluation, name: str) -> float:
  """Returns a cost of a network from the metrics of its evaluation. Raises InputError if it is not there, or is not finite."""
  cost = evaluation.metrics.get(name, math.nan)
  if not math.isfinite(cost):
    given = ", ".join(sorted(evaluation.metrics)) or "none"
    raise InputError(f"an evaluation has no finite '{name}', which the strategy needs; its metrics are {given}.")
  return cost


def replay(strategy: Strategy, seed: int, journal: Iterable[tuple[Proposal, Evaluation]]) -> State:
  """Returns the state of a strategy after the entries of a journal: one ask and one tell per entry.

  Raises:
    InputError: if the strategy's proposal differs from the journal's, so that the journal is of another strategy, space or seed.
  """
  state = strategy.init(seed)
  for number, (recorded, evaluation) in enumerate(journal):
    asked, state = strategy.ask(state)
    if asked != recorded:
      raise InputError(
        f"journal, line {number + 1}: it holds {_shown(recorded)}, and the strategy proposes {_shown(asked)}; "
        "replay it with the strategy, settings, space and seed that wrote it."
      )
    state = strategy.tell(state, recorded, evaluation)
  return state


def _shown(proposal: Proposal) -> str:
  budget = "" if proposal.budget is None else f" for {counted(proposal.budget, 'epoch')}"
  return f"{proposal.genotype}{budget}" + ("" if proposal.parent is None else f" from trial {proposal.parent}")
