"""Makes the evaluators of a comparison, by name."""

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np

from dnas.core import config as config_lib
from dnas.data import datasets
from dnas.evaluate import base, digits_bench, morphism
from dnas.evaluate.hypernetwork import IDLE
from dnas.evaluate.tabular import Tabular
from dnas.evaluate.training import Training
from dnas.evaluate.zero_cost import PROXIES, ZeroCost
from dnas.launchers import _flags, _trained_once
from dnas.launchers._comparison_settings import (
  BENCHMARK,
  EVALUATORS,
  ComparisonSettings,
  MakeEvaluator,
  read_latencies,
  read_table,
  space_of,
  training_parts,
)
from dnas.search.blackbox import objectives
from dnas.search.blackbox.strategies import STRATEGIES


def evaluator_names() -> tuple[str, ...]:
  """Returns the names of all evaluators."""
  return (*EVALUATORS, *PROXIES)


def maker_of(config: Any, evaluator: str) -> MakeEvaluator:
  """Returns the function that makes an evaluator. Its settings are those of `config`, if it has some and they are a component there."""
  if evaluator not in EVALUATORS:
    return functools.partial(_zero_cost, proxy=evaluator)
  maker = EVALUATORS[evaluator]
  return config_lib.unit(config, EVALUATORS, evaluator) if isinstance(maker, type) else maker


def idle_in_evaluator(config: Any, path: str) -> str:
  """Returns why a setting of an evaluator has no effect beside the others of this evaluator; an empty text if it has an effect."""
  component, _, field = path.partition(".")
  if component == "hypernetwork" and field in IDLE and IDLE[field](config.hypernetwork):
    return f"it does nothing with --hypernetwork.encoder={config.hypernetwork.encoder}, so leave it out"
  return ""


def prepare(config: ComparisonSettings, options: _flags.Options, root: pathlib.Path, seeds: int) -> None:
  """Trains what all methods share before any search begins, once for every seed."""
  if config.evaluator in BY_SEARCH:
    for seed in range(seeds):
      maker_of(config, config.evaluator)(config, options, root / config.space / config.evaluator / "all" / f"seed_{seed:04d}", seed)


def _tabular(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> base.Evaluator:
  trained = seed % digits_bench.SEEDS if config.table == BENCHMARK else 0
  return Tabular(read_table(config.table, config.dataset, trained).with_costs(asked_latencies(config)), config.epochs)


def asked_latencies(config: ComparisonSettings) -> dict[str, np.ndarray]:
  """Returns latency/COLUMN to the column, for the latencies that the evaluations of a comparison must have."""
  asked = asked_costs(config)
  return {name: column for name, column in read_latencies(config.latencies).items() if name in asked}


def asked_costs(config: ComparisonSettings) -> set[str]:
  """Returns the names of the costs that the evaluations of a comparison must have: the objectives, and what strategies limit."""
  return {*config.costs, *(limit_of for limit_of, _ in limits(config).values())}


def limits(config: ComparisonSettings) -> dict[str, tuple[str, float]]:
  """Returns strategy to (the name of the cost that it limits, the limit), for the strategies of a comparison that limit one."""
  own = {name: objectives.limit_of(config.strategy(name)) for name in config.method_names if name in STRATEGIES}
  return {name: limit for name, limit in own.items() if limit is not None}


def _training(config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> base.Evaluator:
  parts = training_parts(config)
  return Training(parts.train, parts.network, parts.data, datasets.from_config(parts.data), seed, folder / "trainings")


def _zero_cost(
  config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int, proxy: str
) -> base.Evaluator:
  parts = training_parts(config)
  return ZeroCost(proxy, dataclasses.replace(parts.network, auxiliary=False), parts.data, datasets.from_config(parts.data), seed)


@EVALUATORS.register("morphism")
@dataclasses.dataclass(frozen=True)
class Morphism(morphism.Config):
  """Network morphism, on the networks and the data of the training that a comparison names."""

  def __call__(self, config: ComparisonSettings, options: _flags.Options, folder: pathlib.Path, seed: int) -> base.Evaluator:
    """See `MakeEvaluator`."""
    parts = training_parts(config)
    own = parts.train, parts.network, parts.data, datasets.from_config(parts.data)
    return morphism.Morphism(self, space_of(config), *own, seed, folder / "networks")


EVALUATORS.register("tabular")(_tabular)
EVALUATORS.register("training")(_training)
EVALUATORS.register("weight_sharing")(_trained_once.weight_sharing)
EVALUATORS.register("hypernetwork")(_trained_once.Hypernetwork)
EVALUATORS.register("supernet")(_trained_once.supernet)

BY_SEARCH = ("weight_sharing", "hypernetwork", "supernet")
"""Evaluators by one training for all searches of a seed, whose network, data and rates are those of a preset of dnas search."""
