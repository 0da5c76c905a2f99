"""Remedies against the collapse of a differentiable search; each goes with every method, and with the others."""

import dataclasses

import numpy as np

from dnas.core import keys
from dnas.core.config import check, check_at_most, check_fraction, check_name, check_not_negative, check_positive, check_types
from dnas.core.space import CellSpace
from dnas.supernet.perturbations import Adversarial, Perturbation, UniformNoise, Unperturbed
from dnas.supernet.relaxations import Relaxation, SkipDropout

PERTURBATIONS = ("none", "uniform", "adversarial")


@dataclasses.dataclass(frozen=True)
class Remedies:
  """What is done against collapse; the defaults do nothing.

  Attributes:
    stop_ratio: stop early once the dominant eigenvalue of the architecture's Hessian, a mean over stop_window diagnoses, has grown so much
      since the window before that old / new is below this; the result is then the architecture of before. RobustDARTS has 0.75; 0 never
      stops.
    stop_window: diagnoses over which the eigenvalue is averaged.
    skip_dropout: probability, at the beginning, with which a skip connection is left out of a step; it falls to zero (P-DARTS).
    skip_cap: how many skip connections a cell of the result may have, 2 in P-DARTS; -1 sets no cap.
    perturbation: near which architectures the weights are trained: none, uniform (SDARTS-RS) or adversarial (SDARTS-ADV).
    perturbation_start: how far away, in architecture parameters, at the beginning of the search.
    perturbation_radius: the same at its end; it grows along a line.
    perturbation_steps: gradient evaluations of the adversary.
    projection: whether edges are decided one by one at the end, by the loss of the supernet without each operation (DARTS-PT).
    projection_epochs: epochs of training before each of these decisions.
  """

  stop_ratio: float = 0.0
  stop_window: int = 5
  skip_dropout: float = 0.0
  skip_cap: int = -1
  perturbation: str = "none"
  perturbation_start: float = 0.03
  perturbation_radius: float = 0.3
  perturbation_steps: int = 7
  projection: bool = False
  projection_epochs: int = 5

  def __post_init__(self):
    check_types(self)
    check_fraction(stop_ratio=self.stop_ratio, skip_dropout=self.skip_dropout)
    check_positive(stop_window=self.stop_window, perturbation_steps=self.perturbation_steps, projection_epochs=self.projection_epochs)
    check_at_most(1000, perturbation_steps=self.perturbation_steps)
    check_at_most(10**5, projection_epochs=self.projection_epochs)
    check_not_negative(perturbation_start=self.perturbation_start, perturbation_radius=self.perturbation_radius)
    check_at_most(1e6, perturbation_start=self.perturbation_start, perturbation_radius=self.perturbation_radius)
    check(self.skip_cap >= -1, "skip_cap", self.skip_cap, "it must be -1, for no cap, or a number of skip connections")
    check_name("perturbation", self.perturbation, PERTURBATIONS)
    stops_and_projects = bool(self.stop_ratio) and self.projection
    check(not stops_and_projects, "projection", self.projection, "a search that stops early has no end to project at: set stop_ratio to 0")

  def relaxation(self, relaxation: Relaxation, space: CellSpace) -> Relaxation:
    """Returns the relaxation with the dropout of skip connections."""
    return SkipDropout(relaxation, space, self.skip_dropout) if self.skip_dropout else relaxation

  def make_perturbation(self) -> Perturbation:
    """Returns the perturbation."""
    if self.perturbation == "adversarial":
      return Adversarial(self.perturbation_radius, self.perturbation_start, self.perturbation_steps)
    return UniformNoise(self.perturbation_radius, self.perturbation_start) if self.perturbation == "uniform" else Unperturbed()

  @property
  def cap(self) -> int | None:
    """The cap on skip connections of a cell, None for none."""
    return None if self.skip_cap < 0 else self.skip_cap


IDLE = {
  "stop_window": lambda remedies: not remedies.stop_ratio,
  "perturbation_start": lambda remedies: remedies.perturbation == "none",
  "perturbation_radius": lambda remedies: remedies.perturbation == "none",
  "perturbation_steps": lambda remedies: remedies.perturbation != "adversarial",
  "projection_epochs": lambda remedies: not remedies.projection,
}
"""Setting to whether it does nothing, given the others."""


def stops(eigenvalues: np.ndarray, ratio: float, window: int) -> bool:
  """Returns whether a search is to stop early (Zela et al., "Understanding and Robustifying DARTS", ICLR 2020, section 5).

  Args:
    eigenvalues: dominant eigenvalues of the diagnoses so far, [n], oldest first.
    ratio: the least allowed old / new.
    window: W, diagnoses in a mean; new is the mean of the last W, old that of the W which end W diagnoses before.
  """
  if not ratio or len(eigenvalues) < 2 * window:
    return False
  old, new = eigenvalues[-2 * window : -window].mean(), eigenvalues[-window:].mean()
  return bool(old < ratio * new)


@dataclasses.dataclass(frozen=True)
class Decision:
  """One decision of the projection: an operation for an edge, or the edges of a node.

  Attributes:
    cell: the cell type.
    rows: row of the edge; or rows of all edges into the node.
    operation: whether an operation is chosen; else edges are.
  """

  cell: str
  rows: tuple[int, ...]
  operation: bool


def decisions(space: CellSpace, seed: int) -> tuple[Decision, ...]:
  """Returns the decisions of a projection in their order: edges in random order, and then nodes that keep fewer edges than they have.

  Source: Wang et al., "Rethinking Architecture Selection in Differentiable NAS" (DARTS-PT), ICLR 2021, algorithms 1 and 2.
  """
  rng = keys.generator(seed, "decisions")
  edges = [Decision(cell, (row,), True) for cell in space.cells for row in range(len(space.edges))]
  targets = range(space.num_inputs, space.num_inputs + space.num_nodes)
  entering = [tuple(row for row, (_, target) in enumerate(space.edges) if target == node) for node in targets]
  nodes = [Decision(cell, rows, False) for cell in space.cells for rows in entering if len(rows) > space.edges_per_node]
  return tuple([edges[i] for i in rng.permutation(len(edges))] + [nodes[i] for i in rng.permutation(len(nodes))])
