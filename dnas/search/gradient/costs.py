"""The cost of a differentiable search in multiply-adds, known before it runs."""

import functools

import jax
import numpy as np

from dnas.cells import functional
from dnas.compiler.counts import multiply_adds
from dnas.search.gradient.darts import DartsTask, State
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.search.gradient.projection import Masks, decide


def search_multiply_adds(task: DartsTask) -> float:
  """Returns the multiply-adds of a whole search on images: of its steps, its validations and the decisions of a projection.

  Diagnoses are not counted. Neither is an early stop foreseen.
  """
  workload, state = task.workload, task.init()
  assert isinstance(workload, ImageWorkload)

  total, cost = 0.0, dict[bool, float]()
  for step in range(task.end_of_epoch(task.epochs)):
    updates = task.updates_arch(step)
    if updates not in cost:
      cost[updates] = multiply_adds(functools.partial(_stepped, task, step), state)
    total += cost[updates]
  variables, mixture = functional.Variables(state.search.weights, state.search.stats), jax.eval_shape(task.mixture, state)
  total += task.epochs * workload.evaluation_multiply_adds(variables, mixture)
  losses = _losses(task, jax.tree.map(np.asarray, dict(state.op_mask)))
  return total + (losses * workload.evaluation_multiply_adds(variables, mixture, batch_statistics=True) if losses else 0.0)


def _stepped(task: DartsTask, step: int, state: State) -> State:
  return task.step(state, step)[0]


def _losses(task: DartsTask, op_mask: Masks) -> int:
  """Returns how many validations the decisions of a projection take. Which operations they keep does not change the number."""
  asked = []
  for decision in task.decisions:
    op_mask = decide(decision, task.space, op_mask, lambda masks: float(asked.append(masks) is not None))
  return len(asked)
