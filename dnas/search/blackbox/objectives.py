"""Several objectives: the score, which is maximized, and costs, which are minimized; and the limits of costs in strategies."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from dnas.core.config import check
from dnas.core.records import Evaluation
from dnas.core.spaces import Space
from dnas.search.blackbox import study
from dnas.search.blackbox.base import Strategy, score_of


def names_of(objectives: str, score: str) -> tuple[str, ...]:
  """Returns the names in a list with commas. Raises FieldError if the score is not the first, or a name is there twice."""
  names = tuple(name.strip() for name in objectives.split(","))
  check(names[0] == score and all(names), "objectives", objectives, f"give {score}, then costs, with commas between them")
  check(len(set(names)) == len(names), "objectives", objectives, "an objective is given twice; give each once")
  return names


def takes_several(settings: Any) -> bool:
  """Returns whether a strategy searches for several objectives; see `base.Settings`."""
  return getattr(settings, "multi_objective", False) is True


def on_space(settings: Any, space: Space, costs: Sequence[str]) -> Strategy:
  """Returns a strategy on a space. It minimizes the costs if it takes several objectives. Raises InputError as `base.Settings.on`."""
  return settings.on(space, costs) if takes_several(settings) else settings.on(space)


def about_single(names: Sequence[str], score: str) -> str:
  """Returns the sentence that says that strategies do not search for the costs; empty without names."""
  if not names:
    return ""
  searches = "have one objective and search" if len(names) > 1 else "has one objective and searches"
  evaluates = "they evaluate" if len(names) > 1 else "it evaluates"
  return f"{', '.join(names)} {searches} for {score}, not for costs; what {evaluates} enters the front too"


def limit_of(settings: Any) -> tuple[str, float] | None:
  """Returns the name of the cost that a strategy limits, and the limit; None for a strategy without one."""
  name = getattr(settings, "limit_of", "")
  return (name, settings.limit) if name else None


def check_limit(strategy: str, name: str, limit: float, known: Sequence[str], gives: str) -> None:
  """Raises FieldError if the cost is none of those known, which `gives` tells, or the limit is not above zero."""
  check(name in known, f"{strategy}.limit_of", name, gives)
  check(limit > 0, f"{strategy}.limit", limit, f"give the most {name} that a network may have")


def idle_limit(settings: Any, strategy: str, field: str) -> str:
  """Returns why a setting of a strategy is a limit of no cost, and a hint; an empty text if it is not."""
  if field == "limit" and not getattr(settings, "limit_of", "none"):
    return f"it does nothing without --{strategy}.limit_of, so leave it out"
  return ""


def about_unmet(strategy: str, settings: Any, evaluations: Sequence[Evaluation]) -> str:
  """Returns the sentence that says that no evaluated network is within the limit of a strategy; empty if one is, or there is no limit."""
  limit = limit_of(settings)
  if limit is None or any(not settings.violation(evaluation) for evaluation in evaluations):
    return ""
  least = min(evaluation.metrics[limit[0]] for evaluation in evaluations)
  return f"warning: {strategy} evaluated no network within its limit, {limit[1]:,.10g} {limit[0]}; the least was {least:,.10g}"


def within(settings: Any, journal: Sequence[study.Entry]) -> list[study.Entry]:
  """Returns the trained entries of a journal whose networks are within the limit of a strategy; all if none is, or there is no limit."""
  violation = violation_of(settings)
  return [entry for entry in journal if not violation(entry[1]) and score_of(entry[1]) > -math.inf] or list(journal)


def listed(entry: study.Entry, space: Space, costs: Sequence[str]) -> dict[str, object]:
  """Returns a network of a front, as a result lists it."""
  proposal, evaluation = entry
  own = {name: evaluation.metrics[name] for name in costs}
  return {"notation": space.notation(proposal.genotype), "score": evaluation.score, "costs": own}


def violation_of(settings: Any) -> Callable[[Evaluation], float]:
  """Returns the function of an evaluation by how much its network is over the limit of a strategy; zero for a strategy without one."""
  return getattr(settings, "violation", lambda evaluation: 0.0)
