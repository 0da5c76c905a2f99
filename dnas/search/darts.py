"""DARTS: differentiable search by bilevel gradient steps.

Source: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019; the defaults are the published CIFAR-10 recipe.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.cells import functional
from dnas.core import genotype as genotypes
from dnas.core.config import check_fraction, check_not_negative, check_positive
from dnas.core.records import Progress, SearchResult
from dnas.core.space import CellSpace
from dnas.data import base, batches
from dnas.supernet import bilevel, image_supernet, relaxations
from dnas.supernet.discretize import discretize
from dnas.supernet.hypergradients import Hypergradient
from dnas.train import loop, optimizers
from dnas.train.images import Pipeline, make_evaluate, step_key
from dnas.train.metrics import correct, cross_entropy

Tree = Any


@dataclasses.dataclass(frozen=True)
class Config:
  """Optimizers of the weights and of the architecture.

  Attributes:
    epochs: passes over the weights' half of the training data.
    learning_rate: learning rate of the weights at the start; it falls to final_learning_rate along a cosine, epoch by epoch.
    final_learning_rate: learning rate of the weights that the cosine ends in.
    momentum: momentum of the weights.
    weight_decay: coefficient of the L2 penalty on the weights.
    gradient_clip: largest global norm of the weights' gradient; 0 does not clip.
    arch_learning_rate: learning rate of the architecture's Adam.
    arch_beta1: decay of its first moment.
    arch_beta2: decay of its second moment.
    arch_weight_decay: coefficient of the L2 penalty on the architecture parameters.
    arch_init_scale: standard deviation of the initial architecture parameters.
  """

  epochs: int = 50
  learning_rate: float = 0.025
  final_learning_rate: float = 0.001
  momentum: float = 0.9
  weight_decay: float = 3e-4
  gradient_clip: float = 5.0
  arch_learning_rate: float = 3e-4
  arch_beta1: float = 0.5
  arch_beta2: float = 0.999
  arch_weight_decay: float = 1e-3
  arch_init_scale: float = 1e-3

  def __post_init__(self):
    check_positive(epochs=self.epochs, learning_rate=self.learning_rate, arch_learning_rate=self.arch_learning_rate)
    check_not_negative(
      final_learning_rate=self.final_learning_rate,
      weight_decay=self.weight_decay,
      gradient_clip=self.gradient_clip,
      arch_weight_decay=self.arch_weight_decay,
      arch_init_scale=self.arch_init_scale,
    )
    check_fraction(momentum=self.momentum, arch_beta1=self.arch_beta1, arch_beta2=self.arch_beta2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """All that a search is made of: what the bilevel step changes, and the run's key as raw data, which stays."""

  search: bilevel.SearchState
  key: jax.Array


class DartsTask:
  """A differentiable search on images (a `loop.Task`).

  Attributes:
    space: the search space.
    network: the static part of the supernet.
  """

  def __init__(
    self,
    config: Config,
    supernet_config: image_supernet.Config,
    data_config: base.Config,
    hypergradient: Hypergradient,
    space: CellSpace,
    dataset: base.ImageDataset,
    seed: int,
  ):
    """Builds the task.

    Args:
      config: optimizers.
      supernet_config: size of the supernet.
      data_config: batches and augmentation; both halves are augmented in training, as published, and not in validation.
      hypergradient: the estimator.
      space: the search space.
      dataset: the data set.
      seed: of the initial weights and architecture, order of the data, and augmentation.
    """
    train, valid = base.search_split(dataset, data_config.train_portion)
    self._config, self._key = config, jax.random.key(seed)
    self.space = space
    key_train, key_valid = jax.random.split(jax.random.fold_in(self._key, 0))
    self._train, self._valid = Pipeline(train, dataset, data_config, key_train), Pipeline(valid, dataset, data_config, key_valid)
    self._valid_split = batches.to_device(valid)
    self.epochs, self.steps_per_epoch = config.epochs, self._train.steps_per_epoch
    channels = dataset.train.images.shape[-1]
    module = image_supernet.ImageSupernet(supernet_config, space, channels, dataset.num_classes, np.random.default_rng(seed))
    self.network, self._initial = functional.split(module)
    self._schedule = optimizers.cosine_by_epoch(config.learning_rate, config.final_learning_rate, config.epochs, self.steps_per_epoch)
    self._weight_optimizer = optimizers.sgd(
      self._schedule, momentum=config.momentum, weight_decay=config.weight_decay, gradient_clip=config.gradient_clip
    )
    arch_optimizer = optimizers.adam(
      config.arch_learning_rate, beta1=config.arch_beta1, beta2=config.arch_beta2, weight_decay=config.arch_weight_decay
    )
    self._method = bilevel.Method(relaxations.softmax, arch_optimizer, hypergradient)
    self._programs = bilevel.compiled(self._loss)
    self._relax = jax.jit(self._method.relax)
    self._evaluate = make_evaluate(self._predict, dataset, data_config)

  def init(self) -> State:
    """See `loop.Task`."""
    arch = relaxations.initial_arch(self.space, jax.random.fold_in(self._key, 1), self._config.arch_init_scale)
    weights, stats = self._initial.weights, self._initial.stats
    search = bilevel.SearchState(weights, stats, arch, self._weight_optimizer.init(weights), self._method.arch_optimizer.init(arch))
    return State(search, jax.random.key_data(self._key))

  def step(self, state: State, step: int) -> tuple[State, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    key_train, key_valid, key_masks = _split_three(step_key(state.key, np.int32(step)))
    train_batch, valid_batch = self._train.shuffled(step, key_train), self._valid.drawn(key_valid)
    progress = np.float32(step / (self.epochs * self.steps_per_epoch))
    search, metrics = bilevel.bilevel_step(
      state.search,
      (*train_batch, progress),
      (*valid_batch, progress),
      key_masks,
      programs=self._programs,
      method=self._method,
      weight_optimizer=self._weight_optimizer,
      weight_decay=self._config.weight_decay,
    )
    return State(search, state.key), metrics

  def end_epoch(self, state: State, epoch: int, means: Mapping[str, float]) -> tuple[State, loop.EpochRecord]:
    """See `loop.Task`."""
    mixture = self.mixture(state)
    on_host = relaxations.to_numpy(mixture)
    valid = self._evaluate((functional.Variables(state.search.weights, state.search.stats), mixture), self._valid_split)
    metrics = {"train/loss": means["loss"], "train/accuracy": means["accuracy"]}
    metrics |= {f"valid/{name}": value for name, value in valid.items()}
    metrics["learning_rate"] = float(self._schedule((epoch - 1) * self.steps_per_epoch))
    record: loop.EpochRecord = {
      "metrics": metrics,
      "genotype": discretize(self.space, on_host).to_json(),
      "mixture": {cell: weights.tolist() for cell, weights in on_host.items()},
    }
    return state, record

  def mixture(self, state: State) -> Mapping[str, jax.Array]:
    """Returns the weights of the mixed operations, cell type to [edges, operations]."""
    return self._relax(state.search.arch, jax.random.wrap_key_data(state.key), jnp.float32(1))

  def _loss(
    self, weights: Tree, arch: relaxations.Arch, stats: Tree, batch: Tree, key: jax.Array
  ) -> tuple[jax.Array, tuple[Tree, Mapping[str, jax.Array]]]:
    images, labels, progress = batch
    mixture = self._method.relax(arch, key, progress)
    logits, stats = functional.apply(self.network, functional.Variables(weights, stats), images, mixture, train=True)
    return cross_entropy(logits, labels).mean(), (stats, {"accuracy": correct(logits, labels).mean()})

  def _predict(self, network: tuple[functional.Variables, Mapping[str, jax.Array]], images: jax.Array) -> jax.Array:
    variables, mixture = network
    return functional.apply(self.network, variables, images, mixture, train=False)[0]


@jax.jit
def _split_three(key: jax.Array) -> tuple[jax.Array, ...]:
  return tuple(jax.random.split(key, 3))


@dataclasses.dataclass(frozen=True)
class DartsSearch:
  """DARTS as a searcher, for notebooks and other programs: it holds the task and keeps nothing on disk.

  >>> for progress in DartsSearch(task).run():
  ...   print(progress.epoch, progress.metrics["valid/accuracy"], progress.genotype)

  Attributes:
    task: what to search.
  """

  task: DartsTask

  def run(self) -> Iterator[Progress]:
    """Searches, and yields after every epoch."""
    position = loop.restore(self.task, None)
    for record in loop.run(self.task, position):
      yield progress_of(record, self.task.space)


def progress_of(record: loop.EpochRecord, space: CellSpace) -> Progress:
  """Returns the record of an epoch as a `Progress`."""
  genotype = genotypes.parse(record["genotype"], space.name, space.edges_per_node)
  return Progress(record["epoch"], record["metrics"], genotype)


def result_of(history: list[loop.EpochRecord], space: CellSpace) -> SearchResult:
  """Returns what a complete search ended in."""
  last = progress_of(history[-1], space)
  return SearchResult(last.genotype, history[-1]["seconds"], last.metrics)
