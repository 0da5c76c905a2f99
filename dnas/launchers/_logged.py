"""Trainings whose output goes to a file beside their folder: the trials of a tuning, and trainings that are tested at its end."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

from dnas.core import durable
from dnas.launchers import _flags, _output, train
from dnas.launchers.configs import ImageTrainConfig, LanguageTrainConfig
from dnas.run import loop

TrainConfig = ImageTrainConfig | LanguageTrainConfig


def run_final(config: TrainConfig, options: _flags.Options) -> dict[str, Any]:
  """Trains on all data, tests once, and returns the result."""
  folder = pathlib.Path(options.workdir)
  durable.make_folder(folder)
  train_to_log(config, options, folder, lambda history: False)
  return train.result_of(folder)


def train_to_log(
  config: TrainConfig, options: _flags.Options, folder: pathlib.Path, ends: Callable[[list[loop.HistoryRecord]], bool]
) -> None:
  """Trains, or resumes a training, until it ends or `ends` says so. What it prints goes to a file beside its folder."""
  finished = (folder / "result.json").exists()
  with _output.to_log(pathlib.Path(os.devnull) if finished else folder.with_suffix(".log")):
    train.run(config, dataclasses.replace(options, preset="", profile_steps=()), set(), ends, draws=config.test)
