"""Trains any architecture of a small space by one compiled program, several seeds at once: how the rows of `digits_bench` are made.

The program takes the architecture as an argument (`nets.switched_image`) and holds all epochs, with the validation after each. The recipe
is that of NAS-Bench-201: SGD with Nesterov momentum, weight decay, and a cosine schedule to zero.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from dnas.cells.functional import Variables
from dnas.core import keys
from dnas.core.config import check_at_most, check_fraction, check_not_negative, check_positive, check_types
from dnas.data import augment, base, batches
from dnas.nets import switched_image
from dnas.train import optimizers
from dnas.train.metrics import correct, cross_entropy

Tree = Any


@dataclasses.dataclass(frozen=True)
class Config:
  """How an architecture is trained.

  Attributes:
    channels: channels of the first stage.
    cells: cells of each of the three stages.
    epochs: epochs of a training.
    learning_rate: learning rate of the first epoch.
    momentum: Nesterov momentum.
    weight_decay: coefficient of the L2 penalty.
    gradient_clip: largest global norm of a gradient; 0 does not clip.
  """

  channels: int = 2
  cells: int = 4
  epochs: int = 12
  learning_rate: float = 0.1
  momentum: float = 0.9
  weight_decay: float = 5e-4
  gradient_clip: float = 5.0

  def __post_init__(self):
    check_types(self)
    check_positive(channels=self.channels, cells=self.cells, epochs=self.epochs, learning_rate=self.learning_rate)
    check_at_most(10**3, channels=self.channels, cells=self.cells, epochs=self.epochs)
    check_not_negative(weight_decay=self.weight_decay, gradient_clip=self.gradient_clip)
    check_fraction(momentum=self.momentum)


class Curves(NamedTuple):
  """What the trainings of one architecture gave after every epoch, [seeds, epochs].

  Attributes:
    train_loss: mean loss of the epoch's batches, nats.
    valid_loss: loss on the validation set, nats.
    valid_correct: how many validation examples were classified correctly.
  """

  train_loss: Any
  valid_loss: Any
  valid_correct: Any


class SwitchedTraining:
  """The compiled training of all architectures of `switched_image.SPACE`.

  Attributes:
    sizes: sizes of the networks.
  """

  def __init__(self, config: Config, data: base.Config, dataset: base.ImageDataset, seeds: int):
    """Draws the initial weights of every seed, which all architectures share; nothing is compiled yet.

    Args:
      config: the recipe.
      data: batches and augmentation; its train_portion must leave a validation set.
      dataset: a data set of grey square images.
      seeds: number of trainings of an architecture; their seeds count from 0.

    Raises:
      FieldError: if there is no validation set, or a batch is larger than the training part.
    """
    train, valid = base.search_split(dataset, data)
    self.sizes = switched_image.Sizes(config.channels, config.cells, dataset.train.images.shape[1], dataset.num_classes)
    self._splits = batches.to_device(train), batches.to_device(valid)
    drawn = [switched_image.init(self.sizes, keys.generator(seed, "weights")) for seed in range(seeds)]
    self._initial = jax.tree.map(lambda *arrays: jnp.stack(arrays), *drawn)
    self._keys = jax.vmap(jax.random.key)(np.arange(seeds))
    normalize = functools.partial(augment.normalize, mean=dataset.mean, std=dataset.std, standardize_images=data.standardize_images)
    prepare = functools.partial(augment.augment, mean=dataset.mean, std=dataset.std, **augment.options(data))
    one_seed = functools.partial(_train, config=config, batch_size=data.batch_size, prepare=prepare, normalize=normalize)
    self._train = jax.jit(jax.vmap(one_seed, (None, 0, 0, None, None)))
    self._measure = jax.jit(jax.vmap(functools.partial(_measured, normalize=normalize), (0, None, None)))

  def __call__(self, operations: np.ndarray) -> tuple[Variables, Curves]:
    """Trains an architecture (`switched_image.encode`). Returns the networks of all seeds, and their curves."""
    variables, curves = self._train(operations, self._initial, self._keys, *self._splits)
    return variables, Curves(*map(np.asarray, curves))

  def measure(self, variables: Variables, operations: np.ndarray, split: base.Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns the loss of trained networks on a split, nats, and how many of its examples are classified correctly, each [seeds]."""
    loss, right = self._measure(variables, operations, batches.to_device(split))
    return np.asarray(loss), np.asarray(right)


def _measured(variables: Variables, operations: jax.Array, split: batches.DeviceSplit, *, normalize: Any) -> tuple[jax.Array, jax.Array]:
  logits, _ = switched_image.apply(variables, operations, normalize(split.images), train=False)
  return cross_entropy(logits, split.labels).mean(), correct(logits, split.labels).sum()


def _loss(weights: Tree, stats: Tree, operations: jax.Array, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, Tree]:
  logits, stats = switched_image.apply(Variables(weights, stats), operations, images, train=True)
  return cross_entropy(logits, labels).mean(), stats


def _train(
  operations: jax.Array,
  initial: Variables,
  key: jax.Array,
  train: batches.DeviceSplit,
  valid: batches.DeviceSplit,
  *,
  config: Config,
  batch_size: int,
  prepare: Any,
  normalize: Any,
) -> tuple[Variables, Curves]:
  """Trains one seed. `prepare` augments a batch, `normalize` does not."""
  rates = [optimizers.cosine(config.learning_rate, 0.0, epoch, config.epochs) for epoch in range(config.epochs)]
  optimizer = optimizers.sgd(
    momentum=config.momentum, weight_decay=config.weight_decay, gradient_clip=config.gradient_clip, nesterov=True
  )
  steps = batches.num_batches(len(train), batch_size)

  def run_epoch(state: tuple[Variables, Any], at: tuple[jax.Array, jax.Array]) -> tuple[tuple[Variables, Any], Curves]:
    epoch, rate = at
    order = batches.epoch_permutation(keys.derive(key, "order"), epoch, len(train))

    def step(state: tuple[Variables, Any], index: jax.Array) -> tuple[tuple[Variables, Any], jax.Array]:
      variables, opt_state = state
      images, labels = batches.shuffled_batch(train, order, index, batch_size)
      images = prepare(keys.derive(key, "augment", epoch, index), images)
      (loss, stats), gradient = jax.value_and_grad(_loss, has_aux=True)(variables.weights, variables.stats, operations, images, labels)
      updates, opt_state = optimizer.update(gradient, optimizers.with_learning_rate(opt_state, rate), variables.weights)
      return (Variables(optax.apply_updates(variables.weights, updates), stats), opt_state), loss

    state, losses = lax.scan(step, state, jnp.arange(steps))
    return state, Curves(losses.mean(), *_measured(state[0], operations, valid, normalize=normalize))

  epochs = jnp.arange(config.epochs), jnp.asarray(rates)
  (variables, _), curves = lax.scan(run_epoch, (initial, optimizer.init(initial.weights)), epochs)
  return variables, curves
