"""The page of a comparison of search methods, and that of a contest of tunings."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnas.core import pareto
from dnas.core.errors import counted
from dnas.core.json_files import read_object
from dnas.report import comparison as comparisons
from dnas.report import contest as contests
from dnas.report import fronts
from dnas.report.comparison import Comparison
from dnas.report.contest import Contest
from dnas.report.pages import checklist, figures
from dnas.report.pages.html import Block, Command, Notes, Page, Plot, Plots, Section, Sheet, Text
from dnas.report.pages.run import recorded
from dnas.report.statistics import anytime


def comparison_page(root: pathlib.Path, found: Sequence[Comparison], command: str, best_of: int = 4) -> Page:
  """Returns the page of a comparison.

  Args:
    root: its folder.
    found: its searches, by space and evaluator.
    command: the command that repeats it; empty if there is none.
    best_of: see `comparison.result_table`.
  """
  searches = [search for one in found for of_method in one.methods.values() for search in of_method]
  methods = list(dict.fromkeys(name for one in found for name in one.methods))
  facts = [("Methods", str(len(methods))), ("Searches", f"{len(searches):,}")]
  facts.append(("Budget of a search", f"{float(found[0].config['seconds']):,.10g} s"))
  facts.append(("All searches", f"{sum(search.seconds for search in searches):,.0f} s"))
  names = " and ".join(f"{one.space} by {one.evaluator}" for one in found)
  lead = f"{', '.join(methods)}: in {names}. Seconds are accelerator seconds."
  sections = [section for one in found for section in _sections(root, one, best_of, len(found) > 1)]
  sections.append(Section("Repeat it", [Text(_REPEAT), Command(command)] if command else []))
  first = found[0]
  header = _header(root / first.space / first.evaluator / next(iter(first.methods)))
  sections.append(recorded(first.config, header["versions"], header.get("command") or ()))
  return Page("Comparison", root.resolve().name, lead, facts, sections)


_COLUMNS = (
  "Methods whose 95 % intervals overlap are not told apart. The percentile is the share of all architectures of the table that are worse. "
  "'Best of k' takes the best of k searches by validation, at the cost of all k; a dash stands where there are fewer searches. 'Times "
  "random search' is the cost of random search for the same score, in searches of this method."
)
_REPEAT = "It begins anew in another folder."
_BANDS = "A band has the middle half of the {}; a line is their mean."


def _header(method: pathlib.Path) -> Mapping[str, Any]:
  """Returns config.json of the first seed of a method that has ended."""
  folder = min(path.parent for path in method.glob("seed_*/result.json"))
  return read_object(folder / "config.json", "bring back a good copy", {"config": dict, "versions": dict})


def _sections(root: pathlib.Path, one: Comparison, best_of: int, several: bool) -> list[Section]:
  place = f", {one.space} by {one.evaluator}" if several else ""
  left: list[Block] = [Text(f"Left out, as they have not ended: {', '.join(one.incomplete)}.")] if one.incomplete else []
  front = [block for cost in one.costs for block in _front(one, cost)]
  points = checklist.points(root, one)
  met = sum(point.state == checklist.MET for point in points)
  told = f"{met} of {len(points)} points are met; the folder cannot say more of those that are unknown. "
  told += "The points are those of Lindauer and Hutter, Best Practices for Scientific Research on Neural Architecture Search (JMLR 2020)."
  return [
    Section(f"Result{place}", [Sheet(comparisons.result_table(one, best_of)), Text(_COLUMNS), Plots([_distribution(one)]), *left]),
    Section(f"Over time{place}", [Plots(_anytime(one), bands=True), Text(_BANDS.format("searches"))]),
    Section(f"Front of cost and accuracy{place}", front),
    Section(f"Validation and test{place}", [Plots([_correlation(one)])]),
    Section(f"Best practices{place}", [Text(told), Notes(points)]),
  ]


def _anytime(one: Comparison) -> list[Plot]:
  rows = [row for searches in one.methods.values() for search in searches for row in search.incumbents]
  grid, out = comparisons.time_grid(one), []
  for column, title in ((1, "Validation score"), (2, "Test accuracy (%)")):
    if not np.isnan([row[column] for row in rows]).any():
      curves = {name: [[(row[0], row[column]) for row in search.incumbents] for search in own] for name, own in one.methods.items()}
      plot = _bands(title, curves, grid)
      out.append(dataclasses.replace(plot, wide=True))
  return out


def _bands(title: str, methods: Mapping[str, Sequence[Sequence[tuple[float, float]]]], grid: np.ndarray) -> Plot:
  """Returns the means of curves with their middle halves; the axis begins where most curves have left their start."""
  shown, lows, tops = {}, list[float](), list[float]()
  for name, curves in methods.items():
    values = anytime(curves, grid)
    known = np.isfinite(values).all(0)
    low, high = (np.percentile(values[:, known], percent, axis=0) for percent in (25, 75))
    middle = values[:, known].mean(0)
    shown[name] = (grid[known], low, middle, high)
    lows += list(middle[:: max(1, len(grid) // 20)][1:2])
    tops += list(high[-1:])
  low, top = min(lows, default=0.0), max(tops, default=1.0)
  span = max(top - low, 0.01)
  return figures.bands(title, shown, "accelerator seconds", "", (low - 0.15 * span, top + 0.08 * span))


def _distribution(one: Comparison) -> Plot:
  """Returns every search as a point, a row for each method."""
  names = sorted(one.methods, key=lambda name: float(np.mean([search.test for search in one.methods[name]])), reverse=True)
  traces, ends = [], []
  order = list(one.methods)
  for name in names:
    tests = np.array([search.test for search in one.methods[name]])
    color = figures.series_name(order.index(name))
    texts = [f"{name}, seed {search.seed}: {search.test:.2f} %" for search in one.methods[name]]
    traces.append({
      **{"type": "box", "x": tests, "y": [name] * len(tests), "orientation": "h", "boxpoints": "all", "jitter": 0.5, "pointpos": 0},
      **{"boxmean": True, "name": name, "marker": {"color": color, "size": 5, "opacity": 0.7}, "line": {"color": color, "width": 1.2}},
      **{"fillcolor": "rgba(0,0,0,0)", "text": texts, "hoverinfo": "text", "hoveron": "points"},
    })  # fmt: skip
    ends.append(f"{name} {tests.mean():.2f}")
  layout = {
    "xaxis": {"title": {"text": "test accuracy (%)", "standoff": 6}},
    "yaxis": {"autorange": "reversed", "type": "category"},
    "showlegend": False,
    "hovermode": "closest",
  }
  title = "Every search; a box has the middle half, a dashed line is the mean"
  return Plot(title, f"Test accuracy, means: {', '.join(ends)}.", {"data": traces, "layout": layout}, 90 + 44 * len(names), wide=True)


def _correlation(one: Comparison) -> Plot:
  pairs, ranks = comparisons.correlation(one)
  told = f"Kendall's tau {ranks.kendall:.2f}, Spearman's rho {ranks.spearman:.2f}, {counted(len(pairs), 'architecture')}"
  if not len(pairs):
    pairs = np.zeros((0, 2))
  texts = [f"validation {valid:.4g}, test {test:.4g} %" for valid, test in pairs]
  groups = {"architectures": (pairs[:, 0], pairs[:, 1], texts)}
  plot = figures.points(f"What searches saw and what it was worth: {told}", groups, "validation score", "test accuracy (%)", told)
  return dataclasses.replace(plot, wide=True)


def _front(one: Comparison, cost: str) -> list[Block]:
  """Returns the fronts of all methods, and the table of the networks on the front of all."""
  groups = {}
  for name, searches in one.methods.items():
    rows = np.concatenate([search.objectives[:, [0, 1 + one.costs.index(cost)]] * (-1, 1) for search in searches])
    rows = rows[np.isfinite(rows).all(1)]
    front = rows[pareto.front(rows)]
    front = front[np.argsort(front[:, 1])]
    texts = [f"{name}: validation {-score:.4g}, {cost} {spent:,.10g}" for score, spent in front]
    groups[name] = (front[:, 1], -front[:, 0], texts)
  floor, ceiling, best, cheapest = fronts.bounds(one, cost)
  wide = {"type": "log"} if cheapest > 0 and ceiling > 10 * cheapest else {}
  ends = ", ".join(f"{name} has {len(values)}" for name, (_, values, _) in groups.items())
  told = f"Fronts of validation score and {cost}: of the networks on the fronts {ends}."
  plot = figures.points(f"Fronts of {cost}", groups, cost, "validation score", told, lines=True, xaxis=wide)
  table = fronts.front_table(one, cost)
  return [Plots([dataclasses.replace(plot, wide=True)]), Sheet(fronts.hypervolume_table(one)), Sheet(table)]


def contest_page(root: pathlib.Path, found: Contest, command: str) -> Page:
  """Returns the page of a contest of tunings; see `comparison_page`."""
  seeds = [len(own) for own in found.entries.values()]
  facts = [("Contestants", str(len(found.entries))), ("Budget", contests.amount(found.budget, found.unit))]
  facts += [("Seeds", str(min(seeds)) if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}")]
  verdict = [("", "", line) for line in contests.verdict(found).splitlines() if line]
  left = [Text(f"Left out, as they have not ended: {', '.join(found.incomplete)}.")] if found.incomplete else []
  ends = [found.budget, *(entry.spent for entry in itertools.chain(*found.entries.values()))]
  curves = {name: [entry.incumbents for entry in own] for name, own in found.entries.items()}
  plot = _bands(f"Validation {found.objective} of the best trial", curves, np.linspace(0, max(ends), 201))
  axis = {**plot.figure["layout"]["xaxis"], "title": {"text": f"spent ({contests.told(found.unit)})", "standoff": 6}}
  lows = [low for trace in plot.figure["data"] for low in trace["y"] if math.isfinite(low)]
  margin = 0.05 * (max(lows) - min(lows)) or 0.01
  layout = {**plot.figure["layout"], "xaxis": axis, "yaxis": {"range": [min(lows) - margin, max(lows) + margin]}}
  drawn = dataclasses.replace(plot, figure={**plot.figure, "layout": layout}, wide=True)
  folder = root / contests.FOLDER / next(iter(found.entries))
  header = _header(folder)
  sections = [
    Section("Result", [Sheet(contests.result_table(found)), Notes(verdict), *left]),
    Section("Over the budget", [Plots([drawn], bands=True), Text(_BANDS.format("seeds"))]),
    Section("Repeat it", [Text(_REPEAT), Command(command)] if command else []),
    recorded(header["config"], header["versions"], header.get("command") or ()),
  ]
  return Page("Contest of tunings", root.resolve().name, f"{' against '.join(found.entries)}, at equal budget.", facts, sections)
