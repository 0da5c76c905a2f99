"""Optuna's sampler of NSGA-II with a random stream of its own for mutations."""

from typing import Any

import optuna


class Nsga2Sampler(optuna.samplers.NSGAIISampler):
  """Optuna's sampler, which mutates by a random stream of its own.

  Optuna seeds its two streams alike. A sampler lives for one ask here, so what is drawn anew would depend on who the parents are.
  """

  def __init__(self, population: int, crossover: float, mutation: float | None, seed: int):
    """Makes a sampler.

    Args:
      population: size of a generation.
      crossover: probability that a child has two parents.
      mutation: probability that a decision of a child is drawn anew; None for one over the number of decisions.
      seed: seed of its two streams.
    """
    sizes: dict[str, Any] = {"population_size": population, "crossover_prob": crossover}
    super().__init__(**sizes, mutation_prob=mutation, seed=seed)
    self._mutations = optuna.samplers.RandomSampler(seed=(seed + 1) % 2**32)

  def sample_independent(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, param_name: str, param_distribution: Any) -> Any:
    """Draws a decision anew."""
    return self._mutations.sample_independent(study, trial, param_name, param_distribution)
