"""What trainings of a supernet on one architecture a step have in common."""

import abc
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dnas.core import keys, tree
from dnas.core.space import CellSpace
from dnas.data import base
from dnas.run import loop
from dnas.run.loop import EpochRecord, step_key
from dnas.supernet import image_supernet
from dnas.supernet.discretize import one_hot
from dnas.supernet.weight_step import optimizer_step
from dnas.train import optimizers
from dnas.train.image_pipeline import Pipeline
from dnas.train.images import TrainState

Tree = Any
Path = Mapping[str, np.ndarray]
"""The one-hot mixture weights of an architecture, cell type to [edges, operations]."""


class PathTask(abc.ABC):
  """A training on one architecture a step, drawn uniformly from its space (a `loop.Task`). Its learning rate falls along a cosine.

  Attributes:
    space: the search space.
    epochs: how many epochs there are.
    config: settings of the training; they have `epochs`, `learning_rate` and `final_learning_rate`.
  """

  _optimizer: tree.Optimizer

  def __init__(self, config: Any, data: base.Config, space: CellSpace, dataset: base.ImageDataset, seed: int, stream: str):
    """Reads the data; `seed` determines their order and, with the name `stream`, the architectures."""
    train, self._valid = base.search_split(dataset, data)
    self.space, self.config, self.epochs, self._seed, self._stream = space, config, config.epochs, seed, stream
    self._key = jax.random.key(seed)
    self._pipeline = Pipeline(train, dataset, data, keys.derive(self._key, "order"))
    self._class_weights = base.class_weights(train, dataset.num_classes, data.class_weights)

  @abc.abstractmethod
  def init(self) -> TrainState:
    """See `loop.Task`."""

  @abc.abstractmethod
  def step(self, state: TrainState, step: int) -> tuple[TrainState, Mapping[str, jax.Array]]:
    """See `loop.Task`."""

  def end_of_epoch(self, epoch: int) -> int:
    """See `loop.Task`."""
    return epoch * self._pipeline.steps_per_epoch

  def end_epoch(self, state: TrainState, epoch: int, means: Mapping[str, float]) -> tuple[TrainState, EpochRecord]:
    """See `loop.Task`."""
    metrics = {"train/loss": means["loss"], "train/accuracy": means["accuracy"], "learning_rate": self._learning_rate(epoch - 1)}
    return state, {"metrics": metrics}

  def _built(self, supernet: image_supernet.Config, dataset: base.ImageDataset) -> image_supernet.ImageSupernet:
    """Returns the supernet with new weights."""
    channels, rng = dataset.train.images.shape[-1], keys.generator(self._seed, "weights")
    return image_supernet.ImageSupernet(supernet, self.space, channels, dataset.num_classes, rng)

  def _inputs(self, state: TrainState, step: int) -> tuple[tuple[jax.Array, jax.Array], Path, np.float32]:
    """Returns the batch of a step, its architecture and its learning rate."""
    path = one_hot(self.space, self.space.sample(keys.generator(self._seed, self._stream, step)))
    batch = self._pipeline.shuffled(step, step_key(state.key, np.int32(step)))
    return batch, path, np.float32(self._learning_rate(loop.epoch_of(self, step)))

  def _learning_rate(self, epoch: float) -> float:
    return optimizers.cosine(self.config.learning_rate, self.config.final_learning_rate, epoch, self.epochs)

  def _after(self, state: TrainState, gradient: Tree, stats: Tree, learning_rate: jax.Array) -> TrainState:
    """Returns the state after a step of the optimizer."""
    opt_state = optimizers.with_learning_rate(state.opt_state, learning_rate)
    weights, opt_state = optimizer_step(self._optimizer, gradient, opt_state, state.weights)
    return TrainState(weights, stats, opt_state, state.key)
