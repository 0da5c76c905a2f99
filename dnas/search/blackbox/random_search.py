"""Random search: draws every architecture independently from the space.

It is the baseline that a search must beat at equal cost. Source: Li and Talwalkar, "Random Search and Reproducibility for Neural
Architecture Search", UAI 2019.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import Space
from dnas.search.blackbox.base import STRATEGIES, generator


@STRATEGIES.register("random_search")
@dataclasses.dataclass(frozen=True)
class Config:
  """Random search has no settings."""

  multi_objective = True

  def on(self, space: Space, costs: Sequence[str] = ()) -> "RandomSearch":
    """Returns the strategy on a space. It serves all objectives alike, since it learns from none."""
    return RandomSearch(self, space)


class State(NamedTuple):
  """The seed, and the number of proposals asked."""

  seed: int
  asked: int


class RandomSearch:
  """Random search (a `base.Strategy`), with replacement."""

  def __init__(self, config: Config, space: Space):
    """Searches the space."""
    self._space = space

  def init(self, seed: int) -> State:
    """See `base.Strategy`."""
    return State(seed, 0)

  def ask(self, state: State) -> tuple[Proposal, State]:
    """See `base.Strategy`."""
    return Proposal(self._space.sample(generator(*state))), State(state.seed, state.asked + 1)

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """See `base.Strategy`; there is nothing to learn."""
    return state
