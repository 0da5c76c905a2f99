"""The launchers as Python functions, for notebooks and scripts. Each function does what the command of the same name does."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from dnas.cells.registries import any_space
from dnas.core import config as config_lib
from dnas.core import json_files
from dnas.core.chain_space import ChainSpace
from dnas.core.choice_space import ChoiceGenotype, ChoiceSpace
from dnas.core.errors import InputError, shown, unknown_name
from dnas.core.extras import needed_by
from dnas.core.genotype import Genotype
from dnas.core.paths import expanded
from dnas.core.records import SearchResult
from dnas.core.space import CellSpace
from dnas.launchers import _flags, _presets, compare, evaluators, search, train
from dnas.launchers.compare import CompareConfig
from dnas.launchers.configs import ImageSearchConfig, ImageTrainConfig, LanguageSearchConfig, LanguageTrainConfig
from dnas.launchers.evaluators import EvaluatorsConfig
from dnas.report import comparison, contest, draw
from dnas.report.choices import draw_choices
from dnas.report.evaluators import Row as EvaluatorRow

if TYPE_CHECKING:
  from dnas.launchers.tune import ImageTuneConfig, LanguageTuneConfig

Folder = str | os.PathLike[str]


def load_preset(name: str, changes: Mapping[str, Any] | None = None) -> Any:
  """Returns the configuration of a preset.

  >>> dnas.load_preset("digits_demo", {"darts.epochs": 4}).darts.epochs
  4

  Args:
    name: such as 'digits_demo' or 'darts_cifar10_second_order'.
    changes: values of some fields by their dotted paths, such as {"darts.epochs": 4}; the same names as on the command line.

  Raises:
    InputError: for an unknown name, with the nearest known one, or a field or value that the configuration refuses, or that has no effect.
  """
  if name not in _presets.names():
    raise unknown_name("preset", name, _presets.names())
  config = config_lib.replace(_presets.load(name, _presets.launcher_of(name)), dict(changes or {}))
  if hasattr(config, "idle"):
    _flags.refuse_idle(config, dict(changes or {}))
  return config


def run_search(config: ImageSearchConfig | LanguageSearchConfig, workdir: Folder, **options: Any) -> SearchResult:
  """Runs a differentiable search, or resumes it, as `dnas search` does. Several seeds at once are for `run_searches`.

  Args:
    config: the search.
    workdir: the folder of the run.
    **options: fields of `Options`, such as save_every_steps.

  Raises:
    InputError: for a configuration, an option or a folder that cannot be used.
  """
  _check_kind(config, run_search)
  if config.num_seeds > 1:
    raise InputError(f"num_seeds is {config.num_seeds}, and run_search returns one result; give the configuration to run_searches.")
  return run_searches(config, workdir, **options)[0]


def run_searches(config: ImageSearchConfig | LanguageSearchConfig, workdir: Folder, **options: Any) -> list[SearchResult]:
  """Runs the searches of `config.num_seeds` seeds at once, or resumes them; see `run_search`. Returns a result for every seed."""
  _check_kind(config, run_search)
  return search.run(config, options_of(workdir, options), set())


def run_training(
  config: ImageTrainConfig | LanguageTrainConfig, workdir: Folder, genotype: Genotype | None = None, **options: Any
) -> dict[str, Any]:
  """Trains one architecture, or resumes the training, and tests it once, as `dnas train` does.

  Args:
    config: the training.
    workdir: the folder of the run.
    genotype: the architecture; that of `config.genotype` if not given.
    **options: fields of `Options`.

  Returns:
    The result of the run, its result.json: for instance 'test/accuracy' (a fraction), 'test/loss' (nats) and 'weights'.

  Raises:
    InputError: for a configuration, an option, a genotype or a folder that cannot be used.
  """
  _check_kind(config, run_training)
  if genotype is not None:
    space = _space_of(genotype)
    config = config_lib.replace(config, {"space": space.name, "genotype": space.notation(genotype)})
  train.run(config, options_of(workdir, options), set())
  return json_files.present(json_files.read_result(_expanded(workdir), {}), _expanded(workdir))


def run_comparison(config: CompareConfig, workdir: Folder, **options: Any) -> list[comparison.Comparison]:
  """Compares search methods at equal budget, or resumes a comparison, as `dnas compare` does.

  Args:
    config: the comparison.
    workdir: the folder of the comparison.
    **options: fields of `Options`.

  Returns:
    A comparison for every search space and evaluator in the folder.

  Raises:
    InputError: for a configuration, an option or a folder that cannot be used.
  """
  _check_kind(config, run_comparison)
  if config.contestants:
    raise InputError(f"run_comparison does not take contestants, here {shown(config.contestants)}; give it to run_contest.")
  compare.run(config, options_of(workdir, options), set())
  return comparison.load(_expanded(workdir))


def run_contest(config: CompareConfig, workdir: Folder, **options: Any) -> contest.Contest:
  """Compares tunings at equal budget, or resumes such a contest, as `dnas compare --contestants=...` does.

  Args:
    config: the contest; it names presets, among them those in `PRESETS`.
    workdir: the folder of the contest.
    **options: fields of `Options`.

  Returns:
    The contest; `report.contest.verdict` says in words who won.

  Raises:
    InputError: for a configuration, an option or a folder that cannot be used.
  """
  _check_kind(config, run_contest)
  if not config.contestants:
    raise InputError("run_contest takes contestants, and this comparison has none; give it to run_comparison.")
  compare.run(config, options_of(workdir, options), set())
  return contest.load(_expanded(workdir))


def run_evaluators(config: EvaluatorsConfig, workdir: Folder, **options: Any) -> list[EvaluatorRow]:
  """Measures what evaluators are worth, or resumes such a measurement, as `dnas evaluators` does.

  Args:
    config: the measurement.
    workdir: the folder of the measurement.
    **options: fields of `Options`.

  Returns:
    A row for every evaluator, and for every length of partial training: rank correlations with full training, and costs.

  Raises:
    InputError: for a configuration, an option or a folder that cannot be used.
  """
  _check_kind(config, run_evaluators)
  return evaluators.run(config, options_of(workdir, options), set())


def run_tuning(config: "ImageTuneConfig | LanguageTuneConfig", workdir: Folder, **options: Any) -> dict[str, Any]:
  """Tunes the hyperparameters of a training, or resumes a tuning, as `dnas tune` does.

  The trials run in processes of their own, which import the calling script. So a script calls this below `if __name__ == "__main__":`.

  Args:
    config: the tuning.
    workdir: the folder of the tuning.
    **options: fields of `Options`.

  Returns:
    The result of the tuning, its result.json: 'best' is the best trial by validation, 'test' the test results of its retrainings.

  Raises:
    InputError: for a configuration, an option or a folder that cannot be used.
  """
  _check_kind(config, run_tuning)
  with needed_by("run_tuning"):
    from dnas.launchers import tune
  tune.run(config, options_of(workdir, options, idle=("profile_steps",)), set())
  return json_files.present(json_files.read_result(_expanded(workdir), {}), _expanded(workdir))


def draw_genotype(genotype: Genotype | ChoiceGenotype, title: str = "", space: ChoiceSpace | None = None) -> Figure:
  """Draws every cell of a genotype, one below the other, in one figure; a notebook shows the figure, and `savefig` writes it to a file.

  Args:
    genotype: an architecture of a registered space, or of the choices of a network.
    title: a line above the drawing.
    space: the space of the choices of the network.

  Raises:
    InputError: for an unknown space, or an edge that names a state that does not come before it.
  """
  if isinstance(genotype, ChoiceGenotype):
    if not isinstance(space, ChoiceSpace):
      raise InputError("the options that were not kept are known to the space alone; give draw_genotype the space of the network.")
    return draw_choices(space, genotype, title)
  return draw.draw_genotype(genotype, _space_of(genotype).num_inputs, title)


def _space_of(genotype: Genotype) -> CellSpace | ChainSpace:
  if not isinstance(genotype, Genotype):
    hint = "give for instance the genotype of a SearchResult, or dnas.SPACES[NAME].parse(TEXT)"
    raise InputError(f"{shown(genotype)} is not a Genotype; {hint}.")
  return any_space(genotype.space)


_KINDS = {
  "run_search": ("ImageSearchConfig", "LanguageSearchConfig"),
  "run_training": ("ImageTrainConfig", "LanguageTrainConfig"),
  "run_comparison": ("CompareConfig",),
  "run_contest": ("CompareConfig",),
  "run_evaluators": ("EvaluatorsConfig",),
  "run_tuning": ("ImageTuneConfig", "LanguageTuneConfig"),
}
"""Function to the names of the configurations that it takes; their modules may need packages that are not installed."""


def _check_kind(config: Any, function: Callable[..., Any]) -> None:
  """Raises InputError for a configuration that another function takes, or none."""
  name = function.__name__
  kinds = {base.__name__ for base in type(config).__mro__}
  if not kinds & set(_KINDS[name]):
    fitting = [other for other, names in _KINDS.items() if kinds & set(names)]
    known = " or ".join(_KINDS[name])
    hint = f"give it to {fitting[0]}" if fitting else f"give {known}, for instance by load_preset"
    raise InputError(f"{name} does not take {shown(type(config).__name__)}; {hint}.")


def options_of(workdir: Folder, options: Mapping[str, Any], idle: Collection[str] = ()) -> _flags.Options:
  """Returns the options of a launcher from a folder and other options by name; those in `idle` have no effect.

  Raises:
    InputError: for one that cannot be used.
  """
  if not isinstance(workdir, str | os.PathLike):
    raise InputError(f"workdir is {shown(workdir)}; give the folder of the run, for instance 'runs/first'.")
  known = [field.name for field in dataclasses.fields(_flags.Options) if field.name not in ("workdir", "preset", "imports", "dry_run")]
  for name in options:
    if name not in known:
      raise unknown_name("option", name, known)
    config_lib.check(name not in idle, name, options[name], "it has no effect here, so leave it out")
  return config_lib.replace(_flags.Options(), {"workdir": os.fspath(workdir), **options})


def _expanded(workdir: Folder) -> pathlib.Path:
  return expanded("workdir", os.fspath(workdir))
