"""Plots of one run: learning curves, and how the weights of the operations moved.

They use figures without pyplot, so no global state, no window and any thread.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from dnas.core import durable, json_files
from dnas.core.chain_space import ChainSpace
from dnas.core.choice_space import ChoiceSpace
from dnas.core.costs import Costs, scaled
from dnas.core.errors import InputError
from dnas.core.space import CellSpace
from dnas.core.spaces import Space
from dnas.report.choices import choice_lines, draw_choices
from dnas.report.diagnoses import diagnoses_figure
from dnas.report.draw import cell_title, save_drawing, state_names
from dnas.report.ordering import spread
from dnas.report.palette import FAINT, INK, TRAIN, VALID, operation_lines
from dnas.report.runs import Run, load_run

Edges = Sequence[tuple[int, int]]

_KINDS = {"search": "Architecture search", "train": "Retraining"}
_SMALL, _TEXT, _TITLE = 8, 9.5, 12
_APART = 0.075
"""Least distance between the values written at the ends of curves, as a part of the height of the axes."""


def learning_curves(run: Run) -> Figure:
  """Plots loss, and accuracy or perplexity, over epochs for the training and validation splits, with the last values written out.

  A search that limits a cost has a panel of it too: the expected cost, that of the discrete network, and the target as a line.

  Raises:
    InputError: if no epoch of the run is complete.
  """
  measures = [("loss", "loss (nats)"), ("accuracy", "accuracy (%)"), ("perplexity", "perplexity")]
  present = [measure for measure in measures if any(len(run.series(f"{split}/{measure[0]}")[0]) for split in ("train", "valid"))]
  if not present:
    raise InputError(f"run folder '{run.folder}' has no complete epoch with a loss in metrics.jsonl; let the run finish an epoch.")
  limited = len(run.series("cost/expected")[0]) > 0
  figure = _figure(5.2 * (len(present) + limited), 3.7)
  epochs = max(line["epoch"] for line in run.metrics)
  kind = _KINDS.get(run.launcher, run.launcher)
  figure.suptitle(f"{kind}: {run.folder.resolve().name}, {epochs} epoch{'s' * (epochs != 1)}", size=_TITLE, color=INK)
  panels = figure.subplots(1, len(present) + limited, squeeze=False)[0]
  for axes, (measure, label) in zip(panels, present, strict=False):
    _curves(axes, run, measure)
    _finish(axes, label)
  if limited:
    _cost_curves(panels[-1], run)
    _finish(panels[-1], _cost_title(run))
  return figure


def mixture_heatmaps(run: Run, operations: Sequence[str], edges: Edges) -> Figure:
  """Plots the weights as heat maps, a panel for every operation of every cell: an edge in each row, an epoch in each column.

  One panel that brightens all over shows an operation that takes over, for instance skip connections in a collapsing search.

  Args:
    run: a search.
    operations: names of the columns of the weights.
    edges: (source, target) of the rows of the weights.

  Raises:
    InputError: if the run has no weights or theirs are not edges x operations.
  """
  _check_mixtures(run, operations, edges)
  columns = _columns(operations)
  rows = math.ceil(len(operations) / columns)
  tall = rows * (0.62 + max(1.2, 0.135 * len(edges))) + 0.45
  figure = _figure(2.5 * columns + 1.3, len(run.mixtures) * tall)
  lowest, highest = _weight_limits(run)
  bounds = _epoch_bounds(run.mixture_epochs)
  for part, (cell, mixture) in zip(np.ravel(figure.subfigures(len(run.mixtures), 1, squeeze=False)), run.mixtures.items(), strict=True):
    part.suptitle(cell_title(cell), size=_TITLE, weight="bold", color=INK)
    grid = part.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for index, axes in enumerate(grid.flat):
      if index >= len(operations):
        axes.set_axis_off()
        continue
      image = axes.pcolormesh(
        bounds, np.arange(len(edges) + 1), mixture[:, :, index].T, cmap="viridis", vmin=lowest, vmax=highest, rasterized=True
      )
      for row in range(1, len(edges)):
        if edges[row][1] != edges[row - 1][1]:
          axes.axhline(row, color="white", linewidth=1.0)
      axes.set_title(operations[index], size=_TEXT, color=INK)
      axes.tick_params(labelsize=_SMALL, length=2, color=FAINT)
      axes.xaxis.set_major_locator(_whole_epochs())
      if index + columns >= len(operations):
        axes.set_xlabel("epoch", size=_SMALL)
        axes.tick_params(labelbottom=True)
    grid[0, 0].set_yticks(np.arange(len(edges)) + 0.5, _edge_names(cell, edges))
    grid[0, 0].set_ylim(len(edges), 0)
    bar = part.colorbar(image, ax=grid, shrink=0.8, aspect=7 * tall, pad=0.015)
    bar.ax.tick_params(labelsize=_SMALL)
    bar.set_label("weight", size=_TEXT)
  return figure


def mixture_lines(run: Run, operations: Sequence[str], edges: Edges) -> Figure:
  """Plots the weights as lines over epochs: for every cell a triangle of panels, target states downwards and source states to the right.

  Args:
    run: a search.
    operations: names of the columns of the weights.
    edges: (source, target) of the rows of the weights.

  Raises:
    InputError: if the run has no weights or theirs are not edges x operations.
  """
  _check_mixtures(run, operations, edges)
  sources, targets = sorted({source for source, _ in edges}), sorted({target for _, target in edges})
  figure = _figure(max(6.5, 1.75 * len(sources) + 0.9), len(run.mixtures) * (1.25 * len(targets) + 0.8) + 0.6)
  lines = operation_lines(operations)
  lowest, highest = _weight_limits(run)
  for part, (cell, mixture) in zip(np.ravel(figure.subfigures(len(run.mixtures), 1, squeeze=False)), run.mixtures.items(), strict=True):
    part.suptitle(cell_title(cell), size=_TITLE, weight="bold", color=INK)
    grid = part.subplots(len(targets), len(sources), squeeze=False, sharex=True, sharey=True)
    panels = {(source, target): grid[targets.index(target), sources.index(source)] for source, target in edges}
    for edge, name, weights in zip(edges, _edge_names(cell, edges), np.moveaxis(mixture, 1, 0), strict=True):
      axes = panels[edge]
      marker = "o" if len(weights) == 1 else ""
      for operation, values in zip(operations, weights.T, strict=True):
        axes.plot(run.mixture_epochs, values, linewidth=1.2, marker=marker, markersize=3, label=operation, **lines[operation])
      axes.set_title(name, size=_TEXT, color=INK, pad=3)
      _quiet(axes)
      axes.set_ylim(lowest, highest)
      axes.set_xlim(*_epoch_limits(run.mixture_epochs))
    for axes in set(grid.flat) - set(panels.values()):
      axes.set_axis_off()
    part.supxlabel("epoch", size=_TEXT)
    part.supylabel("weight", size=_TEXT)
  handles = [Line2D([], [], linewidth=1.6, label=name, **lines[name]) for name in operations]
  figure.legend(handles=handles, loc="outside lower center", ncols=_columns(operations), frameon=False, fontsize=_TEXT, handlelength=3)
  return figure


def save_pictures(folder: str | pathlib.Path, space: Space | None) -> list[pathlib.Path]:
  """Writes every picture that the data of a run folder allow into its `pictures/` and returns the paths, in the order written.

  Args:
    folder: a run folder.
    space: the space that the run searched, or that its architecture is of; None for a network that is of none.

  Raises:
    InputError: as `load_run`, or if the weights of the run are not of this space.
  """
  run = load_run(folder)
  pictures = run.folder / "pictures"
  durable.make_folder(pictures)
  paths = []
  figures = {}
  if run.genotype and isinstance(space, CellSpace | ChainSpace):
    paths += save_drawing(run.genotype, pictures / "genotype", space.num_inputs, _costs_in_words(run.folder))
  if run.genotype and isinstance(space, ChoiceSpace):
    figures["genotype"] = draw_choices(space, run.genotype)
  if any(name.endswith("/loss") for line in run.metrics for name in line):
    figures["learning_curves"] = learning_curves(run)
  if any(name.startswith("skips/") for line in run.metrics for name in line):
    figures["diagnoses"] = diagnoses_figure(run)
  if run.mixtures and isinstance(space, ChoiceSpace):
    figures["mixture_lines"] = choice_lines(run, space)
  if run.mixtures and isinstance(space, CellSpace):
    figures["mixture_heatmaps"] = mixture_heatmaps(run, space.operations, space.edges)
    figures["mixture_lines"] = mixture_lines(run, space.operations, space.edges)
  for name, figure in figures.items():
    paths.append(pictures / f"{name}.png")
    durable.write_by(paths[-1], functools.partial(figure.savefig, dpi=130))
  return paths


def _costs_in_words(folder: pathlib.Path) -> str:
  """Returns the costs of the network of a run; an empty text if the run has not ended, or an earlier version wrote it."""
  result = json_files.read_result(folder, {}) or {}
  numbers: list[Any] = [result.get(field.name) for field in dataclasses.fields(Costs)]
  return str(Costs(*numbers)) if all(isinstance(number, int) for number in numbers) else ""


def _figure(width: float, height: float) -> Figure:
  """Returns an empty figure, inches, that places its axes itself and leaves them air."""
  layout = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07, wspace=0.03)
  return Figure(figsize=(width, height), layout=layout, facecolor="white")


def _columns(operations: Sequence[str]) -> int:
  """Returns how many operations stand side by side."""
  return len(operations) if len(operations) <= 5 else 4


def _whole_epochs() -> MaxNLocator:
  return MaxNLocator(5, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])


def _curves(axes: Axes, run: Run, measure: str) -> None:
  """Draws the curves of one measure and writes the last value of each beside its end."""
  scale, form = {"accuracy": (100.0, "{:.1f} %"), "perplexity": (1.0, "{:.1f}")}.get(measure, (1.0, "{:.3f}"))
  ends = [
    _curve(axes, run, f"{split}/{measure}", split, color, scale, form.format) for split, color in (("train", TRAIN), ("valid", VALID))
  ]
  _quiet(axes)
  axes.set_xlim(*_epoch_limits(np.array([line["epoch"] for line in run.metrics])))
  low, high = axes.dataLim.intervaly
  if measure == "perplexity" and 0 < low < high:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)) if high > 4 * low else MaxNLocator(5))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
  _write_ends(axes, [end for end in ends if end])


def _cost_curves(axes: Axes, run: Run) -> None:
  """Draws the expected cost of a search, and the cost of its discrete network."""
  target = float(run.config.get("cost.target") or 0)
  lines = (("cost/expected", "expected", VALID), ("cost/discrete", "discrete", TRAIN))
  ends = [_curve(axes, run, name, label, color, 1.0, scaled) for name, label, color in lines]
  if target:
    axes.axhline(target, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
  _quiet(axes)
  axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: scaled(value)))
  axes.set_xlim(*_epoch_limits(np.array([line["epoch"] for line in run.metrics])))
  _write_ends(axes, [end for end in ends if end])


def _cost_title(run: Run) -> str:
  kind = str(run.config.get("cost.of", "multiply_adds")).replace("multiply_adds", "multiply-adds").replace("latency", "latency (ms)")
  target = float(run.config.get("cost.target") or 0)
  return f"{kind}; the dashed line is the target, {scaled(target)}" if target else kind


def _curve(
  axes: Axes, run: Run, name: str, label: str, color: str, scale: float, form: Callable[[float], str]
) -> tuple[float, str, str] | None:
  """Draws a curve. Returns its last value on the axes, in words after its label, and its colour; None if no epoch has the metric."""
  epochs, values = run.series(name)
  if not len(epochs):
    return None
  shown = np.where(np.isfinite(values), scale * values, np.nan)
  axes.plot(epochs, shown, color=color, linewidth=1.6, marker="o" if len(epochs) == 1 else "", markersize=4, label=label)
  return shown[-1], f"{label} {form(scale * values[-1])}", color


def _write_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
  """Writes the last value of every curve beside its end; the values do not overlap."""
  axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
  axes.set_ylim(axes.get_ylim())
  to_axes = axes.transScale + axes.transLimits
  heights = [to_axes.transform((1.0, value))[1] if np.isfinite(value) else 1.0 for value, _, _ in ends]
  rising = np.argsort(heights, kind="stable")
  for index, height in zip(rising, spread(np.array(heights)[rising], [_APART] * (len(ends) - 1)), strict=True):
    axes.text(1.015, height, ends[index][1], color=ends[index][2], size=_TEXT, va="center", transform=axes.transAxes)


def _finish(axes: Axes, title: str) -> None:
  axes.set_xlabel("epoch", size=_TEXT)
  axes.set_title(title, size=_TEXT + 1, loc="left", color=INK)


def _quiet(axes: Axes) -> None:
  """Leaves an axes its left and bottom lines, small ticks, and whole epochs."""
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(FAINT)
  axes.tick_params(labelsize=_SMALL, length=2.5, color=FAINT, labelcolor=INK)
  axes.xaxis.set_major_locator(_whole_epochs())


def _epoch_limits(epochs: np.ndarray) -> tuple[float, float]:
  first, last = float(np.min(epochs)), float(np.max(epochs))
  return (first, last) if first < last else (first - 0.5, last + 0.5)


def _epoch_bounds(epochs: np.ndarray) -> np.ndarray:
  """Returns the borders [epochs + 1] of columns whose centres are the epochs."""
  middles = (epochs[1:] + epochs[:-1]) / 2
  before, after = (epochs[0] - middles[0], epochs[-1] - middles[-1]) if len(epochs) > 1 else (-0.5, 0.5)
  return np.concatenate([[epochs[0] + before], middles, [epochs[-1] + after]])


def _weight_limits(run: Run) -> tuple[float, float]:
  """Returns limits for all weights of a run: from 0, unless they have hardly moved and would be a thin band."""
  lowest, highest = (float(pick([pick(mixture) for mixture in run.mixtures.values()])) for pick in (np.min, np.max))
  margin = 0.05 * max(highest - lowest, 1e-6)
  return (lowest - margin if lowest > 0.5 * highest else 0.0), highest + margin


def _edge_names(cell: str, edges: Edges) -> list[str]:
  """Returns 'source→target' for every edge, with the names of the drawings."""
  num_inputs = min(target for _, target in edges)
  names = state_names(cell, num_inputs, 1 + max(target for _, target in edges))
  return [f"{names[source]}→{names[target]}" for source, target in edges]


def _check_mixtures(run: Run, operations: Sequence[str], edges: Edges) -> None:
  if not run.mixtures:
    raise InputError(f"run folder '{run.folder}' has no architecture.jsonl with weights; give the folder of a search.")
  for cell, mixture in run.mixtures.items():
    if mixture.shape[1:] != (len(edges), len(operations)):
      raise InputError(
        f"run folder '{run.folder}', cell '{cell}': the weights are {mixture.shape[1]} edges x {mixture.shape[2]} operations and the space "
        f"has {len(edges)} x {len(operations)}; give the space that the run searched."
      )
