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
