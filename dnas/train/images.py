"""The training of one network on images."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from dnas.cells import functional
from dnas.compiler.counts import multiply_adds
from dnas.compiler.functions import Loss, assembled
from dnas.core import keys
from dnas.core.config import check, check_at_most, check_fraction, check_name, check_not_negative, check_positive, check_types, named
from dnas.data import base, batches
from dnas.nets import costs
from dnas.nets.models.base import ImageNetwork
from dnas.run.loop import EpochRecord, step_key
from dnas.train import optimizers, transfer
from dnas.train.image_pipeline import Evaluate
from dnas.train.image_steps import Parts, Rates, TrainState, optimizer, train_step, training_loss
from dnas.train.image_stream import pipeline, placed

Tree = Any
Build = Callable[[tuple[int, int, int], int, np.random.Generator], ImageNetwork]
"""Maps (shape of the images (H, W, C), number of classes, source of initial weights) to a network."""


@dataclasses.dataclass(frozen=True)
class Config:
  """How one network is trained.

  Attributes:
    epochs: passes over the training data.
    learning_rate: learning rate at the start.
    final_learning_rate: learning rate at the end of the schedule, which may not be constant.
    schedule: shape of the learning rate over the epochs.
    milestones: epochs at whose ends the learning rate is multiplied by milestone_factor, whatever the schedule; empty for none.
    milestone_factor: factor of the learning rate at milestones.
    warmup_epochs: epochs at the start in which the learning rate rises linearly to that of the schedule; 0 for no warm-up.
    warmup_learning_rate: learning rate at the start of the warm-up.
    every_step: whether learning rate and drop-path change at every step; else they change at the ends of epochs.
    drop_path_every_step: whether drop-path changes at every step, also if the learning rate does not.
    momentum: momentum of the gradient descent.
    nesterov: whether to use Nesterov momentum.
    weight_decay: coefficient of the L2 penalty.
    decay_vectors: whether the penalty also takes biases and the scales of normalizations; else kernels alone.
    label_smoothing: part of the target probability that is spread evenly over all classes (Szegedy et al., 2016).
    gradient_clip: largest global norm of the gradient; 0 does not clip.
    auxiliary_weight: weight of the auxiliary head's loss.
    drop_path: probability to drop an edge at the end of training; it rises linearly from 0.
    freeze: whether the classifier alone is trained, on the network of start_from. All other weights and all running statistics stay as they
      are, and the network runs as in inference, without noise and auxiliary head.
  """

  epochs: int = 600
  learning_rate: float = 0.025
  final_learning_rate: float = 0.0
  schedule: str = named("cosine", lambda: optimizers.SCHEDULES)
  milestones: tuple[int, ...] = ()
  milestone_factor: float = 0.1
  warmup_epochs: int = 0
  warmup_learning_rate: float = 1e-3
  every_step: bool = False
  drop_path_every_step: bool = False
  momentum: float = 0.9
  nesterov: bool = False
  weight_decay: float = 3e-4
  decay_vectors: bool = True
  label_smoothing: float = 0.0
  gradient_clip: float = 5.0
  auxiliary_weight: float = 0.4
  drop_path: float = 0.2
  freeze: bool = False

  def __post_init__(self):
    check_types(self)
    check_at_most(10**5, epochs=self.epochs)
    check_positive(epochs=self.epochs, learning_rate=self.learning_rate, milestone_factor=self.milestone_factor)
    check_name("schedule", self.schedule, optimizers.SCHEDULES)
    falls = self.schedule != "exponential" or self.final_learning_rate > 0
    hint = "an exponential schedule never ends at zero, so give a number above zero"
    check(falls, "final_learning_rate", self.final_learning_rate, hint)
    hint = f"give 0 to {self.epochs - 1}"
    check(0 <= self.warmup_epochs < self.epochs, "warmup_epochs", self.warmup_epochs, hint)
    check_not_negative(
      final_learning_rate=self.final_learning_rate,
      warmup_learning_rate=self.warmup_learning_rate,
      weight_decay=self.weight_decay,
      gradient_clip=self.gradient_clip,
      auxiliary_weight=self.auxiliary_weight,
    )
    trains = not self.warmup_epochs or self.every_step or self.warmup_learning_rate > 0
    hint = "the first epoch would train with a learning rate of 0; give a rate above 0, or every_step"
    check(trains, "warmup_learning_rate", self.warmup_learning_rate, hint)
    check_fraction(momentum=self.momentum, drop_path=self.drop_path, label_smoothing=self.label_smoothing)
    check_at_most(1000, milestone_factor=self.milestone_factor)
    fits = list(self.milestones) == sorted(set(self.milestones)) and all(0 < epoch < self.epochs for epoch in self.milestones)
    hint = f"give rising numbers of epochs, between 0 and {self.epochs}"
    check(fits, "milestones", ",".join(map(str, self.milestones)), hint)


class RetrainTask:
  """Trains a network, from scratch or from trained weights (a `loop.Task`).

  Attributes:
    network: the static part of the network.
    examples: number of training images and of validation images.
    gradient: gradient of `training_loss` with respect to the weights.
    cell_types: the types of all cells, in a network with cells of several types.
  """

  def __init__(
    self,
    config: Config,
    build: Build,
    data_config: base.Config,
    dataset: base.ImageDataset,
    seed: int,
    initial: functional.Variables | None = None,
  ):
    """Builds the task.

    Args:
      config: optimizer and regularization.
      build: makes the network, such as a model's `build`, or `DerivedImageNetwork` with its first two arguments bound.
      data_config: batches and augmentation. With a train_portion of 1 all training data trains; otherwise the rest validates every epoch.
      dataset: the data set.
      seed: seed of initial weights, order of the data, augmentation and noise of the network.
      initial: trained variables of this network to start from, for any number of classes; None starts from new weights.

    Raises:
      InputError: if `initial` are of another network.
    """
    train, valid = base.training_split(dataset, data_config)
    self._init_key = jax.random.key(seed)
    self._pipeline = pipeline(train, dataset, data_config, keys.derive(self._init_key, "order"))
    self._valid = None if valid is None else placed(valid)
    self.examples = len(train), 0 if valid is None else len(valid)
    self._eval_batch_size = data_config.eval_batch_size
    self.epochs, self._config, self._steps_per_epoch = config.epochs, config, self._pipeline.steps_per_epoch
    self._image_shape = shape = dataset.train.images.shape[1:]
    module: Any = build(shape, dataset.num_classes, keys.generator(seed, "weights"))
    self.network, self._initial = functional.split(module)
    self.cell_types = tuple(getattr(getattr(module, "stack", None), "cell_types", ()))
    trained = None
    if initial is not None or config.freeze:
      wider: Any = build(shape, dataset.num_classes + 1, keys.generator(seed, "weights"))
      classifier = transfer.classifier_of(self._initial, functional.split(wider)[1])
      self._initial = self._initial if initial is None else transfer.carried_over(initial, self._initial, classifier)
      trained = classifier if config.freeze else None
    weights = base.class_weights(train, dataset.num_classes, data_config.class_weights)
    options = {"drops": config.drop_path > 0, "auxiliary": module.auxiliary is not None, "class_weights": weights}
    options |= {"smooths": config.label_smoothing > 0, "trained": trained}
    self._loss = functools.partial(training_loss, network=self.network, **options)
    self.gradient = Loss(self._loss, (0,)).gradient((0,))
    self._step = assembled(functools.partial(train_step, gradient=self.gradient, parts=_parts(config), trained=trained))

    def predict(variables: functional.Variables, images: jax.Array) -> jax.Array:
      return functional.apply(self.network, variables, images, train=False)[0][0]

    self._evaluate = Evaluate(predict, dataset, data_config, weights, one_program=True)

  def init(self) -> TrainState:
    """See `loop.Task`."""
    weights = self._initial.weights
    opt_state = optimizer(_parts(self._config), self.rates(0)).init(weights)
    return TrainState(weights, self._initial.stats, opt_state, jax.random.key_data(self._init_key))

  def end_of_epoch(self, epoch: int) -> int:
    """See `loop.Task`."""
    return epoch * self._steps_per_epoch

  def step(self, state: TrainState, step: int) -> tuple[TrainState, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    key, epoch = step_key(state.key, np.int32(step)), step / self._steps_per_epoch
    return self._step(state, self._pipeline.shuffled(step, key), key, self.rates(epoch))

  def end_epoch(self, state: TrainState, epoch: int, means: Mapping[str, float]) -> tuple[TrainState, EpochRecord]:
    """See `loop.Task`."""
    metrics = {"train/loss": means["loss"], "train/accuracy": means["accuracy"]}
    if self._valid is not None:
      metrics |= {f"valid/{name}": value for name, value in self.evaluate(state, self._valid).items()}
    metrics["learning_rate"] = self._learning_rate(epoch - 1)
    return state, {"metrics": metrics}

  def rates(self, epoch: float) -> Rates:
    """Returns the rates at an epoch, counted from 0. An epoch that has begun counts by its part in rates that change at every step."""
    config, begun = self._config, math.floor(epoch)
    learning_rate = self._learning_rate(epoch if config.every_step else begun)
    drop_path = config.drop_path * (epoch if config.every_step or config.drop_path_every_step else begun) / self.epochs
    numbers = config.momentum, config.weight_decay, config.gradient_clip, config.auxiliary_weight, config.label_smoothing
    return Rates(*map(np.float32, (learning_rate, drop_path, *numbers)))  # pyright: ignore[reportArgumentType]

  def _learning_rate(self, epoch: float) -> float:
    config = self._config
    rate = optimizers.SCHEDULES[config.schedule](config.learning_rate, config.final_learning_rate, epoch, self.epochs)
    rate *= config.milestone_factor ** sum(epoch >= milestone for milestone in config.milestones)
    if epoch >= config.warmup_epochs:
      return rate
    return config.warmup_learning_rate + (rate - config.warmup_learning_rate) * epoch / config.warmup_epochs

  def evaluate(self, state: TrainState, split: batches.DeviceSplit | base.Split) -> dict[str, float]:
    """Returns loss (nats) and accuracies (fractions, see `metrics.accuracies`) over a whole split."""
    return self._evaluate(functional.Variables(state.weights, state.stats), split)

  def validate(self, state: TrainState) -> dict[str, float]:
    """Returns `evaluate` of the validation split; there must be one."""
    assert self._valid is not None
    return self.evaluate(state, self._valid)

  def batch(self, key: jax.Array) -> jax.Array:
    """Returns the images of a training batch drawn by a key, augmented and normalized, float32 [B, H, W, C]."""
    return self._pipeline.drawn(key)[0]

  @staticmethod
  def variables_of(state: TrainState) -> functional.Variables:
    """Returns the arrays of the network in a state."""
    return functional.Variables(state.weights, state.stats)

  def multiply_adds(self) -> float:
    """Returns the multiply-adds of one epoch, with its validation if there is one (`compiler.counts`)."""
    state = self.init()
    steps = self._steps_per_epoch * multiply_adds(lambda state: self.step(state, 0), state)
    variables = functional.Variables(state.weights, state.stats)
    return steps + (0.0 if self._valid is None else self._evaluate.multiply_adds(variables, self._valid))

  def costs(self) -> costs.Costs:
    """Returns the costs of one image."""
    return costs.of_image(self.network, self._initial, self._image_shape)

  def latency(self, state: TrainState) -> float:
    """Returns the inference time in milliseconds per batch: the median of five runs on the validation set, or else a training batch."""
    split = self._pipeline.first(self._eval_batch_size) if self._valid is None else self._valid
    seconds = []
    for _ in range(6):
      began = time.perf_counter()
      self.evaluate(state, split)
      seconds.append(time.perf_counter() - began)
    return 1e3 * float(np.median(seconds[1:])) / batches.num_batches(len(split), self._eval_batch_size)


def _parts(config: Config) -> Parts:
  return Parts(config.momentum > 0, config.gradient_clip > 0, config.nesterov, config.decay_vectors)
