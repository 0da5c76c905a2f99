"""The interface of search spaces, as strategies and evaluators use it."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from dnas.core.genotype import Genotype


class Space(Protocol):
  """A set of architectures: a `space.CellSpace` or a `chain_space.ChainSpace`, where each method is described."""

  @property
  def name(self) -> str:
    """The name that genotypes carry."""
    ...

  @property
  def num_inputs(self) -> int:
    """The number of states that a drawing begins with."""
    ...

  def sample(self, rng: np.random.Generator) -> Genotype:
    """Draws an architecture."""
    ...

  def mutate(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
    """Returns an architecture after one random change."""
    ...

  def neighbours(self, genotype: Genotype) -> tuple[Genotype, ...]:
    """Returns the architectures that one change leads to."""
    ...

  def validate(self, genotype: Genotype, operations: tuple[str, ...] | None = None, where: str = "genotype") -> Genotype:
    """Returns a genotype of the space. Raises InputError for another one."""
    ...

  def parse(self, value: str | Mapping[str, Any], where: str = "genotype") -> Genotype:
    """Reads a genotype. Raises InputError if there is none."""
    ...

  def notation(self, genotype: Genotype) -> str:
    """Returns a genotype as one line, which `parse` reads."""
    ...
