"""What searches and evaluators exchange."""

import dataclasses
from collections.abc import Mapping

from dnas.core.genotype import Genotype


@dataclasses.dataclass(frozen=True)
class Progress:
  """One line of a search's history, for instance an epoch.

  Attributes:
    epoch: how many epochs are complete.
    metrics: scalars by name, such as 'valid/accuracy' (a fraction) or 'train/loss' (nats).
    genotype: the architecture that the search would return now.
  """

  epoch: int
  metrics: Mapping[str, float]
  genotype: Genotype


@dataclasses.dataclass(frozen=True)
class SearchResult:
  """What a search ends in.

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
  """What a strategy asks to have evaluated.

  Attributes:
    genotype: the architecture.
    budget: epochs of training; None stands for the evaluator's full training.
    parent: the id (`core.trials.trial_id`) of the trial whose training is to be resumed; None trains from the start.
  """

  genotype: Genotype
  budget: int | None = None
  parent: str | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What an evaluator answers to a proposal.

  Attributes:
    score: higher is better; computed from validation data only, in the unit of the evaluator (percent accuracy in a table of results,
      a fraction where a network is trained).
    cost: seconds of accelerator time spent, or that the table says would have been spent.
    metrics: scalars by name.
  """

  score: float
  cost: float
  metrics: Mapping[str, float]
