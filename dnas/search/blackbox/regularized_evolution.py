"""Regularized evolution: tournament selection, one mutation per child, and removal of the oldest instead of the worst.

Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, algorithm 1. The defaults are those of the
NAS-Bench-201 paper.

A limit of a cost is a constraint by Deb's feasibility rules: Deb, "An Efficient Constraint Handling Method for Genetic Algorithms", 2000,
section 2; Deb et al., "NSGA-II", 2002, section VI. An architecture within the limit beats every one over it. Of two within, the higher
score wins. Of two over it, the cheaper one wins.
"""

import dataclasses
from typing import NamedTuple

from dnas.core.config import check, check_at_most, check_not_negative, check_positive, check_types
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import Space
from dnas.core.trials import trial_id
from dnas.search.blackbox.base import STRATEGIES, cost_of, generator, score_of


@STRATEGIES.register("regularized_evolution")
@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes of the population and of a tournament.

  Attributes:
    population: size of the population, which holds the latest architectures; as many are drawn at random at the start.
    tournament: number of members drawn with replacement; the best one becomes the parent.
    inherit: whether a child names the trial of its parent, whose weights it inherits with the evaluator morphism.
    limit_of: name of the cost that is limited, such as multiply_adds; empty for no limit. The evaluator must know this cost.
    limit: the most that an architecture may have of that cost, in its unit.
  """

  population: int = 10
  tournament: int = 3
  inherit: bool = False
  limit_of: str = ""
  limit: float = 0.0

  def __post_init__(self):
    check_types(self)
    check_positive(population=self.population, tournament=self.tournament)
    check_at_most(10**6, population=self.population)
    check_not_negative(limit=self.limit)
    check(self.tournament <= self.population, "tournament", self.tournament, f"it must be at most the population, {self.population}")

  @property
  def names_parents(self) -> bool:
    """Whether proposals name a parent."""
    return self.inherit

  def violation(self, evaluation: Evaluation) -> float:
    """Returns by how much a network is over the limit, zero if it is within. Raises InputError if the evaluation lacks that cost."""
    return max(0.0, cost_of(evaluation, self.limit_of) - self.limit) if self.limit_of else 0.0

  def on(self, space: Space) -> "RegularizedEvolution":
    """Returns the strategy on a space."""
    return RegularizedEvolution(self, space)


class Member(NamedTuple):
  """An architecture with its score, the id of its trial, and by how much it is over the limit."""

  genotype: Genotype
  score: float
  trial: str
  violation: float = 0.0


class State(NamedTuple):
  """The seed, the number of proposals asked, and the population, the oldest first."""

  seed: int
  asked: int
  population: tuple[Member, ...]


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
      proposal = Proposal(self._space.sample(rng))
    else:
      drawn = rng.integers(len(state.population), size=self._config.tournament)
      parent = max((state.population[member] for member in drawn.tolist()), key=_fitness)
      child = self._space.mutate(parent.genotype, rng)
      proposal = Proposal(child, parent=parent.trial if self._config.inherit else None)
    return proposal, state._replace(asked=state.asked + 1)

  def tell(self, state: State, proposal: Proposal, evaluation: Evaluation) -> State:
    """See `base.Strategy`."""
    member = Member(proposal.genotype, score_of(evaluation), trial_id(proposal), self._config.violation(evaluation))
    population = (*state.population, member)
    return state._replace(population=population[-self._config.population :])


def _fitness(member: Member) -> tuple[float, float]:
  return -member.violation, member.score
