"""The architectures that evaluators are measured on, and what each evaluator is asked about them."""

import dataclasses
import pathlib
import time

import numpy as np

from dnas.core import keys
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.core.trials import trial_id
from dnas.evaluate import digits_bench
from dnas.evaluate.tabular import Table
from dnas.launchers._comparison_settings import BENCHMARK, ComparisonSettings, read_table

FROM_PARENTS = ("morphism",)
"""Evaluators that begin with the weights of the architecture that the proposal names as its parent."""
BY_EPOCHS = ("tabular", "training")
"""Evaluators whose proposals name a number of epochs."""


def sampled(table: Table, architectures: int, seed: int) -> tuple[Genotype, ...]:
  """Draws architectures of a table, uniformly and without replacement. A larger sample of the same seed begins with the smaller one."""
  rows = keys.generator(seed, "sampled architectures").permutation(len(table.genotypes))[:architectures]
  return tuple(table.genotypes[row] for row in rows)


def parents_of(space: CellSpace, sample: tuple[Genotype, ...]) -> list[int | None]:
  """Returns a parent for each architecture but the first: among those before it the one that differs in the fewest decisions.

  Of several such architectures it is the first. So the sample is a tree, in a random order, and a larger sample only adds leaves.
  """
  decisions = np.array([space.encode(genotype) for genotype in sample])
  return [None, *(int((decisions[:at] != decisions[at]).sum(1).argmin()) for at in range(1, len(sample)))]


def proposals_of(evaluator: str, space: CellSpace, sample: tuple[Genotype, ...], epochs: tuple[int, ...]) -> list[Proposal]:
  """Returns what an evaluator is asked: every architecture, with every number of epochs or with its parent where it takes them.

  Args:
    evaluator: the name of the evaluator.
    space: the space of the architectures.
    sample: the architectures.
    epochs: numbers of epochs, ascending.
  """
  if evaluator in BY_EPOCHS:
    return [Proposal(genotype, budget) for genotype in sample for budget in epochs]
  if evaluator not in FROM_PARENTS:
    return [Proposal(genotype) for genotype in sample]
  made: list[Proposal] = []
  for genotype, parent in zip(sample, parents_of(space, sample), strict=True):
    made.append(Proposal(genotype, parent=None if parent is None else trial_id(made[parent])))
  return made


@dataclasses.dataclass(frozen=True)
class Random:
  """Scores architectures by random numbers (an `evaluate.base.Evaluator`), for a baseline."""

  seed: int

  def __call__(self, proposal: Proposal) -> Evaluation:
    """Returns a number from 0 to 1 that depends on the architecture and the seed alone."""
    began = time.monotonic()
    score = keys.generator(self.seed, f"random score of {proposal.genotype.to_json()}").random()
    return Evaluation(score, time.monotonic() - began, {})


def full_trainings(settings: ComparisonSettings, seed: int) -> np.ndarray:
  """Returns the scores by full training that an evaluator of a seed is compared with, percent, [rows of the table].

  Of digits_bench they are the mean over the trainings from its other seeds, which no evaluator of this seed has seen.
  """
  if settings.table != BENCHMARK:
    return read_table(settings.table, settings.dataset).valid(settings.epochs)
  others = [other for other in range(digits_bench.SEEDS) if other != seed % digits_bench.SEEDS]
  mean = np.mean([read_table(settings.table, settings.dataset, other).valid(settings.epochs) for other in others], axis=0)
  return np.round(mean, 9)  # so that rounding does not order equal means


def has_other_trainings(settings: ComparisonSettings) -> bool:
  """Returns whether the table has full trainings beside those that evaluators are compared with."""
  return settings.table == BENCHMARK


def cell_folder(root: pathlib.Path, evaluator: str, seed: int) -> pathlib.Path:
  """Returns the folder of one evaluator and one seed."""
  return root / evaluator / f"seed_{seed:04d}"
