"""The jobs of a tuning's workers: a trial is a training by `dnas train` without a test."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dnas.cells.registries import SPACES
from dnas.core import config as config_lib
from dnas.core import durable
from dnas.core.errors import FieldError, InputError
from dnas.launchers import _flags, _run, train
from dnas.launchers._logged import TrainConfig, train_to_log
from dnas.run import loop
from dnas.tune import space as spaces
from dnas.tune.engine import Assignment, Reports, Result

Ends = Callable[[TrainConfig, list[loop.HistoryRecord]], bool]
"""Maps (configuration of a trial, its history) to whether the trial ends before its last epoch, whatever the pruner says."""


class Payload(NamedTuple):
  """The settings that all trials share.

  Attributes:
    training: the configuration that the points change.
    options: of the launcher.
  """

  training: TrainConfig
  options: _flags.Options


def config_of(training: TrainConfig, point: spaces.Point, folder: pathlib.Path) -> TrainConfig:
  """Returns the configuration of a point; an architecture of it goes to a file beside the folder of its training.

  Raises:
    InputError: if a component refuses a value.
  """
  if point.decisions is not None:
    path = folder.with_suffix(".genotype.json")
    durable.make_folder(path.parent)
    durable.write(path, SPACES[training.space].decode(point.decisions).to_json() + "\n")
    training = config_lib.replace(training, {"genotype": str(path)})
  return spaces.apply(training, point)


def check_points(points: Sequence[spaces.Point], payload: Payload) -> str | None:
  """Builds the network of each point. Returns why the last point is refused, or None if any point is accepted."""
  _run.prepare(payload.options)
  refusal = None
  for point in points:
    training = payload.training
    try:
      if point.decisions is not None:
        training = config_lib.replace(training, {"genotype": SPACES[training.space].decode(point.decisions).to_json()})
      train.parts_of(spaces.apply(training, point), payload.options.force)
      return None
    except FieldError as e:
      refusal = str(e.within("training"))
    except InputError as e:
      refusal = str(e)
  return refusal


def run_trial(assignment: Assignment, payload: Payload, stops: Ends = lambda config, records: False) -> Result:
  """Trains a trial, or resumes it, until it ends, the pruner ends it, or it stops.

  Raises:
    InputError: for values that do not fit, or a folder that cannot be used.
  """
  folder, reports = pathlib.Path(assignment.folder), Reports(assignment)
  objectives = assignment.config.objective_names
  config = config_of(payload.training, assignment.point, folder)

  def ends(records: list[loop.HistoryRecord]) -> bool:
    pruned = reports.ends([record["metrics"][f"valid/{objectives[0]}"] for record in records])
    return pruned or stops(config, records)

  durable.make_folder(folder)
  try:
    train_to_log(config, dataclasses.replace(payload.options, workdir=str(folder)), folder, ends)
  except loop.NonFiniteLoss as e:
    return _result(None, assignment, folder, reports, {"diverged": str(e)})
  result = train.read_result(folder)
  if result is None:
    return _result(None, assignment, folder, reports, {})
  values = tuple(float(result[name if name in result else f"valid/{name}"]) for name in objectives)
  return _result(values, assignment, folder, reports, {"weights": result["weights"]})


def _result(
  values: tuple[float, ...] | None, assignment: Assignment, folder: pathlib.Path, reports: Reports, notes: dict[str, Any]
) -> Result:
  path = folder / "metrics.jsonl"
  epochs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
  if values is not None:
    reports.ends([epoch[f"valid/{assignment.config.objective_names[0]}"] for epoch in epochs])  # the last epoch too
  seconds = epochs[-1]["seconds"] if epochs else 0.0
  return Result(values, max(len(epochs) - assignment.resumed, 0), seconds, notes)
