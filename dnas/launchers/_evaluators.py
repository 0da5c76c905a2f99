"""The evaluators of a comparison by name. Each also reports the test accuracy of the genotype that a search found."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection

from dnas.cells import nasbench201
from dnas.cells.registries import SPACES, STACKS
from dnas.core import config as config_lib
from dnas.core import durable
from dnas.core.config import check, check_name, named
from dnas.core.errors import FieldError, counted
from dnas.core.genotype import Genotype
from dnas.core.paths import expanded
from dnas.core.records import Evaluation, Proposal
from dnas.core.registry import Registry
from dnas.core.space import CellSpace
from dnas.data import datasets
from dnas.evaluate import base, digits_bench, nasbench201_formats, synthetic_table
from dnas.evaluate.tabular import Table, Tabular, report_shares, report_test
from dnas.evaluate.training import Training
from dnas.evaluate.weight_sharing import Config as SharedConfig
from dnas.evaluate.weight_sharing import SharedWeightsTask, WeightSharing
from dnas.evaluate.zero_cost import PROXIES, ZeroCost
from dnas.launchers import _flags, _presets, _run, train
from dnas.launchers.configs import ImageSearchConfig, ImageTrainConfig
from dnas.search.blackbox.base import Settings
from dnas.search.blackbox.strategies import STRATEGIES
from dnas.search.gradient.methods import METHODS

DATASETS = (*nasbench201_formats.DATASETS, "digits")

BENCHMARK = "digits_bench"
"""The table in the package, and the preset that searches its space."""


@dataclasses.dataclass(frozen=True)
class ComparisonSettings:
  """The settings of a comparison that its evaluator reads; the base of `compare.CompareConfig`.

  Attributes:
    methods: names of strategies and differentiable methods, with commas between them. A preset whose name is that of --search, an
      underscore and a suffix makes its suffix a method too, such as darts_projection for digits_bench_darts_projection.
    space: name of the search space of images; a table of results needs nasbench201.
    evaluator: how an architecture is scored. tabular looks it up in a table. training trains it for the budget of the proposal.
      weight_sharing takes the weights of a supernet. The zero-cost proxies parameters, synflow, jacob_cov and naswot need no training.
    table: digits_bench for the table in the package; an npz file of NAS-Bench-201; or 'synthetic' for a planted table, with which the
      comparison measures nothing real.
    dataset: data set of the table; digits_bench has only digits, and the planted table only cifar10.
    epochs: length in epochs of the training in the table whose validation accuracy a search sees.
    report_epochs: length in epochs of the training in the table whose test accuracy is reported.
    training: preset of dnas train with the networks, data and training of evaluators without a table, and of the reported test accuracy.
    search: preset of dnas search with the supernet, data and rates of weight sharing and of differentiable methods. A method takes its
      own preset if there is one, such as digits_bench_darts for darts.
    train_portion: fraction of the training data that trains the architectures; the rest validates them.
    seconds: budget of a search by a strategy, in accelerator seconds of its evaluations. A differentiable method takes the epochs of its
      preset, and the report gives the seconds that these took.
  """

  methods: str = named("random_search,regularized_evolution,reinforce,tpe", lambda: [*STRATEGIES, *METHODS])
  space: str = named(nasbench201.SPACE.name, lambda: STACKS)
  evaluator: str = named("tabular", lambda: EVALUATORS)
  table: str = "synthetic"
  dataset: str = named("cifar10", lambda: DATASETS)
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

  def strategy(self, method: str) -> Settings:
    """Returns the settings of a strategy."""
    return config_lib.unit(self, STRATEGIES, method)


@dataclasses.dataclass(frozen=True)
class Judge:
  """An evaluator, and the function that reads the test set once a search has ended. No other part of a comparison reads the test set.

  Attributes:
    space: the search space.
    evaluate: the evaluator.
    report: maps an architecture to its test accuracy in percent.
    percentile: maps an architecture to the percentage of all architectures of the table that have a lower test accuracy; None without a
      table. A table's reports cost nothing. So with one every incumbent of a search is reported, otherwise only the found architecture.
  """

  space: CellSpace
  evaluate: base.Evaluator
  report: Callable[[Genotype], float]
  percentile: Callable[[Genotype], float] | None = None

  def __call__(self, proposal: Proposal) -> Evaluation:
    """See `evaluate.base.Evaluator`."""
    return self.evaluate(proposal)


def make_judge(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> Judge:
  """Returns the evaluator of a search.

  Args:
    config: the settings of the comparison.
    options: the options of the launcher.
    folder: the folder of the search; the evaluator keeps its files in it.
    seed: the seed of the search, and of the trainings of its evaluator.

  Raises:
    InputError: if the data or presets of the evaluator cannot be used.
  """
  evaluate = _maker(config)(config, options, folder, seed)
  if not _has_table(config):
    return Judge(space_of(config), evaluate, functools.partial(_retrained, config, options, folder, seed))
  table, epochs = read_table(config.table, config.dataset), config.report_epochs

  def percentile(genotype: Genotype) -> float:
    return 100 * float(report_shares(table, epochs)[table.row(genotype)])

  return Judge(table.space, evaluate, lambda genotype: report_test(table, genotype, epochs), percentile)


def check_settings(config: ComparisonSettings) -> None:
  """Raises InputError for presets that are missing or of text, for a space that the evaluator lacks, and for a table of no use."""
  tabular = config.evaluator == "tabular"
  if tabular:
    check(config.space == nasbench201.SPACE.name, "space", config.space, f"a table of results is of {nasbench201.SPACE.name}")
  for field, launcher, of in (("training", "train", ImageTrainConfig), ("search", "search", ImageSearchConfig)):
    name = getattr(config, field)
    if name:
      check_name(field, name, _presets.names_for(launcher))
      check(isinstance(_presets.load(name, launcher), of), field, name, "it is for text; give a preset for images")
  if config.evaluator == "weight_sharing":
    hint = "weight sharing takes its supernet and its data from a preset of dnas search; name one"
    check(bool(config.search), "search", "''", hint)
  elif config.evaluator == "training" or config.evaluator in PROXIES:
    hint = f"the evaluator {config.evaluator} takes its networks and data from a preset of dnas train; name one"
    check(bool(config.training), "training", "''", hint)
  if _has_table(config):
    table = read_table(config.table, config.dataset)
    report_test(table, table.genotypes[0], config.report_epochs)  # raises if it cannot be reported
    if tabular:
      Tabular(table, config.epochs)
      _check_rungs(config, table.epochs, table.name)
      for epochs in {min(rungs, default=config.epochs) for rungs in _rungs(config).values()}:
        longest = float(table.seconds(epochs).max())
        hint = f"an evaluation of {counted(epochs, 'epoch')} costs up to {longest:,.1f}, so give at least that"
        check(config.seconds >= longest, "seconds", config.seconds, hint)
  else:
    hint = "without a table, test accuracy comes from a training by a preset of dnas train; name one"
    check(bool(config.training), "training", "''", hint)
  if config.evaluator == "training":
    full = _training_parts(config).train.epochs
    _check_rungs(config, range(1, full + 1), f"--training={config.training}, with {counted(full, 'epoch')},")


def _rungs(config: ComparisonSettings) -> dict[str, tuple[int, ...]]:
  """Returns strategy name to the epochs of its rungs; no epochs for a strategy without rungs."""
  settings = {name: config.strategy(name) for name in config.method_names if name in STRATEGIES}
  return {name: getattr(one, "rungs", tuple)() for name, one in settings.items()}


def _check_rungs(config: ComparisonSettings, known: Collection[int], where: str) -> None:
  for name, rungs in _rungs(config).items():
    if unknown := [epochs for epochs in rungs if epochs not in known]:
      hint = f"it asks for {counted(unknown[0], 'epoch')}, and {where} has no such training, so change them by the flags --{name}"
      raise FieldError("methods", name, hint)


def prepare(config: ComparisonSettings, options: _flags.Options, root: pathlib.Path, seeds: int) -> None:
  """Trains the supernets that all methods share before any search begins: one for every seed, with weight sharing alone."""
  if config.evaluator == "weight_sharing":
    for seed in range(seeds):
      _shared_weights(config, options, root / config.space / config.evaluator / f"supernet_{seed:04d}", seed)


def search_config(config: ComparisonSettings, method: str, seed: int) -> ImageSearchConfig:
  """Returns the search of a differentiable method: by its own preset if there is one, else by the preset that `config` names.

  Raises:
    FieldError: if no preset is named, or the search has operations that the table lacks.
  """
  hint = f"{method} is differentiable, and takes its supernet, data and rates from a preset of dnas search; name one"
  check(bool(config.search), "search", "''", hint)
  own = own_preset(config.search, method)
  changes = {} if own else {"method": method, "hypergradient": ""}
  found = config_lib.replace(_presets.load(own or config.search, "search"), changes | {"space": config.space, "seed": seed})
  lacking = [name for name in found.searched_space().choices if name not in space_of(config).choices]
  hint = f"it searches {', '.join(lacking)}, which the table lacks; name a preset that leaves them out by --without"
  check(not lacking, "search", config.search, hint)
  return found


def own_preset(search: str, method: str) -> str:
  """Returns the preset of dnas search that a method of a comparison has for itself: the name of `search`, '_METHOD'; '' if none."""
  name = f"{search}_{method}"
  return name if name in _presets.names_for("search") else ""


def own_presets(search: str) -> list[str]:
  """Returns the names of the methods that have presets for themselves; see `own_preset`."""
  names = [name.removeprefix(f"{search}_") for name in _presets.names() if name.startswith(f"{search}_")]
  return [name for name in names if own_preset(search, name)]


def space_of(config: ComparisonSettings) -> CellSpace:
  """Returns the space of a comparison: that of its table if it has one, which may lack some operations of the registered space."""
  return read_table(config.table, config.dataset).space if _has_table(config) else SPACES[config.space]


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


def _has_table(config: ComparisonSettings) -> bool:
  real = config.evaluator == "tabular" or config.table != "synthetic"
  return config.space == nasbench201.SPACE.name and real


def _retrained(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int, genotype: Genotype) -> float:
  """Trains what a search found, and returns its test accuracy in percent."""
  path = folder / "found.json"
  durable.write(path, genotype.to_json())
  changes = {"space": config.space, "genotype": str(path), "seed": seed}
  own = dataclasses.replace(options, workdir=str(folder / "retrained"), preset="")
  train.run(config_lib.replace(_presets.load(config.training, "train"), changes), own, set())
  return 100 * train.result_of(folder / "retrained")["test/accuracy"]


def _training_parts(config: ComparisonSettings) -> ImageTrainConfig:
  preset = _presets.load(config.training, "train")
  return config_lib.replace(preset, {"space": config.space, "data.train_portion": config.train_portion})


def _tabular(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> base.Evaluator:
  trained = seed % digits_bench.SEEDS if config.table == BENCHMARK else 0
  return Tabular(read_table(config.table, config.dataset, trained), config.epochs)


def _training(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> base.Evaluator:
  parts = _training_parts(config)
  return Training(parts.train, parts.network, parts.data, datasets.from_config(parts.data), seed, folder / "trainings")


def _zero_cost(
  config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int, proxy: str
) -> base.Evaluator:
  parts = _training_parts(config)
  return ZeroCost(proxy, dataclasses.replace(parts.network, auxiliary=False), parts.data, datasets.from_config(parts.data), seed)


def _weight_sharing(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> base.Evaluator:
  return _shared_weights(config, options, folder.parent.parent / f"supernet_{seed:04d}", seed)


def _shared_weights(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> WeightSharing:
  preset = _presets.load(config.search, "search")
  names = [field.name for field in dataclasses.fields(SharedConfig) if hasattr(preset.darts, field.name)]
  rates = SharedConfig(**{name: getattr(preset.darts, name) for name in names})
  space = space_of(config)
  task = SharedWeightsTask(rates, preset.supernet, preset.data, space, datasets.from_config(preset.data), seed)
  flat = {"seed": seed, "space": config.space} | {f"shared.{name}": value for name, value in config_lib.flatten(rates).items()}
  if space != SPACES[config.space]:  # the table lacks some operations
    flat["operations"] = ", ".join(space.choices)
  defaults: dict[str, object] = {}
  for component in ("data", "supernet"):
    flat |= {f"{component}.{path}": value for path, value in config_lib.flatten(getattr(preset, component)).items()}
    defaults |= config_lib.defaults(getattr(preset, component), f"{component}.")
  own = dataclasses.replace(options, workdir=str(folder))
  about = f"training of shared weights in the space {config.space}, seed {seed}: {_run.length_of(task)}"
  with _run.open_folder(own, "weight_sharing", flat, _run.Parts({}, about), defaults) as opened:
    position = _run.run(task, opened, own)
  return WeightSharing(task, position.state.weights, position.seconds)


MakeEvaluator = Callable[[ComparisonSettings, _flags.Options, pathlib.Path, int], base.Evaluator]
"""(comparison, options of the launcher, folder of the search, its seed) to the evaluator of a search."""

EVALUATORS: Registry[MakeEvaluator | type] = Registry("evaluator")
"""Name to a function that makes the evaluator of a search, or to a dataclass of settings that is one. Every zero-cost proxy is one too."""

EVALUATORS.register("tabular")(_tabular)
EVALUATORS.register("training")(_training)
EVALUATORS.register("weight_sharing")(_weight_sharing)


def evaluator_names() -> tuple[str, ...]:
  """Returns the names of all evaluators."""
  return (*EVALUATORS, *PROXIES)


def _maker(config: ComparisonSettings) -> MakeEvaluator:
  if config.evaluator not in EVALUATORS:
    return functools.partial(_zero_cost, proxy=config.evaluator)
  maker = EVALUATORS[config.evaluator]
  return config_lib.unit(config, EVALUATORS, config.evaluator) if isinstance(maker, type) else maker
