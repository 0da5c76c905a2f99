"""Drawings of a space of named choices: what an architecture keeps, and how the weights of the options moved."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from dnas.core.choice_space import ChoiceGenotype, ChoiceSpace
from dnas.core.errors import InputError
from dnas.report.palette import CURVES, FAINT, INK, VALID
from dnas.report.runs import Run

_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)))
_COLUMNS = 4


def draw_choices(space: ChoiceSpace, genotype: ChoiceGenotype, title: str = "") -> Figure:
  """Draws every choice as a row of boxes, one for each option. Those that the architecture keeps are filled.

  A choice that is not active is faint. One inside of another is indented.

  Raises:
    InputError: if the architecture is not of this space.
  """
  chosen = dict(space.validate(genotype).choices)
  widths = {point.name: [0.45 + 0.085 * len(option) for option in point.options] for point in space.points}
  names = 0.5 + 0.095 * max(len(point.name) + 2 * _depth(space, point.name) for point in space.points)
  wide = names + max(sum(boxes) + 0.12 * len(boxes) for boxes in widths.values()) + 0.2
  top = 0.5 if title else 0.15
  figure = Figure(figsize=(wide, top + 0.42 * len(space.points)), facecolor="white")
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set(xlim=(0, wide), ylim=(top + 0.42 * len(space.points), 0))
  axes.set_axis_off()
  if title:
    axes.text(0.2, 0.25, title, size=12, weight="bold", color=INK, va="center")
  for row, point in enumerate(space.points):
    y, x = top + 0.42 * row + 0.17, names
    color = INK if point.name in chosen else FAINT
    axes.text(0.2 + 0.19 * _depth(space, point.name), y, point.name, size=9.5, color=color, va="center")
    for option, width in zip(point.options, widths[point.name], strict=True):
      kept = option in chosen.get(point.name, ())
      face, text = (VALID, "white") if kept else ("white", color)
      shape = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": face, "edgecolor": color, "linewidth": 0.9}
      axes.add_patch(FancyBboxPatch((x, y - 0.13), width, 0.26, **shape))
      axes.text(x + width / 2, y, option, size=9, color=text, ha="center", va="center")
      x += width + 0.12
  return figure


def _depth(space: ChoiceSpace, name: str) -> int:
  return max(len(path) for path in space[name].places)


def choice_lines(run: Run, space: ChoiceSpace) -> Figure:
  """Plots the weights of the options over epochs, a panel for every choice.

  Raises:
    InputError: if the run has no weights, or theirs are not those of the space.
  """
  shapes = {name: mixture.shape[1:] for name, mixture in run.mixtures.items()}
  if not run.mixtures or shapes != space.arch_shapes:
    raise InputError(f"run folder '{run.folder}' has no weights of these choices in architecture.jsonl; give the network that it searched.")
  columns = min(_COLUMNS, len(space.points))
  rows = math.ceil(len(space.points) / columns)
  figure = Figure(figsize=(3.1 * columns, 2.5 * rows), layout="constrained", facecolor="white")
  grid = figure.subplots(rows, columns, squeeze=False).ravel()
  for axes, point in zip(grid, space.points, strict=False):
    for number, (option, style) in enumerate(zip(point.options, _styles(point.options), strict=True)):
      look = {"marker": "o" if len(run.mixture_epochs) == 1 else "", "markersize": 3, "linewidth": 1.4, **style}
      axes.plot(run.mixture_epochs, run.mixtures[point.name][:, 0, number], label=option, **look)
    axes.set_title(point.name, size=10, loc="left", color=INK)
    axes.set_xlabel("epoch", size=8)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8, length=2.5, color=FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
  for axes in grid[len(space.points) :]:
    axes.set_axis_off()
  return figure


def _styles(options: Sequence[str]) -> list[dict[str, Any]]:
  colors = CURVES[1:]
  return [{"color": colors[i % len(colors)], "linestyle": _DASHES[i // len(colors) % len(_DASHES)]} for i in range(len(options))]
