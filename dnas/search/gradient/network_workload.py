"""The workload of a search in a network of a user's own, on data and a loss of the user's own."""

import copy
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dnas.cells.functional import Variables
from dnas.compiler.functions import compiled
from dnas.core import keys
from dnas.core.choice_space import ChoiceGenotype, ChoiceSpace
from dnas.core.costs import Costs
from dnas.data.pairs import Batches, check_batches
from dnas.nets.costs import of_own_network
from dnas.search.gradient.workload import Tree
from dnas.supernet.choice_network import SearchableNetwork
from dnas.supernet.relaxations import Mixture
from dnas.train.own_loss import Loss, check_loss, means, scored


class NetworkWorkload:
  """A network with choices and its data (a `Workload`).

  Attributes:
    network: the network.
    initial: its initial weights and statistics.
  """

  carry = ()
  shared_masks = True

  def __init__(self, network: SearchableNetwork, data: Batches, loss: Loss, seed: int):
    """Builds the workload.

    Args:
      network: the network.
      data: its data.
      loss: the loss.
      seed: seed of the order of the data.

    Raises:
      InputError: if the network, the data and the loss do not fit, as tracing one step shows.
    """
    check_batches(data)
    check_loss(loss)
    self.network, self.initial, self._data, self._loss = network, network.initial, data, loss
    self._key = _data_key(seed)
    inference, by_batch = compiled(self._metrics_of(False)), compiled(self._metrics_of(True))
    self._evaluate = {False: inference, True: by_batch}
    mixture = {name: np.full(shape, 1 / shape[1], np.float32) for name, shape in network.space.arch_shapes.items()}
    self.batch = data.train_batch(self._key, 0)
    jax.eval_shape(self.loss, self.initial.weights, mixture, self.initial.stats, self.batch, self._key)

  @property
  def space(self) -> ChoiceSpace:
    """The space of the network's choices."""
    return self.network.space

  def reseeded(self, seed: int) -> "NetworkWorkload":
    """See `Workload`. Both workloads share the data and the programs."""
    other = copy.copy(self)
    other.network, other._key = self.network.reseeded(seed), _data_key(seed)
    other.initial = other.network.initial
    return other

  def end_of_epoch(self, epoch: int) -> int:
    """See `Workload`."""
    return epoch * self._data.steps_per_epoch

  def learning_rate_factor(self, step: int) -> float:
    """See `Workload`."""
    return 1.0

  def batches(self, step: int, keys: tuple[jax.Array, jax.Array], carry: Tree) -> tuple[Tree, Tree]:
    """Returns the batches of a step; the data have a key of the run, which is the same in every step."""
    return self._data.train_batch(self._key, step), self._data.valid_batch(self._key, step)

  def loss(self, weights: Tree, mixture: Mixture, stats: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    """See `Workload`."""
    inputs, targets = batch
    outputs, stats = self.network.apply(Variables(weights, stats), mixture, inputs, key, train=True)
    loss, metrics = scored(self._loss, outputs, targets)
    return loss, (stats, metrics)

  def after_step(self, carry: Tree, outputs: dict[str, Any]) -> tuple[Tree, Mapping[str, jax.Array]]:
    """See `Workload`."""
    return (), outputs

  def train_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
    """Returns the loss and the metrics of the user."""
    return {name: value for name, value in means.items() if not name.startswith("valid_")}

  def costs(self, genotype: ChoiceGenotype) -> Costs:
    """See `Workload`."""
    return of_own_network(self.network.derive(genotype), self.batch[0])

  def evaluate(self, variables: Variables, mixture: Mixture, batch_statistics: bool = False) -> dict[str, float]:
    """Returns the means of the loss and of the user's metrics."""
    program = self._evaluate[batch_statistics]
    return means(lambda inputs, targets: program(variables, mixture, inputs, targets), self._data.valid_batches())

  def _metrics_of(self, batch_statistics: bool) -> Any:
    def metrics(variables: Variables, mixture: Mixture, inputs: Tree, targets: Tree) -> dict[str, jax.Array]:
      outputs, _ = self.network.apply(variables, mixture, inputs, batch_statistics=batch_statistics)
      loss, others = scored(self._loss, outputs, targets)
      return {"loss": loss, **others}

    return metrics


def _data_key(seed: int) -> jax.Array:
  return keys.derive(jax.random.key(seed), "data")
