"""The configurations of the launchers: components mounted side by side. Presets and notebooks use the same objects."""

import dataclasses

from dnas.cells.registries import SPACES
from dnas.core.config import check, check_name
from dnas.data import datasets
from dnas.data.base import Config as DataConfig
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.search.darts import Config as DartsConfig
from dnas.supernet.hypergradients import (
  HYPERGRADIENTS,
  FiniteDifference,
  Hypergradient,
  ImplicitConjugateGradient,
  ImplicitNeumann,
  Unrolled,
)
from dnas.supernet.image_supernet import Config as SupernetConfig
from dnas.train.images import Config as RetrainConfig


@dataclasses.dataclass(frozen=True)
class SearchConfig:
  """A differentiable search.

  Attributes:
    space: name of the search space, darts_conv or nasnet.
    hypergradient: estimator of the hypergradient: first_order, finite_difference, unrolled, implicit_cg or implicit_neumann.
    seed: of initial weights and architecture, order of the data, and augmentation.
  """

  space: str = "darts_conv"
  hypergradient: str = "first_order"
  seed: int = 2
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  supernet: SupernetConfig = dataclasses.field(default_factory=SupernetConfig)
  darts: DartsConfig = dataclasses.field(default_factory=DartsConfig)
  finite_difference: FiniteDifference = dataclasses.field(default_factory=FiniteDifference)
  unrolled: Unrolled = dataclasses.field(default_factory=Unrolled)
  implicit_cg: ImplicitConjugateGradient = dataclasses.field(default_factory=ImplicitConjugateGradient)
  implicit_neumann: ImplicitNeumann = dataclasses.field(default_factory=ImplicitNeumann)

  def __post_init__(self):
    _check_seed_and_dataset(self.seed, self.data.dataset)
    check_name("space", self.space, SPACES)
    check_name("hypergradient", self.hypergradient, HYPERGRADIENTS)

  def make_hypergradient(self) -> Hypergradient:
    """Returns the chosen estimator with its settings."""
    settings = getattr(self, self.hypergradient, None)
    return settings if settings is not None else HYPERGRADIENTS[self.hypergradient]()


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """The training of one architecture.

  Attributes:
    genotype: a published name, the folder of a search, a file with a genotype, or random:SEED.
    seed: of initial weights, order of the data, augmentation and drop-path.
  """

  genotype: str = "DARTS_V2"
  seed: int = 0
  data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(train_portion=1.0))
  network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
  train: RetrainConfig = dataclasses.field(default_factory=RetrainConfig)

  def __post_init__(self):
    _check_seed_and_dataset(self.seed, self.data.dataset)


def _check_seed_and_dataset(seed: int, dataset: str) -> None:
  check(0 <= seed < 2**32, "seed", seed, "it must be at least 0 and below 2^32, as random keys take 32 bits")
  check_name("data.dataset", dataset, datasets.DATASETS)
