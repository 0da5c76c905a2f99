"""Projection: discretizes a supernet one decision at a time, by the validation loss without each candidate.

Source: Wang et al., "Rethinking Architecture Selection in Differentiable NAS" (DARTS-PT), ICLR 2021, algorithms 1 and 2. The paper measures
validation accuracy; this module uses the validation loss, which has no ties. The running batch statistics were gathered without the masks,
so they do not fit a masked supernet. A masked supernet is therefore normalized with the statistics of the batch.
"""

from collections.abc import Callable

import numpy as np

from dnas.core.choice_space import ChoiceSpace
from dnas.core.spaces import DecisionSpace
from dnas.search.gradient.remedies import Decision
from dnas.supernet.discretize import of_cells

Masks = dict[str, np.ndarray]
"""Masks of the allowed operations by cell type, float32 [edges, operations]."""


def decide(decision: Decision, space: DecisionSpace, op_mask: Masks, loss: Callable[[Masks], float]) -> Masks:
  """Makes one decision, by the cost of every candidate.

  The cost of an operation or of an edge is the loss without it. A decision on operations keeps the operation with the highest cost among
  the allowed ones of `space.choices_of`, or of a choice as many options as it keeps. A decision on edges keeps the `space.edges_per_node`
  edges with the highest costs.

  Args:
    decision: the decision.
    space: the search space.
    op_mask: masks of the operations allowed so far.
    loss: returns the validation loss of the supernet under given masks; it must have no side effects.

  Returns:
    The masks after the decision. An edge that is not kept has no operation left.
  """
  (row, *_) = decision.rows
  if decision.operation:
    names, kept = space.columns_of(decision.cell), 1
    if isinstance(space, ChoiceSpace):
      columns, kept = range(len(names)), space[decision.cell].kept
    else:
      columns = [names.index(name) for name in of_cells(space).choices_of(decision.cell, of_cells(space).edges[row])]
    columns = [column for column in columns if op_mask[decision.cell][row, column]]
    costs = [loss(_without(op_mask, decision.cell, row, column)) for column in columns] if len(columns) > 1 else [0.0]
    chosen = np.zeros(len(names), np.float32)
    chosen[[columns[index] for index in np.argsort(-np.array(costs), kind="stable")[:kept]]] = 1
    return _with_row(op_mask, decision.cell, row, chosen)
  costs = [loss(_without(op_mask, decision.cell, row)) for row in decision.rows]
  kept = np.argsort(-np.array(costs), kind="stable")[: of_cells(space).edges_per_node]
  for index, row in enumerate(decision.rows):
    if index not in kept:
      op_mask = _without(op_mask, decision.cell, row)
  return op_mask


def _without(op_mask: Masks, cell: str, row: int, column: int | None = None) -> Masks:
  """Returns the masks without the operation `column` of the edge `row`. If `column` is None, returns the masks without the whole edge."""
  values = op_mask[cell][row].copy()
  values[slice(None) if column is None else column] = 0
  return _with_row(op_mask, cell, row, values)


def _with_row(op_mask: Masks, cell: str, row: int, values: np.ndarray) -> Masks:
  changed = op_mask[cell].copy()
  changed[row] = values
  return op_mask | {cell: changed}
