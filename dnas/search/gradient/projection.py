"""Projection: the operations and edges of a supernet decided one by one, by what it loses without them.

Source: Wang et al., "Rethinking Architecture Selection in Differentiable NAS" (DARTS-PT), ICLR 2021, algorithms 1 and 2. The paper measures
validation accuracy; here it is the validation loss, which has no ties. A supernet under a mask is another network than the one whose
running statistics were gathered, so it is normalized with those of the batch.
"""

from collections.abc import Callable

import numpy as np

from dnas.core.space import CellSpace
from dnas.search.gradient.remedies import Decision

Masks = dict[str, np.ndarray]
"""Cell type to which operations are not ruled out, float32 [edges, operations]."""


def decide(decision: Decision, space: CellSpace, allowed: Masks, loss: Callable[[Masks], float]) -> Masks:
  """Makes one decision.

  Args:
    decision: what is decided.
    space: the space.
    allowed: what is not ruled out before.
    loss: the validation loss of the supernet under a mask; it must not change anything.

  Returns:
    The mask after the decision: on the edge, the operation whose absence costs most, of those that a discrete cell may have; or, of the
    edges into the node, those whose absence costs most, as many as the space keeps, and nothing on the others.
  """
  (row, *_) = decision.rows
  if decision.operation:
    columns = [space.operations.index(name) for name in space.choices]
    columns = [column for column in columns if allowed[decision.cell][row, column]]
    costs = [loss(_without(allowed, decision.cell, row, column)) for column in columns] if len(columns) > 1 else [0.0]
    chosen = np.zeros(len(space.operations), np.float32)
    chosen[columns[int(np.argmax(costs))]] = 1
    return _with_row(allowed, decision.cell, row, chosen)
  costs = [loss(_without(allowed, decision.cell, row)) for row in decision.rows]
  kept = np.argsort(-np.array(costs), kind="stable")[: space.edges_per_node]
  for index, row in enumerate(decision.rows):
    if index not in kept:
      allowed = _without(allowed, decision.cell, row)
  return allowed


def _without(allowed: Masks, cell: str, row: int, column: int | None = None) -> Masks:
  """Returns the mask without an operation, or without an edge."""
  values = allowed[cell][row].copy()
  values[slice(None) if column is None else column] = 0
  return _with_row(allowed, cell, row, values)


def _with_row(allowed: Masks, cell: str, row: int, values: np.ndarray) -> Masks:
  changed = allowed[cell].copy()
  changed[row] = values
  return allowed | {cell: changed}
