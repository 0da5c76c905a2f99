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
from dnas.search.workload import Workload
from dnas.supernet import bilevel, relaxations
from dnas.supernet.discretize import discretize
from dnas.supernet.hypergradients import Hypergradient
from dnas.train import loop, optimizers
from dnas.train.loop import step_key

Tree = Any


@dataclasses.dataclass(frozen=True)
class Config:
  """Optimizers of the weights and of the architecture.

  Attributes:
    epochs: passes over the data that train the weights.
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
  """All that a search is made of: what the bilevel step changes, what it hands on, and the run's key as raw data, which stays."""

  search: bilevel.SearchState
  carry: Tree
  key: jax.Array


class DartsTask:
  """A differentiable search (a `loop.Task`).

  Attributes:
    space: the search space.
    workload: the supernet and its data.
  """

  def __init__(self, config: Config, workload: Workload, hypergradient: Hypergradient, key: jax.Array):
    """Builds the task.

    Args:
      config: optimizers.
      workload: the supernet and its data.
      hypergradient: the estimator.
      key: typed random key of the initial architecture and of every step.
    """
    self._config, self.workload, self._key = config, workload, key
    self.space, self.epochs = workload.space, config.epochs
    self._weight_optimizer = optimizers.sgd(
      momentum=config.momentum, weight_decay=config.weight_decay, gradient_clip=config.gradient_clip
    )
    arch_optimizer = optimizers.adam(
      config.arch_learning_rate, beta1=config.arch_beta1, beta2=config.arch_beta2, weight_decay=config.arch_weight_decay
    )
    self._method = bilevel.Method(relaxations.softmax, arch_optimizer, hypergradient)
    self._programs = bilevel.compiled(self._loss, workload.jit)
    self._relax = jax.jit(self._method.relax)

  def init(self) -> State:
    """See `loop.Task`."""
    arch = relaxations.initial_arch(self.space, jax.random.fold_in(self._key, 1), self._config.arch_init_scale)
    weights, stats = self.workload.initial.weights, self.workload.initial.stats
    search = bilevel.SearchState(weights, stats, arch, self._weight_optimizer.init(weights), self._method.arch_optimizer.init(arch))
    return State(search, self.workload.carry, jax.random.key_data(self._key))

  def end_of_epoch(self, epoch: int) -> int:
    """See `loop.Task`."""
    return self.workload.end_of_epoch(epoch)

  def step(self, state: State, step: int) -> tuple[State, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    *keys, key_masks = _split_three(step_key(state.key, np.int32(step)))
    train_batch, valid_batch = self.workload.batches(step, tuple(keys), state.carry)
    progress = np.float32(step / self.end_of_epoch(self.epochs))
    rate = self.workload.learning_rate_factor(step) * self._learning_rate(loop.epoch_of(self, step))
    search, outputs = bilevel.bilevel_step(
      dataclasses.replace(state.search, weight_state=optimizers.with_learning_rate(state.search.weight_state, rate)),
      (train_batch, progress),
      (valid_batch, progress),
      key_masks,
      programs=self._programs,
      method=self._method,
      weight_optimizer=self._weight_optimizer,
      weight_decay=self._config.weight_decay,
      shared_masks=self.workload.shared_masks,
    )
    carry, metrics = self.workload.after_step(outputs)
    return State(search, carry, state.key), metrics

  def end_epoch(self, state: State, epoch: int, means: Mapping[str, float]) -> tuple[State, loop.EpochRecord]:
    """See `loop.Task`."""
    mixture = self.mixture(state)
    on_host = relaxations.to_numpy(mixture)
    valid = self.workload.evaluate(functional.Variables(state.search.weights, state.search.stats), mixture)
    metrics = {f"train/{name}": value for name, value in self.workload.train_metrics(means).items()}
    metrics |= {f"valid/{name}": value for name, value in valid.items()}
    metrics["learning_rate"] = self._learning_rate(epoch - 1)
    record: loop.EpochRecord = {
      "metrics": metrics,
      "genotype": discretize(self.space, on_host).to_json(),
      "mixture": {cell: weights.tolist() for cell, weights in on_host.items()},
    }
    return state, record

  def mixture(self, state: State) -> Mapping[str, jax.Array]:
    """Returns the weights of the mixed operations, cell type to [edges, operations]."""
    return self._relax(state.search.arch, jax.random.wrap_key_data(state.key), jnp.float32(1))

  def _learning_rate(self, epoch: int) -> float:
    return optimizers.cosine(self._config.learning_rate, self._config.final_learning_rate, epoch, self.epochs)

  def _loss(
    self, weights: Tree, arch: relaxations.Arch, stats: Tree, batch: Tree, key: jax.Array
  ) -> tuple[jax.Array, tuple[Tree, Mapping[str, Any]]]:
    batch, progress = batch
    return self.workload.loss(weights, self._method.relax(arch, key, progress), stats, batch, key)


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
