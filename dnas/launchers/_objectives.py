"""The objectives of a comparison: what the evaluator gives, what strategies make of it, and the command that retrains a network."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from dnas.core.config import check
from dnas.core.costs import NAMES
from dnas.core.records import Evaluation
from dnas.core.spaces import Space
from dnas.data import datasets
from dnas.evaluate.nasbench201_formats import LATENCY
from dnas.launchers import _commands, _presets
from dnas.launchers._comparison_settings import BENCHMARK, EVALUATORS, ComparisonSettings, read_latencies, read_table
from dnas.launchers._counted import can_count
from dnas.launchers._evaluator_makers import asked_costs, limits
from dnas.search.blackbox import objectives
from dnas.search.blackbox.base import Strategy
from dnas.search.blackbox.strategies import STRATEGIES

ACCURACY = "accuracy"
"""The first objective, the score of an evaluation. It alone is maximized."""


def given_costs(config: ComparisonSettings) -> tuple[str, ...]:
  """Returns the names of the costs that the metrics of a comparison's evaluations can have.

  An evaluator without a table lists its own in its attribute `costs`. Those that can be counted are added to them. Raises InputError if a
  table or a file of latencies cannot be read.
  """
  if config.evaluator == "tabular":
    return (*read_table(config.table, config.dataset).costs, *read_latencies(config.latencies))
  evaluator = EVALUATORS[config.evaluator] if config.evaluator in EVALUATORS else None
  return tuple(dict.fromkeys((*getattr(evaluator, "costs", ()), *(NAMES if can_count(config) else ()))))


def check_costs(config: ComparisonSettings) -> None:
  """Raises InputError for objectives and limits that the evaluator does not give, and for limits that limit nothing or everything."""
  asked, known = asked_costs(config), given_costs(config) if asked_costs(config) else ()
  gives = f"the evaluator {config.evaluator} gives {', '.join((ACCURACY, *known))}"
  if any(name.startswith(LATENCY) for name in asked) and config.evaluator == "tabular" and not config.latencies:
    gives += ", and a latency with --latencies=FILE.npz"
  for name in config.costs:
    check(name in known, "objectives", config.objectives, f"{gives}, so it cannot be {name}")
  for strategy, (limit_of, limit) in limits(config).items():
    objectives.check_limit(strategy, limit_of, limit, known, gives)
    if config.evaluator == "tabular":
      costs = _column(config, limit_of)
      hint = f"{limit_of} of the table are {costs.min():,.10g} to {costs.max():,.10g}, so"
      check(limit >= costs.min(), f"{strategy}.limit", limit, f"{hint} it leaves nothing")
      check(limit < costs.max(), f"{strategy}.limit", limit, f"{hint} it does nothing")
  if config.evaluator == "tabular":
    latencies = {name: column for name, column in read_latencies(config.latencies).items() if name in asked}
    read_table(config.table, config.dataset).with_costs(latencies)  # raises for columns that do not fit


def digest(config: ComparisonSettings) -> str:
  """Returns a digest of the latencies that a comparison reads, so that a search does not go on with others."""
  asked = asked_costs(config)
  columns = {name: column.tolist() for name, column in read_latencies(config.latencies).items() if name in asked}
  return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()[:16]


def _column(config: ComparisonSettings, name: str) -> Any:
  return (dict(read_table(config.table, config.dataset).costs) | read_latencies(config.latencies))[name]


def idle(config: ComparisonSettings, path: str) -> str:
  """Returns why a setting of objectives or limits has no effect here, and a hint; an empty text if it has an effect."""
  component, _, field = path.partition(".")
  if idle_limit := objectives.idle_limit(getattr(config, component), component, field):
    return idle_limit
  if path == "latencies" and config.evaluator != "tabular":
    return f"it does nothing with --evaluator={config.evaluator}, so leave it out"
  if path == "latencies" and not any(name.startswith(LATENCY) for name in asked_costs(config)):
    return f"it does nothing without an objective or a limit of {LATENCY}COLUMN, so leave it out"
  return ""


def strategy_on(config: ComparisonSettings, method: str, space: Space) -> Strategy:
  """Returns a strategy on a space, with all objectives if it takes several. Raises InputError if it cannot search that space."""
  return objectives.on_space(config.strategy(method), space, config.costs)


def violation_of(config: ComparisonSettings, method: str) -> Callable[[Evaluation], float]:
  """Returns the function of an evaluation by how much the network is over the limit of a method; zero for a method without a limit."""
  return objectives.violation_of(config.strategy(method) if method in STRATEGIES else None)


def about_single(config: ComparisonSettings, blind: str) -> str:
  """Returns the sentence that says which methods search for accuracy alone, though there are costs; empty if none does.

  Args:
    config: the comparison.
    blind: the strategy that does not learn, so that objectives make no difference to it.
  """
  own = {name: config.strategy(name) if name in STRATEGIES else None for name in config.method_names if name != blind}
  single = [name for name, settings in own.items() if not objectives.takes_several(settings)]
  return objectives.about_single(single, ACCURACY) if config.costs else ""


def retraining(settings: Mapping[str, Any], notation: str, root: str) -> str:
  """Returns the command that retrains a network of a comparison; an empty text if there is no preset and no data for it.

  Args:
    settings: flag to value, of the comparison.
    notation: the network.
    root: folder of the comparison.
  """
  recipe: dict[str, Any] = {"preset": settings.get("training") or "nasbench201_cifar10_retrain"}
  if not settings.get("training"):  # so a table has the architectures
    table, dataset = settings.get("table"), settings.get("dataset")
    if table == BENCHMARK:
      recipe = {"preset": f"{BENCHMARK}_retrain"}
    elif dataset not in datasets.DATASETS:
      return ""
    elif dataset != "cifar10":
      recipe["data.dataset"] = dataset
  elif getattr(_presets.load(recipe["preset"], "train"), "space", "") != settings.get("space"):
    recipe["space"] = settings.get("space")
  name = hashlib.sha256(notation.encode()).hexdigest()[:8]
  return _commands.command("train", recipe | {"genotype": notation, "workdir": f"{root}/retrained/{name}"})
