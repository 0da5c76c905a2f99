"""What a differentiable search works on: a supernet, its data, and how both are evaluated."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax

from dnas.cells.functional import Variables
from dnas.core.space import CellSpace

Tree = Any
Mixture = Mapping[str, jax.Array]
"""Cell type to the weights of its mixed operations, [edges, operations], and 'CELL edges' to those of the edges themselves, [edges]."""


class Workload(Protocol):
  """A supernet and the data that it is searched on; write one per kind of data.

  Attributes:
    space: the search space.
    initial: the supernet's weights and batch statistics before the first step.
    carry: what one step hands to the next beside them, before the first step: a tree of arrays, such as hidden states; () for nothing.
    shared_masks: whether all evaluations of a step see the same random masks.
  """

  space: CellSpace
  initial: Variables
  carry: Tree
  shared_masks: bool

  def end_of_epoch(self, epoch: int) -> int:
    """Return how many steps `epoch` complete epochs have; see `train.loop.Task`."""
    ...

  def learning_rate_factor(self, step: int) -> float:
    """Return what the learning rate of the weights is multiplied by in a step, 1 for batches of one size."""
    ...

  def batches(self, step: int, keys: tuple[jax.Array, jax.Array], carry: Tree) -> tuple[Tree, Tree]:
    """Return the training and the validation batch of a step, on the device; `keys` are typed random keys, one for each."""
    ...

  def loss(self, weights: Tree, mixture: Mixture, stats: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    """Return the loss of a batch, batch statistics and outputs, as `supernet.bilevel.LossFunction` does; it is traced."""
    ...

  def after_step(self, carry: Tree, outputs: dict[str, Any]) -> tuple[Tree, Mapping[str, jax.Array]]:
    """Returns the carry of the next step, and the scalar metrics of this one.

    `carry` is that of this step. `outputs` are the metrics of `BilevelProblem.step`; those of the validation batch are missing where the
    step did not evaluate it.
    """
    ...

  def train_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
    """Return what an epoch's record says of training, such as loss (nats), from the means of the steps' metrics."""
    ...

  def reseeded(self, seed: int) -> "Workload":
    """Return the same workload with other initial weights and another order of the data: that of this seed."""
    ...

  def evaluate(self, variables: Variables, mixture: Mixture, batch_statistics: bool = False) -> dict[str, float]:
    """Return loss (nats) and other metrics over the whole validation split, in evaluation mode; you may block.

    With `batch_statistics` the supernet normalizes with those of the batch, for a mixture that its running ones do not fit.
    """
    ...
