"""What a run would take, told before it runs: `--dry_run` of searches and trainings."""

from typing import Any

import numpy as np

from dnas.core import memory, tree
from dnas.core.costs import scaled
from dnas.core.errors import counted
from dnas.launchers import _run
from dnas.run import loop
from dnas.search.gradient.costs import search_multiply_adds
from dnas.search.gradient.darts import DartsTask
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.train.images import RetrainTask


def tell_search(what: str, task: DartsTask, parts: _run.SearchParts, seeds: int) -> None:
  """Prints the plan of a search: of one seed, or of several side by side."""
  weights = tree.size(parts.workload.initial.weights)
  several = f" in each of {seeds} supernets" if seeds > 1 else ""
  if isinstance(parts.workload, ImageWorkload):
    adds = f"{scaled(seeds * search_multiply_adds(task))} for the whole search, validations included and diagnoses not"
  else:
    costs = parts.workload.costs(task.space.sample(np.random.default_rng(0)))
    adds = f"{scaled(costs.multiply_adds)} for one word, in a discrete network of the size of the supernet"
  _tell(what, task, parts, f"{weights:,}{several}", adds)


def tell_training(what: str, parts: _run.TrainParts) -> None:
  """Prints the plan of a training."""
  task: Any = parts.task
  costs = task.costs()
  adds = f"{scaled(costs.multiply_adds)} for one word"
  if isinstance(task, RetrainTask):
    adds = f"{scaled(costs.multiply_adds)} for one image, {scaled(task.epochs * task.multiply_adds())} for the whole training"
  _tell(what, task, parts, f"{costs.weights:,}", adds)


def _tell(what: str, task: loop.Task, parts: _run.Parts, weights: str, adds: str) -> None:
  rows = {"steps": f"{task.end_of_epoch(task.epochs):,} in {counted(task.epochs, 'epoch')}", "weights": weights, "multiply-adds": adds}
  if parts.estimate is not None:
    there = memory.shown_bytes(memory.available())
    rows["memory"] = f"{memory.shown_bytes(parts.estimate.total)} or more, by the shapes of its arrays; the device has {there}"
  print("\n".join([f"dry run: {what}", parts.about, *(f"{name}: {value}" for name, value in rows.items()), "nothing was written"]))
