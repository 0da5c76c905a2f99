"""The configurations of the launchers: components mounted side by side. Presets and notebooks use the same objects.

A search and a training have one configuration for images and one for text, which differ in their components; --space tells them apart.
"""

import dataclasses
from typing import Any

from dnas.cells.language_model import Config as LanguageModelConfig
from dnas.cells.registries import CHAIN_SPACES, SPACES
from dnas.core import config as config_lib
from dnas.core.config import check, check_at_most, check_name, check_positive, check_types, named
from dnas.core.errors import FieldError, InputError
from dnas.core.space import CellSpace
from dnas.data import datasets
from dnas.data.base import Config as DataConfig
from dnas.data.text import TEXTS
from dnas.data.text import Config as TextConfig
from dnas.launchers._config_checks import check_seed, check_space, idle_data
from dnas.launchers._config_checks import is_of_text as is_of_text
from dnas.launchers._method_config import MethodConfig
from dnas.launchers._network_choice import OF_CELL_NETWORKS, OF_CELLS, NetworkChoice
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.nets.models import IMAGE_MODELS, LANGUAGE_MODELS
from dnas.search.gradient.darts import Config as DartsConfig
from dnas.search.gradient.limits import Config as CostConfig
from dnas.search.gradient.methods import METHODS, check_channels
from dnas.search.gradient.remedies import Remedies
from dnas.supernet.hypergradients import HYPERGRADIENTS
from dnas.supernet.image_supernet import Config as SupernetConfig
from dnas.train.dynamic_evaluation import Config as DynamicEvaluationConfig
from dnas.train.images import Config as RetrainConfig
from dnas.train.language import Config as LanguageRetrainConfig


@config_lib.mounts(METHODS, HYPERGRADIENTS)
@dataclasses.dataclass(frozen=True)
class SearchConfig(MethodConfig):
  """The settings of a differentiable search that images and text share, and the settings of every method and hypergradient.

  Attributes:
    space: name of the search space; it decides whether the data are images or text.
    method: the differentiable method.
    hypergradient: estimator of the hypergradient; empty for the default of the method: single_level for snas, else first_order.
    without: operations of the space that the search leaves out, with commas between their names, such as none.
    seed: seed of the initial weights and architecture, of the order of the data or the lengths of its windows, of augmentation and dropout.
    num_seeds: number of searches that run at once, with this seed and the following ones; each has a folder seed_SEED in --workdir.
  """

  space: str = named("darts_conv", lambda: SPACES)
  method: str = named("darts", lambda: METHODS)
  hypergradient: str = named("", lambda: HYPERGRADIENTS)
  without: str = ""
  seed: int = 2
  num_seeds: int = 1
  remedies: Remedies = dataclasses.field(default_factory=Remedies)

  def __post_init__(self):
    check_types(self)
    check_positive(num_seeds=self.num_seeds)
    check_at_most(1000, num_seeds=self.num_seeds)
    check_seed(self.seed)
    check_seed(self.seed + self.num_seeds - 1)
    check_name("method", self.method, METHODS)
    if self.hypergradient:
      check_name("hypergradient", self.hypergradient, HYPERGRADIENTS)

  def searched_space(self) -> CellSpace:
    """Returns the space without the operations left out. Raises FieldError if the space has no such operation."""
    names = [name.strip() for name in self.without.split(",") if name.strip()]
    try:
      return SPACES[self.space].without(names)
    except InputError as e:
      raise FieldError("without", self.without, str(e).removesuffix(".")) from None

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    component, _, field = path.partition(".")
    return idle_data(self, field) if component == "data" else super().idle(path)


@dataclasses.dataclass(frozen=True)
class ImageSearchConfig(SearchConfig):
  """A differentiable search on images; the defaults are the published CIFAR-10 recipe, on a small data set.

  Attributes:
    start_from: folder of a finished search with the same space and supernet. This search is its next stage and starts from its weights. The
      operations of the earlier stage may see a smaller part of the channels. With --num_seeds, give one of its folders seed_SEED. Empty
      starts from new weights.
    keep_operations: number of operations that every edge keeps, the strongest ones of the search in start_from; 0 keeps all.
  """

  start_from: str = ""
  keep_operations: int = 0
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  supernet: SupernetConfig = dataclasses.field(default_factory=SupernetConfig)
  darts: DartsConfig = dataclasses.field(default_factory=DartsConfig)
  cost: CostConfig = dataclasses.field(default_factory=CostConfig)

  def __post_init__(self):
    super().__post_init__()
    check_space(self.space, of_text=False, of_cells=True)
    check_name("data.dataset", self.data.dataset, datasets.DATASETS)
    check_channels(self.make_method(), self.method, self.supernet.channels)
    space = self.searched_space()
    choices = len(space.operations) if space.edge_choices is None else space.num_choices
    check(0 <= self.keep_operations <= choices, "keep_operations", self.keep_operations, f"an edge has {choices} operations")
    idle = bool(self.keep_operations) and not self.start_from
    check(not idle, "keep_operations", self.keep_operations, "it does nothing without --start_from, so leave it out")

  def idle(self, path: str) -> str:
    """See `SearchConfig.idle`."""
    component, _, field = path.partition(".")
    return self.cost.idle(field) if component == "cost" else super().idle(path)


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
    shared_masks: whether every pass of a step uses the same dropout masks. false draws new masks for every pass of the hypergradient, as
      the published code does; their noise hides the second-order part.
  """

  space: str = named("darts_recurrent", lambda: SPACES)
  seed: int = 3
  shared_masks: bool = True
  data: TextConfig = dataclasses.field(default_factory=TextConfig)
  supernet: LanguageModelConfig = dataclasses.field(default_factory=LanguageModelConfig)
  darts: DartsConfig = PTB_SEARCH

  def __post_init__(self):
    super().__post_init__()
    check_space(self.space, of_text=True)
    self.searched_space()
    check_name("data.dataset", self.data.dataset, TEXTS)
    parts = self.make_method().partial_channels
    check(parts == 1, f"{self.method}.partial_channels", parts, "text has no channels, so it must be 1")


@dataclasses.dataclass(frozen=True)
class TrainConfig(NetworkChoice):
  """The settings of a training that images and text share.

  Attributes:
    space: name of the search space of the genotype; it decides whether the data are images or text.
    genotype: a published name, the folder of a search, random:SEED, a genotype, or a file with a genotype.
    model: a human-designed network to train in place of the network of a genotype; empty for that of the genotype.
    seed: seed of the initial weights, of the order of the data or the lengths of its windows, of augmentation, drop-path and dropout.
    test: whether the network is tested after the last epoch; a trial of a tuning is not tested.
    start_from: folder of a finished training of the same network. This training starts from its weights. Images may have other classes; if
      their number differs, the classifier is drawn anew. Text must be the same, and the weights are those with the lowest validation
      loss, as in the finetuning of published recipes. Empty starts from new weights.
  """

  space: str = named("darts_conv", lambda: [*SPACES, *CHAIN_SPACES])
  genotype: str = "DARTS_V2"
  model: str = ""
  seed: int = 0
  test: bool = True
  start_from: str = ""

  def __post_init__(self):
    check_types(self)
    check_seed(self.seed)
    if self.model:
      check_name("model", self.model, self.registries[0])

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    component, _, own = path.partition(".")
    if component == "data":
      return idle_data(self, own)
    for field, unused, hint in [*self.unused(), *self.unused_but_recorded()]:
      if path == field and unused:
        return f"it does nothing {hint}, so leave it out"
    return super().idle(path)

  def unused(self) -> list[tuple[str, bool, str]]:
    """Returns, for fields that depend on others: the path, whether the field has no effect here, and the words that say when."""
    return []

  def unused_but_recorded(self) -> list[tuple[str, bool, str]]:
    """Returns the same for fields that a run records even where they have no effect, because earlier versions recorded them."""
    return []

  def bound_to_epochs(self) -> str:
    """Returns what depends on the number of epochs, so that a training cannot be made longer; an empty text if nothing does."""
    return ""

  def recorded(self) -> dict[str, Any]:
    """Returns the flattened configuration as a run keeps it: without the settings that have no effect."""
    kept = [field for field, unused, _ in self.unused_but_recorded() if unused]
    return {path: value for path, value in config_lib.flatten(self).items() if path in kept or not self.idle(path)}



@config_lib.mounts(IMAGE_MODELS)
@dataclasses.dataclass(frozen=True)
class ImageTrainConfig(TrainConfig):
  """The training of one image network; the defaults are the published CIFAR-10 recipe, on a small data set."""

  model: str = named("", lambda: IMAGE_MODELS)
  data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(train_portion=1.0))
  network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
  train: RetrainConfig = dataclasses.field(default_factory=RetrainConfig)

  def __post_init__(self):
    super().__post_init__()
    check_space(self.space, of_text=False)
    check_name("data.dataset", self.data.dataset, datasets.DATASETS)
    measured = self.test or self.data.train_portion < 1 or datasets.validates_itself(self.data)
    hint = "training on all data leaves none to measure; give data.train_portion below 1, or leave it out"
    check(measured, "test", self.test, hint)
    hint = "it trains the classifier of a trained network alone, so give --start_from"
    check(not self.train.freeze or bool(self.start_from), "train.freeze", self.train.freeze, hint)

  def bound_to_epochs(self) -> str:
    """See `TrainConfig.bound_to_epochs`."""
    if self.train.schedule != "constant":
      return f"its learning rate follows --train.schedule={self.train.schedule} over all epochs"
    return "its drop-path rises over all epochs" if self._drops() else ""

  def _drops(self) -> bool:
    return not self.model and self.space not in CHAIN_SPACES and self.train.drop_path > 0 and not self.train.freeze

  def unused(self) -> list[tuple[str, bool, str]]:
    """See `TrainConfig.unused`."""
    drops, frozen = self._drops(), self.train.freeze
    moves = self.train.schedule != "constant" or bool(self.train.milestones) or bool(self.train.warmup_epochs) or drops
    calm = getattr(getattr(self, "pyramidnet", None), "shakedrop", 0.0) == 0
    return [
      ("train.milestone_factor", not self.train.milestones, "without --train.milestones"),
      ("train.warmup_learning_rate", not self.train.warmup_epochs, "without --train.warmup_epochs"),
      ("train.every_step", not moves, "where no rate changes"),
      ("train.drop_path_every_step", not drops, "without --train.drop_path"),
      ("train.drop_path_every_step", self.train.every_step, "with --train.every_step"),
      ("train.decay_vectors", self.train.weight_decay == 0, "without --train.weight_decay"),
      ("network.drop_path_by_depth", not self.model and not drops, "without --train.drop_path"),
      *((path, frozen, "with --train.freeze") for path in OF_CELLS),
      *((path, self.space in CHAIN_SPACES and not self.model, f"in the space {self.space}") for path in (*OF_CELLS, *OF_CELL_NETWORKS)),
      *((f"pyramidnet.{field}", calm, "without --pyramidnet.shakedrop") for field in ("shakedrop_gate", "shakedrop_noise")),
    ]

  def unused_but_recorded(self) -> list[tuple[str, bool, str]]:
    """See `TrainConfig.unused_but_recorded`."""
    headless = not (self.model or self.network.auxiliary or self.train.freeze or self.space in CHAIN_SPACES)
    return [
      ("train.final_learning_rate", self.train.schedule == "constant", "with --train.schedule=constant"),
      ("train.nesterov", self.train.momentum == 0, "without --train.momentum"),
      ("train.auxiliary_weight", headless, "without --network.auxiliary"),
    ]


@config_lib.mounts(LANGUAGE_MODELS)
@dataclasses.dataclass(frozen=True)
class LanguageTrainConfig(TrainConfig):
  """The training of one language model; the defaults are the published Penn Treebank recipe, on a small text.

  Attributes:
    dynamic_evaluation: whether the test is also done by dynamic evaluation, which learns from the words that it has scored. Its result
      stands beside that of the test, as test/dynamic_perplexity.
  """

  space: str = named("darts_recurrent", lambda: SPACES)
  model: str = named("", lambda: LANGUAGE_MODELS)
  seed: int = 1267
  dynamic_evaluation: bool = False
  data: TextConfig = dataclasses.field(default_factory=lambda: TextConfig(length_deviation=5.0, buckets=5))
  network: LanguageModelConfig = dataclasses.field(default_factory=lambda: LanguageModelConfig(units=850, dropout_words=0.1))
  train: LanguageRetrainConfig = dataclasses.field(default_factory=LanguageRetrainConfig)
  dynamic: DynamicEvaluationConfig = dataclasses.field(default_factory=DynamicEvaluationConfig)

  def __post_init__(self):
    super().__post_init__()
    check_space(self.space, of_text=True)
    check_name("data.dataset", self.data.dataset, TEXTS)

  def unused(self) -> list[tuple[str, bool, str]]:
    """See `TrainConfig.unused`."""
    dynamic = [f"dynamic.{field.name}" for field in dataclasses.fields(self.dynamic)]
    settings = [(path, not self.dynamic_evaluation, "without --dynamic_evaluation") for path in dynamic]
    return [("dynamic_evaluation", not self.test, "without a test"), *settings]


NASBENCH201_SEARCH = ImageSearchConfig(space="nasbench201", supernet=SupernetConfig(channels=16, cells=15, stem_multiplier=1))
"""A search on the supernet of NAS-Bench-201, in its published size."""

NASBENCH201_TRAIN = ImageTrainConfig(
  space="nasbench201",
  genotype="|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
  data=DataConfig(train_portion=1.0, batch_size=256, cutout_length=0),
  network=NetworkConfig(channels=16, cells=15, stem_multiplier=1, auxiliary=False),
  train=RetrainConfig(
    epochs=200, learning_rate=0.1, weight_decay=5e-4, gradient_clip=0.0, nesterov=True, auxiliary_weight=0.0, drop_path=0.0
  ),
)
"""The published training of NAS-Bench-201 (Dong and Yang, 2020, table 1), of its best architecture on CIFAR-10, on a small data set."""
