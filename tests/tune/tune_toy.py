"""Trials that take no network: a counter in a file is the training, and dies where it is told to."""

import dataclasses
import json
import os
import pathlib
import signal
import time

from dnas.tune import engine, study
from dnas.tune import space as spaces
from dnas.tune.jobs import Done


@dataclasses.dataclass(frozen=True)
class Config:
  learning_rate: float = 0.025
  drop_path: float = 0.2
  momentum: float = 0.9


EPOCHS = 9
SPACE = spaces.parse("learning_rate = log(0.001, 1); drop_path = uniform(0, 0.5)", Config())
WHOLE = study.Config(trials=6, sampler="random")


class InProcess:
  """An executor that runs every job at once, here."""

  workers = 1

  def __init__(self):
    self._done = []

  def submit(self, function, *arguments):
    self._done.append(Done(len(self._done), function(*arguments)))
    self._last = len(self._done) - 1
    return self._last

  def wait(self, timeout):
    return [self._done[self._last]]


def curve(point, epoch):
  """Validation accuracy after some epochs; better near a learning rate of 0.1."""
  distance = abs(point.values["learning_rate"] - 0.1) + point.values["drop_path"]
  return (1 - min(distance, 0.99)) * epoch / EPOCHS


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_trial(assignment, payload):
  """Trains epoch by epoch: a line in the file of its training for each, with the process that did it."""
  path, reports = pathlib.Path(assignment.folder), engine.Reports(assignment)
  path.parent.mkdir(parents=True, exist_ok=True)
  while True:
    done = lines(path)
    values = [curve(assignment.point, epoch + 1) for epoch in range(len(done))]
    if len(done) < EPOCHS and reports.ends(values):
      return engine.Result(None, len(done) - assignment.resumed, 0.0, {"weights": 1})
    if len(done) == EPOCHS:
      reports.ends(values)
      return engine.Result((values[-1],), EPOCHS - assignment.resumed, 0.0, {"weights": 1})
    time.sleep(payload.get("seconds", 0.0))
    with open(path, "a") as file:
      file.write(json.dumps({"epoch": len(done) + 1, "process": os.getpid(), "trial": assignment.number}) + "\n")
    marker = path.with_suffix(".killed")
    if assignment.number in payload.get("kill", ()) and not done and not marker.exists():
      marker.touch()
      os.kill(os.getpid(), signal.SIGKILL)


def driver(folder, address, config, executor, payload=None, **more):
  opened = study.open_study(address, config, SPACE)
  return engine.Driver(opened, address, config, SPACE, executor, run_trial, payload or {}, folder / "trials", **more)


def address_of(folder, name="tune"):
  return study.Address(f"sqlite:///{folder}/study.db", name, patience=60.0)


def told(opened):
  """What a study holds of its trials, without times and processes."""
  return [(t.number, t.state.name, t.params, t.values, t.intermediate_values, t.user_attrs.get("epochs")) for t in opened.trials]


def assert_each_once(opened, folder, trials):
  """Every trial ended once, and no epoch of a training was trained twice."""
  planned = [trial for trial in opened.trials if "promotes" not in trial.user_attrs]
  assert len(planned) == trials and all(trial.state.is_finished() for trial in opened.trials)
  assert [trial.number for trial in opened.trials] == list(range(len(opened.trials)))
  total = 0
  for trial in planned:
    epochs = [line["epoch"] for line in lines(pathlib.Path(trial.user_attrs["folder"]))]
    assert epochs == list(range(1, len(epochs) + 1)) and epochs
    total += len(epochs)
  assert total == study.epochs_of(opened)
