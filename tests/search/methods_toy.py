"""A supernet without a network: two nodes, four operations, known losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dnas.cells.functional import Variables
from dnas.core.space import CellSpace

SPACE = CellSpace("toy", ("normal",), ("skip_connect", "poor", "good", "harmful"), num_inputs=1, num_nodes=2, edges_per_node=2)
STEPS = 12  # an epoch


class ToyWorkload:
  """A workload (`search.workload.Workload`) on operations of known worth.

  Every operation but the skip connection has a weight, which is trained from zero to one, each as fast as the mixture lets it. An edge is
  worth what its operations are, times how far they are trained; of a node the edge from the last state is worth most. A skip connection
  needs no training, so at the beginning of a search it looks best, as in a real supernet; `head_start` says how much.
  """

  carry, shared_masks, jit = (), True, staticmethod(jax.jit)

  def __init__(self, head_start=0.0, sharp=0.0):
    self.space, self.head_start, self.sharp = SPACE, head_start, sharp
    rows = np.array([1.0 if source == target - 1 else 0.5 for source, target in SPACE.edges], np.float32)
    self.worth = rows[:, None] * np.array([0.0, 0.3, 1.0, -1.0], np.float32)
    self.rows = rows
    self.initial = Variables({"trained": jnp.zeros(SPACE.arch_shape(), jnp.float32)}, {})

  def end_of_epoch(self, epoch):
    return STEPS * epoch

  def learning_rate_factor(self, step):
    return 1.0

  def batches(self, step, keys, carry):
    return np.float32(0), np.float32(1)

  def _value(self, weights, mixture):
    ready = weights["trained"]
    skip = self.head_start * self.rows * mixture[:, 0]
    return (mixture * self.worth * ready).sum() + skip.sum()

  def _loss(self, weights, mixture, held_out):
    rest = ((1 - weights["trained"]) ** 2 * (0.1 + mixture)).sum()
    return (3.5 - self._value(weights, mixture)) ** 2 / 8 + 0.1 * rest + self.sharp * held_out * (mixture[:, 0] ** 2).sum()

  def loss(self, weights, mixture, stats, batch, key):
    return self._loss(weights, mixture["normal"], batch), (stats, {"accuracy": self._value(weights, mixture["normal"])})

  def after_step(self, carry, outputs):
    return carry, outputs

  def train_metrics(self, means):
    return {"loss": means["loss"]}

  @functools.cached_property
  def _compiled(self):
    return jax.jit(lambda weights, mixture: self._loss(weights, mixture, 1.0))

  def evaluate(self, variables, mixture):
    return {"loss": float(self._compiled(variables.weights, jnp.asarray(mixture["normal"])))}
