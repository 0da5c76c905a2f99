"""The jobs that `dnas speed` measures: steps of searches, trainings and evaluations, on random images and a random text."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dnas.cells import functional
from dnas.cells.darts_recurrent import SPACE as RECURRENT
from dnas.cells.language_model import Config as LanguageConfig
from dnas.cells.precision import PRECISIONS
from dnas.cells.registries import IMAGE_GENOTYPES, LANGUAGE_GENOTYPES, SPACES
from dnas.compiler.functions import Compiled
from dnas.core import keys
from dnas.core.config import check, check_name, check_not_negative, check_positive
from dnas.data import base, text
from dnas.launchers._speed_strategies import JOB as STRATEGIES_JOB
from dnas.launchers.peers import process
from dnas.launchers.presets import darts_ptb_retrain
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.nets.derived_image import DerivedImageNetwork
from dnas.nets.derived_language import derived_language_model
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
from dnas.train import images, language


@dataclasses.dataclass(frozen=True)
class SpeedConfig:
  """The settings of a measurement.

  Attributes:
    jobs: jobs to measure, with commas between them: search_first_order, search_second_order, search_unrolled, retrain and evaluate on
      images; language_search, language_retrain and language_evaluate on text. evaluate and language_evaluate take one batch a step.
      strategies measures every black-box strategy by itself, whatever the other settings but evaluations.
    space: space of the searches on images.
    cells: numbers of cells, with commas between them.
    channels: numbers of channels; units of the cell of a language model.
    batch: batch sizes.
    seeds: numbers of searches that run at once in one program, with commas between them.
    precision: types of activations and products, with commas between them: float32, bfloat16.
    rematerialize: whether gradients of image networks recompute the arrays inside the edges.
    image_size: height and width of the images in pixels.
    vocabulary: number of words of the text.
    words: number of words in each column of a batch of text.
    evaluations: number of evaluations of every strategy in the job strategies.
    steps: number of timed steps; two untimed steps come before.
    warm: whether the first step is also measured with a filled compilation cache.
    limit: seconds after which no further size is started; 0 for no limit.
    peak_gflops: peak rate of the device in billions of operations per second; 0 takes the rate from the data sheet, if it is known here.
    peak_gbytes: peak rate of the memory in billions of bytes per second; 0 takes the rate from the data sheet, if it is known here.
    peer: Python with PyTorch, such as python3.11 or a path, to time the same steps in PyTorch; empty for none. PyTorch has all jobs but
      search_second_order and search_unrolled, and of the spaces darts_conv and darts_recurrent.
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
  vocabulary: int = 10_000
  words: int = 35
  evaluations: int = 200
  steps: int = 5
  warm: bool = True
  limit: float = 0.0
  peak_gflops: float = 0.0
  peak_gbytes: float = 0.0
  peer: str = ""

  @property
  def network_jobs(self) -> list[str]:
    """The jobs that take steps of a network."""
    return [job for job in self.jobs.split(",") if job != STRATEGIES_JOB]

  def __post_init__(self):
    for job in self.jobs.split(","):
      check_name("jobs", job, [*JOBS, STRATEGIES_JOB])
    for precision in self.precision.split(","):
      check_name("precision", precision, PRECISIONS)
    check_name("space", self.space, [name for name in SPACES if SPACES[name] is not RECURRENT])
    for field in ("cells", "channels", "batch", "seeds"):
      values = getattr(self, field)
      check(bool(values) and min(values) > 0, field, ",".join(map(str, values)), "give numbers above zero with commas between them")
    check_positive(image_size=self.image_size, steps=self.steps, evaluations=self.evaluations)
    check(self.vocabulary >= 2, "vocabulary", self.vocabulary, "it must be at least 2")
    check(self.words >= 2, "words", self.words, "it must be at least 2")
    check_not_negative(limit=self.limit, peak_gflops=self.peak_gflops, peak_gbytes=self.peak_gbytes)
    several, alone = max(self.seeds, default=1) > 1, [job for job in self.network_jobs if "search" not in job]
    if alone:
      check(not several, "seeds", ",".join(map(str, self.seeds)), f"the job {alone[0]} has one seed, so leave it out")
    if self.peer:
      fits = (self.space, self.precision) == ("darts_conv", "float32") and not several and not PEERLESS & set(self.jobs.split(","))
      hint = f"PyTorch has one seed, --space=darts_conv, --precision=float32, and not the jobs {' and '.join(sorted(PEERLESS))}"
      check(fits, "peer", self.peer, hint)
      process.check_python(self.peer)


class Size(NamedTuple):
  """One combination of numbers and a precision at which jobs are measured."""

  cells: int
  channels: int
  batch: int
  seeds: int
  precision: str


class Evaluation(NamedTuple):
  """The evaluation of one batch, in the form of a task."""

  state: Any
  evaluate: Callable[[Any], Any]

  def init(self) -> Any:
    """Returns the arrays of the evaluation."""
    return self.state

  def step(self, state: Any, step: int) -> tuple[Any, Any]:
    """Evaluates the batch. Every step is the same."""
    return state, self.evaluate(state)


class Job(NamedTuple):
  """A job to measure.

  Attributes:
    task: the task whose steps are measured.
    examples: number of examples, or of words, that a step trains on.
    programs: maps a state to the network-sized programs of a step, each with its arguments and its number of calls.
    inputs: maps a state to the inputs of a step, such as its batches.
    problem: maps a state to the arrays of the same network for the peer (`process.problem`).
  """

  task: loop.Task | Evaluation
  examples: int
  programs: Callable[[Any], list[tuple[Any, tuple[Any, ...], int]]]
  inputs: Callable[[Any], Any]
  problem: Callable[[Any], Mapping[str, np.ndarray]]


def _dataset(config: SpeedConfig, batch: int) -> base.ImageDataset:
  rng = np.random.default_rng(0)
  shape = (4 * batch, config.image_size, config.image_size, 3)
  split = base.Split(rng.integers(0, 256, shape, np.uint8), rng.integers(0, 10, 4 * batch).astype(np.int32))
  statistics = base.channel_statistics(split.images)
  return base.ImageDataset("random images", split, 10, *statistics, tuple("0123456789"), published=True, _read_test=lambda: split)


def _search(config: SpeedConfig, size: Size, hypergradient: Hypergradient, calls: Mapping[str, int]) -> Job:
  stem = 1 if config.space == "nasbench201" else 3
  data = base.Config(train_portion=0.5, batch_size=size.batch, eval_batch_size=size.batch, crop_padding=4, flip=True)
  supernet = SupernetConfig(
    channels=size.channels, cells=size.cells, stem_multiplier=stem, precision=size.precision, rematerialize=config.rematerialize
  )
  workload = ImageWorkload(supernet, data, SPACES[config.space], _dataset(config, size.batch), 0)
  task = DartsTask(DartsConfig(), workload, hypergradient, jax.random.key(0))
  about = process.about_search(SPACES[config.space], size.channels, size.cells, size.batch, config.image_size)
  return _job_of_search(task, size, size.batch, calls, about)


def _text(config: SpeedConfig, batch: int) -> tuple[text.TextDataset, text.Config]:
  """Returns a random text, of which each split has four windows, and its data settings; all windows have one length."""
  rng = np.random.default_rng(0)
  train, valid = rng.integers(0, config.vocabulary, (2, 4 * batch * config.words + 1)).astype(np.int32)
  vocabulary = text.Vocabulary(tuple(map(str, range(config.vocabulary))))
  dataset = text.TextDataset("random text", "word", train, valid, vocabulary, {}, _read_test=lambda: valid)
  return dataset, text.Config(batch_size=batch, eval_batch_size=batch, sequence_length=config.words, short_probability=0.0)


def _language_search(config: SpeedConfig, size: Size) -> Job:
  dataset, data = _text(config, size.batch)
  network = LanguageConfig(units=size.channels, precision=size.precision)
  workload = LanguageWorkload(network, data, RECURRENT, dataset, 0)
  rates = DartsConfig(learning_rate=20.0, momentum=0.0, gradient_clip=0.25)
  task = DartsTask(rates, workload, FirstOrder(), jax.random.key(0))
  about = process.about_language(RECURRENT, None, network, size.batch, config.words)
  return _job_of_search(task, size, size.batch * config.words, FIRST_ORDER, about)


def _language_task(config: SpeedConfig, size: Size) -> tuple[language.RetrainTask, Callable[[Any], Mapping[str, np.ndarray]]]:
  """Returns the training of the published cell by the published recipe, and its problem for the peer."""
  dataset, data = _text(config, size.batch)
  recipe, genotype = darts_ptb_retrain.CONFIG, LANGUAGE_GENOTYPES["DARTS_V2"]
  network = dataclasses.replace(recipe.network, units=size.channels, precision=size.precision)
  about = process.about_language(RECURRENT, genotype, network, size.batch, config.words)
  module = derived_language_model(network, genotype, len(dataset.vocabulary), keys.generator(0, "weights"))
  task = language.RetrainTask(recipe.train, module, data, dataset, 0)
  return task, lambda state: process.problem(about, state.weights)


def _language_retrain(config: SpeedConfig, size: Size) -> Job:
  task, problem = _language_task(config, size)

  def inputs(state: language.TrainState) -> tuple[Any, jax.Array]:
    return task._windows(1), loop.step_key(state.key, np.int32(1))

  def programs(state: language.TrainState) -> list[tuple[Any, tuple[Any, ...], int]]:
    return [(task._step, (state, *inputs(state), np.float32(1)), 1)]

  return Job(task, size.batch * config.words, programs, inputs, problem)


def _language_evaluate(config: SpeedConfig, size: Size) -> Job:
  task, problem = _language_task(config, size)
  sums, state = task._evaluate.sums, task.init()

  def arguments(state: language.TrainState) -> tuple[Any, ...]:
    return state.weights, task._valid, np.int32(0), np.float32(0), state.hidden

  evaluation = Evaluation(state, lambda state: sums(*arguments(state)))
  return Job(evaluation, size.batch * config.words, lambda state: [(sums, arguments(state), 1)], lambda state: state.hidden, problem)


def _job_of_search(task: DartsTask, size: Size, examples: int, calls: Mapping[str, int], about: Mapping[str, Any]) -> Job:
  """`calls` says how often a step calls each of `bilevel.Programs`, and `about` what the peer knows of the supernet."""
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

  return Job(together or task, size.seeds * examples, programs, inputs, lambda state: process.problem(about, state.search.weights))


def _image_task(config: SpeedConfig, size: Size) -> tuple[images.RetrainTask, Callable[[Any], Mapping[str, np.ndarray]]]:
  """Returns the training of the published cell by the published recipe, and its problem for the peer."""
  data = base.Config(train_portion=1.0, batch_size=size.batch, eval_batch_size=size.batch, crop_padding=4, flip=True, cutout_length=16)
  sizes = {"channels": size.channels, "cells": size.cells, "auxiliary": 29 <= config.image_size <= 32}
  network, genotype = NetworkConfig(**sizes, precision=size.precision, rematerialize=config.rematerialize), IMAGE_GENOTYPES["DARTS_V2"]
  build = functools.partial(DerivedImageNetwork, network, genotype)
  task = images.RetrainTask(images.Config(), build, data, _dataset(config, size.batch), 0)
  about = process.about_network(genotype, size.cells, size.batch, config.image_size)
  return task, lambda state: process.problem(about, state.weights)


def _retrain(config: SpeedConfig, size: Size) -> Job:
  task, problem = _image_task(config, size)

  def inputs(state: images.TrainState) -> tuple[Any, jax.Array]:
    key = loop.step_key(state.key, np.int32(1))
    return task._pipeline.shuffled(1, key), key

  def programs(state: images.TrainState) -> list[tuple[Any, tuple[Any, ...], int]]:
    if jax.default_backend() == "cpu":
      return [(task.gradient, (state.weights, state.stats, *inputs(state), task.rates(0)), 1)]
    return [(task._step, (state, *inputs(state), task.rates(0)), 1)]

  return Job(task, size.batch, programs, inputs, problem)


def _evaluate(config: SpeedConfig, size: Size) -> Job:
  task, problem = _image_task(config, size)
  sums, split, state = task._evaluate.sums, task._pipeline.first(4 * size.batch), task.init()

  def arguments(state: images.TrainState) -> tuple[Any, ...]:
    return functional.Variables(state.weights, state.stats), split, np.int32(1), np.int32(len(split))

  evaluation = Evaluation(state, lambda state: sums(*arguments(state)))
  return Job(evaluation, size.batch, lambda state: [(sums, arguments(state), 1)], lambda state: split, problem)


PEERLESS = {"search_second_order", "search_unrolled"}
"""Jobs that the peer does not have."""

FIRST_ORDER = {"gradient": 1, "arch_gradient": 1}
JOBS: dict[str, Callable[[SpeedConfig, Size], Job]] = {
  "search_first_order": functools.partial(_search, hypergradient=FirstOrder(), calls=FIRST_ORDER),
  "search_second_order": functools.partial(_search, hypergradient=FiniteDifference(), calls={"gradient": 3, "arch_gradient": 2}),
  "search_unrolled": functools.partial(_search, hypergradient=Unrolled(), calls={"gradient": 3, "hvp": 1}),
  "retrain": _retrain,
  "evaluate": _evaluate,
  "language_search": _language_search,
  "language_retrain": _language_retrain,
  "language_evaluate": _language_evaluate,
}
