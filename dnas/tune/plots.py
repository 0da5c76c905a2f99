"""Plots of a study: its history, the learning curves of its trials, and the matplotlib plots of Optuna.

Those of Optuna are parallel coordinates, contours, parameter importances, and the Pareto front.
"""

import functools
import itertools
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dnas.core import durable

_MOST = 4
"""The most parameters that Optuna's plots show: the most important ones."""

_GRID = "#E6E6E6"


def save_plots(study: optuna.Study, objectives: Sequence[str], folder: pathlib.Path, colors: Sequence[str]) -> list[str]:
  """Writes the plots that the study has enough trials for, as PNG and SVG, and returns their names.

  Args:
    study: the study.
    objectives: names of its objectives, for the axes.
    folder: where to write; it is created.
    colors: three colors, of complete trials, the best trial and pruned trials. All are dark enough for thin lines on white.
  """
  from optuna.visualization import matplotlib as draw

  complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state is TrialState.COMPLETE]
  if not complete:
    return []
  main, parameters = (lambda trial: trial.values[0]), _parameters(study, complete)
  target: dict[str, Any] = {"target": main, "target_name": objectives[0]} if len(objectives) > 1 else {"target_name": objectives[0]}
  trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
  better = max if study.directions[0] is StudyDirection.MAXIMIZE else min
  pictures: dict[str, Callable[[], Axes | np.ndarray]] = {"history": lambda: _history(trials, better, objectives[0], colors)}
  if any(trial.intermediate_values for trial in complete):
    pictures["epochs"] = lambda: _epochs([trial for trial in trials if trial.intermediate_values], better, objectives[0], colors)
  if len(parameters) > 1:
    pictures["parallel_coordinates"] = lambda: draw.plot_parallel_coordinate(study, params=parameters, **target)
    pictures["contour"] = lambda: draw.plot_contour(study, params=parameters, **target)
  if len(complete) > 3 and len({trial.values[0] for trial in complete}) > 1 and parameters:
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    pictures["importance"] = lambda: draw.plot_param_importances(study, evaluator=evaluator, params=parameters, **target)
  if len(objectives) in (2, 3):
    pictures["pareto_front"] = lambda: draw.plot_pareto_front(study, target_names=list(objectives))
  durable.make_folder(folder)
  with warnings.catch_warnings(), pyplot.rc_context({"font.size": 8}):
    warnings.simplefilter("ignore")  # Optuna's plots are experimental; an axis may have a single value
    for name, plot in pictures.items():
      axes = plot()
      _restyle(_figure_of(axes), colors)
      _save(axes, folder / name)
  return list(pictures)


def _history(trials: Sequence[FrozenTrial], better: Callable, objective: str, colors: Sequence[str]) -> Axes:
  """Plots the value of every trial, and the best value so far."""
  axes = pyplot.figure().subplots()
  values = {trial.number: trial.values[0] for trial in trials if trial.state is TrialState.COMPLETE}
  pruned = {trial.number: trial.intermediate_values[max(trial.intermediate_values)] for trial in _pruned(trials)}
  axes.scatter(list(values), list(values.values()), s=28, color=colors[0], label="complete", zorder=3)
  if pruned:
    axes.scatter(list(pruned), list(pruned.values()), s=28, color=colors[2], marker="x", label="pruned, as it was then")
  best = list(itertools.accumulate(values.values(), better))
  axes.step([*values, trials[-1].number], [*best, best[-1]], color=colors[1], where="post", label="the best so far")
  return _finished(axes, "trial", objective)


def _epochs(trials: Sequence[FrozenTrial], better: Callable, objective: str, colors: Sequence[str]) -> Axes:
  """Plots the learning curve of every trial. The best trial has a thick line; the curve of a pruned trial ends in a cross."""
  axes = pyplot.figure().subplots()
  best = better((trial for trial in trials if trial.state is TrialState.COMPLETE), key=lambda trial: trial.values[0])
  complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial is not best]
  for kind, label, style in (
    (complete, "complete", {"color": colors[0], "linewidth": 1}),
    (_pruned(trials), "pruned", {"color": colors[2], "linewidth": 1, "linestyle": "--"}),
    ([best], f"the best, trial {best.number}", {"color": colors[1], "linewidth": 2.5}),
  ):
    for index, trial in enumerate(kind):
      epochs, values = zip(*sorted(trial.intermediate_values.items()), strict=True)
      axes.plot(epochs, values, label="" if index else label, marker="x" if label == "pruned" else "", markevery=[-1], **style)
  return _finished(axes, "epoch", objective)


def _finished(axes: Axes, x: str, y: str) -> Axes:
  axes.set_xlabel(x)
  axes.set_ylabel(y)
  axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
  axes.grid(axis="y")
  axes.set_axisbelow(True)
  axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))  # above the axes, so that it hides no trial
  return axes


def _pruned(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
  return [trial for trial in trials if trial.state is TrialState.PRUNED and trial.intermediate_values]


def _restyle(figure: Figure, colors: Sequence[str]) -> None:
  """Makes the background white and gives line collections a dark color map: Optuna draws the worst trials near-white on grey."""
  map_of_lines = LinearSegmentedColormap.from_list("lines", colors[:2])
  for axes in figure.axes:
    axes.set_facecolor("white")
    for line in (*axes.get_xgridlines(), *axes.get_ygridlines()):
      line.set_color(_GRID)
    for spine in axes.spines.values():
      spine.set_color(_GRID)
    for collection in axes.collections:
      if isinstance(collection, LineCollection):
        least_is_best = collection.get_cmap().name.endswith("_r")
        collection.set_cmap(map_of_lines.reversed() if least_is_best else map_of_lines)


def _parameters(study: optuna.Study, complete: Sequence[optuna.trial.FrozenTrial]) -> list[str]:
  """Returns at most `_MOST` parameters that vary and that all complete trials have; of more than that, the most important ones first."""
  common = set.intersection(*(set(trial.params) for trial in complete))
  varying = [name for name in complete[0].params if name in common and len({trial.params[name] for trial in complete}) > 1]
  if len(varying) <= _MOST or len(complete) < 4 or len({trial.values[0] for trial in complete}) < 2:
    return varying[:_MOST]
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, params=varying, evaluator=evaluator, target=lambda trial: trial.values[0])
  return list(found)[:_MOST]


def _figure_of(axes: Axes | np.ndarray) -> Figure:
  """Returns the figure that the axes belong to. `axes` is an array where Optuna's plot has several."""
  figure = (axes if isinstance(axes, Axes) else axes.flat[0]).figure
  assert isinstance(figure, Figure)
  return figure


def _save(axes: Axes | np.ndarray, path: pathlib.Path) -> None:
  """Writes the figure that the axes belong to."""
  figure = _figure_of(axes)
  figure.set_size_inches((9, 6) if isinstance(axes, Axes) else (15, 13))
  for kind in ("png", "svg"):
    with pyplot.rc_context({"svg.hashsalt": "dnas"}):  # with a fixed salt and no date, the same study gives the same bytes
      metadata = {"Date": None} if kind == "svg" else None
      save = functools.partial(figure.savefig, format=kind, dpi=130, bbox_inches="tight", metadata=metadata)
      durable.write_by(path.with_suffix(f".{kind}"), save)
  pyplot.close(figure)
