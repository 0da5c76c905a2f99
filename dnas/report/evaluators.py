"""What cheap evaluators are worth: rank correlation with full training against cost, as a table, rows of numbers, and a picture.

Source of the question: Elsken, Metzen and Hutter, "Neural Architecture Search: A Survey", JMLR 2019, section 4.
"""

import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dnas.core import durable
from dnas.core.errors import counted
from dnas.report.figures import save_both
from dnas.report.palette import CURVES, FAINT, INK
from dnas.report.statistics import Interval, percentile_interval, ranks, resample_counts, resampled_correlations, top_precision
from dnas.report.tables import Table

RANDOM = "random"
"""The evaluator whose scores are random numbers."""
PARAMETERS = "parameters"
"""The evaluator whose score is the number of weights."""


@dataclasses.dataclass(frozen=True)
class Evaluated:
  """The scores of one evaluator.

  Attributes:
    name: what the evaluator is called.
    kind: rows of one kind differ in their budget alone; a picture joins them.
    scores: [seeds, n].
    seconds: what each evaluation took, without the training that all of them share, [seeds, n].
    shared: seconds of that training, [seeds]; zero if there is none.
  """

  name: str
  kind: str
  scores: np.ndarray
  seconds: np.ndarray
  shared: np.ndarray


@dataclasses.dataclass(frozen=True)
class Sample:
  """The architectures that were evaluated.

  Attributes:
    full: their scores by full training, [seeds, n]; those that an evaluator of a seed is compared with.
    seconds: mean seconds of a full training.
    resamples: number of bootstrap resamples of the architectures.
  """

  full: np.ndarray
  seconds: float
  resamples: int


@dataclasses.dataclass(frozen=True)
class Row:
  """What one evaluator is worth: means over seeds. Intervals are bootstrap intervals of these means, over architectures, at 95 %.

  Attributes:
    name: see `Evaluated`.
    kind: see `Evaluated`.
    kendall: Kendall's tau with full training.
    kendall_deviation: the standard deviation of tau between seeds; nan for one seed.
    spearman: Spearman's rho with full training.
    spearman_deviation: its standard deviation between seeds.
    better_half: Kendall's tau among the better half by full training.
    top_tenth: what share of the best tenth by the evaluator is in the best tenth by full training.
    cost: seconds of an evaluation as a fraction of those of a full training, without the training that all evaluations share.
    cost_shared: the same with that training, divided by the number of architectures.
    above: for each baseline, by how much tau exceeds that of the baseline.
  """

  name: str
  kind: str
  kendall: Interval
  kendall_deviation: float
  spearman: Interval
  spearman_deviation: float
  better_half: Interval
  top_tenth: float
  cost: float
  cost_shared: float
  above: Mapping[str, Interval]

  def flat(self) -> dict[str, Any]:
    """Returns column to value, for files."""
    out: dict[str, Any] = {}
    for name, value in {**vars(self), **{f"above_{name}": each for name, each in self.above.items()}}.items():
      if isinstance(value, Interval):
        out |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
      elif name != "above":
        out[name] = value
    return out


def measure(evaluated: Sequence[Evaluated], sample: Sample) -> list[Row]:
  """Returns a row for every evaluator, in their order. All of them share the bootstrap resamples, so differences have intervals too."""
  counts = resample_counts(sample.full.shape[1], sample.resamples, np.random.default_rng(0))
  whole = np.vstack([np.ones(counts.shape[1]), counts])  # the architectures themselves are the first
  taus = {one.name: _correlations(one.scores, sample.full, whole)[0] for one in evaluated}
  baselines = [name for name in (PARAMETERS, RANDOM) if name in taus]
  rows = []
  for one in evaluated:
    tau, rho = _correlations(one.scores, sample.full, whole)
    half = _correlations(one.scores, sample.full, whole, better=True)[0]
    cost = float(one.seconds.mean()) / sample.seconds
    above = {name: _interval(tau - taus[name]) for name in baselines if name != one.name}
    top = float(np.mean([top_precision(*pair) for pair in zip(one.scores, sample.full, strict=True)]))
    with_shared = cost + float(one.shared.mean()) / one.scores.shape[1] / sample.seconds
    spread = (_interval(tau), _deviation(tau), _interval(rho), _deviation(rho), _interval(half))
    rows.append(Row(one.name, one.kind, *spread, top, cost, with_shared, above))
  return rows


def _correlations(scores: np.ndarray, full: np.ndarray, counts: np.ndarray, better: bool = False) -> tuple[np.ndarray, np.ndarray]:
  """Returns tau and rho, each [seeds, resamples]; with `better` only those of the architectures above the median by full training."""
  found = []
  for cheap, wanted in zip(scores, full, strict=True):
    kept = np.argsort(ranks(wanted), kind="stable")[len(wanted) // 2 :] if better else np.arange(len(wanted))
    found.append(resampled_correlations(cheap[kept], wanted[kept], counts[:, kept]))
  taus, rhos = zip(*found, strict=True)
  return np.stack(taus), np.stack(rhos)


def _interval(values: np.ndarray) -> Interval:
  """Returns the mean over seeds with its interval, from the values of all seeds and resamples."""
  mean = values.mean(0)
  return percentile_interval(float(mean[0]), mean[1:])


def _deviation(values: np.ndarray) -> float:
  return float(values[:, 0].std(ddof=1)) if len(values) > 1 else float("nan")


def table_of(rows: Sequence[Row], sample: Sample, title: str) -> Table:
  """Returns the rows as a table.

  Args:
    rows: from `measure`.
    sample: the architectures.
    title: what was evaluated, for the caption.
  """
  header = ("evaluator", "Kendall's tau", "95 % interval", "deviation of seeds", "Spearman's rho", "95 % interval", "tau, better half")
  header += ("top tenth found, %", "above parameters", "cost, %", "cost with shared training, %")
  lines = []
  for row in rows:
    above = row.above.get(PARAMETERS)
    lines.append(
      (
        *(row.name, f"{row.kendall.mean:.2f}", _bounds(row.kendall), _or_dash(row.kendall_deviation)),
        *(f"{row.spearman.mean:.2f}", _bounds(row.spearman), f"{row.better_half.mean:.2f}", f"{100 * row.top_tenth:.0f}"),
        "–" if above is None else f"{above.mean:.2f} ({_bounds(above)})",
        *(percent(cost) for cost in (row.cost, row.cost_shared)),
      )
    )
  seeds, n = sample.full.shape
  caption = f"{title}: rank correlation with full training over {counted(n, 'architecture')}, mean of {counted(seeds, 'seed')}"
  return Table(f"{caption}; a full training takes {sample.seconds:.3g} s", header, tuple(lines))


def _or_dash(value: float) -> str:
  return f"{value:.2f}" if value == value else "–"


def _bounds(interval: Interval) -> str:
  return f"{interval.low:.2f} to {interval.high:.2f}"


def percent(cost: float) -> str:
  """Returns a fraction as a percentage, with three digits and without an exponent."""
  value = 100 * cost
  return f"{value:,.0f}" if value >= 100 else f"{float(f'{value:.2g}'):.5f}".rstrip("0").rstrip(".")


def figure(rows: Sequence[Row]) -> Figure:
  """Plots Kendall's tau with its interval over cost. A line goes on to the cost with the training that all evaluations share."""
  made = Figure(figsize=(9, 5.2), layout="constrained", facecolor="white")
  axes = made.subplots()
  points = [row for row in rows if row.name != RANDOM]
  kinds = list(dict.fromkeys(row.kind for row in points))
  for index, kind in enumerate(kinds):
    color, members = CURVES[(index + 1) % len(CURVES)], [row for row in points if row.kind == kind]
    marker = "osD^v<>pPX*h"[index % 12]
    heights = np.array([row.kendall.mean for row in members])
    below, above = (np.array([getattr(row.kendall, end) for row in members]) for end in ("low", "high"))
    costs, shared = (100 * np.array([getattr(row, cost) for row in members]) for cost in ("cost", "cost_shared"))
    if len(members) > 1:
      axes.plot(shared, heights, color=color, linewidth=0.8, alpha=0.6)
    if (shared > 1.001 * costs).any():
      axes.plot([costs, shared], [heights, heights], color=color, linewidth=0.8, linestyle=(0, (1.5, 1.5)))
      axes.scatter(costs, heights, s=36, marker=marker, facecolors="white", edgecolors=color, zorder=3)
    bars = np.clip([heights - below, above - heights], 0, None)
    style: dict[str, Any] = {"fmt": marker, "color": color, "markersize": 6, "elinewidth": 1, "capsize": 2}
    axes.errorbar(shared, heights, bars, label=kind.replace("_", " "), zorder=4, **style)
    for row, cost, height in zip(members, shared, heights, strict=True):
      text = row.name.rpartition(", ")[2] if len(members) > 1 else ""
      axes.annotate(text, (cost, height), (-6, 5), textcoords="offset points", fontsize=7.5, color=color, ha="right")
  for row in rows:
    if row.name == RANDOM:
      axes.axhspan(row.kendall.low, row.kendall.high, color=FAINT, alpha=0.2, linewidth=0)
      axes.axhline(row.kendall.mean, color=FAINT, linestyle=(0, (4, 2)), linewidth=1, label="random")
  axes.set_xscale("log")
  axes.margins(x=0.1)
  axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
  axes.set_xlabel("cost of an evaluation, % of a full training (hollow: without the training that all evaluations share)", size=9)
  axes.set_ylabel("Kendall's tau with full training, and its 95 % interval", size=9)
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(FAINT)
  axes.tick_params(labelsize=8, length=2.5, color=FAINT, labelcolor=INK)
  axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
  axes.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
  return made


def save_numbers(rows: Sequence[Row], sample: Sample, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
  """Writes evaluators.csv and evaluators.json, which also has what `about` tells. What is no number is null in JSON, and empty in CSV."""
  flat = [{name: None if value != value else value for name, value in row.flat().items()} for row in rows]
  columns = list(dict.fromkeys(name for row in flat for name in row))
  text = io.StringIO()
  writer = csv.DictWriter(text, columns, lineterminator="\n")
  writer.writeheader()
  writer.writerows(flat)
  durable.write(folder / "evaluators.csv", text.getvalue())
  seeds, n = sample.full.shape
  told = {**about, "architectures": n, "seeds": seeds, "resamples": sample.resamples, "seconds_of_full_training": sample.seconds}
  durable.write(folder / "evaluators.json", json.dumps({**told, "evaluators": flat}, indent=2) + "\n")


def save_picture(rows: Sequence[Row], folder: pathlib.Path) -> pathlib.Path:
  """Draws evaluators.png and evaluators.svg, and returns the first."""
  return save_both(figure(rows), folder / "evaluators")
