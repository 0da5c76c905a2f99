"""The first steps of every kind of run, on as many devices as are asked for: `python devices_tiny.py DEVICES FOLDER` prints the losses."""

import json
import os
import pathlib
import sys

import jax
from tiny_runs import TEXT_TRAIN, cache_flag

from dnas.core import devices, program_cache
from dnas.launchers import _image, _language, search, train
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.search.gradient import darts

SPACE = ("--space=nasbench201", "--data.dataset=synthetic", "--data.batch_size=32")
CELL = "|skip_connect~0|+|nor_conv_1x1~0|none~1|+|none~0|avg_pool_3x3~1|skip_connect~2|"
WITHOUT = "--without=none,nor_conv_1x1"
RUNS = {
  "search": (search, (*SPACE, "--supernet.cells=3", "--supernet.channels=2", WITHOUT, "--hypergradient=finite_difference")),
  "train": (train, (*SPACE, f"--genotype={CELL}", "--network.cells=3", "--network.channels=2", "--data.train_portion=0.5")),
  "text_train": (train, (*TEXT_TRAIN, "--genotype=DARTS_V2")),
}
STEPS, SAVED = 3, 2


def task_of(run):
  launcher, flags = RUNS[run]
  config, _, _ = launcher.LAUNCHER.parse([launcher.LAUNCHER.name, *flags])
  module = _language if config.space == "darts_recurrent" else _image
  if launcher is train:
    return module.train_parts(config, train.load_genotype(config.genotype, config.space)).task
  return darts.DartsTask(config.darts, module.search_parts(config).workload, config.make_hypergradient(), jax.random.key(config.seed))


def losses(run, folder, first=0):
  """Returns the losses of the steps from `first` on; it saves after two steps, and begins with what is saved if it does not begin anew."""
  task = task_of(run)
  with Checkpoints(pathlib.Path(folder) / run) as checkpoints:
    position, found = loop.restore(task, checkpoints if first else None), []
    for step in range(first, STEPS):
      position.state, metrics = task.step(position.state, step)
      found.append(float(metrics["loss"]))
      if step + 1 == SAVED and not first:
        checkpoints.save(SAVED, jax.device_get(position.state), {"history": [], "seconds": 0.0, "sums": None})
    placed = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(position.state) if isinstance(leaf, jax.Array)}
  return found, placed


if __name__ == "__main__":
  devices.use(int(sys.argv[1]))
  assert sys.argv[1] == "1" or int(os.environ["PJRT_NPROC"]) >= 4 * int(sys.argv[1])  # threads enough for all that may wait at a time
  program_cache.use(cache_flag().partition("=")[2] if jax.config.jax_compilation_cache_dir else "none", 2e9)
  outcomes = {run: losses(run, sys.argv[2]) for run in RUNS}
  assert all(placed == {int(sys.argv[1])} for _, placed in outcomes.values()), outcomes
  pipeline = task_of("train")._pipeline
  images, _ = pipeline.shuffled(0, jax.random.key(0))
  assert images.sharding.shard_shape(images.shape)[0] * int(sys.argv[1]) == len(images)
  print(json.dumps({run: found for run, (found, _) in outcomes.items()}))
