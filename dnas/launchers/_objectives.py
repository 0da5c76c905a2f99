"""The objectives of a comparison: what the evaluator gives, what strategies make of it, and the command that retrains a network."""

import hashlib
from collections.abc import Mapping
from typing import Any

from dnas.core.config import check
from dnas.core.costs import NAMES
from dnas.data import datasets
from dnas.evaluate.nasbench201_formats import LATENCY
from dnas.launchers import _commands, _presets
from dnas.launchers._comparison_settings import ACCURACY, BENCHMARK, EVALUATORS, ComparisonSettings, read_latencies, read_table
from dnas.launchers._counted import can_count
from dnas.launchers._evaluator_makers import asked_costs, asked_latencies, limits
from dnas.search.blackbox import objectives
from dnas.search.blackbox.strategies import STRATEGIES


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
    read_table(config.table, config.dataset).with_costs(asked_latencies(config))  # raises for columns that do not fit


def digest(config: ComparisonSettings) -> str:
  """Returns a digest of the latencies that a comparison reads, so that a search does not go on with others."""
  found = hashlib.sha256()
  for name, column in sorted(asked_latencies(config).items()):
    found.update(name.encode() + column.tobytes())
  return found.hexdigest()[:16]


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


def about_single(config: ComparisonSettings) -> str:
  """Returns the sentence that says which methods search for accuracy alone, though there are costs; empty if none does."""
  single = [name for name in config.method_names if name not in STRATEGIES or not objectives.takes_several(config.strategy(name))]
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
