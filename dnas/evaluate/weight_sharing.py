"""Evaluation by weight sharing: one supernet, trained on single paths drawn uniformly, lends its weights to every architecture.

Source: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019 (random search with weight sharing);
batch statistics estimated anew for every architecture as in Guo et al., "Single Path One-Shot", ECCV 2020, section 3.4.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.cells import functional
from dnas.compiler.functions import Loss, assembled, compiled
from dnas.core import keys
from dnas.core.config import check_at_most, check_fraction, check_not_negative, check_positive, check_types
from dnas.core.space import CellSpace
from dnas.data import base, batches
from dnas.evaluate.paths import PathTask
from dnas.supernet import image_supernet
from dnas.supernet.discretize import one_hot
from dnas.train import optimizers
from dnas.train.image_pipeline import Evaluate
from dnas.train.images import TrainState
from dnas.train.metrics import correct, cross_entropy

Tree = Any


@dataclasses.dataclass(frozen=True)
class Config:
  """How the shared weights are trained.

  Attributes:
    epochs: passes over the data that train the weights.
    learning_rate: learning rate at the start; it falls to final_learning_rate along a cosine, epoch by epoch.
    final_learning_rate: learning rate that the cosine ends in.
    momentum: momentum of the weights.
    weight_decay: coefficient of the L2 penalty on the weights.
    gradient_clip: largest global norm of the gradient; 0 does not clip.
    statistics_batches: training batches from which the batch statistics of an architecture are estimated.
  """

  epochs: int = 300
  learning_rate: float = 0.025
  final_learning_rate: float = 0.001
  momentum: float = 0.9
  weight_decay: float = 3e-4
  gradient_clip: float = 5.0
  statistics_batches: int = 10

  def __post_init__(self):
    check_types(self)
    check_at_most(10**5, epochs=self.epochs)
    check_positive(epochs=self.epochs, learning_rate=self.learning_rate, statistics_batches=self.statistics_batches)
    check_at_most(10**6, statistics_batches=self.statistics_batches)
    check_not_negative(final_learning_rate=self.final_learning_rate, weight_decay=self.weight_decay, gradient_clip=self.gradient_clip)
    check_fraction(momentum=self.momentum)


class SharedWeightsTask(PathTask):
  """Trains a supernet on one architecture a step, drawn uniformly from its space (a `loop.Task`)."""

  def __init__(
    self,
    config: Config,
    supernet: image_supernet.Config,
    data: base.Config,
    space: CellSpace,
    dataset: base.ImageDataset,
    seed: int,
  ):
    """Builds the task; `seed` determines the initial weights, the order of the data and the paths."""
    super().__init__(config, data, space, dataset, seed, "paths")
    self._valid_split = batches.to_device(self._valid)
    self.network, self.initial = functional.split(self._built(supernet, dataset))
    rates: dict[str, Any] = {"momentum": config.momentum, "weight_decay": config.weight_decay, "gradient_clip": config.gradient_clip}
    self._optimizer = optimizers.sgd(**rates)
    self._gradient = Loss(self._loss, (0,)).gradient((0,))
    self._step, self._statistics = assembled(self._take_step), compiled(self._move_statistics)
    self._evaluate = Evaluate(self._predict, dataset, data, self._class_weights)

  def init(self) -> TrainState:
    """See `loop.Task`."""
    weights = self.initial.weights
    return TrainState(weights, self.initial.stats, self._optimizer.init(weights), jax.random.key_data(self._key))

  def step(self, state: TrainState, step: int) -> tuple[TrainState, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    return self._step(state, *self._inputs(state, step))

  def statistics_of(self, weights: Tree, path: Mapping[str, np.ndarray]) -> Tree:
    """Returns the batch statistics of one path, from training batches alone; they are the same at every call."""
    stats = self._started(0.0)
    for index in range(self.config.statistics_batches):
      key = keys.derive(self._key, "statistics", index)
      stats = self._statistics(weights, stats, self._pipeline.drawn(key)[0], path)
    return jax.tree.map(lambda moved, kept: moved / (1 - kept**self.config.statistics_batches) if kept else moved, stats, self._momenta)

  def _started(self, value: float) -> Tree:
    """Returns the initial batch statistics, all set to `value`; random streams keep their state."""
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, value) if _is_statistic(leaf) else leaf, self.initial.stats)

  @functools.cached_property
  def _momenta(self) -> Tree:
    """The momentum of each running statistic, as black images show it, which move them by nothing that depends on where they began."""
    images = jnp.zeros_like(self._pipeline.drawn(keys.derive(self._key, "momenta"))[0])
    path = one_hot(self.space, self.space.sample(keys.generator(self._seed, "momenta")))
    moved = [self._statistics(self.initial.weights, self._started(value), images, path) for value in (0.0, 1.0)]

    def momentum(zero: jax.Array, one: jax.Array) -> float:
      return round(float(jnp.max(one - zero)), 6) if _is_statistic(zero) else 0.0

    return jax.tree.map(momentum, *moved)

  def validate(self, weights: Tree, path: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns loss (nats) and accuracies (fractions, see `metrics.accuracies`) of one path over the validation split."""
    variables = functional.Variables(weights, self.statistics_of(weights, path))
    return self._evaluate((variables, path), self._valid_split)

  def _loss(self, weights: Tree, stats: Tree, batch: tuple[jax.Array, jax.Array], path: Tree) -> tuple[jax.Array, Any]:
    images, labels = batch
    logits, stats = functional.apply(self.network, functional.Variables(weights, stats), images, path, train=True)
    loss = cross_entropy(logits, labels, self._class_weights).mean()
    return loss, (stats, {"loss": loss, "accuracy": correct(logits, labels).mean()})

  def _take_step(
    self, state: TrainState, batch: tuple[jax.Array, jax.Array], path: Tree, learning_rate: jax.Array
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    (_, (stats, metrics)), (gradient,) = self._gradient(state.weights, state.stats, batch, path)
    return self._after(state, gradient, stats, learning_rate), metrics

  def _move_statistics(self, weights: Tree, stats: Tree, images: jax.Array, path: Tree) -> Tree:
    return functional.apply(self.network, functional.Variables(weights, stats), images, path, train=True)[1]

  def _predict(self, network: tuple[functional.Variables, Tree], images: jax.Array) -> jax.Array:
    variables, path = network
    return functional.apply(self.network, variables, images, path, train=False)[0]


def _is_statistic(leaf: jax.Array) -> bool:
  return jnp.issubdtype(leaf.dtype, jnp.floating)
