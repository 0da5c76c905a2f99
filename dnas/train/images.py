"""Image classification: batches on the device, metrics over whole splits, and the retraining of one architecture."""

import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dnas.cells import functional
from dnas.compiler.functions import Compiled, Loss, assembled, compiled
from dnas.core import devices, keys, tree
from dnas.core.config import check, check_at_most, check_fraction, check_name, check_not_negative, check_positive, check_types, named
from dnas.core.errors import counted
from dnas.core.genotype import Genotype
from dnas.data import augment, base, batches
from dnas.nets import derived_image
from dnas.nets.edges import DropPath
from dnas.run.loop import EpochRecord, step_key
from dnas.train import optimizers
from dnas.train.metrics import accuracies, correct, cross_entropy

Tree = Any
Predict = Callable[[Tree, jax.Array], jax.Array]
"""Maps (variables of a network, images float32 [B, H, W, C]) to logits [B, classes]."""


class Pipeline:
  """Batches of one split, augmented on the device. A batch is taken from a shuffled epoch, or drawn independently.

  Attributes:
    steps_per_epoch: number of batches that visit every example.
  """

  def __init__(self, split: base.Split, dataset: base.ImageDataset, config: base.Config, key: jax.Array):
    """Copies the split to the device.

    Args:
      split: the examples.
      dataset: the data set that the split is from.
      config: batch size and augmentation.
      key: typed random key of the order.

    Raises:
      FieldError: if a batch is larger than the split, or the devices cannot share it.
    """
    hint = f"the split has {counted(len(split), 'example')}, so give at most that"
    check(config.batch_size <= len(split), "data.batch_size", config.batch_size, hint)
    devices.check_batch("data.batch_size", config.batch_size)
    self.steps_per_epoch = batches.num_batches(len(split), config.batch_size)
    self._split, self._key, self._permutation = batches.to_device(split), key, (-1, None)
    options = dict(crop_padding=config.crop_padding, flip=config.flip, cutout_length=config.cutout_length)
    prepare = functools.partial(augment.augment, mean=dataset.mean, std=dataset.std, **options)

    @jax.jit
    def shuffled(split: batches.DeviceSplit, permutation: jax.Array, index: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
      images, labels = devices.split(batches.shuffled_batch(split, permutation, index, config.batch_size))
      return prepare(key, images), labels

    @jax.jit
    def drawn(split: batches.DeviceSplit, key: jax.Array) -> tuple[jax.Array, jax.Array]:
      key_draw, key_augment = keys.derive(key, "draw"), keys.derive(key, "augment")
      images, labels = devices.split(batches.random_batch(split, key_draw, config.batch_size))
      return prepare(key_augment, images), labels

    self._shuffled, self._drawn = shuffled, drawn

  def reordered(self, key: jax.Array) -> "Pipeline":
    """Returns a pipeline with another order of the examples. Both share the split on the device."""
    other = copy.copy(self)
    other._key, other._permutation = key, (-1, None)
    return other

  def shuffled(self, step: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns a batch of the shuffled epoch: images float32 [B, H, W, C] and labels [B]. `step` counts all epochs; `key` augments."""
    epoch, index = divmod(step, self.steps_per_epoch)
    if self._permutation[0] != epoch:
      self._permutation = epoch, devices.replicate(batches.epoch_permutation(self._key, epoch, len(self._split)))
    return self._shuffled(self._split, self._permutation[1], np.int32(index), key)

  def first(self, count: int) -> batches.DeviceSplit:
    """Returns the first `count` examples of the split, or all if there are fewer."""
    return batches.DeviceSplit(self._split.images[:count], self._split.labels[:count])

  def drawn(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns a batch of distinct examples drawn uniformly, independently of earlier batches."""
    return self._drawn(self._split, key)


def make_evaluate(
  predict: Predict, dataset: base.ImageDataset, config: base.Config, class_weights: tuple[float, ...] | None = None
) -> Callable[[Tree, batches.DeviceSplit], dict[str, float]]:
  """Returns a function that computes loss (nats) and accuracies (fractions, see `metrics.accuracies`) over a whole split.

  Args:
    predict: the network, in inference mode.
    dataset: gives the normalization and the classes.
    config: gives the batch size of validation and test.
    class_weights: weights of the classes in the loss, the mean of the weighted cross-entropies; accuracies are never weighted.

  Raises:
    FieldError: if the devices cannot share a batch of validation.
  """

  devices.check_batch("data.eval_batch_size", config.eval_batch_size)

  def size_of(split: batches.DeviceSplit) -> int:
    return min(config.eval_batch_size, devices.shareable(len(split)))

  @compiled
  def sums(network: Tree, split: batches.DeviceSplit, index: jax.Array) -> jax.Array:
    images, labels, weights = devices.split(batches.padded_batch(split, index, size_of(split)))
    logits = predict(network, augment.normalize(images, dataset.mean, dataset.std))
    loss = (cross_entropy(logits, labels, class_weights) * weights).sum()
    counts = jnp.stack([correct(logits, labels) * weights, weights], 1)
    return devices.replicate(jnp.append(jax.ops.segment_sum(counts, labels, dataset.num_classes), loss))

  def evaluate(network: Tree, split: batches.DeviceSplit) -> dict[str, float]:
    count = batches.num_batches(len(split), size_of(split))
    *counts, loss = np.asarray(sum(sums(network, split, np.int32(index)) for index in range(count)))
    right, seen = np.reshape(counts, (dataset.num_classes, 2)).T
    return {"loss": float(loss / len(split)), **accuracies(right, seen, dataset.class_names)}

  return evaluate


@dataclasses.dataclass(frozen=True)
class Config:
  """How one architecture is trained.

  Attributes:
    epochs: passes over the training data.
    learning_rate: learning rate at the start; it falls to final_learning_rate, epoch by epoch.
    final_learning_rate: learning rate at the end of the schedule; unused by the constant schedule.
    schedule: shape of the learning rate over the epochs.
    momentum: momentum of the gradient descent.
    nesterov: whether to use Nesterov momentum.
    weight_decay: coefficient of the L2 penalty on all weights.
    gradient_clip: largest global norm of the gradient; 0 does not clip.
    auxiliary_weight: weight of the auxiliary head's loss.
    drop_path: probability to drop an edge at the end of training; it rises linearly from 0, epoch by epoch.
  """

  epochs: int = 600
  learning_rate: float = 0.025
  final_learning_rate: float = 0.0
  schedule: str = named("cosine", lambda: optimizers.SCHEDULES)
  momentum: float = 0.9
  nesterov: bool = False
  weight_decay: float = 3e-4
  gradient_clip: float = 5.0
  auxiliary_weight: float = 0.4
  drop_path: float = 0.2

  def __post_init__(self):
    check_types(self)
    check_at_most(10**5, epochs=self.epochs)
    check_positive(epochs=self.epochs, learning_rate=self.learning_rate)
    check_name("schedule", self.schedule, optimizers.SCHEDULES)
    check_not_negative(
      final_learning_rate=self.final_learning_rate,
      weight_decay=self.weight_decay,
      gradient_clip=self.gradient_clip,
      auxiliary_weight=self.auxiliary_weight,
    )
    check_fraction(momentum=self.momentum, drop_path=self.drop_path)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """The state of a training: weights, running batch statistics, optimizer state, and the run's key as raw data, which is constant."""

  weights: Tree
  stats: Tree
  opt_state: Tree
  key: jax.Array


class RetrainTask:
  """Trains the network of a genotype from scratch (a `loop.Task`).

  Attributes:
    network: the static part of the network.
    examples: number of training images and of validation images.
    gradient: gradient of `training_loss` with respect to the weights.
  """

  def __init__(
    self,
    config: Config,
    network_config: derived_image.Config,
    data_config: base.Config,
    dataset: base.ImageDataset,
    genotype: Genotype,
    seed: int,
  ):
    """Builds the task.

    Args:
      config: optimizer and regularization.
      network_config: size of the network.
      data_config: batches and augmentation. With a train_portion of 1 all training data trains; otherwise the rest validates every epoch.
      dataset: the data set.
      genotype: the architecture, valid in its space.
      seed: seed of initial weights, order of the data, augmentation and drop-path.
    """
    train, valid = base.training_split(dataset, data_config)
    self._init_key = jax.random.key(seed)
    self._pipeline = Pipeline(train, dataset, data_config, keys.derive(self._init_key, "order"))
    self._valid = None if valid is None else batches.to_device(valid)
    self.examples = len(train), 0 if valid is None else len(valid)
    self._eval_batch_size = data_config.eval_batch_size
    self.epochs, self._config, self._steps_per_epoch = config.epochs, config, self._pipeline.steps_per_epoch
    module = derived_image.DerivedImageNetwork(
      network_config, genotype, dataset.train.images.shape[1:], dataset.num_classes, keys.generator(seed, "weights")
    )
    self.network, self._initial = functional.split(module)
    weights = base.class_weights(train, dataset.num_classes, data_config.class_weights)
    options = {"drops": config.drop_path > 0, "auxiliary": network_config.auxiliary, "class_weights": weights}
    self._loss = functools.partial(training_loss, network=self.network, **options)
    self.gradient = Loss(self._loss, (0,)).gradient((0,))
    self._step = assembled(functools.partial(train_step, gradient=self.gradient, parts=_parts(config)))

    def predict(variables: functional.Variables, images: jax.Array) -> jax.Array:
      return functional.apply(self.network, variables, images, train=False)[0][0]

    self._evaluate = make_evaluate(predict, dataset, data_config, weights)

  def init(self) -> TrainState:
    """See `loop.Task`."""
    weights = self._initial.weights
    opt_state = _optimizer(_parts(self._config), self.rates(0)).init(weights)
    return TrainState(weights, self._initial.stats, opt_state, jax.random.key_data(self._init_key))

  def end_of_epoch(self, epoch: int) -> int:
    """See `loop.Task`."""
    return epoch * self._steps_per_epoch

  def step(self, state: TrainState, step: int) -> tuple[TrainState, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    key, epoch = step_key(state.key, np.int32(step)), step // self._steps_per_epoch
    return self._step(state, self._pipeline.shuffled(step, key), key, self.rates(epoch))

  def end_epoch(self, state: TrainState, epoch: int, means: Mapping[str, float]) -> tuple[TrainState, EpochRecord]:
    """See `loop.Task`."""
    metrics = {"train/loss": means["loss"], "train/accuracy": means["accuracy"]}
    if self._valid is not None:
      metrics |= {f"valid/{name}": value for name, value in self.evaluate(state, self._valid).items()}
    metrics["learning_rate"] = self._learning_rate(epoch - 1)
    return state, {"metrics": metrics}

  def rates(self, epoch: int) -> "Rates":
    """Returns the rates of all steps of an epoch, counted from 0."""
    config = self._config
    drop_path = config.drop_path * epoch / self.epochs
    numbers = config.momentum, config.weight_decay, config.gradient_clip, config.auxiliary_weight
    return Rates(*map(np.float32, (self._learning_rate(epoch), drop_path, *numbers)))

  def _learning_rate(self, epoch: int) -> float:
    rates = self._config.learning_rate, self._config.final_learning_rate
    return optimizers.SCHEDULES[self._config.schedule](*rates, epoch, self.epochs)

  def evaluate(self, state: TrainState, split: batches.DeviceSplit) -> dict[str, float]:
    """Returns loss (nats) and accuracies (fractions, see `metrics.accuracies`) over a whole split."""
    return self._evaluate(functional.Variables(state.weights, state.stats), split)

  def latency(self, state: TrainState) -> float:
    """Returns the inference time in milliseconds per batch: the median of five runs on the validation set, or else a training batch."""
    split = self._pipeline.first(self._eval_batch_size) if self._valid is None else self._valid
    seconds = []
    for _ in range(6):
      began = time.perf_counter()
      self.evaluate(state, split)
      seconds.append(time.perf_counter() - began)
    return 1e3 * float(np.median(seconds[1:])) / batches.num_batches(len(split), self._eval_batch_size)


class Rates(NamedTuple):
  """Scalar hyperparameters of a step. They are arguments of the compiled step, so trainings with other values share one program.

  Attributes:
    learning_rate: learning rate of this step.
    drop_path: probability to drop an edge in this step.
    momentum: see `Config`.
    weight_decay: see `Config`.
    gradient_clip: see `Config`.
    auxiliary_weight: see `Config`.
  """

  learning_rate: jax.Array
  drop_path: jax.Array
  momentum: jax.Array
  weight_decay: jax.Array
  gradient_clip: jax.Array
  auxiliary_weight: jax.Array


class Parts(NamedTuple):
  """The parts of the optimizer. They decide its compiled program; the values of the hyperparameters do not.

  Attributes:
    momentum: whether there is momentum.
    gradient_clip: whether gradients are clipped.
    nesterov: whether the momentum is Nesterov's.
  """

  momentum: bool
  gradient_clip: bool
  nesterov: bool


def _parts(config: Config) -> Parts:
  return Parts(config.momentum > 0, config.gradient_clip > 0, config.nesterov)


def _optimizer(parts: Parts, rates: Rates) -> tree.Flattened:
  """Returns the optimizer with these parts and rates."""
  return optimizers.sgd(
    momentum=rates.momentum if parts.momentum else 0.0,
    weight_decay=rates.weight_decay,
    gradient_clip=rates.gradient_clip if parts.gradient_clip else 0.0,
    nesterov=parts.nesterov,
  )


def training_loss(
  weights: Tree,
  stats: Tree,
  batch: tuple[jax.Array, jax.Array],
  key: jax.Array,
  rates: Rates,
  *,
  network: functional.Network,
  drops: bool,
  auxiliary: bool,
  class_weights: tuple[float, ...] | None = None,
) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
  """Computes the training loss.

  Args:
    weights: the network's weights.
    stats: the network's running batch statistics.
    batch: images float32 [B, H, W, C] and labels [B].
    key: typed random key of the step.
    rates: hyperparameters of the step.
    network: the static part of the network.
    drops: whether edges are dropped.
    auxiliary: whether the network has an auxiliary head.
    class_weights: weight of each class in the losses; None weights all classes equally.

  Returns:
    The loss including that of the auxiliary head, in nats; the new batch statistics; and a dictionary of loss (main head) and accuracy.
  """
  images, labels = batch
  variables = functional.Variables(devices.replicate(weights), stats)  # so the gradient is replicated too
  dropping = DropPath(keys.derive(key, "drop_path"), rates.drop_path) if drops else None
  (logits, side), stats = functional.apply(network, variables, images, train=True, drop_path=dropping)
  main = total = cross_entropy(logits, labels, class_weights).mean()
  if auxiliary:
    total = total + rates.auxiliary_weight * cross_entropy(side, labels, class_weights).mean()
  return devices.replicate((total, (stats, {"loss": main, "accuracy": correct(logits, labels).mean()})))


def train_step(
  state: TrainState, batch: tuple[jax.Array, jax.Array], key: jax.Array, rates: Rates, *, gradient: Compiled, parts: Parts
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Takes one step of the optimizer.

  Args:
    state: the state before the step.
    batch: images float32 [B, H, W, C] and labels [B].
    key: typed random key of the step.
    rates: hyperparameters of the step.
    gradient: gradient of `training_loss` with respect to the weights.
    parts: parts of the optimizer; the values of its hyperparameters come from `rates`.

  Returns:
    The new state, and loss (without the auxiliary loss) and accuracy on the batch.
  """
  (_, (stats, metrics)), (by_weights,) = gradient(state.weights, state.stats, batch, key, rates)
  moved, opt_state = _moved(parts, tree.ravel(by_weights), state.opt_state, tree.ravel(state.weights), rates)
  return TrainState(tree.unravel(moved, state.weights), stats, opt_state, state.key), metrics


@functools.partial(jax.jit, static_argnums=0)
def _moved(parts: Parts, gradient: jax.Array, opt_state: Tree, weights: jax.Array, rates: Rates) -> tuple[jax.Array, Tree]:
  """Returns the weights, flattened to a vector, and the optimizer state after a step."""
  opt_state = optimizers.with_learning_rate(opt_state, rates.learning_rate)
  updates, opt_state = _optimizer(parts, rates).inner.update(gradient, opt_state, weights)
  return devices.replicate((optax.apply_updates(weights, updates), opt_state))
