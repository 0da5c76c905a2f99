"""Records that searches and evaluators exchange."""

# What users give can have another type than the annotated one.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownArgumentType=false

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnas.core.errors import InputError, shown
from dnas.core.genotype import Architecture, Genotype

BY_CLASS = "accuracy_by_class"
"""Begins the names of the metrics that are accuracies of one class: accuracy_by_class/CLASS."""


@dataclasses.dataclass(frozen=True)
class Progress:
  """One line of a search's history, for instance an epoch.

  Attributes:
    epoch: number of complete epochs.
    metrics: scalars by name, such as 'valid/accuracy' (a fraction) or 'train/loss' (nats).
    genotype: the architecture that the search would return now, an `Architecture`.
  """

  epoch: int
  metrics: Mapping[str, float]
  genotype: Any


@dataclasses.dataclass(frozen=True)
class SearchResult:
  """The result of a search.

  Attributes:
    genotype: the architecture found.
    cost: seconds of accelerator time spent.
    metrics: the metrics of the last `Progress`.
  """

  genotype: Genotype
  cost: float
  metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Proposal:
  """A strategy's request for an evaluation.

  Attributes:
    genotype: the architecture, an `Architecture` of the space.
    budget: epochs of training; None stands for the evaluator's full training.
    parent: the id (`core.trials.trial_id`) of the trial whose training is resumed; None trains from the start.

  Values of other types raise InputError.
  """

  genotype: Any
  budget: int | None = None
  parent: str | None = None

  def __post_init__(self):
    budget, parent = self.budget, self.parent
    _check(isinstance(self.genotype, Architecture), "proposal.genotype", self.genotype, "give a Genotype, or a ChoiceGenotype")
    whole = isinstance(budget, int) and not isinstance(budget, bool) and 0 < budget < 2**63
    _check(budget is None or whole, "proposal.budget", budget, "give None, or a number of epochs above zero")
    _check(parent is None or isinstance(parent, str), "proposal.parent", parent, "give None, or the id of a trial")


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """An evaluator's answer to a proposal.

  Attributes:
    score: higher is better; computed from validation data only, in the evaluator's unit (percent accuracy in a table of results, a fraction
      where a network is trained). A score that is not finite stands for a failed training.
    cost: seconds of accelerator time, spent or read from the table; finite.
    metrics: scalars by name.

  Numbers of any kind, including arrays of shape [], become floats. Other values, and a negative or infinite cost, raise InputError.
  """

  score: float
  cost: float
  metrics: Mapping[str, float]

  def __post_init__(self):
    score, cost, metrics = _number_of(self.score), _number_of(self.cost), self.metrics
    values = {name: _number_of(value) for name, value in metrics.items()} if isinstance(metrics, Mapping) else {"": None}
    named = None not in values.values() and all(isinstance(name, str) for name in values)
    _check(score is not None, "evaluation.score", self.score, "give a number, or NaN for a training that failed")
    _check(cost is not None and 0 <= cost < math.inf, "evaluation.cost", self.cost, "give seconds, zero or more")
    _check(named, "evaluation.metrics", metrics, "give a mapping of names to numbers")
    for field, value in (("score", score), ("cost", cost), ("metrics", values)):
      object.__setattr__(self, field, value)


def _number_of(value: Any) -> float | None:
  """Returns a number or an array of shape [] as a float, and None for any other value."""
  if type(value) is float or isinstance(value, str | bytes | bool | np.bool_):
    return value if type(value) is float else None
  try:
    return None if np.ndim(value) else float(value)
  except (TypeError, ValueError, OverflowError):
    return None


def _check(condition: bool, field: str, value: Any, hint: str) -> None:
  if not condition:
    raise InputError(f"{field} is {shown(value)}; {hint}.")
