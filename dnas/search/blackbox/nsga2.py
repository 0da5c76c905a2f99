"""NSGA-II: a genetic algorithm for several objectives.

Source: Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE Transactions on
Evolutionary Computation 2002, by Optuna's sampler. The population is sorted into fronts, and by crowding distance within a front. Parents
come from tournaments. A child takes every decision from one of two parents (uniform crossover). Mutation draws a decision anew.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dnas.core.config import check, check_at_most, check_fraction, check_types
from dnas.core.spaces import Space
from dnas.search.blackbox.base import STRATEGIES
from dnas.search.blackbox.by_optuna import strategy_class
from dnas.search.blackbox.decisions import of_decisions

if TYPE_CHECKING:
  from dnas.search.blackbox.by_optuna.strategy import OptunaStrategy


@STRATEGIES.register("nsga2")
@dataclasses.dataclass(frozen=True)
class Config:
  """Settings of NSGA-II.

  Attributes:
    population: size of a generation; as many architectures are drawn at random at the start.
    crossover: probability that a child has two parents.
    mutation: probability that a decision of a child is drawn anew; 0 for one over the number of decisions.
  """

  population: int = 20
  crossover: float = 0.9
  mutation: float = 0.0

  multi_objective = True

  def __post_init__(self):
    check_types(self)
    check(self.population >= 2, "population", self.population, "a child has two parents, so give at least 2")
    check_at_most(10**6, population=self.population)
    check(0 <= self.crossover <= 1, "crossover", self.crossover, "it is a probability, so give 0 to 1")
    check_fraction(mutation=self.mutation)

  def on(self, space: Space, costs: Sequence[str] = ()) -> "OptunaStrategy":
    """Returns the strategy on a space; it minimizes the costs. Raises InputError if the space has no decisions, or without Optuna."""
    return strategy_class("nsga2")(of_decisions(space), self._sampler, joint=True, costs=costs, remembers=True)

  def _sampler(self, seed: int) -> Any:
    from dnas.search.blackbox.by_optuna.nsga2_sampler import Nsga2Sampler

    return Nsga2Sampler(self.population, self.crossover, self.mutation or None, seed)
