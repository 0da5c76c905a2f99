"""Discretization: derives a genotype from mixture weights, as in DARTS.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, section 2.4. Edges are ranked by weights after a softmax that includes `none`. A ranking
by the raw architecture parameters gives other cells.
"""

from collections.abc import Mapping

import numpy as np

from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import NONE, SKIPS, CellSpace


def discretize(space: CellSpace, mixture: Mapping[str, np.ndarray], skip_cap: int | None = None) -> Genotype:
  """Keeps the strongest operation of every edge, among those of `CellSpace.choices_of`, and then the strongest edges of every node.

  Args:
    space: the space.
    mixture: cell type to weights of the mixed operations, [edges, operations].
    skip_cap: largest number of skip connections in a cell (P-DARTS, ICCV 2019, section 3.3). While a cell has more, its weakest skip
      connection is ruled out and the cell is derived again. None sets no cap.

  Returns:
    The genotype. The edges of a node are sorted by strength, strongest first, as in the published code. Edges of equal strength are sorted
    by source. A space that allows `none` keeps every edge; there the edges of a node are sorted by source.

  Raises:
    InputError: if a weight is not finite, or the space cannot satisfy the cap (`check_cap`).
  """
  check_cap(space, skip_cap)
  for cell in space.cells:
    if not np.isfinite(mixture[cell]).all():
      raise InputError(f"cell '{cell}': not all weights of its operations are finite, so none is the strongest; lower the learning rates.")
  return Genotype(space.name, tuple((cell, _capped_cell(space, cell, mixture[cell], skip_cap)) for cell in space.cells))


def check_cap(space: CellSpace, skip_cap: int | None) -> None:
  """Raises InputError if too many edges of a cell allow only skip connections, so that the cell could exceed the cap."""
  kept = sum(len(sets[0]) for sets in space.wirings)
  if skip_cap is None:
    return
  for cell in space.cells:
    edges = min(kept, sum(set(space.choices_of(cell, edge)) <= set(SKIPS) for edge in space.edges))
    if edges > skip_cap:
      hint = "add operations, or give no cap"
      raise InputError(f"{edges} edges of a cell can only be skip connections, and at most {skip_cap} may be; {hint}.")


def skips_of(cell: CellGenotype) -> int:
  """Returns the number of skip connections in a cell."""
  return sum(edge.operation in SKIPS for node in cell.nodes for edge in node)


def _capped_cell(space: CellSpace, cell_type: str, weights: np.ndarray, skip_cap: int | None) -> CellGenotype:
  cell = _discretize_cell(space, cell_type, weights)
  while skip_cap is not None and skips_of(cell) > skip_cap:
    ends = [(edge, target) for target, node in enumerate(cell.nodes, start=space.num_inputs) for edge in node]
    places = [(space.edges.index((e.source, t)), space.operations.index(e.operation)) for e, t in ends if e.operation in SKIPS]
    weights = weights.copy()
    weights[min(places, key=lambda place: weights[place])] = -np.inf
    cell = _discretize_cell(space, cell_type, weights)
  return cell


def _discretize_cell(space: CellSpace, cell_type: str, weights: np.ndarray) -> CellGenotype:
  nodes = []
  for target in range(space.num_inputs, space.num_inputs + space.num_nodes):
    edges = []
    for row, edge in enumerate(space.edges):
      if edge[1] == target:
        choices = space.choices_of(cell_type, edge)
        strengths = weights[row, [space.operations.index(name) for name in choices]]
        edges.append((float(strengths.max()), Edge(choices[int(strengths.argmax())], edge[0])))
    strongest = [edge for _, edge in sorted(edges, key=lambda edge: -edge[0])[: space.edges_per_node]]
    nodes.append(tuple(sorted(strongest, key=lambda edge: edge.source) if space.none_allowed else strongest))
  return CellGenotype(tuple(nodes), space.concat)


def edges_of(space: CellSpace, chosen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the number of operations other than `none` on each edge, cell type to [edges]; `chosen` is the result of `one_hot`."""
  columns = [index for index, name in enumerate(space.operations) if name != NONE]
  return {cell: weights[:, columns].sum(1) for cell, weights in chosen.items()}


def one_hot(space: CellSpace, genotype: Genotype) -> dict[str, np.ndarray]:
  """Returns the mixture weights at which a supernet computes this genotype.

  The chosen operations have weight 1. An edge without a chosen operation has weight 1 on `none`. If a node reads one state twice, the row
  of this edge has two ones, or one 2 if both operations are equal.
  """
  mixture = {}
  for cell in space.cells:
    weights = np.zeros(space.arch_shape(), np.float32)
    for target, node in enumerate(genotype[cell].nodes, start=space.num_inputs):
      for operation, source in node:
        weights[space.edges.index((source, target)), space.operations.index(operation)] += 1
    if NONE in space.operations:
      weights[~weights.any(1), space.operations.index(NONE)] = 1
    mixture[cell] = weights
  return mixture
