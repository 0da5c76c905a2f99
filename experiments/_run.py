"""What all launchers do around a task: folder, checkpoints, writers, display, signals."""

import contextlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from dnas.core.errors import InputError
from dnas.train import loop
from dnas.train.checkpoint import Checkpoints
from dnas.train.console import Display
from dnas.train.run_folder import RunFolder
from dnas.train.stop import StopRequest
from dnas.train.writers import TensorBoardWriter
from experiments._flags import Options, require_workdir


def use_compilation_cache(folder: str) -> None:
  """Keeps compiled programs between runs in a folder; 'none' keeps none. Raises InputError if the folder cannot be made."""
  if folder == "none":
    jax.config.update("jax_compilation_cache_dir", None)
    return
  path = pathlib.Path(folder).expanduser()
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise InputError(f"--compilation_cache={folder} cannot be made ({os.strerror(e.errno)}); give another folder, or 'none'.") from None
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def open_folder(options: Options, launcher: str, config: Mapping[str, Any]) -> RunFolder:
  """Opens the run's folder. Raises InputError as `RunFolder.open` does."""
  require_workdir(options)
  return RunFolder.open(os.path.expanduser(options.workdir), launcher, config)


def run(task: loop.Task, folder: RunFolder, options: Options) -> loop.Position:
  """Trains a task to its end, or goes on with it, and keeps everything in its folder.

  Raises:
    InputError, loop.NonFiniteLoss, loop.Stopped: as `loop.run` does.
  """
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(Checkpoints(folder.checkpoints, options.keep_checkpoints))
    position = loop.restore(task, checkpoints)
    folder.sync(position.history)
    writer = stack.enter_context(contextlib.closing(TensorBoardWriter(folder.path / "tensorboard", purge_step=0)))
    for record in position.history:
      writer.write(record["step"], record["metrics"])
    total = task.steps_per_epoch * task.epochs
    display = stack.enter_context(Display(total, task.epochs, position.step, position.history))
    if position.step:
      display.say(f"resumed after step {position.step} of {total} in {folder.path}")
    stop = stack.enter_context(StopRequest(display.say))
    for record in loop.run(task, position, checkpoints, save_every_steps=options.save_every_steps, stop=stop, on_step=display.step):
      folder.append(record)
      writer.write(record["step"], record["metrics"])
      display.epoch(record)
  return position
