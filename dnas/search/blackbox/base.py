"""Black-box strategies: which architecture next?

A strategy is three pure functions over a state that is a value: `init`, `ask`, `tell`. It owns no loop, no evaluator and no clock, so that
any program can drive it, and a journal of what it asked and was told brings it back to where it was.
"""

import math
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from dnas.core import keys
from dnas.core.errors import InputError, counted
from dnas.core.records import Evaluation, Proposal
from dnas.core.registry import Registry
from dnas.core.space import CellSpace

State = Any
"""A strategy's own frozen value: what it remembers, its seed, and how many numbers it has drawn."""


class Strategy(Protocol):
  """A black-box search strategy over one space. Nothing is changed in place: every call returns the state that follows.

  An implementer keeps (seed, draws) in its state and takes the generator of a draw from `generator(seed, draws)`:

    def ask(self, state):
      rng = generator(state.seed, state.asked)
      return Proposal(self.space.sample(rng)), dataclasses.replace(state, asked=state.asked + 1)
  """

  def init(self, seed: int) -> State:
    """Returns the state before the first ask; seed is not negative."""

  def ask(self, state: State) -> tuple[Proposal, State]:
    """Returns what to evaluate next."""

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """Learns what became of a proposal that this strategy asked."""


class Settings(Protocol):
  """A frozen dataclass of a strategy's settings; its docstring has an 'Attributes' section."""

  def on(self, space: CellSpace) -> Strategy:
    """Returns the strategy on a space. Raises InputError if it cannot search that space."""


STRATEGIES: Registry[type[Settings]] = Registry("strategy")
"""Name to settings: `STRATEGIES["random_search"]().on(space)`. A file of this package that defines one registers it."""


def generator(seed: int, draw: int) -> np.random.Generator:
  """Returns the source of the randomness of one draw: independent streams for all (seed, draw), both not negative."""
  return keys.generator(seed, "strategy", draw)


def score_of(evaluation: Evaluation) -> float:
  """Returns the score by which architectures are ordered; minus infinity for a training that failed, whose score is not finite."""
  return evaluation.score if math.isfinite(evaluation.score) else -math.inf


def replay(strategy: Strategy, seed: int, journal: Iterable[tuple[Proposal, Evaluation]]) -> State:
  """Returns the state that a strategy is in after what a journal holds: one ask and its tell, in turn.

  Raises:
    InputError: if the strategy asks something else than the journal says, so that the journal belongs to another strategy, space or seed.
  """
  state = strategy.init(seed)
  for number, (recorded, evaluation) in enumerate(journal):
    asked, state = strategy.ask(state)
    if asked != recorded:
      raise InputError(
        f"journal, line {number + 1}: it holds {_shown(recorded)}, and the strategy asks {_shown(asked)}; "
        "replay it with the strategy, settings, space and seed that wrote it."
      )
    state = strategy.tell(state, recorded, evaluation)
  return state


def _shown(proposal: Proposal) -> str:
  budget = "" if proposal.budget is None else f" for {counted(proposal.budget, 'epoch')}"
  return f"{proposal.genotype}{budget}" + ("" if proposal.parent is None else f" from trial {proposal.parent}")
