"""The page of a tuning: its trials, its history, its parameters and its best trial."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnas.core import json_files
from dnas.core.errors import InputError, counted
from dnas.report.pages import figures
from dnas.report.pages.html import Block, Command, Page, Plot, Plots, Section, Sheet, Text
from dnas.report.pages.run import recorded
from dnas.report.tables import Table

_HINT = "give the command of the tuning again, which writes it anew"


def tuning_page(folder: pathlib.Path, command: str, minimized: Sequence[str]) -> Page:
  """Returns the page of a tuning that has ended its trials.

  Args:
    folder: its folder.
    command: the command that repeats it; empty if there is none.
    minimized: names of the objectives of which less is better.

  Raises:
    InputError: if a file does not hold what it should, or no trial has ended yet.
  """
  header = json_files.read_object(folder / "config.json", _HINT, {"launcher": str, "versions": dict, "config": dict})
  config, result = header["config"], json_files.read_result(folder, {}) or {}
  objectives = [name.strip() for name in str(config.get("study.objectives", "value")).split(",")]
  trials = trials_of(folder)
  states = [trial["state"] for trial in trials]
  facts = [("Trials", f"{len(trials)}"), *((f"{state.capitalize()}", str(states.count(state))) for state in dict.fromkeys(states))]
  best = result.get("best") or {}
  for name, value in zip(objectives, best.get("values") or (), strict=False):
    facts.append((f"Best validation {name}", f"{value:.4g}"))
  test = result.get("test") or {}
  if isinstance(test.get("mean"), float):
    facts.append((str(test["measure"]).capitalize(), f"{test['mean']:.2f} {test.get('unit', '')} ({_trainings(test)})"))
  chosen = f"The sampler {config.get('study.sampler', '')} chooses the trials"
  network = "an architecture" if config.get("joint") else config.get("training.model") or config.get("training.genotype")
  lead = f"{chosen}; each trains {network} on {config.get('training.data.dataset')} for up to {config.get('training.train.epochs')} epochs."
  drawn = [plot for plot in (_history(trials, objectives[0], objectives[0] in minimized), *_objectives(trials, objectives)) if plot]
  parallel = _parallel(trials, objectives[0], objectives[0] in minimized)
  found: list[Block] = [Sheet(_settings(best))] if best else []
  if result.get("command"):
    found += [Text("This trains it again:"), Command(str(result["command"]))]
  sections = [
    Section("Best configuration", found),
    Section("History", [Plots(drawn)] if drawn else []),
    Section("Parameters", [Plots([parallel]), Text(_PARALLEL)] if parallel else []),
    Section("Trials", [Sheet(_table(trials, objectives))]),
    Section("Repeat it", [Text("It begins anew in another folder."), Command(command)] if command else []),
    recorded(config, header["versions"], header.get("command") or ()),
  ]
  return Page("Tuning", folder.resolve().name, lead, facts, sections)


_PARALLEL = "A line is a trial. Drag along an axis to keep the lines that pass there. The table of trials has the same values."


def trials_of(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Returns what trials.json holds. Raises InputError if it is missing, or holds something else."""
  path = folder / "trials.json"
  if not path.is_file():
    raise InputError(f"{folder} has no trials.json yet, so there is no page; let the tuning end its trials.")
  try:
    trials = json.loads(json_files.read_text(path, _HINT))
    known = all(isinstance(trial["number"], int) and isinstance(trial["state"], str) for trial in trials)
  except (ValueError, KeyError, TypeError, RecursionError):
    known, trials = False, []
  if not known:
    raise InputError(f"{path} does not hold the trials of a tuning; {_HINT}.")
  return trials


def _trainings(test: Mapping[str, Any]) -> str:
  return f"mean of {len(test.get('values', ()))}" if len(test.get("values", ())) > 1 else "one training"


def _point(trial: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the values that were tuned by path, with the architecture if that was tuned too."""
  values, decisions = (trial.get("point") or ({}, None))[:2]
  return {**values, **({"architecture": "".join(f"{value:x}" for value in decisions)} if decisions else {})}


def _complete(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  return [trial for trial in trials if trial["state"] == "complete" and trial.get("values")]


def _settings(best: Mapping[str, Any]) -> Table:
  rows = tuple((f"--{path}", _told(value)) for path, value in _point(best).items())
  return Table(f"Trial {best.get('number')}, the best by validation", ("flag", "value"), rows)


def _told(value: Any) -> str:
  return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(trials: Sequence[Mapping[str, Any]], objectives: Sequence[str]) -> Table:
  paths = list(dict.fromkeys(path for trial in trials for path in _point(trial)))
  rows = []
  for trial in trials:
    values, point = trial.get("values") or [None] * len(objectives), _point(trial)
    measured = ["–" if value is None else f"{value:.4f}" for value in values]
    told = [_told(point[path]) if path in point else "–" for path in paths]
    costs = [str(trial.get("epochs", "–")), f"{trial['seconds']:.1f}" if "seconds" in trial else "–"]
    costs.append(f"{trial['weights']:,}" if isinstance(trial.get("weights"), int) else "–")
    rows.append((str(trial["number"]), _state(trial), *measured, *told, *costs))
  header = ("trial", "state", *objectives, *paths, "epochs", "seconds", "weights")
  return Table(f"{counted(len(trials), 'trial')}, judged by validation", header, tuple(rows))


def _state(trial: Mapping[str, Any]) -> str:
  if "diverged" in trial:
    return "did not stay finite"
  return f"failed: {trial['error']}" if trial["state"] == "fail" and trial.get("error") else trial["state"]


def _history(trials: Sequence[Mapping[str, Any]], objective: str, less: bool) -> Plot | None:
  complete = _complete(trials)
  if not complete:
    return None
  numbers = np.array([trial["number"] for trial in complete], float)
  values = np.array([trial["values"][0] for trial in complete], float)
  best = (np.minimum if less else np.maximum).accumulate(values)
  hover = {"hovertemplate": "%{y:.4~g}"}
  marker = {"size": 8, "color": "--series-5"}
  points = {"type": "scatter", "mode": "markers", "x": numbers, "y": values, "name": "complete", "marker": marker}
  ended = [trial for trial in trials if trial["state"] == "pruned" and trial.get("values")]
  early = {**points, "x": [trial["number"] for trial in ended], "y": [trial["values"][0] for trial in ended]}
  early |= {"name": "pruned, as it was then", "marker": {**marker, "symbol": "x-thin", "line": {"width": 2, "color": "--series-2"}}}
  line = {"color": "--series-1", "width": 2, "shape": "hv"}
  so_far = {"type": "scatter", "mode": "lines", "x": numbers, "y": best, "name": "best so far", "line": line}
  layout = figures.over(0, max(trial["number"] for trial in trials), "trial", "")
  title = f"Validation {objective} of every trial"
  said = f"{title}: the best of {counted(len(complete), 'complete trial')} has {best[-1]:.4g}."
  traces = [{**points, **hover}, *([{**early, **hover}] if ended else []), {**so_far, **hover}]
  return Plot(title, said, {"data": traces, "layout": layout}, 320, wide=True)


def _objectives(trials: Sequence[Mapping[str, Any]], objectives: Sequence[str]) -> list[Plot]:
  """Returns a figure of the first two objectives, if there are several."""
  complete = _complete(trials)
  if len(objectives) < 2 or not complete:
    return []
  values = np.array([trial["values"][:2] for trial in complete], float)
  first, second = objectives[:2]
  texts = [f"trial {trial['number']}: {first} {one[0]:.4g}, {second} {one[1]:.4g}" for trial, one in zip(complete, values, strict=True)]
  title = f"{first} and {second}"
  return [figures.points(title, {"trials": (values[:, 1], values[:, 0], texts)}, second, first, f"{title} of complete trials.")]


def _parallel(trials: Sequence[Mapping[str, Any]], objective: str, less: bool) -> Plot | None:
  """Returns parallel coordinates of all parameters that vary; None if fewer than two trials have a value."""
  valued = [trial for trial in trials if trial.get("values")]
  points = [{**_point(trial), "epochs": trial.get("epochs", 0)} for trial in valued]
  every = dict.fromkeys(path for point in points for path in point)
  paths = [path for path in every if len({str(point.get(path)) for point in points}) > 1]
  if len(valued) < 2 or not paths:
    return None
  dimensions = [_dimension(path, [point.get(path) for point in points]) for path in sorted(paths, key=lambda path: path == "epochs")]
  values = np.array([trial["values"][0] for trial in valued], float)
  dimensions.append({"label": objective, "values": values, "tickformat": ".3~g"})
  line = {"color": values, "colorscale": [[0, "--heat-1"], [1, "--series-1"]], "showscale": False, "reversescale": less}
  trace: dict[str, Any] = {"type": "parcoords", "dimensions": dimensions, "line": line}
  trace |= {"labelfont": {"color": "--ink", "size": 12}, "tickfont": {"color": "--ink", "size": 11}}
  trace |= {"rangefont": {"color": "rgba(0,0,0,0)", "size": 1}}
  trace |= {"unselected": {"line": {"color": "--grid", "opacity": 0.6}}}
  said = f"Parallel coordinates of {', '.join(path.rpartition('.')[2] for path in paths)} and {objective}, a line for each trial."
  figure = {"data": [trace], "layout": {"margin": {"l": 70, "r": 60, "t": 56, "b": 24}}}
  return Plot(f"Parameters of trials and their validation {objective}", said, figure, 380, wide=True)


def _dimension(path: str, values: Sequence[Any]) -> dict[str, Any]:
  """Returns one axis. One whose positive numbers span more than a factor of thirty is logarithmic; words stand at whole numbers."""
  label = path.rpartition(".")[2]
  numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
  if len(numbers) < len(values):
    words = sorted({str(value) for value in values})
    places = [words.index(str(value)) for value in values]
    return {"label": label, "values": places, "tickvals": list(range(len(words))), "ticktext": [_short(word) for word in words]}
  if min(numbers) > 0 and max(numbers) > 30 * min(numbers):
    low, high = math.log10(min(numbers)), math.log10(max(numbers))
    ticks = np.linspace(low, high, 5)
    return {"label": f"{label} (log)", "values": np.log10(numbers), "tickvals": ticks, "ticktext": [f"{10**tick:.2g}" for tick in ticks]}
  return {"label": label, "values": numbers, "tickformat": ".3~g"}


def _short(word: str) -> str:
  return word if len(word) <= 14 else f"{word[:13]}…"
