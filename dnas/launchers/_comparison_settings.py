"""The settings of a comparison that its evaluator reads, the tables that they name, and the registry of evaluators."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np

from dnas.cells import nasbench201
from dnas.cells.registries import CHAIN_SPACES, STACKS, any_space
from dnas.core import config as config_lib
from dnas.core.chain_space import ChainSpace
from dnas.core.config import check, named
from dnas.core.errors import FieldError
from dnas.core.paths import expanded
from dnas.core.registry import Registry, is_function
from dnas.core.space import CellSpace
from dnas.evaluate import base, digits_bench, nasbench201_formats, synthetic_table
from dnas.evaluate.tabular import Table
from dnas.launchers import _flags, _presets
from dnas.launchers.configs import ImageTrainConfig
from dnas.search.blackbox import objectives
from dnas.search.blackbox.base import Settings
from dnas.search.blackbox.strategies import STRATEGIES
from dnas.search.gradient.methods import METHODS

DATASETS = (*nasbench201_formats.DATASETS, "digits")

ACCURACY = "accuracy"
"""The first objective, the score of an evaluation. It alone is maximized."""

BENCHMARK = "digits_bench"
"""The table in the package, and the preset that searches its space."""


@dataclasses.dataclass(frozen=True)
class ComparisonSettings:
  """The settings of a comparison that its evaluator reads; the base of `compare.CompareConfig`.

  Attributes:
    methods: names of strategies and differentiable methods, with commas between them. A preset whose name is that of --search, an
      underscore and a suffix makes its suffix a method too, such as darts_projection for digits_bench_darts_projection.
    space: name of the search space of images; a table of results needs nasbench201, and shared weights need a space of cells.
    evaluator: how an architecture is scored. tabular looks it up in a table. training trains it for the budget of the proposal.
      weight_sharing takes the weights of a supernet that was trained on random paths, supernet those of a differentiable search, and
      hypernetwork lets a network generate them. morphism trains it from the weights of its parent if the proposal names one, as the
      proposals of hill_climbing do, and those of regularized_evolution with --regularized_evolution.inherit. The zero-cost proxies
      parameters, synflow, jacob_cov and naswot need no training.
    table: digits_bench for the table in the package; an npz file of NAS-Bench-201; or 'synthetic' for a planted table, with which the
      comparison measures nothing real.
    dataset: data set of the table; digits_bench has only digits, and the planted table only cifar10.
    objectives: accuracy, and costs that are minimized beside it, with commas between them: weights, multiply_adds, activation_bytes, or
      latency/COLUMN with --latencies. A table must know them. Else they are counted, in the network of --training if it is named, or in one
      of the size of the supernet. A strategy with one objective searches for accuracy alone.
    latencies: npz file of your own with measured latencies of the networks of the table. A column is a device, and has a number for every
      row of the table, in the order of the rows.
    epochs: length in epochs of the training in the table whose validation accuracy a search sees.
    report_epochs: length in epochs of the training in the table whose test accuracy is reported.
    training: preset of dnas train with the networks, data and training of evaluators without a table, and of the reported test accuracy.
    search: preset of dnas search with the supernet and data of weight_sharing, hypernetwork and supernet, and with the supernet, data and
      rates of differentiable methods. A method takes its own preset if there is one, such as digits_bench_darts for darts.
    train_portion: fraction of the training data that trains the architectures; the rest validates them.
    seconds: budget of a search by a strategy, in accelerator seconds of its evaluations. A differentiable method takes the epochs of its
      preset, and the report gives the seconds that these took.
  """

  methods: str = named("random_search,regularized_evolution,reinforce,tpe", lambda: [*STRATEGIES, *METHODS])
  space: str = named(nasbench201.SPACE.name, lambda: [*STACKS, *CHAIN_SPACES])
  evaluator: str = named("tabular", lambda: EVALUATORS)
  table: str = "synthetic"
  dataset: str = named("cifar10", lambda: DATASETS)
  objectives: str = ACCURACY
  latencies: str = ""
  epochs: int = 12
  report_epochs: int = 200
  training: str = ""
  search: str = ""
  train_portion: float = 0.5
  seconds: float = 20000.0

  @property
  def method_names(self) -> tuple[str, ...]:
    """The methods, in the order in which they were named."""
    return tuple(name.strip() for name in self.methods.split(","))

  @property
  def objective_names(self) -> tuple[str, ...]:
    """The objectives, in the order in which they were named. Raises FieldError if accuracy is not the first, or one is there twice."""
    return objectives.names_of(self.objectives, ACCURACY)

  @property
  def costs(self) -> tuple[str, ...]:
    """The objectives that are minimized."""
    return self.objective_names[1:]

  def strategy(self, method: str) -> Settings:
    """Returns the settings of a strategy."""
    return config_lib.unit(self, STRATEGIES, method)


MakeEvaluator = Callable[[ComparisonSettings, _flags.Options, pathlib.Path, int], base.Evaluator]
"""(comparison, options of the launcher, folder of the search, its seed) to the evaluator of a search."""

EVALUATORS: Registry[MakeEvaluator | type] = Registry("evaluator", is_function("a function or a dataclass that makes an evaluator"))
"""Name to a function that makes the evaluator of a search, or to a dataclass of settings that is one. Every zero-cost proxy is one too."""


def space_of(config: ComparisonSettings) -> CellSpace | ChainSpace:
  """Returns the space of a comparison: that of its table if it has one, which may lack some operations of the registered space."""
  return read_table(config.table, config.dataset).space if has_table(config) else any_space(config.space)


def cell_space_of(config: ComparisonSettings) -> CellSpace:
  """Returns the space of a comparison whose methods or evaluator need cells. Raises FieldError for a space of chains."""
  space = space_of(config)
  if not isinstance(space, CellSpace):
    raise FieldError("space", config.space, "it is a space of chains, and a supernet has cells; give a space of cells")
  return space


@functools.cache
def read_table(path: str, dataset: str, seed: int = 0) -> Table:
  """Returns a table of results, read once per process.

  Args:
    path: the file, or the name of a table in the package: synthetic or digits_bench.
    dataset: the data set.
    seed: for digits_bench, the seed of the trainings whose validation accuracy the table has.

  Raises:
    InputError: if there is no such table, or the file does not hold one.
  """
  if path == BENCHMARK:
    check(dataset == "digits", "dataset", dataset, f"the table {BENCHMARK} is of digits")
    return digits_bench.load(seed)
  if path != "synthetic":
    return nasbench201_formats.read_npz(expanded("--table", path), dataset)
  if dataset != "cifar10":
    raise FieldError("dataset", dataset, "the built-in table is for cifar10 only; give a file by --table")
  return synthetic_table.planted()


@functools.cache
def read_latencies(path: str) -> dict[str, np.ndarray]:
  """Returns latency/COLUMN to the column of an npz, read once per process; nothing without a path. Raises InputError for no such file."""
  return nasbench201_formats.read_latencies(expanded("--latencies", path)) if path else {}


def has_table(config: ComparisonSettings) -> bool:
  """Returns whether a table of results has the architectures of a comparison, so that their test accuracy is known."""
  real = config.evaluator == "tabular" or config.table != "synthetic"
  return config.space == nasbench201.SPACE.name and real


def training_parts(config: ComparisonSettings) -> ImageTrainConfig:
  """Returns the training that a comparison names, in its space and with its validation set."""
  preset = _presets.load(config.training, "train")
  return config_lib.replace(preset, {"space": config.space, "data.train_portion": config.train_portion})
