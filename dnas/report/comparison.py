"""A comparison of search methods, read back and reported: tables, anytime curves, distributions.

A comparison's folder holds SPACE/EVALUATOR/METHOD/seed_0000/ with config.json, journal.jsonl and result.json. The report shows the mean
of the searches and the expected best of k of them separately.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dnas.core.errors import InputError, counted
from dnas.core.json_files import NUMBER, read_object, read_result
from dnas.report.figures import save_both
from dnas.report.palette import CURVES, FAINT, INK, VALID
from dnas.report.published import NASBENCH201
from dnas.report.statistics import RankCorrelation, anytime, best_of, interval, rank_correlation, times_random_search
from dnas.report.tables import Table

Curves = Sequence[Sequence[tuple[float, float]]]

RANDOM = "random_search"
ACCURACY = "accuracy"
_SINCE = {"objectives": ACCURACY, "latencies": ""}  # flags that older folders lack
RESULT = {"seed": int, "valid": NUMBER, "test": NUMBER, "seconds": NUMBER, "incumbents": list}
"""Fields of the result of a search, and their types."""


@dataclasses.dataclass(frozen=True)
class Network:
  """A network of the front of a search.

  Attributes:
    notation: the architecture as one line.
    score: its validation score.
    costs: name of a cost to its value.
    test: its test accuracy in percent; nan if it was not measured.
  """

  notation: str
  score: float
  costs: Mapping[str, float]
  test: float


@dataclasses.dataclass(frozen=True)
class Search:
  """One search that has ended.

  Attributes:
    seed: its seed.
    valid: validation score of the architecture that it found.
    test: test accuracy of that architecture, in percent.
    seconds: accelerator seconds that it spent.
    incumbents: (seconds, validation score, test accuracy) each time that the incumbent changed; test is nan if it was not measured.
    scores: validation score of every evaluation, in order.
    costs: accelerator seconds of every evaluation, in order.
    percentile: percentage of all architectures of the table that have a lower test accuracy than the found one; nan if not known.
    objectives: score and costs of every evaluation, in order, [evaluations, 1 + costs]; nan for failed and for shorter trainings than the
      longest.
    front: the networks of the search that no other one of it dominates; empty without costs among the objectives.
  """

  seed: int
  valid: float
  test: float
  seconds: float
  incumbents: tuple[tuple[float, float, float], ...]
  scores: np.ndarray
  costs: np.ndarray
  percentile: float = math.nan
  objectives: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 1)))
  front: tuple[Network, ...] = ()


@dataclasses.dataclass(frozen=True)
class Comparison:
  """All searches on one space with one evaluator, at one budget.

  Attributes:
    space: the space.
    evaluator: the evaluator.
    config: flag to value, for the flags that all searches share.
    methods: method to its searches, by seed.
    incomplete: folders of searches that have not ended, or cannot be read.
  """

  space: str
  evaluator: str
  config: Mapping[str, Any]
  methods: Mapping[str, tuple[Search, ...]]
  incomplete: tuple[str, ...]

  @property
  def costs(self) -> tuple[str, ...]:
    """The objectives beside accuracy, which are minimized."""
    return objectives_of(self.config)[1:]

  @property
  def percentiles(self) -> np.ndarray:
    """The percentiles of all searches, nan where they are not known."""
    return np.array([search.percentile for searches in self.methods.values() for search in searches])


def objectives_of(config: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the objectives of a search from its flags; accuracy alone for a folder that is older than objectives."""
  return tuple(name.strip() for name in config.get("objectives", ACCURACY).split(","))


def load(root: pathlib.Path) -> list[Comparison]:
  """Reads the searches in a folder, as one `Comparison` for every space and evaluator.

  Raises:
    InputError: if the folder holds no comparison, or if of one space and evaluator no search has ended or searches differ in a shared flag.
  """
  folders = sorted(path.parent for path in root.glob("*/*/*/seed_*/config.json"))
  if not folders:
    raise InputError(f"--workdir={root} holds no comparison; give the folder that dnas compare wrote.")
  groups: dict[tuple[str, str], list[pathlib.Path]] = {}
  for folder in folders:
    groups.setdefault((folder.parts[-4], folder.parts[-3]), []).append(folder)
  return [_load_group(root, *names, members) for names, members in groups.items()]


def _load_group(root: pathlib.Path, space: str, evaluator: str, folders: list[pathlib.Path]) -> Comparison:
  methods: dict[str, list[Search]] = {}
  incomplete, config = [], None
  for folder in folders:
    name = str(folder.relative_to(root))
    if not (folder / "result.json").exists():
      incomplete.append(name)
      continue
    try:
      own = read_object(folder / "config.json", "bring back a good copy", {"config": dict})["config"]
      search = _load_search(folder, objectives_of(own)[1:])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
      incomplete.append(f"{name} (cannot be read)")
      continue
    common = {key: value for key, value in (_SINCE | own).items() if key not in ("method", "seed") and "." not in key}
    config = config or common
    if common != config:
      changed = next(key for key in (common | config) if common.get(key) != config.get(key))
      told = f"its {changed} is {common.get(changed)} and other runs have {config.get(changed)}"
      raise InputError(f"{folder}: {told}; give all runs the same.")
    methods.setdefault(folder.parts[-2], []).append(search)
  if not methods or config is None:
    damaged = [name for name in incomplete if name.endswith(")")]
    told = f"{damaged[0]}; bring back a good copy" if damaged else "no search has finished yet; let dnas compare finish"
    raise InputError(f"{root / space / evaluator}: {told}.")
  return Comparison(space, evaluator, config, {name: tuple(searches) for name, searches in methods.items()}, tuple(incomplete))


def _load_search(folder: pathlib.Path, costs: tuple[str, ...]) -> Search:
  result = read_result(folder, RESULT) or {}
  lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
  scores, spent = (np.array([line[name] for line in lines], float) for name in ("score", "cost"))
  incumbents = tuple((float(row[0]), float(row[1]), math.nan if row[2] is None else float(row[2])) for row in result["incumbents"])
  valid, test, seconds = float(result["valid"]), float(result["test"]), float(result["seconds"])
  percentile, front = float(result.get("percentile", math.nan)), tuple(map(_network, result["front"] if costs else ()))
  lengths = np.array([line["budget"] or math.inf for line in lines], float)
  objectives = np.array([[line["score"], *(line["metrics"][name] for name in costs)] for line in lines], float)
  objectives[(lengths < lengths[np.isfinite(scores)].max()) | ~np.isfinite(scores)] = math.nan
  if costs and not (front and np.isfinite(objectives).all(1).any() and all(set(one.costs) == set(costs) for one in front)):
    raise ValueError("no front")
  return Search(result["seed"], valid, test, seconds, incumbents, scores, spent, percentile, objectives, front)


def _network(row: Mapping[str, Any]) -> Network:
  test = math.nan if row["test"] is None else float(row["test"])
  return Network(str(row["notation"]), float(row["score"]), {name: float(value) for name, value in row["costs"].items()}, test)


def result_table(comparison: Comparison, k: int = 4) -> Table:
  """Returns the table of results: a row per method, best mean test accuracy first, then rows marked as published.

  Args:
    comparison: the searches.
    k: the table shows the expected best of k searches, selected by validation; a method with fewer searches shows none.
  """
  budget = float(comparison.config["seconds"])
  pool = comparison.methods.get(RANDOM, ())
  scores = np.concatenate([search.scores for search in pool]) if pool else np.zeros(0)
  scores = scores[np.isfinite(scores)]
  seconds_each = float(np.concatenate([search.costs for search in pool]).mean()) if pool else 0.0
  rows = []
  for name, searches in sorted(comparison.methods.items(), key=lambda item: -np.mean([search.test for search in item[1]])):
    valid, test = ([getattr(search, field) for search in searches] for field in ("valid", "test"))
    mean, low, high = interval(test)
    spread = f"{np.std(test, ddof=1):.2f}" if len(test) > 1 else "–"
    best = f"{best_of(valid, test, k):.2f}" if len(searches) >= k else "–"
    times = str(times_random_search(float(np.mean(valid)), scores, seconds_each, budget)) if len(scores) and name != RANDOM else "–"
    bounds = f"{low:.2f} to {high:.2f}" if len(test) > 1 else "–"
    evaluations = f"{np.mean([len(search.scores) for search in searches]):.0f}"
    seconds = f"{np.mean([search.seconds for search in searches]):,.0f}"
    share = float(np.mean([search.percentile for search in searches]))
    percentile = "–" if math.isnan(share) else f"{share:.1f}"
    figures = (f"{np.mean(valid):.4g}", f"{mean:.2f}", bounds, spread, percentile, best, times)
    rows.append((name, str(len(test)), evaluations, seconds, *figures))
  if comparison.space == "nasbench201" and comparison.config.get("table") != "synthetic":
    for one in NASBENCH201:
      if one.dataset == comparison.config.get("dataset"):
        rows.append((f"{one.method} (published: {one.source})", "–", "–", "–", one.valid or "–", one.test, "–", "–", "–", "–", "–"))
  header = ("method", "searches", "evaluations", "seconds", "validation", "test, mean", "95 % interval of the mean", "standard deviation")
  header += ("percentile, mean", f"best of {k}", "times random search")
  table = str(comparison.config.get("table") or "") if comparison.evaluator == "tabular" else ""
  of = f" ({pathlib.Path(table).name})" if table else ""
  caption = f"{comparison.space}, {comparison.evaluator}{of}: test accuracy in percent after {budget:,.10g} accelerator seconds a search"
  return Table(caption, header, tuple(rows))


def correlation(comparison: Comparison) -> tuple[np.ndarray, RankCorrelation]:
  """Returns (validation score, test accuracy) of every architecture that was an incumbent, [n, 2], and their rank correlation."""
  pairs = {row[1:] for searches in comparison.methods.values() for search in searches for row in search.incumbents}
  pairs = np.array(sorted(pair for pair in pairs if not math.isnan(pair[1])))
  return pairs, rank_correlation(pairs[:, 0], pairs[:, 1])


def anytime_figure(comparison: Comparison) -> Figure:
  """Plots validation and test accuracy of the incumbent over accelerator seconds: means, and bands of the middle half of the searches."""
  rows = [row for searches in comparison.methods.values() for search in searches for row in search.incumbents]
  columns = (1,) if np.isnan([row[2] for row in rows]).any() else (1, 2)
  figure = new_figure(5.5 * len(columns), 4.2)
  grid = time_grid(comparison)
  for axes, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
    methods = {name: [[(row[0], row[column]) for row in search.incumbents] for search in one] for name, one in comparison.methods.items()}
    draw_bands(axes, methods, colors(comparison), grid)
    axes.set_title({1: "validation score", 2: "test accuracy (%)"}[column], size=10.5, loc="left", color=INK)
  axes.legend(frameon=False, fontsize=8.5, loc="lower right")
  return figure


def draw_bands(axes: Axes, methods: Mapping[str, Curves], shades: Sequence[str], grid: np.ndarray) -> None:
  """Draws curves over accelerator seconds: for every method the mean, and a band of the middle half of the searches.

  Args:
    axes: the axes.
    methods: method to the curves of its searches: steps (seconds, value from then on).
    shades: the colour of each method.
    grid: times in seconds, [times].
  """
  lows: list[float] = []
  for (name, curves), color in zip(methods.items(), shades, strict=True):
    values = anytime(curves, grid)
    shown = np.isfinite(values).all(0)
    low, high = (np.percentile(values[:, shown], percent, axis=0) for percent in (25, 75))
    axes.fill_between(grid[shown], low, high, color=color, alpha=0.12, linewidth=0)
    axes.plot(grid[shown], values[:, shown].mean(0), color=color, linewidth=1.7, label=name)
    # The axis begins at the means after a twentieth of the time: the first moments would squeeze the rest of the curves.
    lows += list(values[:, shown].mean(0)[:: len(grid) // 20][1:2])
  axes.set_xlabel("accelerator seconds", size=9)
  quiet(axes)
  if not np.isfinite(axes.dataLim.ymax):
    axes.text(0.5, 0.5, "no values: all evaluations are alike", size=9, color=INK, ha="center", transform=axes.transAxes)
    return
  low, top = min(lows, default=axes.dataLim.ymin), axes.dataLim.ymax
  span = max(top - low, 0.01)
  axes.set_ylim(low - 0.15 * span, top + 0.05 * span)


def distribution_figure(comparison: Comparison) -> Figure:
  """Plots every search, a row per method, with the mean as a line: by test accuracy, and by percentile if all are known."""
  names = sorted(comparison.methods, key=lambda name: np.mean([search.test for search in comparison.methods[name]]))
  by_method = dict(zip(comparison.methods, colors(comparison), strict=True))
  measures = {"test": "test accuracy of what a search found (%); the line is the mean"}
  if np.isfinite(comparison.percentiles).all():
    measures["percentile"] = "architectures of the table that are worse (%)"
  figure = new_figure(7.5 if len(measures) == 1 else 11, 1.1 + 0.5 * len(names))
  panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
  for axes, (measure, label) in zip(panels, measures.items(), strict=True):
    values = {name: np.array([getattr(search, measure) for search in comparison.methods[name]]) for name in names}
    rng = np.random.default_rng(0)
    for row, name in enumerate(names):
      heights, alpha = row + rng.uniform(-0.28, 0.28, len(values[name])), min(1.0, 0.15 + 20 / len(values[name]))
      axes.scatter(values[name], heights, s=9, color=by_method[name], alpha=alpha, linewidths=0)
      axes.plot([values[name].mean()] * 2, [row - 0.38, row + 0.38], color=INK, linewidth=1.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(label, size=9)
    lowest, highest = min(np.percentile(one, 1) for one in values.values()), max(one.max() for one in values.values())
    margin = 0.05 * max(highest - lowest, 0.1)
    axes.set_xlim(lowest - margin, highest + margin)
    quiet(axes)
  return figure


def correlation_figure(comparison: Comparison) -> Figure:
  """Plots test accuracy over the validation score that the search sees, for every architecture that was an incumbent."""
  pairs, ranks = correlation(comparison)
  figure = new_figure(4.8, 4.4)
  axes = figure.subplots()
  axes.scatter(pairs[:, 0], pairs[:, 1], s=8, color=VALID, alpha=0.35, linewidths=0)
  axes.set_xlabel("validation score that the search sees", size=9)
  axes.set_ylabel("test accuracy (%)", size=9)
  title = f"Kendall {ranks.kendall:.2f}, Spearman {ranks.spearman:.2f}, {counted(len(pairs), 'architecture')}"
  axes.set_title(title, size=10.5, loc="left", color=INK)
  quiet(axes)
  return figure


def save(comparison: Comparison, folder: pathlib.Path, prefix: str = "") -> list[pathlib.Path]:
  """Saves the figures as PNG and SVG, and returns the paths of the PNGs."""
  figures = {"anytime": anytime_figure, "distribution": distribution_figure, "correlation": correlation_figure}
  return [save_both(make(comparison), folder / f"{prefix}{name}") for name, make in figures.items()]


def time_grid(comparison: Comparison) -> np.ndarray:
  """Returns times from 0 to the budget, or to the end of the longest search, in seconds, [201]."""
  ends = [search.seconds for searches in comparison.methods.values() for search in searches]
  return np.linspace(0, max(float(comparison.config["seconds"]), *ends), 201)


def new_figure(width: float, height: float) -> Figure:
  """Returns an empty figure, inches."""
  return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def colors(comparison: Comparison) -> list[str]:
  """Returns the colour of each method."""
  return [CURVES[index % len(CURVES)] for index in range(len(comparison.methods))]


def quiet(axes: Axes) -> None:
  """Leaves axes their left and bottom lines, small ticks, and a faint grid."""
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(FAINT)
  axes.tick_params(labelsize=8, length=2.5, color=FAINT, labelcolor=INK)
  axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
