"""Measures compile time, step time, memory and arithmetic of searches and trainings.

  python -m benchmarks.speed --workdir=runs/speed
  python -m benchmarks.speed --jobs=search_first_order,search_second_order --channels=16 --cells=8 --batch=16,64 --workdir=runs/speed
  python -m benchmarks.speed --jobs=search_first_order --peer --workdir=runs/speed_peer

Every job is measured at every combination of cells, channels and batch. 'Cold' is the time from a built network to the end of its first
step with an empty compilation cache, 'warm' the same with the programs in the cache. The step is the median after warm-up. Arithmetic and
bytes are those of the largest compiled program, by XLA's own count. The images are random. The table also goes to WORKDIR/speed.json.
With --peer every step of a first-order search is followed by one of the same supernet in PyTorch, in both of its memory formats, without
augmentation; 'to peer' is the median over steps of our time, divided by that of the faster format in the same round.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import itertools
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from dnas.cells.darts_recurrent import SPACE as RECURRENT
from dnas.cells.language_model import Config as LanguageConfig
from dnas.cells.registries import IMAGE_GENOTYPES, SPACES
from dnas.core import compilation
from dnas.core.config import check, check_name, check_positive
from dnas.data import base, text
from dnas.data.datasets import text_from_config
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.report.tables import Table
from dnas.search.darts import Config as DartsConfig
from dnas.search.darts import DartsTask
from dnas.search.image_workload import ImageWorkload
from dnas.search.language_workload import LanguageWorkload
from dnas.supernet.hypergradients import FiniteDifference, FirstOrder, Hypergradient
from dnas.supernet.image_supernet import Config as SupernetConfig
from dnas.train import images, loop
from experiments import _flags, _run


@dataclasses.dataclass(frozen=True)
class SpeedConfig:
  """What is measured.

  Attributes:
    jobs: names with commas between them: search_first_order, search_second_order, retrain, language_search.
    space: space of the searches on images.
    cells: numbers of cells, with commas between them.
    channels: numbers of channels; units of the cell in language_search.
    batch: batch sizes.
    image_size: height and width of the images in pixels.
    steps: steps that are timed, after two that are not.
    peer: whether first-order searches on darts_conv are timed against PyTorch, which must be installed.
  """

  jobs: str = "search_first_order,search_second_order,retrain"
  space: str = "darts_conv"
  cells: tuple[int, ...] = (8,)
  channels: tuple[int, ...] = (16,)
  batch: tuple[int, ...] = (16,)
  image_size: int = 32
  steps: int = 5
  peer: bool = False

  def __post_init__(self):
    for job in self.jobs.split(","):
      check_name("jobs", job, JOBS)
    check_name("space", self.space, [name for name in SPACES if SPACES[name] is not RECURRENT])
    for field in ("cells", "channels", "batch"):
      values = getattr(self, field)
      check(bool(values) and min(values) > 0, field, ",".join(map(str, values)), "give numbers above zero with commas between them")
    check_positive(image_size=self.image_size, steps=self.steps)
    if self.peer:
      fits = self.jobs == "search_first_order" and self.space == "darts_conv"
      check(fits, "peer", True, "the peer is a first-order search, so give --jobs=search_first_order and --space=darts_conv")
      check(importlib.util.find_spec("torch") is not None, "peer", True, "it needs PyTorch: pip install torch")


class Size(NamedTuple):
  """One combination."""

  cells: int
  channels: int
  batch: int


class Job(NamedTuple):
  """Something to measure.

  Attributes:
    task: what steps.
    examples: examples, or words, that a step trains on.
    program: its largest program, with its arguments: (compiled function, arguments).
  """

  task: loop.Task
  examples: int
  program: Callable[[Any], tuple[Any, tuple[Any, ...]]]


def _dataset(config: SpeedConfig, batch: int) -> base.ImageDataset:
  rng = np.random.default_rng(0)
  shape = (4 * batch, config.image_size, config.image_size, 3)
  split = base.Split(rng.integers(0, 256, shape, np.uint8), rng.integers(0, 10, 4 * batch).astype(np.int32))
  statistics = base.channel_statistics(split.images)
  return base.ImageDataset("random images", split, 10, *statistics, tuple("0123456789"), _read_test=lambda: split)


def _search(config: SpeedConfig, size: Size, hypergradient: Hypergradient) -> Job:
  stem = 1 if config.space == "nasbench201" else 3
  data = base.Config(train_portion=0.5, batch_size=size.batch, eval_batch_size=size.batch, crop_padding=4, flip=True)
  supernet = SupernetConfig(channels=size.channels, cells=size.cells, stem_multiplier=stem)
  workload = ImageWorkload(supernet, data, SPACES[config.space], _dataset(config, size.batch), 0)
  task = DartsTask(DartsConfig(), workload, hypergradient, jax.random.key(0))
  return Job(task, size.batch, functools.partial(_gradient_of_search, task))


def _language(config: SpeedConfig, size: Size) -> Job:
  data = text.Config(dataset="synthetic_text", batch_size=size.batch)
  workload = LanguageWorkload(LanguageConfig(units=size.channels), data, RECURRENT, text_from_config(data), 0)
  rates = DartsConfig(learning_rate=20.0, momentum=0.0, gradient_clip=0.25)
  task = DartsTask(rates, workload, FirstOrder(), jax.random.key(0))
  return Job(task, size.batch * data.sequence_length, functools.partial(_gradient_of_search, task))


def _retrain(config: SpeedConfig, size: Size) -> Job:
  data = base.Config(train_portion=1.0, batch_size=size.batch, eval_batch_size=size.batch, crop_padding=4, flip=True, cutout_length=16)
  network = NetworkConfig(channels=size.channels, cells=size.cells, auxiliary=29 <= config.image_size <= 32)
  task = images.RetrainTask(images.Config(), network, data, _dataset(config, size.batch), IMAGE_GENOTYPES["DARTS_V2"], 0)

  def program(state: images.TrainState) -> tuple[Any, tuple[Any, ...]]:
    key = loop.step_key(state.key, np.int32(0))
    return task._step, (state, task._pipeline.shuffled(0, key), key, task.rates(0))

  return Job(task, size.batch, program)


def _gradient_of_search(task: DartsTask, state: Any) -> tuple[Any, tuple[Any, ...]]:
  keys = jax.random.split(jax.random.key(1), 3)
  batch, _ = task.workload.batches(0, (keys[0], keys[1]), state.carry)
  search = state.search
  return task._programs.gradient, (search.weights, search.arch, search.stats, (batch, np.float32(0), state.allowed), keys[2])


JOBS: dict[str, Callable[[SpeedConfig, Size], Job]] = {
  "search_first_order": functools.partial(_search, hypergradient=FirstOrder()),
  "search_second_order": functools.partial(_search, hypergradient=FiniteDifference()),
  "retrain": _retrain,
  "language_search": _language,
}


def measure(config: SpeedConfig, name: str, size: Size) -> dict[str, Any]:
  """Returns the measurements of one job at one size; times in seconds, memory in bytes."""
  with tempfile.TemporaryDirectory() as cache, _compilation_cache(cache):
    cold, _ = _first_step(JOBS[name](config, size))
    jax.clear_caches()
    job = JOBS[name](config, size)
    warm, state = _first_step(job)
    peers = _peer_steps(config, size, state) if config.peer else ()
    times, peer_times = [], []
    for step in range(1, config.steps + 3):
      began = time.perf_counter()
      state, metrics = job.task.step(state, step)
      jax.block_until_ready((state, metrics))
      times.append(time.perf_counter() - began)
      peer_times.append([_seconds(peer) for peer in peers])
    function, arguments = job.program(state)
    costs = compilation.costs(function, *arguments)
  seconds = float(np.median(times[2:]))
  out = {"job": name, **size._asdict(), "cold": cold, "warm": warm, "step": seconds, "examples_per_second": job.examples / seconds}
  out |= {"flops": costs["flops"], "bytes": costs["bytes accessed"], "memory": costs["memory"], "device": jax.devices()[0].device_kind}
  if config.peer:
    plain, channels_last = np.median(peer_times[2:], 0)
    ratio = np.median(np.array(times[2:]) / np.array(peer_times[2:])[:, int(channels_last < plain)])
    out |= {"peer_step": float(plain), "peer_step_channels_last": float(channels_last), "ratio_to_peer": float(ratio)}
  return out


def _seconds(function: Callable[[], Any]) -> float:
  began = time.perf_counter()
  function()
  return time.perf_counter() - began


def _peer_steps(config: SpeedConfig, size: Size, state: Any) -> list[Callable[[], float]]:
  """Returns steps of the same search in PyTorch, with our weights, channels first and channels last."""
  import torch

  from benchmarks.peers import darts_torch

  def batch() -> tuple[Any, Any]:
    return torch.randn(size.batch, 3, config.image_size, config.image_size), torch.randint(0, 10, (size.batch,))

  weights = jax.tree.map(np.asarray, state.search.weights)
  supernets = [darts_torch.Supernet(weights, size.channels, size.cells) for _ in range(2)]
  searches = [darts_torch.FirstOrderSearch(*pair) for pair in zip(supernets, (False, True), strict=True)]
  return [functools.partial(search.step, batch(), batch()) for search in searches]


@contextlib.contextmanager
def _compilation_cache(folder: str) -> Iterator[None]:
  """Keeps compiled programs in a folder, and those of before elsewhere."""
  before = jax.config.jax_compilation_cache_dir
  jax.clear_caches()
  compilation_cache.reset_cache()
  _run.use_compilation_cache(folder)
  try:
    yield
  finally:
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", before)


def _first_step(job: Job) -> tuple[float, Any]:
  state = job.task.init()
  began = time.perf_counter()
  state, metrics = job.task.step(state, 0)
  jax.block_until_ready((state, metrics))
  return time.perf_counter() - began, state


def table_of(rows: list[dict[str, Any]]) -> Table:
  """Returns the measurements as a table for people."""
  header = ("job", "cells", "channels", "batch", "cold (s)", "warm (s)", "step (ms)", "examples/s", "GFLOP", "GB moved", "memory (MB)")
  header += ("to peer",) if "ratio_to_peer" in rows[0] else ()
  lines = []
  for row in rows:
    memory = f"{row['memory'] / 1e6:,.0f}"
    numbers = f"{row['cold']:.1f}", f"{row['warm']:.1f}", f"{1e3 * row['step']:,.0f}", f"{row['examples_per_second']:,.0f}"
    sizes = tuple(str(row[name]) for name in Size._fields)
    lines.append((row["job"], *sizes, *numbers, f"{row['flops'] / 1e9:.2f}", f"{row['bytes'] / 1e9:.2f}", memory))
    lines[-1] += (f"{row['ratio_to_peer']:.2f}",) if "ratio_to_peer" in row else ()
  return Table(f"speed on {rows[0]['device']}, jax {jax.__version__}", header, tuple(lines))


def run(config: SpeedConfig, options: _flags.Options, given: set[str]) -> None:
  """Measures everything, and prints and writes the table."""
  _flags.require_one_process(options)
  _flags.require_workdir(options)
  folder = pathlib.Path(options.workdir).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  rows = []
  for job, *numbers in itertools.product(config.jobs.split(","), config.cells, config.channels, config.batch):
    rows.append(measure(config, job, Size(*numbers)))
    print(f"{job} {Size(*numbers)}: {1e3 * rows[-1]['step']:,.0f} ms a step", flush=True)
    (folder / "speed.json").write_text(json.dumps(rows, indent=2) + "\n")
  print(f"\n{table_of(rows).to_markdown()}")


LAUNCHER = _flags.Launcher("speed", SpeedConfig(), run, __doc__)
main = LAUNCHER.main

if __name__ == "__main__":
  sys.exit(main(sys.argv))
