"""Regularized evolution: tournament selection, one mutation per child, and removal of the oldest instead of the worst.

Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, algorithm 1. The defaults are those of the
NAS-Bench-201 paper.
"""

import dataclasses
from typing import NamedTuple

from dnas.core.config import check, check_at_most, check_positive, check_types
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import Space
from dnas.search.blackbox.base import STRATEGIES, generator, score_of


@STRATEGIES.register("regularized_evolution")
@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes of the population and of a tournament.

  Attributes:
    population: size of the population, which holds the latest architectures; as many are drawn at random at the start.
    tournament: number of members drawn with replacement; the best one becomes the parent.
  """

  population: int = 10
  tournament: int = 3

  def __post_init__(self):
    check_types(self)
    check_positive(population=self.population, tournament=self.tournament)
    check_at_most(10**6, population=self.population)
    check(self.tournament <= self.population, "tournament", self.tournament, f"it must be at most the population, {self.population}")

  def on(self, space: Space) -> "RegularizedEvolution":
    """Returns the strategy on a space."""
    return RegularizedEvolution(self, space)


class State(NamedTuple):
  """The seed, the number of proposals asked, and the population as (architecture, score), the oldest first."""

  seed: int
  asked: int
  population: tuple[tuple[Genotype, float], ...]


class RegularizedEvolution:
  """Regularized evolution (a `base.Strategy`); a mutation changes one edge."""

  def __init__(self, config: Config, space: Space):
    """Searches the space."""
    self._config, self._space = config, space

  def init(self, seed: int) -> State:
    """See `base.Strategy`."""
    return State(seed, 0, ())

  def ask(self, state: State) -> tuple[Proposal, State]:
    """See `base.Strategy`."""
    rng = generator(state.seed, state.asked)
    if state.asked < self._config.population or not state.population:
      child = self._space.sample(rng)
    else:
      drawn = rng.integers(len(state.population), size=self._config.tournament)
      parent, _ = max((state.population[member] for member in drawn.tolist()), key=_score)
      child = self._space.mutate(parent, rng)
    return Proposal(child), state._replace(asked=state.asked + 1)

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """See `base.Strategy`."""
    population = (*state.population, (proposal.genotype, score_of(evaluation)))
    return state._replace(population=population[-self._config.population :])


def _score(member: tuple[Genotype, float]) -> float:
  return member[1]
