"""The workload of a search on images: a convolutional supernet and its data."""

import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax

from dnas.cells import functional
from dnas.cells.image_stack import Size
from dnas.core import keys
from dnas.core.costs import Costs
from dnas.core.genotype import Genotype
from dnas.core.space import CellSpace
from dnas.data import base
from dnas.nets import of_genotype
from dnas.nets.derived_image import Config as NetworkConfig
from dnas.search.gradient.workload import Tree
from dnas.supernet import image_supernet
from dnas.supernet.edges import EdgeOptions
from dnas.supernet.relaxations import Mixture
from dnas.train.image_pipeline import Evaluate
from dnas.train.image_stream import pipeline, placed
from dnas.train.metrics import correct, cross_entropy


class ImageWorkload:
  """A convolutional supernet on a divided training set (a `Workload`). One part trains the weights, the other trains the architecture.

  Attributes:
    space: the search space.
    network: the static part of the supernet.
    examples: two numbers of images: those that train the weights, and those that train the architecture.
    image_shape: (H, W, C).
  """

  carry = ()
  shared_masks = True

  def __init__(
    self,
    config: image_supernet.Config,
    data_config: base.Config,
    space: CellSpace,
    dataset: base.ImageDataset,
    seed: int,
    edges: EdgeOptions = EdgeOptions(),  # noqa: B008  (frozen)
  ):
    """Builds the workload.

    Args:
      config: size of the supernet.
      data_config: division, batches and augmentation. Search steps augment both parts, as published. Validation augments no image.
      space: the search space.
      dataset: the data set.
      seed: seed of the initial weights and the order of the data.
      edges: the method's options for the edges; its `partial_channels` must divide `config.channels`.
    """
    train, valid = base.search_split(dataset, data_config)
    key_train, key_valid = _order_keys(seed)
    self._train, self._valid = pipeline(train, dataset, data_config, key_train), pipeline(valid, dataset, data_config, key_valid)
    mixed = keys.generator(0, "order of the evaluation").permutation(len(valid))  # so that every batch of a sorted set has all classes
    self._valid_split = placed(base.Split(valid.images[mixed], valid.labels[mixed]))
    self.examples = len(train), len(valid)
    self.space = space
    self.image_shape = dataset.train.images.shape[1:]
    self._sizes = config, self.image_shape, dataset.num_classes
    sizes = config, space, dataset.train.images.shape[-1], dataset.num_classes
    self._make = lambda seed: image_supernet.ImageSupernet(*sizes, keys.generator(seed, "weights"), edges)
    self.network, self.initial = functional.split(self._make(seed))
    self._class_weights = base.class_weights(train, dataset.num_classes, data_config.class_weights)
    self._evaluate = Evaluate(functools.partial(self._predict, train=False), dataset, data_config, self._class_weights)
    of_training = dataclasses.replace(data_config, eval_batch_size=data_config.batch_size)
    self._evaluate_by_batch = Evaluate(functools.partial(self._predict, train=True), dataset, of_training, self._class_weights)

  def reseeded(self, seed: int) -> "ImageWorkload":
    """See `Workload`. Both workloads share the data on the device."""
    other = copy.copy(self)
    key_train, key_valid = _order_keys(seed)
    other._train, other._valid = self._train.reordered(key_train), self._valid.reordered(key_valid)
    other.initial = functional.split(self._make(seed))[1]
    return other

  def end_of_epoch(self, epoch: int) -> int:
    """See `Workload`."""
    return epoch * self._train.steps_per_epoch

  def learning_rate_factor(self, step: int) -> float:
    """See `Workload`."""
    return 1.0

  def batches(self, step: int, keys: tuple[jax.Array, jax.Array], carry: Tree) -> tuple[Tree, Tree]:
    """Returns the training batch and the validation batch, each with augmented images, [B, H, W, C], and labels, [B]."""
    return self._train.shuffled(step, keys[0]), self._valid.drawn(keys[1], step)

  def loss(self, weights: Tree, mixture: Mixture, stats: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    """See `Workload`."""
    images, labels = batch
    logits, stats = functional.apply(self.network, functional.Variables(weights, stats), images, mixture, train=True)
    loss = cross_entropy(logits, labels, self._class_weights).mean()
    return loss, (stats, {"accuracy": correct(logits, labels).mean()})

  def after_step(self, carry: Tree, outputs: dict[str, Any]) -> tuple[Tree, Mapping[str, jax.Array]]:
    """See `Workload`."""
    return (), outputs

  def train_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
    """See `Workload`."""
    return {"loss": means["loss"], "accuracy": means["accuracy"]}

  def costs(self, genotype: Genotype) -> Costs:
    """See `Workload`."""
    config, shape, classes = self._sizes
    size = {field.name: getattr(config, field.name) for field in dataclasses.fields(Size)}
    return of_genotype.costs_of(NetworkConfig(**size, auxiliary=False), genotype, shape, classes)

  def evaluate(self, variables: functional.Variables, mixture: Mixture, batch_statistics: bool = False) -> dict[str, float]:
    """Returns loss (nats) and accuracies (fractions, see `metrics.accuracies`).

    With `batch_statistics`, a batch has the size of a training batch, since its size changes its statistics.
    """
    evaluate = self._evaluate_by_batch if batch_statistics else self._evaluate
    return evaluate((variables, mixture), self._valid_split)

  def evaluation_multiply_adds(self, variables: functional.Variables, mixture: Mixture, batch_statistics: bool = False) -> float:
    """Returns the multiply-adds of `evaluate` (`compiler.counts`), without doing it."""
    evaluate = self._evaluate_by_batch if batch_statistics else self._evaluate
    return evaluate.multiply_adds((variables, mixture), self._valid_split)

  def _predict(self, network: tuple[functional.Variables, Mixture], images: jax.Array, train: bool) -> jax.Array:
    variables, mixture = network
    return functional.apply(self.network, variables, images, mixture, train=train)[0]


def _order_keys(seed: int) -> tuple[jax.Array, ...]:
  """Returns two typed random keys, for the order of each part of the data."""
  key = jax.random.key(seed)
  return keys.derive(key, "order", 0), keys.derive(key, "order", 1)
