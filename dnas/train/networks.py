"""Trainings of a network of a user's own, on data and a loss of the user's own: SGD with momentum and a cosine."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from dnas.cells import functional
from dnas.cells.functional import Variables
from dnas.compiler.functions import Loss as CompiledLoss
from dnas.compiler.functions import compiled
from dnas.core import keys
from dnas.core.config import check_at_most, check_fraction, check_name, check_not_negative, check_positive, check_types, named
from dnas.data.pairs import Batches
from dnas.run import loop
from dnas.run.loop import step_key
from dnas.supernet.weight_step import optimizer_step
from dnas.train import optimizers
from dnas.train.own_loss import Loss, means, scored

Tree = Any


@dataclasses.dataclass(frozen=True)
class Config:
  """Settings of a training; the defaults are those of the published retraining on CIFAR-10, but for its length.

  Attributes:
    epochs: number of passes over the training data.
    optimizer: the optimizer: sgd, or adam with decays 0.9 and 0.999 of its moments.
    learning_rate: initial learning rate; after every epoch it falls along a cosine to zero.
    momentum: momentum under sgd.
    weight_decay: coefficient of the L2 penalty.
    gradient_clip: largest global norm of the gradient; 0 does not clip.
  """

  epochs: int = 50
  optimizer: str = named("sgd", lambda: optimizers.WEIGHT_OPTIMIZERS)
  learning_rate: float = 0.025
  momentum: float = 0.9
  weight_decay: float = 3e-4
  gradient_clip: float = 5.0

  def __post_init__(self):
    check_types(self)
    check_name("optimizer", self.optimizer, optimizers.WEIGHT_OPTIMIZERS)
    check_at_most(10**5, epochs=self.epochs)
    check_positive(epochs=self.epochs, learning_rate=self.learning_rate)
    check_fraction(momentum=self.momentum)
    check_not_negative(weight_decay=self.weight_decay, gradient_clip=self.gradient_clip)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """The state of a training: weights, statistics and optimizer, and the raw data of the run's random key."""

  weights: Tree
  stats: Tree
  opt_state: Tree
  key: jax.Array


class NetworkTask:
  """The training of a plain Flax module (a `loop.Task`).

  Attributes:
    epochs: number of epochs.
    network: the static part of the module.
    metrics: names of what is averaged over the batches of an epoch: the loss, and what the user's loss function returns beside it.
  """

  def __init__(self, config: Config, module: nnx.Module, data: Batches, loss: Loss, seed: int):
    """Builds the task.

    Args:
      config: the settings.
      module: the network with its initial weights, which are not changed.
      data: its data; the architecture's batches serve for validation alone.
      loss: the loss.
      seed: seed of the order of the data and of the random streams.

    Raises:
      InputError: if the loss does not fit, as tracing a step shows.
    """
    self.network, self._initial = functional.split_free(module)
    self.epochs, self._config, self._data, self._user_loss = config.epochs, config, data, loss
    self._key = jax.random.key(seed)
    self._data_key = keys.derive(self._key, "data")
    rates: dict[str, Any] = {"momentum": config.momentum, "weight_decay": config.weight_decay}
    self._optimizer = optimizers.of_weights(config.optimizer, **rates, gradient_clip=config.gradient_clip)
    self._gradient = CompiledLoss(self._loss, (0,)).gradient((0,))
    self._metrics = compiled(self._evaluated)
    shapes = jax.eval_shape(self._loss, self._initial.weights, self._initial.stats, data.train_batch(self._data_key, 0), self._key)
    self.metrics = ("loss", *shapes[1][1])

  def init(self) -> State:
    """See `loop.Task`."""
    weights, stats = self._initial.weights, self._initial.stats
    return State(weights, stats, self._optimizer.init(weights), jax.random.key_data(self._key))

  def end_of_epoch(self, epoch: int) -> int:
    """See `loop.Task`."""
    return epoch * self._data.steps_per_epoch

  def step(self, state: State, step: int) -> tuple[State, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    rate = optimizers.cosine(self._config.learning_rate, 0.0, loop.epoch_of(self, step), self.epochs)
    batch, key = self._data.train_batch(self._data_key, step), step_key(state.key, np.int32(step))
    (loss, (stats, metrics)), (gradient,) = self._gradient(state.weights, state.stats, batch, key)
    opt_state = optimizers.with_learning_rate(state.opt_state, np.float32(rate))
    weights, opt_state = optimizer_step(self._optimizer, gradient, opt_state, state.weights)
    return State(weights, stats, opt_state, state.key), {"loss": loss, **metrics}

  def end_epoch(self, state: State, epoch: int, means: Mapping[str, float]) -> tuple[State, loop.EpochRecord]:
    """See `loop.Task`."""
    valid = self.evaluate(Variables(state.weights, state.stats))
    metrics = {f"train/{name}": value for name, value in means.items()} | {f"valid/{name}": value for name, value in valid.items()}
    return state, {"metrics": metrics}

  def evaluate(self, variables: Variables) -> dict[str, float]:
    """Returns the means of the loss and of the user's metrics over the validation set, in inference mode."""
    evaluate: Callable[..., Any] = self._metrics
    return means(lambda inputs, targets: evaluate(variables, inputs, targets), self._data.valid_batches())

  def _loss(self, weights: Tree, stats: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    inputs, targets = batch
    outputs, stats = functional.apply_free(self.network, Variables(weights, stats), inputs, key, train=True)
    loss, metrics = scored(self._user_loss, outputs, targets)
    return loss, (stats, metrics)

  def _evaluated(self, variables: Variables, inputs: Tree, targets: Tree) -> dict[str, jax.Array]:
    outputs, _ = functional.apply_free(self.network, variables, inputs, jax.random.key(0), train=False)
    loss, metrics = scored(self._user_loss, outputs, targets)
    return {"loss": loss, **metrics}
