"""Makes the evaluators of a comparison, by name."""

import dataclasses
import functools
import pathlib

from dnas.cells.registries import SPACES
from dnas.core import config as config_lib
from dnas.data import datasets
from dnas.evaluate import base, digits_bench
from dnas.evaluate.tabular import Tabular
from dnas.evaluate.training import Training
from dnas.evaluate.weight_sharing import Config as SharedConfig
from dnas.evaluate.weight_sharing import SharedWeightsTask, WeightSharing
from dnas.evaluate.zero_cost import PROXIES, ZeroCost
from dnas.launchers import _flags, _presets, _run
from dnas.launchers._comparison_settings import (
  BENCHMARK,
  EVALUATORS,
  ComparisonSettings,
  MakeEvaluator,
  read_table,
  space_of,
  training_parts,
)


def evaluator_names() -> tuple[str, ...]:
  """Returns the names of all evaluators."""
  return (*EVALUATORS, *PROXIES)


def maker_of(config: ComparisonSettings) -> MakeEvaluator:
  """Returns the function that makes the evaluator of a comparison."""
  if config.evaluator not in EVALUATORS:
    return functools.partial(_zero_cost, proxy=config.evaluator)
  maker = EVALUATORS[config.evaluator]
  return config_lib.unit(config, EVALUATORS, config.evaluator) if isinstance(maker, type) else maker


def prepare(config: ComparisonSettings, options: _flags.Options, root: pathlib.Path, seeds: int) -> None:
  """Trains the supernets that all methods share before any search begins: one for every seed, with weight sharing alone."""
  if config.evaluator == "weight_sharing":
    for seed in range(seeds):
      _shared_weights(config, options, root / config.space / config.evaluator / f"supernet_{seed:04d}", seed)


def _tabular(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> base.Evaluator:
  trained = seed % digits_bench.SEEDS if config.table == BENCHMARK else 0
  return Tabular(read_table(config.table, config.dataset, trained), config.epochs)


def _training(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> base.Evaluator:
  parts = training_parts(config)
  return Training(parts.train, parts.network, parts.data, datasets.from_config(parts.data), seed, folder / "trainings")


def _zero_cost(
  config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int, proxy: str
) -> base.Evaluator:
  parts = training_parts(config)
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


EVALUATORS.register("tabular")(_tabular)
EVALUATORS.register("training")(_training)
EVALUATORS.register("weight_sharing")(_weight_sharing)
