"""The evaluator of a comparison, checked, with the report of the test accuracy of what a search found."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection

from dnas.cells import nasbench201
from dnas.core import config as config_lib
from dnas.core import durable
from dnas.core.config import check, check_name
from dnas.core.costs import Costs
from dnas.core.errors import FieldError, counted
from dnas.core.genotype import Genotype
from dnas.core.records import Evaluation, Proposal
from dnas.core.spaces import Space
from dnas.evaluate import base
from dnas.evaluate.tabular import Tabular, report_shares, report_test
from dnas.evaluate.zero_cost import PROXIES
from dnas.launchers import _flags, _objectives, _presets, train
from dnas.launchers._comparison_settings import ComparisonSettings, cell_space_of, has_table, read_table, space_of, training_parts
from dnas.launchers._counted import can_count, costs_of
from dnas.launchers._evaluator_makers import BY_SEARCH, asked_costs, maker_of
from dnas.launchers.configs import ImageSearchConfig, ImageTrainConfig
from dnas.search.blackbox.strategies import STRATEGIES


@dataclasses.dataclass(frozen=True)
class Judge:
  """An evaluator, and the function that reads the test set once a search has ended. No other part of a comparison reads the test set.

  Attributes:
    space: the search space.
    evaluate: the evaluator.
    report: maps an architecture to its test accuracy in percent.
    costs: maps an architecture to counted costs, which the metrics of its evaluations get; None if no costs are asked for.
    percentile: maps an architecture to the percentage of all architectures of the table that have a lower test accuracy; None without a
      table. A table's reports cost nothing. So with one every incumbent of a search is reported, otherwise only the found architecture.
  """

  space: Space
  evaluate: base.Evaluator
  report: Callable[[Genotype], float]
  costs: Callable[[Genotype], Costs] | None = None
  percentile: Callable[[Genotype], float] | None = None

  def __call__(self, proposal: Proposal) -> Evaluation:
    """See `evaluate.base.Evaluator`."""
    evaluation = self.evaluate(proposal)
    if self.costs is None:
      return evaluation
    counted = dataclasses.asdict(self.costs(proposal.genotype))
    return dataclasses.replace(evaluation, metrics={**counted, **evaluation.metrics})


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
  evaluate = maker_of(config, config.evaluator)(config, options, folder, seed)
  costs = costs_of(config) if can_count(config) and asked_costs(config) else None
  if not has_table(config):
    return Judge(space_of(config), evaluate, functools.partial(_retrained, config, options, folder, seed), costs)
  table, epochs = read_table(config.table, config.dataset), config.report_epochs

  def percentile(genotype: Genotype) -> float:
    return 100 * float(report_shares(table, epochs)[table.row(genotype)])

  return Judge(table.space, evaluate, lambda genotype: report_test(table, genotype, epochs), costs, percentile)


def check_presets(config: ComparisonSettings) -> None:
  """Raises FieldError for presets that are of text or of another launcher, or that the evaluator needs and has not."""
  for field, launcher, of in (("training", "train", ImageTrainConfig), ("search", "search", ImageSearchConfig)):
    name = getattr(config, field)
    if name:
      check_name(field, name, _presets.names_for(launcher))
      check(isinstance(_presets.load(name, launcher), of), field, name, "it is for text; give a preset for images")
  if config.evaluator in BY_SEARCH:
    hint = f"{config.evaluator.replace('_', ' ')} takes its supernet and its data from a preset of dnas search; name one"
    check(bool(config.search), "search", "''", hint)
  elif config.evaluator in ("training", "morphism") or config.evaluator in PROXIES:
    hint = f"the evaluator {config.evaluator} takes its networks and data from a preset of dnas train; name one"
    check(bool(config.training), "training", "''", hint)


def check_settings(config: ComparisonSettings) -> None:
  """Raises InputError for presets that `check_presets` refuses, a space or costs that the evaluator lacks, and a table of no use."""
  tabular = config.evaluator == "tabular"
  if tabular:
    check(config.space == nasbench201.SPACE.name, "space", config.space, f"a table of results is of {nasbench201.SPACE.name}")
  check_presets(config)
  if config.evaluator in BY_SEARCH:
    cell_space_of(config)
  for name in config.method_names:
    inherits = name in STRATEGIES and getattr(config.strategy(name), "names_parents", False)
    check(not inherits or config.evaluator == "morphism", "evaluator", config.evaluator, f"{name} passes weights on; give morphism")
  if has_table(config):
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
    full = training_parts(config).train.epochs
    _check_rungs(config, range(1, full + 1), f"--training={config.training}, with {counted(full, 'epoch')},")
  _objectives.check_costs(config)


def _rungs(config: ComparisonSettings) -> dict[str, tuple[int, ...]]:
  """Returns strategy name to the epochs of its rungs; no epochs for a strategy without rungs."""
  settings = {name: config.strategy(name) for name in config.method_names if name in STRATEGIES}
  return {name: getattr(one, "rungs", tuple)() for name, one in settings.items()}


def _check_rungs(config: ComparisonSettings, known: Collection[int], where: str) -> None:
  for name, rungs in _rungs(config).items():
    if unknown := [epochs for epochs in rungs if epochs not in known]:
      hint = f"it asks for {counted(unknown[0], 'epoch')}, and {where} has no such training, so change them by the flags --{name}"
      raise FieldError("methods", name, hint)


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
  lacking = [name for name in found.searched_space().choices if name not in cell_space_of(config).choices]
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


def _retrained(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int, genotype: Genotype) -> float:
  """Trains what a search found, and returns its test accuracy in percent."""
  path = folder / "found.json"
  durable.write(path, genotype.to_json())
  changes = {"space": config.space, "genotype": str(path), "seed": seed}
  own = dataclasses.replace(options, workdir=str(folder / "retrained"), preset="")
  train.run(config_lib.replace(_presets.load(config.training, "train"), changes), own, set())
  return 100 * train.result_of(folder / "retrained")["test/accuracy"]
