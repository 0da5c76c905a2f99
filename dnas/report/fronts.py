"""Fronts of accuracy against a cost: pictures, hypervolumes and the networks on them.

With several costs each of them has a front of its own, of accuracy and that cost.

The hypervolume of a search is the area that its networks dominate, up to a reference point. The reference point is the same for all methods
of a comparison: the lowest accuracy and the highest cost of all evaluations of the comparison. The area is divided by that of the rectangle
from the reference point to the ideal point, the highest accuracy and the lowest cost of all evaluations. So it is from 0 to 1, and 1 is
a network with that accuracy at that cost. More methods or seeds may move both points.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, ScalarFormatter

from dnas.core import pareto
from dnas.report.comparison import RANDOM, Comparison, Network, Search, colors, draw_bands, new_figure, quiet, time_grid
from dnas.report.figures import save_both
from dnas.report.palette import INK
from dnas.report.statistics import anytime, interval
from dnas.report.tables import Table

_UNITS = {"activation_bytes": "bytes"}


class Bounds(NamedTuple):
  """The reference point (floor, ceiling) and the ideal point (best, cheapest) of a comparison, in accuracy and in a cost."""

  floor: float
  ceiling: float
  best: float
  cheapest: float


def bounds(comparison: Comparison, cost: str) -> Bounds:
  """Returns the reference point and the ideal point of all evaluations of a comparison."""
  points = np.concatenate([_points(comparison, search, cost) for searches in comparison.methods.values() for search in searches])
  points = points[np.isfinite(points).all(1)]
  low, high = points.min(0), points.max(0)
  return Bounds(-float(high[0]), float(high[1]), -float(low[0]), float(low[1]))


def _points(comparison: Comparison, search: Search, cost: str) -> np.ndarray:
  """Returns (minus the score, the cost) of every evaluation of a search, [evaluations, 2]."""
  return search.objectives[:, [0, 1 + comparison.costs.index(cost)]] * (-1, 1)


def hypervolumes(comparison: Comparison, cost: str) -> dict[str, list[np.ndarray]]:
  """Returns method to the hypervolume of each search after each of its evaluations, [evaluations], as a share.

  It is nan for all if accuracy or the cost is the same in all evaluations. See the docstring of the module.
  """
  floor, ceiling, best, cheapest = bounds(comparison, cost)
  whole = (best - floor) * (ceiling - cheapest) or math.nan

  def of(search: Search) -> np.ndarray:
    return pareto.hypervolumes(_points(comparison, search, cost), (-floor, ceiling)) / whole

  return {name: [of(search) for search in searches] for name, searches in comparison.methods.items()}


def hypervolume_table(comparison: Comparison) -> Table:
  """Returns the table of hypervolumes at the end of the searches: a row per method, the first cost's best mean first."""
  header = ("method", "searches", "evaluations")
  header += tuple(f"{part}{name}" for name in comparison.costs for part in ("hypervolume, ", "95 % interval, "))
  volumes = [hypervolumes(comparison, cost) for cost in comparison.costs]
  ends = {name: [[float(search[-1]) for search in of_cost[name]] for of_cost in volumes] for name in comparison.methods}
  rows = []
  for name in sorted(ends, key=lambda name: -float(np.mean(ends[name][0]))):
    cells = [name, str(len(comparison.methods[name])), f"{np.mean([len(search.scores) for search in comparison.methods[name]]):.0f}"]
    for values in ends[name]:
      mean, low, high = interval(values)
      cells += [f"{mean:.4f}", f"{low:.4f} to {high:.4f}" if len(values) > 1 else "–"]
    rows.append(tuple(cells))
  budget = float(comparison.config["seconds"])
  caption = f"{comparison.space}, {comparison.evaluator}: hypervolume after {budget:,.10g} accelerator seconds a search"
  return Table(caption, header, tuple(rows))


class Found(NamedTuple):
  """A network of the front of all methods, and the methods that found it."""

  network: Network
  methods: tuple[str, ...]


def networks(comparison: Comparison, cost: str) -> list[Found]:
  """Returns the networks that no network of any search dominates, by accuracy and one cost, the cheapest first."""
  every = [(name, network) for name, searches in comparison.methods.items() for search in searches for network in search.front]
  kept = pareto.front([(-network.score, network.costs[cost]) for _, network in every])
  found = sorted((every[number][1] for number in kept), key=lambda network: network.costs[cost])
  finders = {one.notation: tuple(dict.fromkeys(name for name, network in every if network.notation == one.notation)) for one in found}
  return [Found(one, finders[one.notation]) for one in found]


def front_table(comparison: Comparison, cost: str) -> Table:
  """Returns the table of the networks on the front of all methods, the cheapest first. Test accuracy stands where it was measured."""
  rows = []
  for number, (network, methods) in enumerate(networks(comparison, cost), start=1):
    test = "–" if math.isnan(network.test) else f"{network.test:.2f}"
    costs = [f"{network.costs[name]:,.10g}" for name in comparison.costs]
    rows.append((str(number), f"{network.score:.4g}", test, *costs, ", ".join(methods), network.notation))
  caption = f"{comparison.space}, {comparison.evaluator}: the front of validation score and {cost}, over all methods and searches"
  return Table(caption, ("network", "validation", "test", *comparison.costs, "found by", "architecture"), tuple(rows))


def front_figure(comparison: Comparison) -> Figure:
  """Plots fronts, a row of two panels for every cost.

  The left panel has the front of every method over all its searches, and what random search evaluated. The right one has, for every cost,
  the best validation score within it that a search found: the median over the searches of a method, and a band of their middle half (the
  attainment surface: Fonseca and Fleming, "On the Performance Assessment and Comparison of Stochastic Multiobjective Optimizers", 1996).
  """
  figure = new_figure(11, 4.4 * len(comparison.costs))
  grid_of_axes = figure.subplots(len(comparison.costs), 2, squeeze=False, sharex="row", sharey="row")
  for panels, cost in zip(grid_of_axes, comparison.costs, strict=True):
    lows, ceiling = list[float](), bounds(comparison, cost).ceiling
    named = list(zip(comparison.methods.items(), colors(comparison), strict=True))
    for above, ((name, searches), color) in zip(np.linspace(1, 0, len(named)), named, strict=True):  # a front below others is wider
      own = [_points(comparison, search, cost) for search in searches]
      points = np.concatenate(own)
      points = points[np.isfinite(points).all(1)]
      if name == RANDOM:
        alpha = min(0.5, 0.05 + 100 / len(points))
        panels[0].scatter(points[:, 1], -points[:, 0], s=5, color=color, alpha=alpha, linewidths=0, zorder=1)
      costs, scores = _steps(points)
      panels[0].step(costs, scores, where="post", color=color, linewidth=1.2 + 2.4 * above, zorder=2)
      panels[0].plot(costs, scores, "o", color=color, markersize=4 + 4.4 * above, markeredgewidth=0, label=name, zorder=2)
      grid = np.unique([*points[:, 1], ceiling])
      low, middle, high = attained(own, grid)
      panels[1].fill_between(grid, low, high, step="post", color=color, alpha=0.15, linewidth=0)
      panels[1].step(grid, middle, where="post", color=color, linewidth=1.7, label=name)
      lows.append(float(np.quantile(scores, 0.1)))
    dots = "; dots: all of random search" if RANDOM in comparison.methods else ""
    titles = (f"validation score: fronts of methods{dots}", "attained within a cost: median of the searches, and their middle half")
    for axes, title in zip(panels, titles, strict=True):
      _limits(axes, comparison, cost, min(lows))
      axes.set_title(title, size=10.5, loc="left", color=INK)
      axes.set_xlabel(cost + (f" ({_UNITS[cost]})" if cost in _UNITS else ""), size=9)
      quiet(axes)
  handles, labels = grid_of_axes[0, 1].get_legend_handles_labels()
  figure.legend(handles, labels, frameon=False, fontsize=8.5, loc="outside lower center", ncols=len(labels))
  return figure


def _steps(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns costs and scores of the front of points, (minus the score, the cost), [n, 2], the cheapest first."""
  front = points[pareto.front(points)]
  front = front[np.argsort(front[:, 1])]
  return front[:, 1], -front[:, 0]


def attained(searches: Sequence[np.ndarray], grid: np.ndarray) -> np.ndarray:
  """Returns the quartiles over searches of the best score within each cost, [3, costs].

  A quartile is the score of one of the searches. It is nan where that search has no network within the cost.

  Args:
    searches: (minus the score, the cost) of every evaluation of each search, [evaluations, 2]; a row may be nan, but not all of them.
    grid: the costs, [costs].
  """
  values = anytime([list(zip(*_steps(points[np.isfinite(points).all(1)]), strict=True)) for points in searches], grid)
  quartiles = np.percentile(np.where(np.isnan(values), -np.inf, values), (25, 50, 75), axis=0, method="lower")
  return np.where(np.isfinite(quartiles), quartiles, np.nan)


def _limits(axes: Axes, comparison: Comparison, cost: str, low: float) -> None:
  """Shows the fronts but for their cheapest end, where accuracy falls off. A cost over more than a factor of ten has a logarithmic axis."""
  floor, ceiling, best, cheapest = bounds(comparison, cost)
  span = max(best - low, 0.05 * (best - floor), 1e-9)
  axes.set_ylim(low - 0.35 * span, best + 0.06 * span)
  if cheapest > 0 and ceiling > 10 * cheapest:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
  axes.xaxis.set_major_formatter(EngFormatter() if cheapest >= 1 else ScalarFormatter())


def hypervolume_figure(comparison: Comparison) -> Figure:
  """Plots hypervolume over accelerator seconds, a panel for every cost: means, and bands of the middle half of the searches."""
  figure = new_figure(5.6 * len(comparison.costs), 4.2)
  for axes, cost in zip(figure.subplots(1, len(comparison.costs), squeeze=False)[0], comparison.costs, strict=True):
    curves: dict[str, list[list[tuple[float, float]]]] = {}
    for name, own in hypervolumes(comparison, cost).items():
      pairs = zip(comparison.methods[name], own, strict=True)
      curves[name] = [list(zip(np.cumsum(search.costs), values, strict=True)) for search, values in pairs]
    draw_bands(axes, curves, colors(comparison), time_grid(comparison))
    axes.set_title(f"hypervolume of validation score and {cost}", size=10.5, loc="left", color=INK)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")
  return figure


def save(comparison: Comparison, folder: pathlib.Path, prefix: str = "") -> list[pathlib.Path]:
  """Saves the figures as PNG and SVG, and returns the paths of the PNGs."""
  figures = {"front": front_figure, "hypervolume": hypervolume_figure}
  return [save_both(make(comparison), folder / f"{prefix}{name}") for name, make in figures.items()]
