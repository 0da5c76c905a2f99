"""The interface of evaluators: a function from a proposal to an evaluation. What evaluators by one training have in common."""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.supernet.discretize import one_hot


class Evaluator(Protocol):
  """Scores an architecture on validation data alone, and returns the score with its cost.

  The same proposal gives the same score at every call. An evaluator has no access to a test set.
  """

  def __call__(self, proposal: Proposal) -> Evaluation:
    """Evaluates the architecture with its budget; resumes the training that the proposal names, if any (`core.trials.trial_id`).

    Raises:
      InputError: if the evaluator has no such budget, or the architecture is not of its space.
    """
    ...


class Shared(Protocol):
  """What one training serves all architectures with, for instance a supernet."""

  @property
  def space(self) -> CellSpace:
    """The search space."""
    ...

  def validate(self, weights: Any, path: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns 'accuracy' (a fraction) and further metrics of one architecture, which `discretize.one_hot` encodes. Changes no state."""
    ...


class TrainedOnce:
  """Evaluates by what one training made, which it never changes (an `Evaluator`): the score is validation accuracy, a fraction.

  Attributes:
    seconds: wall time of the training.
    compilation: the part of it that the training would have saved if its programs had been there.
  """

  def __init__(self, shared: Shared, weights: Any, seconds: float = 0.0, compilation: float = 0.0):
    """Makes the evaluator.

    Args:
      shared: what was trained, with its data.
      weights: the trained weights.
      seconds: the cost of that training; it is added to the cost of the first evaluation.
      compilation: the part of it in which programs were compiled.
    """
    self.seconds, self.compilation = seconds, compilation
    self._shared, self._weights, self._owed = shared, weights, seconds

  def settle(self) -> None:
    """Takes the training as paid, for instance by an evaluation before a search was interrupted."""
    self._owed = 0.0

  def __call__(self, proposal: Proposal) -> Evaluation:
    """Validates one architecture. The budget is ignored. Raises InputError if the architecture is not of the space."""
    space, began = self._shared.space, time.monotonic()
    metrics = self._shared.validate(self._weights, one_hot(space, space.validate(proposal.genotype)))
    cost, self._owed = time.monotonic() - began + self._owed, 0.0
    return Evaluation(metrics["accuracy"], cost, {f"valid/{name}": value for name, value in metrics.items()})
