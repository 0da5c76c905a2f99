"""The configurations of the launchers: components mounted side by side. Presets and notebooks use the same objects.

A search and a training have one configuration for images and one for text, which differ in their components; --space tells them apart.
"""

import dataclasses
from collections.abc import Iterable

from dnas.cells.language_model import Config as LanguageModelConfig
from dnas.cells.registries import SPACES
from dnas.core.config import check, check_name
from dnas.data import datasets
from dnas.data.base import Config as DataConfig
from dnas.data.text import TEXTS
from dnas.data.text import Config as TextConfig
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
from dnas.train.language import Config as LanguageRetrainConfig

TEXT_SPACES = ("darts_recurrent",)
IMAGE_SPACES = tuple(name for name in SPACES if name not in TEXT_SPACES)


@dataclasses.dataclass(frozen=True)
class SearchConfig:
  """A differentiable search: what images and text have in common.

  Attributes:
    space: name of the search space: darts_conv or nasnet for images, darts_recurrent for text.
    hypergradient: estimator of the hypergradient: first_order, finite_difference, unrolled, implicit_cg or implicit_neumann.
    seed: of initial weights and architecture, order or division of the data, augmentation and dropout.
  """

  space: str = "darts_conv"
  hypergradient: str = "first_order"
  seed: int = 2
  finite_difference: FiniteDifference = dataclasses.field(default_factory=FiniteDifference)
  unrolled: Unrolled = dataclasses.field(default_factory=Unrolled)
  implicit_cg: ImplicitConjugateGradient = dataclasses.field(default_factory=ImplicitConjugateGradient)
  implicit_neumann: ImplicitNeumann = dataclasses.field(default_factory=ImplicitNeumann)

  def __post_init__(self):
    _check_seed(self.seed)
    check_name("hypergradient", self.hypergradient, HYPERGRADIENTS)

  def make_hypergradient(self) -> Hypergradient:
    """Returns the chosen estimator with its settings."""
    settings = getattr(self, self.hypergradient, None)
    return settings if settings is not None else HYPERGRADIENTS[self.hypergradient]()


@dataclasses.dataclass(frozen=True)
class ImageSearchConfig(SearchConfig):
  """A differentiable search on images; the defaults are the published CIFAR-10 recipe, on a small data set."""

  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  supernet: SupernetConfig = dataclasses.field(default_factory=SupernetConfig)
  darts: DartsConfig = dataclasses.field(default_factory=DartsConfig)

  def __post_init__(self):
    super().__post_init__()
    _check_space(self.space, IMAGE_SPACES, "images")
    check_name("data.dataset", self.data.dataset, datasets.DATASETS)


PTB_SEARCH = DartsConfig(
  epochs=50,
  learning_rate=20.0,
  final_learning_rate=20.0,
  momentum=0.0,
  weight_decay=5e-7,
  gradient_clip=0.25,
  arch_learning_rate=3e-3,
  arch_beta1=0.9,
  arch_beta2=0.999,
  arch_weight_decay=1e-3,
  arch_init_scale=1e-3,
)
"""The optimizers of the published search on Penn Treebank."""


@dataclasses.dataclass(frozen=True)
class LanguageSearchConfig(SearchConfig):
  """A differentiable search on text; the defaults are the published Penn Treebank recipe, on a small text in batches of 64.

  Attributes:
    shared_masks: whether every evaluation in a step sees the same dropout masks; false draws them anew for every evaluation of the
      hypergradient, as the published code does, which drowns the second-order part in noise.
  """

  space: str = "darts_recurrent"
  seed: int = 3
  shared_masks: bool = True
  data: TextConfig = dataclasses.field(default_factory=TextConfig)
  supernet: LanguageModelConfig = dataclasses.field(default_factory=LanguageModelConfig)
  darts: DartsConfig = PTB_SEARCH

  def __post_init__(self):
    super().__post_init__()
    _check_space(self.space, TEXT_SPACES, "text")
    check_name("data.dataset", self.data.dataset, TEXTS)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """The training of one architecture: what images and text have in common.

  Attributes:
    space: name of the search space, to which random:SEED and DARTS_V2 refer: darts_conv or nasnet for images, darts_recurrent for text.
    genotype: a published name, the folder of a search, a file with a genotype, or random:SEED.
    seed: of initial weights, order or division of the data, augmentation, drop-path and dropout.
  """

  space: str = "darts_conv"
  genotype: str = "DARTS_V2"
  seed: int = 0

  def __post_init__(self):
    _check_seed(self.seed)


@dataclasses.dataclass(frozen=True)
class ImageTrainConfig(TrainConfig):
  """The training of one convolutional architecture; the defaults are the published CIFAR-10 recipe, on a small data set."""

  data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(train_portion=1.0))
  network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
  train: RetrainConfig = dataclasses.field(default_factory=RetrainConfig)

  def __post_init__(self):
    super().__post_init__()
    _check_space(self.space, IMAGE_SPACES, "images")
    check_name("data.dataset", self.data.dataset, datasets.DATASETS)


@dataclasses.dataclass(frozen=True)
class LanguageTrainConfig(TrainConfig):
  """The training of one recurrent architecture; the defaults are the published Penn Treebank recipe, on a small text."""

  space: str = "darts_recurrent"
  seed: int = 1267
  data: TextConfig = dataclasses.field(default_factory=lambda: TextConfig(length_deviation=5.0, buckets=5))
  network: LanguageModelConfig = dataclasses.field(default_factory=lambda: LanguageModelConfig(units=850, dropout_words=0.1))
  train: LanguageRetrainConfig = dataclasses.field(default_factory=LanguageRetrainConfig)

  def __post_init__(self):
    super().__post_init__()
    _check_space(self.space, TEXT_SPACES, "text")
    check_name("data.dataset", self.data.dataset, TEXTS)


def _check_seed(seed: int) -> None:
  check(0 <= seed < 2**32, "seed", seed, "it must be at least 0 and below 2^32, as random keys take 32 bits")


def _check_space(space: str, known: Iterable[str], kind: str) -> None:
  check_name("space", space, SPACES)
  check(space in known, "space", space, f"this preset is for {kind}, so give {' or '.join(known)}, or another preset")
