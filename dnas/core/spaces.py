"""The interfaces of search spaces. `CellSpace` and `ChoiceSpace` have both, `ChainSpace` has the first."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np


class Space(Protocol):
  """A search space is a value, and knows no network. Its architectures are values of one type."""

  @property
  def name(self) -> str:
    """The name that architectures carry."""
    ...

  def sample(self, rng: np.random.Generator) -> Any:
    """Draws an architecture."""
    ...

  def mutate(self, genotype: Any, rng: np.random.Generator) -> Any:
    """Returns the architecture with one change, drawn at random."""
    ...

  def neighbours(self, genotype: Any) -> tuple[Any, ...]:
    """Returns the architectures that differ by one change."""
    ...

  def parse(self, value: Any, where: str = "genotype") -> Any:
    """Reads an architecture; `where` is how an error names the input. Raises InputError if the value is none."""
    ...

  def validate(self, genotype: Any, *, where: str = "genotype") -> Any:
    """Returns the architecture. Raises InputError if it is not one of this space; `where` is how the error names it."""
    ...

  def notation(self, genotype: Any) -> str:
    """Returns an architecture as one line; `parse` reads it back."""
    ...


@runtime_checkable
class DecisionSpace(Space, Protocol):
  """A space whose architectures are tuples of a fixed number of decisions, which strategies and mixtures learn.

  A differentiable search knows a space by its groups of architecture parameters: the cell types of a `CellSpace`, the choices of a
  `ChoiceSpace`. The parameters of a group are [rows, columns]. A row is an edge of a cell, or the only row of a choice. What chooses
  architectures by mixture weights is in `supernet.discretize`.
  """

  @property
  def arch_shapes(self) -> Mapping[str, tuple[int, int]]:
    """Group to the shape of its architecture parameters."""
    ...

  def columns_of(self, group: str) -> tuple[str, ...]:
    """Returns the names of the columns of a group."""
    ...

  @property
  def decisions(self) -> tuple[int, ...]:
    """The number of values of each decision, where an architecture is a tuple of integer decisions."""
    ...

  def decode(self, decisions: Sequence[int]) -> Any:
    """Returns the architecture with these values of `decisions`. Raises InputError if they are not of this space."""
    ...

  def encode(self, genotype: Any) -> tuple[int, ...]:
    """Returns values of `decisions` that `decode` maps to the architecture."""
    ...
