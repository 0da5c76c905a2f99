"""A contest of tunings, read back and reported: who won, by how much, and how sure that is.

A contest's folder holds contest/CONTESTANT/seed_0000/ with config.json and result.json; see `launchers._contest`.
"""

import collections
import dataclasses
import itertools
import math
import pathlib
from collections.abc import Mapping

import numpy as np
import scipy
from matplotlib.figure import Figure

from dnas.core.errors import InputError, counted
from dnas.core.json_files import NUMBER, read_object, read_result
from dnas.report.palette import CURVES, FAINT, INK
from dnas.report.statistics import Interval, anytime, interval
from dnas.report.tables import Table

FOLDER = "contest"
"""Name of the folder of all contestants."""

RESULT = {
  **{"contestant": str, "seed": int, "unit": str, "objective": str, "measure": str, "measured_in": str, "incumbents": list},
  **dict.fromkeys(("valid", "test", "spent", "search", "seconds", "trials", "epochs", "weights"), NUMBER),
}
"""Fields of the result of one contestant with one seed, and their types."""


@dataclasses.dataclass(frozen=True)
class Entry:
  """One contestant with one seed, at its end.

  Attributes:
    seed: its seed.
    valid: the objective of the best trial, on validation data.
    test: the number that the final training is judged by, lower is better.
    spent: what search and trials cost, in the unit of the budget.
    search: what the search alone cost.
    seconds: seconds of search and trials.
    trials: number of trials.
    weights: number of weights of the final network.
    incumbents: (spent, validation value) each time that a better trial ended.
  """

  seed: int
  valid: float
  test: float
  spent: float
  search: float
  seconds: float
  trials: int
  weights: int
  incumbents: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Contest:
  """A contest.

  Attributes:
    budget: the budget of every contestant.
    unit: its unit.
    objective: what the trials are judged by.
    measure: what the final trainings are judged by, such as 'test error'; lower is better.
    measured_in: its unit, such as '%', or ''.
    entries: contestant to its entries, by seed.
    incomplete: folders of contestants that have not ended.
  """

  budget: float
  unit: str
  objective: str
  measure: str
  measured_in: str
  entries: Mapping[str, tuple[Entry, ...]]
  incomplete: tuple[str, ...]


def load(root: pathlib.Path) -> Contest:
  """Reads a contest.

  Raises:
    InputError: if no contestant has ended, or contestants differ in their budget.
  """
  entries, incomplete = collections.defaultdict[str, list[Entry]](list), list[str]()
  terms: dict[str, object] = {}
  for path in sorted((root / FOLDER).glob("*/seed_*")):
    if not (path / "config.json").exists():
      continue
    config = read_object(path / "config.json", "bring back a good copy", {"config": dict})["config"]
    result = read_result(path, RESULT)
    if result is None:
      incomplete.append(str(path.relative_to(root)))
      continue
    own = {"budget": config.get("budget"), **{name: result[name] for name in ("unit", "objective", "measure", "measured_in")}}
    terms = terms or own
    for name, value in own.items():
      if value != terms[name]:
        raise InputError(f"{path}: its {name} is {value} and others have {terms[name]}; give all contestants the same.")
    incumbents = tuple((float(spent), float(valid)) for spent, valid in result["incumbents"])
    numbers = {name: result[name] for name in ("seed", "valid", "test", "spent", "search", "seconds", "trials", "weights")}
    entries[result["contestant"]].append(Entry(**numbers, incumbents=incumbents))
  if not entries:
    raise InputError(f"{root / FOLDER}: no contestant has finished yet; let dnas compare finish.")
  ranked = sorted(entries.items(), key=lambda item: float(np.mean([entry.test for entry in item[1]])))
  return Contest(**terms, entries={name: tuple(own) for name, own in ranked}, incomplete=tuple(incomplete))  # pyright: ignore[reportArgumentType]


def told(unit: str) -> str:
  """Returns the unit of a budget for people."""
  return unit.replace("_", "-")


def amount(value: float, unit: str) -> str:
  """Returns a part of a budget for people, such as '90 seconds'."""
  return f"{value:,.0f} {told(unit)}" if value >= 1000 else f"{value:.4g} {told(unit)}"


def tests_of(contest: Contest, name: str) -> np.ndarray:
  """Returns what the final trainings of a contestant ended in, [seeds]."""
  return np.array([entry.test for entry in contest.entries[name]])


def result_table(contest: Contest) -> Table:
  """Returns the table of a contest: a row per contestant, the best mean first."""
  rows = []
  for name, entries in contest.entries.items():
    mean, low, high = interval(tests_of(contest, name))
    bounds = f"{low:.2f} to {high:.2f}" if len(entries) > 1 else "–"
    spread = f"{np.std(tests_of(contest, name), ddof=1):.2f}" if len(entries) > 1 else "–"
    share = np.mean([entry.search / contest.budget for entry in entries])
    figures = {field: float(np.mean([getattr(entry, field) for entry in entries])) for field in ("trials", "seconds", "weights", "valid")}
    costs = (f"{100 * share:.0f} %", f"{figures['trials']:.0f}", f"{figures['seconds']:,.0f}", f"{figures['weights']:,.0f}")
    rows.append((name, str(len(entries)), *costs, f"{figures['valid']:.4g}", f"{mean:.2f}", bounds, spread))
  unit = f" ({contest.measured_in})" if contest.measured_in else ""
  header = ("contestant", "seeds", "of the budget for the search", "trials", "seconds", "weights")
  header += (f"validation {contest.objective}", f"{contest.measure}, mean{unit}", "95 % interval of the mean", "standard deviation")
  each = amount(contest.budget, contest.unit)
  caption = f"contest of tunings: {contest.measure} of the best trial, trained again, after {each}"
  return Table(caption, header, tuple(rows))


def difference(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Interval:
  """Returns the mean of `second` less that of `first` with Welch's interval; the ends are nan where either has a single value."""
  mean = float(second.mean() - first.mean())
  if min(len(first), len(second)) < 2:
    return Interval(mean, math.nan, math.nan)
  parts = [one.var(ddof=1) / len(one) for one in (first, second)]
  error = math.sqrt(sum(parts))
  if not error:
    return Interval(mean, mean, mean)
  freedom = sum(parts) ** 2 / sum(part**2 / (len(one) - 1) for part, one in zip(parts, (first, second), strict=True))
  half = float(scipy.stats.t.ppf((1 + level) / 2, freedom)) * error
  return Interval(mean, mean - half, mean + half)


def verdict(contest: Contest) -> str:
  """Returns sentences that say which contestant won: the one whose mean is lower than that of each other, by an interval above zero."""
  best, *others = contest.entries
  if not others:
    return f"{best} alone has ended, so there is no winner yet.\n"
  lines, sure = [], True
  unit = f" {contest.measured_in}".rstrip()
  for other in others:
    mean, low, high = difference(tests_of(contest, best), tests_of(contest, other))
    known = not math.isnan(low)
    sure = sure and known and low > 0
    bounds = f"95 % interval {low:.2f} to {high:.2f}" if known else "one seed, so no interval"
    lines.append(f"The {contest.measure} of {other} is higher than that of {best} by {mean:.2f}{unit} ({bounds}).")
  seeds = counted(min(len(own) for own in contest.entries.values()), "seed")
  why = "an interval does not exclude zero" if min(map(len, contest.entries.values())) > 1 else "one seed gives no interval"
  head = f"{best} won, over {seeds}." if sure else f"No contestant won, over {seeds}: {best} is ahead, but {why}."
  return "\n".join([head, *lines, ""])


def figure(contest: Contest) -> Figure:
  """Plots what contestants reached on validation data over what they had spent, and every final training."""
  drawn = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
  left, right = drawn.subplots(1, 2)
  grid = np.linspace(0, max(contest.budget, *(entry.spent for entry in itertools.chain(*contest.entries.values()))), 401)
  for row, ((name, entries), color) in enumerate(zip(contest.entries.items(), itertools.cycle(CURVES[1:]), strict=False)):
    values = anytime([entry.incumbents for entry in entries], grid)
    shown = np.isfinite(values).all(0)
    left.fill_between(grid[shown], values[:, shown].min(0), values[:, shown].max(0), color=color, alpha=0.12, linewidth=0)
    left.plot(grid[shown], values[:, shown].mean(0), color=color, linewidth=1.7, label=name)
    tests = tests_of(contest, name)
    heights = row + np.linspace(-0.18, 0.18, len(tests) + 2)[1:-1]  # so that equal numbers are all seen
    right.scatter(tests, heights, s=18, color=color, alpha=0.7, linewidths=0)
    right.plot([tests.mean()] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=1.8)
  left.set_title(f"validation {contest.objective} of the best trial; the band has all seeds", size=10.5, loc="left", color=INK)
  left.set_xlabel(f"spent ({told(contest.unit)})", size=9)
  left.legend(frameon=False, fontsize=8.5, loc="best")
  right.set_yticks(range(len(contest.entries)), list(contest.entries))
  right.set_ylim(len(contest.entries) - 0.5, -0.5)
  unit = f" ({contest.measured_in})" if contest.measured_in else ""
  right.set_xlabel(f"{contest.measure} of the final training{unit}; the line is the mean", size=9)
  for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=8, length=2.5, color=FAINT, labelcolor=INK)
  return drawn
