"""The jobs that `dnas speed` measures: steps of searches and of a retraining, on random images and a synthetic text."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dnas.cells.darts_recurrent import SPACE as RECURRENT
from dnas.cells.language_model import Config as LanguageConfig
from dnas.cells.precision import PRECISIONS
from dnas.cells.registries import IMAGE_GENOTYPES, SPACES
from dnas.compiler.functions import Compiled
from dnas.core.config import check, check_name, check_not_negative, check_positive
from dnas.data import base, text
from dnas.data.datasets import text_from_config
from dnas.launchers.peers import process
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.run import loop
from dnas.search.gradient.darts import Config as DartsConfig
from dnas.search.gradient.darts import DartsTask, StepInputs
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.search.gradient.language_workload import LanguageWorkload
from dnas.search.gradient.seeds import SeedsTask
from dnas.supernet.bilevel import LossInputs
from dnas.supernet.hypergradients import Hypergradient
from dnas.supernet.hypergradients.finite_difference import FiniteDifference
from dnas.supernet.hypergradients.fixed_weights import FirstOrder
from dnas.supernet.hypergradients.unrolled import Unrolled
from dnas.supernet.image_supernet import Config as SupernetConfig
from dnas.train import images


@dataclasses.dataclass(frozen=True)
class SpeedConfig:
  """The settings of a measurement.

  Attributes:
    jobs: jobs to measure, with commas between them: search_first_order, search_second_order, search_unrolled, retrain, language_search.
    space: space of the searches on images.
    cells: numbers of cells, with commas between them.
    channels: numbers of channels; units of the cell in language_search.
    batch: batch sizes.
    seeds: numbers of searches that run at once in one program, with commas between them.
    precision: types of activations and products, with commas between them: float32, bfloat16.
    rematerialize: whether gradients of image networks recompute the arrays inside the edges.
    image_size: height and width of the images in pixels.
    steps: number of timed steps; two untimed steps come before.
    warm: whether the first step is also measured with a filled compilation cache.
    limit: seconds after which no further size is started; 0 for no limit.
    peak_gflops: peak rate of the device in billions of operations per second; 0 takes the rate from the data sheet, if it is known here.
    peak_gbytes: peak rate of the memory in billions of bytes per second; 0 takes the rate from the data sheet, if it is known here.
    peer: Python with PyTorch, such as python3.11 or a path, to time the same first-order search on darts_conv in PyTorch; empty for none.
  """

  jobs: str = "search_first_order,search_second_order,retrain"
  space: str = "darts_conv"
  cells: tuple[int, ...] = (8,)
  channels: tuple[int, ...] = (16,)
  batch: tuple[int, ...] = (16,)
  seeds: tuple[int, ...] = (1,)
  precision: str = "float32"
  rematerialize: bool = False
  image_size: int = 32
  steps: int = 5
  warm: bool = True
  limit: float = 0.0
  peak_gflops: float = 0.0
  peak_gbytes: float = 0.0
  peer: str = ""

  def __post_init__(self):
    for job in self.jobs.split(","):
      check_name("jobs", job, JOBS)
    for precision in self.precision.split(","):
      check_name("precision", precision, PRECISIONS)
    check_name("space", self.space, [name for name in SPACES if SPACES[name] is not RECURRENT])
    for field in ("cells", "channels", "batch", "seeds"):
      values = getattr(self, field)
      check(bool(values) and min(values) > 0, field, ",".join(map(str, values)), "give numbers above zero with commas between them")
    check_positive(image_size=self.image_size, steps=self.steps)
    check_not_negative(limit=self.limit, peak_gflops=self.peak_gflops, peak_gbytes=self.peak_gbytes)
    several = max(self.seeds, default=1) > 1
    check(not (several and "retrain" in self.jobs), "seeds", ",".join(map(str, self.seeds)), "a retraining has one seed, so leave it out")
    if self.peer:
      fits = (self.jobs, self.space, self.precision) == ("search_first_order", "darts_conv", "float32") and not several
      hint = "the peer is one search, so give --jobs=search_first_order, --space=darts_conv, --precision=float32 and one seed"
      check(fits, "peer", self.peer, hint)
      process.check_python(self.peer)


class Size(NamedTuple):
  """One combination of numbers and a precision at which jobs are measured."""

  cells: int
  channels: int
  batch: int
  seeds: int
  precision: str


class Job(NamedTuple):
  """A job to measure.

  Attributes:
    task: the task whose steps are measured.
    examples: number of examples, or of words, that a step trains on.
    programs: maps a state to the network-sized programs of a step, each with its arguments and its number of calls.
    inputs: maps a state to the inputs of a step, such as its batches.
  """

  task: loop.Task
  examples: int
  programs: Callable[[Any], list[tuple[Any, tuple[Any, ...], int]]]
  inputs: Callable[[Any], Any]


def _dataset(config: SpeedConfig, batch: int) -> base.ImageDataset:
  rng = np.random.default_rng(0)
  shape = (4 * batch, config.image_size, config.image_size, 3)
  split = base.Split(rng.integers(0, 256, shape, np.uint8), rng.integers(0, 10, 4 * batch).astype(np.int32))
  statistics = base.channel_statistics(split.images)
  return base.ImageDataset("random images", split, 10, *statistics, tuple("0123456789"), published=True, _read_test=lambda: split)


def _search(config: SpeedConfig, size: Size, hypergradient: Hypergradient, calls: Mapping[str, int]) -> Job:
  stem = 1 if config.space == "nasbench201" else 3
  data = base.Config(train_portion=0.5, batch_size=size.batch, eval_batch_size=size.batch, crop_padding=4, flip=True)
  sizes = {"channels": size.channels, "cells": size.cells, "stem_multiplier": stem}
  supernet = SupernetConfig(**sizes, precision=size.precision, rematerialize=config.rematerialize)
  workload = ImageWorkload(supernet, data, SPACES[config.space], _dataset(config, size.batch), 0)
  task = DartsTask(DartsConfig(), workload, hypergradient, jax.random.key(0))
  return _job_of_search(task, size, size.batch, calls)


def _language(config: SpeedConfig, size: Size) -> Job:
  data = text.Config(dataset="synthetic_text", batch_size=size.batch)
  network = LanguageConfig(units=size.channels, precision=size.precision)
  workload = LanguageWorkload(network, data, RECURRENT, text_from_config(data), 0)
  rates = DartsConfig(learning_rate=20.0, momentum=0.0, gradient_clip=0.25)
  task = DartsTask(rates, workload, FirstOrder(), jax.random.key(0))
  return _job_of_search(task, size, size.batch * data.sequence_length, FIRST_ORDER)


def _job_of_search(task: DartsTask, size: Size, examples: int, calls: Mapping[str, int]) -> Job:
  """`calls` says how often a step calls each of `bilevel.Programs`."""
  together = SeedsTask([task, *map(task.reseeded, range(1, size.seeds))]) if size.seeds > 1 else None
  of_step = task.problem.programs
  compiled = {"gradient": of_step.gradient.program, "arch_gradient": of_step.arch_gradient.program, "hvp": of_step.hvp}

  def inputs(state: Any) -> StepInputs:
    return together.inputs(state, 1) if together else task.inputs(state.key, state.carry, 1)

  def programs(state: Any) -> list[tuple[Compiled, tuple[Any, ...], int]]:
    given, search = inputs(state), state.search
    arguments = search.weights, search.arch, search.stats, LossInputs(given.train_batch, given.progress, state.op_mask), given.key
    directions = {"hvp": (search.weights,)}
    functions = {name: compiled[name].wider() if together else compiled[name] for name in calls}
    return [(functions[name], (*arguments, *directions.get(name, ())), count) for name, count in calls.items()]

  return Job(together or task, size.seeds * examples, programs, inputs)


def _retrain(config: SpeedConfig, size: Size) -> Job:
  data = base.Config(train_portion=1.0, batch_size=size.batch, eval_batch_size=size.batch, crop_padding=4, flip=True, cutout_length=16)
  sizes = {"channels": size.channels, "cells": size.cells, "auxiliary": 29 <= config.image_size <= 32}
  network = NetworkConfig(**sizes, precision=size.precision, rematerialize=config.rematerialize)
  task = images.RetrainTask(images.Config(), network, data, _dataset(config, size.batch), IMAGE_GENOTYPES["DARTS_V2"], 0)

  def inputs(state: images.TrainState) -> tuple[Any, jax.Array]:
    key = loop.step_key(state.key, np.int32(1))
    return task._pipeline.shuffled(1, key), key

  def programs(state: images.TrainState) -> list[tuple[Compiled, tuple[Any, ...], int]]:
    return [(task.gradient, (state.weights, state.stats, *inputs(state), task.rates(0)), 1)]

  return Job(task, size.batch, programs, inputs)


FIRST_ORDER = {"gradient": 1, "arch_gradient": 1}
JOBS: dict[str, Callable[[SpeedConfig, Size], Job]] = {
  "search_first_order": functools.partial(_search, hypergradient=FirstOrder(), calls=FIRST_ORDER),
  "search_second_order": functools.partial(_search, hypergradient=FiniteDifference(), calls={"gradient": 3, "arch_gradient": 2}),
  "search_unrolled": functools.partial(_search, hypergradient=Unrolled(), calls={"gradient": 3, "hvp": 1}),
  "retrain": _retrain,
  "language_search": _language,
}
