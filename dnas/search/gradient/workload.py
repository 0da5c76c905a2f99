"""The interface of a workload. A workload gives a differentiable search its supernet, its data and its validation."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax

from dnas.cells.functional import Variables
from dnas.core.costs import Costs
from dnas.core.spaces import DecisionSpace
from dnas.supernet.relaxations import Mixture

Tree = Any


class Workload(Protocol):
  """A supernet and the data that it is searched on; implement one per kind of data.

  Attributes:
    initial: the supernet's initial weights and batch statistics.
    carry: initial value of further state that one step hands to the next: a tree of arrays, such as hidden states; () for none.
    shared_masks: whether all passes of a step draw the same random numbers, such as dropout masks.
  """

  initial: Variables
  carry: Tree
  shared_masks: bool

  @property
  def space(self) -> DecisionSpace:
    """The search space."""
    ...

  def end_of_epoch(self, epoch: int) -> int:
    """Return the number of steps in the first `epoch` epochs; see `run.loop.Task`."""
    ...

  def learning_rate_factor(self, step: int) -> float:
    """Return the factor on the weights' learning rate in a step; 1 if all batches have the same size."""
    ...

  def batches(self, step: int, keys: tuple[jax.Array, jax.Array], carry: Tree) -> tuple[Tree, Tree]:
    """Return the training and the validation batch of a step, on the device. `keys` holds a typed random key for each batch."""
    ...

  def loss(self, weights: Tree, mixture: Mixture, stats: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    """Return the loss of a batch in nats, and a pair: the batch statistics after the call, and outputs by name. JAX traces this method."""
    ...

  def after_step(self, carry: Tree, outputs: dict[str, Any]) -> tuple[Tree, Mapping[str, jax.Array]]:
    """Return the carry of the next step, and the scalar metrics of this step.

    `carry` is the carry of this step. `outputs` are the metrics of `BilevelProblem.step`. They lack the outputs of the validation batch if
    the step did not evaluate that batch.
    """
    ...

  def train_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
    """Return an epoch's training metrics, such as loss (nats), from the means of its steps' metrics."""
    ...

  def reseeded(self, seed: int) -> "Workload":
    """Return the same workload with the initial weights and the data order of this seed."""
    ...

  def costs(self, genotype: Any) -> Costs:
    """Return the costs of a discrete network of the size of the supernet, for one example."""
    ...

  def evaluate(self, variables: Variables, mixture: Mixture, batch_statistics: bool = False) -> dict[str, float]:
    """Return loss (nats) and other metrics over the whole validation split, in inference mode; you may block.

    If `batch_statistics`, normalize with the statistics of the batch: the running statistics do not fit a masked or discretized mixture.
    """
    ...
