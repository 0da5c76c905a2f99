"""What the campaigns run: the smallest runs of every launcher, how they are started in no time, and what must be equal in the end.

A run is a fork of a process that has imported everything and has not touched JAX's devices, so it starts within a tenth of a second and is
killed like any other process.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence

os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

import dnas
from dnas.launchers import compare, report, search, train, tune
from dnas.run.checkpoint import Checkpoints
from dnas.search.blackbox import study

LAUNCHERS = {"search": search, "train": train, "compare": compare, "report": report, "tune": tune}
DATA = ("data.dataset=synthetic", "data.batch_size=32")
TEXT = (
  "space=darts_recurrent",
  "data.dataset=synthetic_text",
  "data.tokens=1200",
  "data.batch_size=8",
  "data.sequence_length=6",
  "data.short_probability=0.3",
  "data.buckets=1",
)
TRAINING = (*DATA, "network.channels=2", "network.cells=1", "network.auxiliary=false", "train.epochs=2")
EVERY_STEP = ("save_every_steps=1",)
CELLS = {"channels": 2, "cells": 3, "stem_multiplier": 1}
SMALL = {"data.dataset": "synthetic", "data.data_dir": "", "data.batch_size": 32}
dnas.PRESETS.register("smallest_search")(
  dnas.load_preset("digits_demo", SMALL | {f"supernet.{name}": value for name, value in CELLS.items()} | {"darts.epochs": 2})
)
dnas.PRESETS.register("smallest_training")(
  dnas.load_preset("digits_demo_retrain", SMALL | {f"network.{name}": value for name, value in CELLS.items()} | {"train.epochs": 2})
)
JUDGED = (
  *("methods=random_search,regularized_evolution", "seconds=400", "seeds=1", "pool.workers=1", "space=nasbench201"),
  *("table=digits_bench", "dataset=digits", "report_epochs=12", "regularized_evolution.population=2", "regularized_evolution.tournament=2"),
)
TRAINED = (*JUDGED, "training=smallest_training")
SEARCHED = (*JUDGED, "search=smallest_search", *EVERY_STEP)


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of run.

  Attributes:
    launcher: its launcher.
    flags: those of the run.
    before: name of the kind of run whose folder it reads, and goes on in.
  """

  launcher: str
  flags: tuple[str, ...]
  before: str = ""

  @property
  def saves(self) -> bool:
    """Whether it writes checkpoints."""
    return "save_every_steps=1" in self.flags


def arguments(about: str, what: str, count: int, shares: Mapping[str, int]) -> argparse.Namespace:
  """Returns what a campaign was asked for: its folder, its seed, and as `wanted` how many times each kind of run is to be hit.

  Args:
    about: what the campaign is.
    what: what hits a run, the flag of the number of times.
    count: that number, if none is given.
    shares: kind of run to its share of it.
  """
  parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--folder", type=pathlib.Path, required=True)
  parser.add_argument(f"--{what}", type=int, default=count, dest="count")
  parser.add_argument("--seed", type=int, default=1)
  parser.add_argument("--kinds", default=",".join(shares))
  given = parser.parse_args()
  kinds = given.kinds.split(",")
  given.wanted = {kind: round(given.count * shares[kind] / sum(shares[one] for one in kinds)) for kind in kinds}
  return given


KINDS = {
  "search": Kind("search", (*DATA, "supernet.channels=2", "supernet.cells=1", "darts.epochs=2", *EVERY_STEP)),
  "train": Kind("train", (*TRAINING, "genotype=DARTS_V2", *EVERY_STEP)),
  "text_search": Kind("search", (*TEXT, "supernet.units=4", "darts.epochs=2", *EVERY_STEP)),
  "text_train": Kind("train", (*TEXT, "network.units=4", "train.epochs=3", "train.patience=1", "genotype=DARTS_V2", *EVERY_STEP)),
  "compare": Kind("compare", ("methods=random_search,tpe", "seconds=20000", "seeds=2", "pool.workers=1")),
  "training": Kind("compare", (*TRAINED, "evaluator=training", *EVERY_STEP)),
  "morphism": Kind(
    "compare",
    (*TRAINED, "evaluator=morphism", "morphism.epochs=2", "morphism.first_epochs=2", "regularized_evolution.inherit=true", *EVERY_STEP),
  ),
  "weight_sharing": Kind("compare", (*SEARCHED, "evaluator=weight_sharing")),
  "hypernetwork": Kind("compare", (*SEARCHED, "evaluator=hypernetwork", "hypernetwork.epochs=2")),
  "supernet": Kind("compare", (*SEARCHED, "evaluator=supernet")),
  **{proxy: Kind("compare", (*TRAINED, f"evaluator={proxy}")) for proxy in ("parameters", "synflow", "jacob_cov", "naswot")},
  "report": Kind("report", (), "compare"),
  "tune": Kind(
    "tune",
    (
      *(f"training.{flag}" for flag in TRAINING),
      "search_space=train.learning_rate = log(0.01, 0.3)",
      "study.trials=2",
      "study.sampler=random",
      "pool.workers=1",
      "seeds=1",
      *EVERY_STEP,
    ),
  ),
}


_study = study.run


def _at_one_price(strategy, evaluator, *args):
  """Runs a study in which every evaluation costs 100 seconds. Their number would depend on the clock otherwise."""
  return _study(strategy, lambda proposal: dataclasses.replace(evaluator(proposal), cost=100.0), *args)


study.run = _at_one_price


class Process:
  """A run in a process of its own; what it prints is in files beside its folder."""

  def __init__(self, kind: str, workdir: pathlib.Path, cache: pathlib.Path, more: Sequence[str] = ()):
    """Starts it; `more` are words of its command behind those of its kind."""
    self._log = workdir.with_suffix(".log")
    self.began, self.status = time.monotonic(), None
    self._log.parent.mkdir(parents=True, exist_ok=True)
    argv = [kind, f"--workdir={workdir}", f"--compilation_cache={cache}", *(f"--{flag}" for flag in KINDS[kind].flags), *more]
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      self.pid = _fork(lambda: LAUNCHERS[KINDS[kind].launcher].main(argv), self._log)

  def poll(self) -> int | None:
    """Returns the exit status, negative for a signal, or None while it runs."""
    if self.status is None:
      pid, status = os.waitpid(self.pid, os.WNOHANG)
      self.status = os.waitstatus_to_exitcode(status) if pid else None
    return self.status

  def wait(self, patience: float = 300) -> int:
    """Returns the exit status of a run that ends by itself."""
    end = time.monotonic() + patience
    while self.poll() is None:
      if time.monotonic() > end:
        self.kill()
        raise RuntimeError(f"a run that should have ended did not: {self.printed()}")
      time.sleep(0.01)
    return self.status

  def kill(self) -> bool:
    """Kills it and its workers, and returns whether it was alive."""
    if self.poll() is not None:
      return False
    os.killpg(self.pid, signal.SIGKILL)
    self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
    return self.status == -signal.SIGKILL

  def signal(self, number: int) -> None:
    """Sends a signal to it and its workers."""
    os.killpg(self.pid, number)

  def printed(self) -> str:
    """Returns what it has printed so far."""
    return self._log.read_text(errors="replace") if self._log.exists() else ""


def _fork(call: Callable[[], int], log: pathlib.Path) -> int:
  pid = os.fork()
  if pid:
    with contextlib.suppress(OSError):  # the child does so too; whoever is first
      os.setpgid(pid, pid)
    return pid
  status = 1
  try:
    os.setpgid(0, 0)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2))
    warnings.resetwarnings()
    status = call()
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def outcome(workdir: pathlib.Path) -> str:
  """Returns a digest of what a run ended in, but for times and its place, by another process, since this one must not touch JAX."""
  reading, writing = os.pipe()
  pid = os.fork()
  if not pid:
    try:
      os.write(writing, json.dumps(_outcome(workdir)).encode())
    finally:
      os._exit(0)
  os.close(writing)
  with open(reading, "rb") as file:
    text = file.read()
  os.waitpid(pid, 0)
  return text.decode()


_TIMES = ("seconds", "created", "versions", "command", "latency")


def _outcome(workdir: pathlib.Path) -> dict[str, str]:
  out, stores = {}, {path.parent.parent for path in workdir.rglob("*/_CHECKPOINT_METADATA")}
  for path in sorted(workdir.rglob("*")):
    name = str(path.relative_to(workdir))
    if path in stores:
      steps = sorted(int(step.name) for step in path.iterdir() if step.name.isdecimal())
      with Checkpoints(path) as checkpoints:
        described, arrays = checkpoints._read(steps[-1])
      out[name] = _digest([steps[-1], described["leaves"], hashlib.sha256(arrays.tobytes()).hexdigest()], workdir)
    if not path.is_file() or not stores.isdisjoint(path.parents) or "tensorboard" in path.parts or path.name.startswith("study.db"):
      continue
    if path.suffix == ".jsonl":
      out[name] = _digest([json.loads(line) for line in path.read_text().splitlines()], workdir)
    elif path.suffix == ".json":
      out[name] = _digest(json.loads(path.read_text()), workdir)
    elif path.suffix not in (".lock", ".log") and path.name not in (".lock", "log.txt"):
      out[name] = hashlib.sha256(path.read_bytes().replace(str(workdir).encode(), b"")).hexdigest()[:16]
  return out


def _digest(value: object, workdir: pathlib.Path) -> str:
  text = json.dumps(_without_times(value), sort_keys=True).replace(str(workdir), "")
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_times(value: object) -> object:
  if isinstance(value, dict):
    return {name: _without_times(one) for name, one in value.items() if name not in _TIMES}
  return [_without_times(one) for one in value] if isinstance(value, list) else value


def differing(one: str, other: str) -> str:
  """Returns the names of the files in which two outcomes differ; nothing if they are the same."""
  one, other = json.loads(one or "{}"), json.loads(other or "{}")
  return ", ".join(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))


class Ledger:
  """What a campaign has done, a line for each part, so that the same command goes on where it was broken off."""

  def __init__(self, path: pathlib.Path):
    """Reads what was done."""
    self._path = path
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    self.done = {line["part"]: line for line in map(json.loads, lines)}

  def add(self, part: str, **notes: object) -> None:
    """Notes a part as done."""
    self.done[part] = {"part": part, **notes}
    with open(self._path, "a") as file:
      file.write(json.dumps(self.done[part]) + "\n")
    print(json.dumps(self.done[part]), flush=True)
