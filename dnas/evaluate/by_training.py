"""What evaluators by a training of their own have in common: the budget, the folder of a training, and the evaluation after it."""

import contextlib
import hashlib
import math
import pathlib
from collections.abc import Callable
from typing import Any

from dnas.core.errors import InputError, counted
from dnas.core.records import Evaluation, Proposal
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints


def budget_of(proposal: Proposal, epochs: int) -> int:
  """Returns the epochs that a proposal asks for, of a full training of so many. Raises InputError if it asks for more."""
  asked = proposal.budget or epochs
  if asked > epochs:
    budget = counted(asked, "epoch")
    raise InputError(f"the budget of a proposal is {budget} and a full training has {epochs}; ask for at most that.")
  return asked


def folder_of(folder: pathlib.Path, genotype: Any) -> pathlib.Path:
  """Returns the checkpoint folder of an architecture, one of those in `folder`."""
  return folder / hashlib.sha256(genotype.to_json().encode()).hexdigest()[:16]


def evaluation(
  task: loop.Task, folder: pathlib.Path, epochs: int, resumes: bool, score_of: Callable[[dict[str, float]], float]
) -> Evaluation:
  """Trains for so many epochs, or resumes, and returns the evaluation after them.

  The cost is wall time in seconds: of all epochs, or of the added ones alone if the proposal `resumes`. A loss that is not finite gives a
  score that is not a number.

  Args:
    task: the training.
    folder: its checkpoints.
    epochs: number of epochs.
    resumes: whether the proposal has a parent, whose training it goes on with.
    score_of: maps the metrics of the last epoch to the score.
  """
  with Checkpoints(folder, keep=1) as checkpoints:
    position = loop.restore(task, checkpoints)
    before = position.seconds if resumes else 0.0
    with contextlib.suppress(loop.NonFiniteLoss):
      for _ in loop.run(task, position, checkpoints, early_stop=lambda history: len(history) >= epochs):
        pass
  if len(position.history) < epochs:
    return Evaluation(math.nan, max(position.seconds - before, 0.0), {"epochs": float(len(position.history))})
  record = position.history[epochs - 1]
  metrics = {**record["metrics"], "epochs": float(epochs)}
  return Evaluation(score_of(metrics), max(record["seconds"] - before, 0.0), metrics)
