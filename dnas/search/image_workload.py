"""Search on images: the convolutional supernet."""

import copy
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dnas.cells import functional
from dnas.core.space import CellSpace
from dnas.data import base, batches
from dnas.search.workload import Mixture, Tree
from dnas.supernet import image_supernet
from dnas.train.images import Pipeline, make_evaluate
from dnas.train.metrics import correct, cross_entropy


class ImageWorkload:
  """A convolutional supernet on the two halves of a training set (a `Workload`).

  Attributes:
    space: the search space.
    network: the static part of the supernet.
    examples: how many images train the weights, and how many the architecture.
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
    partial_channels: int = 1,
  ):
    """Builds the workload.

    Args:
      config: size of the supernet.
      data_config: batches and augmentation; both halves are augmented in training, as published, and not in validation.
      space: the search space.
      dataset: the data set.
      seed: of the initial weights and the order of the data.
      partial_channels: K, where the operations of an edge see a K-th of the channels (PC-DARTS); it divides `config.channels`.
    """
    train, valid = base.search_split(dataset, data_config.train_portion)
    key_train, key_valid = _order_keys(seed)
    self._train, self._valid = Pipeline(train, dataset, data_config, key_train), Pipeline(valid, dataset, data_config, key_valid)
    self._valid_split, self.examples = batches.to_device(valid), (len(train), len(valid))
    self.space = space
    sizes = config, space, dataset.train.images.shape[-1], dataset.num_classes
    self._make = lambda seed: image_supernet.ImageSupernet(*sizes, np.random.default_rng(seed), partial_channels)
    self.network, self.initial = functional.split(self._make(seed))
    self._evaluate = make_evaluate(self._predict, dataset, data_config)

  def reseeded(self, seed: int) -> "ImageWorkload":
    """See `Workload`; the data are on the device once for all."""
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
    """Returns augmented images, [B, H, W, C], and labels, [B], of both halves."""
    return self._train.shuffled(step, keys[0]), self._valid.drawn(keys[1])

  def loss(self, weights: Tree, mixture: Mixture, stats: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    """See `Workload`."""
    images, labels = batch
    logits, stats = functional.apply(self.network, functional.Variables(weights, stats), images, mixture, train=True)
    return cross_entropy(logits, labels).mean(), (stats, {"accuracy": correct(logits, labels).mean()})

  def after_step(self, carry: Tree, outputs: dict[str, Any]) -> tuple[Tree, Mapping[str, jax.Array]]:
    """See `Workload`."""
    return (), outputs

  def train_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
    """See `Workload`."""
    return {"loss": means["loss"], "accuracy": means["accuracy"]}

  def evaluate(self, variables: functional.Variables, mixture: Mixture) -> dict[str, float]:
    """Returns loss (nats) and accuracy (a fraction)."""
    return self._evaluate((variables, mixture), self._valid_split)

  def _predict(self, network: tuple[functional.Variables, Mixture], images: jax.Array) -> jax.Array:
    variables, mixture = network
    return functional.apply(self.network, variables, images, mixture, train=False)[0]


def _order_keys(seed: int) -> tuple[jax.Array, ...]:
  """Returns typed random keys of the order of both halves of the data."""
  return tuple(jax.random.split(jax.random.fold_in(jax.random.key(seed), 0)))
