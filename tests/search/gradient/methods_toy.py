"""A supernet without a network: two nodes, four operations, known losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from helpers import bits, without_seconds

from dnas.cells.functional import Variables
from dnas.core.space import CellSpace
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.search.gradient.darts import Config
from dnas.supernet.operation_costs import OperationCosts

SPACE = CellSpace("toy", ("normal",), ("skip_connect", "poor", "good", "harmful"), num_inputs=1, num_nodes=2, edges_per_node=2)
WORTH = np.array([[0.3, 1.0, -1.0]], np.float32)
STEPS = 12  # an epoch

COSTS = OperationCosts(SPACE, 10.0, {"normal": np.array([[0.0, 20.0, 100.0, 5.0]] * 3)})
"""The best operation of the toy, `good`, is the dearest: an architecture of three costs 310, and one of skip connections 10."""
CONFIG = Config(epochs=10, learning_rate=0.5, momentum=0.0, gradient_clip=0.0, weight_decay=0.0, arch_learning_rate=0.1, diagnose_every=0)


class ToyWorkload:
  """A workload (`search.workload.Workload`) on operations of known worth.

  Every operation but the skip connection has a weight, which is trained from zero to one, the faster the more it weighs in the mixture. An
  edge is worth what its operations are, times how far they are trained, and the loss is the square of what is missing. A skip connection
  is worth `skip` at once and without training, so a search begins by liking it best, though `good` is worth more in the end.

  Attributes:
    skip: worth of a skip connection.
    late: what that rises by from the first step to the last, with a curvature that rises too: a search that collapses late.
  """

  carry, shared_masks, jit = (), True, staticmethod(jax.jit)

  def __init__(self, skip=0.0, late=0.0, steps=10 * STEPS):
    self.space, self.skip, self.late, self.steps = SPACE, skip, late, steps
    self.initial = Variables({"trained": jnp.zeros(SPACE.arch_shape(), jnp.float32)}, {})

  def end_of_epoch(self, epoch):
    return STEPS * epoch

  def learning_rate_factor(self, step):
    return 1.0

  def batches(self, step, keys, carry):
    return (np.float32(step / self.steps),) * 2

  def _loss(self, weights, mixture, time):
    value = (mixture[:, 1:] * WORTH * weights["trained"][:, 1:]).sum() + (self.skip + self.late * time) * mixture[:, 0].sum()
    untrained = ((1 - weights["trained"]) ** 2 * (0.02 + mixture)).sum()
    missing = jax.nn.relu(8 - value)
    return missing**2 / 48 * (1 + 10 * self.late * time**2) + 0.1 * untrained, value

  def loss(self, weights, mixture, stats, batch, key):
    loss, value = self._loss(weights, mixture["normal"], batch)
    return loss, (stats, {"value": value})

  def after_step(self, carry, outputs):
    return carry, outputs

  def train_metrics(self, means):
    return {"loss": means["loss"]}

  @functools.cached_property
  def _compiled(self):
    return jax.jit(lambda weights, mixture: self._loss(weights, mixture, 1.0)[0])

  def evaluate(self, variables, mixture, batch_statistics=False):
    return {"loss": float(self._compiled(variables.weights, jnp.asarray(mixture["normal"])))}


def run(task):
  position = loop.restore(task, None)
  return list(loop.run(task, position)), position


def check_resumption(task, folder):
  """A search that is interrupted after an epoch ends in the same history and the same bits. Returns the state that was restored."""
  records, whole = run(task)
  with Checkpoints(folder, 2) as checkpoints:
    runner = loop.run(task, loop.restore(task, None), checkpoints)
    next(runner), runner.close()
    checkpoints.wait()
    position = loop.restore(task, checkpoints)
    assert position.step == STEPS
    restored = position.state
    list(loop.run(task, position))
  assert without_seconds(position.history) == without_seconds(records) and bits(position.state) == bits(whole.state)
  return restored
