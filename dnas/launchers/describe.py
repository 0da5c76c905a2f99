"""Says what a network costs: weights, multiply-adds and activation memory, layer by layer, and its measured latency on this device.

  dnas describe --genotype=DARTS_V2
  dnas describe --network.stem=imagenet --network.stem_multiplier=1 --image_shape=224,224,3
  dnas describe --model=awd_lstm --words=10000 --batch_sizes=

The costs are those of one image, or of one word. A multiply-add of a convolution or a product counts one; normalizations, activation
functions and pooling count nothing. Nothing is trained, and no data set is read. --genotype takes what `dnas train` takes.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from dnas.cells import functional
from dnas.cells.registries import CHAIN_SPACES, SPACES
from dnas.core import config as config_lib
from dnas.core.config import check, check_at_most, check_name, check_positive, check_types, named
from dnas.core.costs import Costs, scaled
from dnas.core.errors import FieldError
from dnas.core.genotype import Genotype
from dnas.launchers import _flags, _run
from dnas.launchers._config_checks import check_space
from dnas.launchers._network_choice import OF_CELL_NETWORKS, NetworkChoice
from dnas.launchers.configs import NASBENCH201_TRAIN, LanguageModelConfig
from dnas.launchers.train import load_genotype
from dnas.nets import costs, of_genotype
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.nets.derived_language import derived_language_model
from dnas.nets.models import IMAGE_MODELS, LANGUAGE_MODELS
from dnas.report.tables import Table
from dnas.run.timing import milliseconds

_LEAST, _RUNS, _SECONDS = 3, 50, 10.0
"""Least and most timed runs of a latency, and the seconds after which no run beyond the least begins."""

_OF_TRAINING = ("auxiliary", "rematerialize", "init_range")
"""Settings of networks that an inference does not see, beside those whose names have 'drop' or 'penalty'."""


@dataclasses.dataclass(frozen=True)
class DescribeConfig(NetworkChoice):
  """The settings that images and text share.

  Attributes:
    space: name of the search space of the genotype; it decides whether the network is for images or for text.
    genotype: a published name, the folder of a search, random:SEED, a genotype, or a file with a genotype.
    model: a human-designed network in place of that of the genotype; empty for that of the genotype.
    depth: how deep the list of layers goes into modules within modules; 0 for the totals alone.
    batch_sizes: batch sizes whose latency is measured; empty measures none.
  """

  space: str = named("darts_conv", lambda: [*SPACES, *CHAIN_SPACES])
  genotype: str = "DARTS_V2"
  model: str = ""
  depth: int = 2
  batch_sizes: tuple[int, ...] = (1, 256)

  def idle(self, path: str) -> str:
    """Returns why a setting has no effect here, and a hint; an empty text if it has an effect."""
    if self._of_training(path):
      return "it belongs to training, and the costs are those of inference, so leave it out"
    if path == "space" and self.model:
      return f"it does nothing with --model={self.model}, so leave it out"
    if path in OF_CELL_NETWORKS and self.space in CHAIN_SPACES and not self.model:
      return f"it does nothing in the space {self.space}, so leave it out"
    return super().idle(path)

  def untold(self, path: str) -> bool:
    """See `NetworkChoice`."""
    return self._of_training(path) or super().untold(path)

  def _of_training(self, path: str) -> bool:
    component, _, field = path.partition(".")
    of_network = component in ("network", *self.registries[0])
    return of_network and (field in _OF_TRAINING or "drop" in field or "penalty" in field)

  def __post_init__(self):
    check_types(self)
    if self.model:
      check_name("model", self.model, self.registries[0])
    check(0 <= self.depth <= 20, "depth", self.depth, "it must be between 0 and 20")
    fits = all(0 < size <= 10**6 for size in self.batch_sizes)
    check(fits, "batch_sizes", ",".join(map(str, self.batch_sizes)), "give batch sizes above zero")


@config_lib.mounts(IMAGE_MODELS)
@dataclasses.dataclass(frozen=True)
class ImageDescribeConfig(DescribeConfig):
  """A network for images; the default is that of the published CIFAR-10 recipe.

  Attributes:
    image_shape: height, width and colours of an image.
    classes: number of classes.
  """

  model: str = named("", lambda: IMAGE_MODELS)
  image_shape: tuple[int, ...] = (32, 32, 3)
  classes: int = 10
  network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)

  def __post_init__(self):
    super().__post_init__()
    check_space(self.space, of_text=False)
    fits = len(self.image_shape) == 3 and all(0 < size <= 10**5 for size in self.image_shape)
    check(fits, "image_shape", ",".join(map(str, self.image_shape)), "give height, width and colours, such as 32,32,3")
    check_positive(classes=self.classes)
    check_at_most(10**7, classes=self.classes)

  @property
  def shape(self) -> tuple[int, int, int]:
    """The shape of an image, (H, W, C)."""
    height, width, colours = self.image_shape
    return height, width, colours

  @property
  def example(self) -> str:
    """What the costs are of."""
    return f"image of {shape_of(self.shape)}"

  def build(self, genotype: Genotype | None) -> Any:
    """Returns the network of a genotype, or that of the model where there is none."""
    rng = np.random.default_rng(0)
    if genotype is None:
      return self.make_model().build(self.shape, self.classes, rng)
    return of_genotype.build(dataclasses.replace(self.network, auxiliary=False), genotype, self.shape, self.classes, rng)

  def counted(self, network: functional.Network, variables: functional.Variables) -> Costs:
    """Returns the costs of the network."""
    return costs.of_image(network, variables, self.shape)

  def layers(self, module: Any) -> list[costs.Layer]:
    """Returns the layers of the network, with which nothing else can be done afterwards."""
    return costs.image_layers(module, self.shape, self.depth)

  def inference(self, network: functional.Network, batch: int) -> costs.Inference:
    """Returns an inference on a batch."""
    return costs.image_inference(network, self.shape, batch)


@config_lib.mounts(LANGUAGE_MODELS)
@dataclasses.dataclass(frozen=True)
class LanguageDescribeConfig(DescribeConfig):
  """A language model; the default is that of the published Penn Treebank recipe.

  Attributes:
    words: number of words in the vocabulary.
  """

  space: str = named("darts_recurrent", lambda: SPACES)
  model: str = named("", lambda: LANGUAGE_MODELS)
  words: int = 10_000
  network: LanguageModelConfig = dataclasses.field(default_factory=lambda: LanguageModelConfig(units=850, dropout_words=0.1))

  def __post_init__(self):
    super().__post_init__()
    check_space(self.space, of_text=True)
    check(2 <= self.words <= 10**7, "words", self.words, "it must be at least 2 and at most 10 million")

  example = "word"

  def build(self, genotype: Genotype | None) -> Any:
    """See `ImageDescribeConfig`."""
    rng = np.random.default_rng(0)
    return self.make_model().build(self.words, rng) if genotype is None else derived_language_model(self.network, genotype, self.words, rng)

  def counted(self, network: functional.Network, variables: functional.Variables) -> Costs:
    """See `ImageDescribeConfig`."""
    return costs.of_word(network, variables)

  def layers(self, module: Any) -> list[costs.Layer]:
    """See `ImageDescribeConfig`."""
    return costs.word_layers(module, self.depth)

  def inference(self, network: functional.Network, batch: int) -> costs.Inference:
    """See `ImageDescribeConfig`."""
    return costs.word_inference(network, batch)


Config = ImageDescribeConfig | LanguageDescribeConfig


def run(config: Config, options: _flags.Options, given: set[str]) -> None:
  """Counts, measures and prints."""
  _flags.refuse_idle(config, given)
  _run.prepare(options)
  genotype = None if config.model else load_genotype(config.genotype, config.space)
  if genotype and "space" not in given and genotype.space in BY_SPACE:  # its network has another default size
    flat = config_lib.flatten(config)
    config = config_lib.replace(BY_SPACE[genotype.space], {path: flat[path] for path in given})
  if genotype and "space" in given and genotype.space != config.space:
    hint = f"the genotype is of the space {genotype.space}; leave --space out, or give a --genotype of this space"
    raise FieldError("space", config.space, hint)
  module = config.build(genotype)
  network, variables = functional.split(module)
  whole = config.counted(network, variables)
  print(f"{config.model or config.genotype}: {whole}\n(of one {config.example})")
  if config.depth:
    print(f"\n{table(config.layers(module), whole).to_markdown()}")
  if config.batch_sizes:
    print(f"\n{latencies(network, variables, config).to_markdown()}")


def shape_of(shape: tuple[int, ...]) -> str:
  """Returns a shape in words, such as '32x32x3'."""
  return "x".join(map(str, shape))


def table(layers: list[costs.Layer], whole: Costs) -> Table:
  """Returns the layers as a table; a module within a module is indented below it, and its costs are part of those of the module."""
  rows, total = [], whole.multiply_adds
  for layer in layers:
    share = f"{100 * layer.multiply_adds / total:.1f} %" if total else "-"
    output = shape_of(layer.shape) + (f", the largest of {layer.results}" if layer.results > 1 else "")
    rows.append(("· " * layer.depth + layer.path, output, f"{layer.weights:,}", scaled(layer.multiply_adds), share))
  tops = [layer for layer in layers if not layer.depth]
  adds, weights = total - sum(layer.multiply_adds for layer in tops), whole.weights - sum(layer.weights for layer in tops)
  if adds or weights:
    rows.append(("outside of these modules", "", f"{weights:,}", scaled(adds), f"{100 * adds / total:.1f} %" if total else "-"))
  return Table("Layers", ("layer", "output", "weights", "multiply-adds", "share"), tuple(rows))


def latencies(network: functional.Network, variables: functional.Variables, config: Config) -> Table:
  """Measures inferences on this device, and returns a table of medians and quartiles in milliseconds."""
  rows = []
  for size in config.batch_sizes:
    print(f"measuring inferences at batch size {size} ...", flush=True)
    run, examples = config.inference(network, size)
    arguments = jax.device_put((variables, np.zeros(examples.shape, examples.dtype)))
    times = milliseconds(jax.jit(run), *arguments, most=_RUNS, least=_LEAST, seconds=_SECONDS)
    lower, median, upper = np.percentile(times, (25, 50, 75))
    rows.append((str(size), f"{median:.3f}", f"{lower:.3f} to {upper:.3f}", f"{median / size:.4f}", str(len(times))))
  about = f"Latency in milliseconds, on {jax.devices()[0].device_kind} with JAX {jax.__version__}"
  return Table(about, ("batch", "median", "quartiles", "per example", "runs"), tuple(rows))


NASBENCH201 = ImageDescribeConfig(space="nasbench201", genotype=NASBENCH201_TRAIN.genotype, network=NASBENCH201_TRAIN.network)
BY_SPACE = {"darts_recurrent": LanguageDescribeConfig(), "nasbench201": NASBENCH201}
BY_MODEL = dict.fromkeys(LANGUAGE_MODELS, LanguageDescribeConfig())
_OPTIONS = ("preset", "imports", "compilation_cache", "compilation_cache_gb")
LAUNCHER = _flags.Launcher("describe", ImageDescribeConfig(), run, __doc__, BY_SPACE, BY_MODEL, _OPTIONS)
main = LAUNCHER.main
