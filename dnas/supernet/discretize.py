"""Discretization: derives an architecture from mixture weights, as in DARTS; a choice keeps its strongest options.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, section 2.4. Edges are ranked by weights after a softmax that includes `none`. A ranking
by the raw architecture parameters gives other cells.
"""

from collections.abc import Mapping
from typing import Any

import chex
import numpy as np

from dnas.core import choice_space
from dnas.core.choice_space import ChoiceGenotype, ChoiceSpace
from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import NONE, SKIPS, CellSpace
from dnas.core.spaces import DecisionSpace


def discretize(space: DecisionSpace, mixture: Mapping[str, np.ndarray], skip_cap: int | None = None) -> Any:
  """Returns the architecture of a mixture.

  In a `CellSpace` every edge keeps its strongest operation, among those of `CellSpace.choices_of`, and then every node its strongest edges.
  In a `ChoiceSpace` every choice keeps its strongest options.

  Args:
    space: the space.
    mixture: cell type or choice to weights of the mixed operations, [edges, operations].
    skip_cap: largest number of skip connections in a cell (P-DARTS, ICCV 2019, section 3.3). While a cell has more, its weakest skip
      connection is ruled out and the cell is derived again. In a `ChoiceSpace` all choices count together. None sets no cap.

  Returns:
    The architecture. The edges of a node are sorted by strength, strongest first, as in the published code. Edges of equal strength are
    sorted by source. A space that allows `none` keeps every edge; there the edges of a node are sorted by source.

  Raises:
    InputError: if a weight is not finite, or the space cannot satisfy the cap (`check_cap`).
  """
  check_cap(space, skip_cap)
  for cell, shape in space.arch_shapes.items():
    chex.assert_shape(mixture[cell], shape)
    if not np.isfinite(mixture[cell]).all():
      raise InputError(f"'{cell}': not all weights of its operations are finite, so none is the strongest; lower the learning rates.")
  if isinstance(space, ChoiceSpace):
    return _capped_choices(space, mixture, skip_cap)
  space = of_cells(space)
  return Genotype(space.name, tuple((cell, _capped_cell(space, cell, mixture[cell], skip_cap)) for cell in space.cells))


def of_cells(space: DecisionSpace) -> CellSpace:
  """Returns a space of cells as it is. Raises InputError for a space of another kind, which has no mixture weights."""
  if not isinstance(space, CellSpace):
    raise InputError(f"space '{space.name}' is no space of cells or choices; give one.")
  return space


def check_cap(space: DecisionSpace, skip_cap: int | None) -> None:
  """Raises InputError if so many edges of a cell, or choices, allow only skip connections that an architecture could exceed the cap."""
  if skip_cap is None:
    return
  if isinstance(space, ChoiceSpace):
    alone = [point.name for point in space.points if set(point.options) <= set(choice_space.SKIPS)]
    if len(alone) > skip_cap:
      raise InputError(f"the choices {', '.join(alone)} can only be skips, and at most {skip_cap} may be; add options, or give no cap.")
    return
  space = of_cells(space)
  kept = sum(len(sets[0]) for sets in space.wirings)
  for cell in space.cells:
    edges = min(kept, sum(set(space.choices_of(cell, edge)) <= set(SKIPS) for edge in space.edges))
    if edges > skip_cap:
      hint = "add operations, or give no cap"
      raise InputError(f"{edges} edges of a cell can only be skip connections, and at most {skip_cap} may be; {hint}.")


def skips_of(cell: CellGenotype) -> int:
  """Returns the number of skip connections in a cell."""
  return sum(edge.operation in SKIPS for node in cell.nodes for edge in node)


def skips(space: DecisionSpace, genotype: Any) -> dict[str, int]:
  """Returns the number of skip connections of an architecture, by cell type; those of all choices together as 'choices'."""
  if isinstance(space, ChoiceSpace):
    return {"choices": sum(option in choice_space.SKIPS for _, options in genotype.choices for option in options)}
  return {cell: skips_of(genotype[cell]) for cell in of_cells(space).cells}


def _capped_choices(space: ChoiceSpace, mixture: Mapping[str, np.ndarray], skip_cap: int | None) -> ChoiceGenotype:
  mixture = {name: np.array(mixture[name][0], float) for name in space.arch_shapes}
  while True:
    order = {point.name: np.argsort(-mixture[point.name], kind="stable")[: point.kept] for point in space.points}
    values = [point.values.index(tuple(point.options[column] for column in sorted(order[point.name]))) for point in space.points]
    genotype = space.decode(values)
    if skip_cap is None or skips(space, genotype)["choices"] <= skip_cap:
      return genotype
    kept = [(name, space[name].options.index(option)) for name, options in genotype.choices for option in options]
    places = [(name, column) for name, column in kept if space[name].options[column] in choice_space.SKIPS]
    places = [(name, column) for name, column in places if not set(space[name].options) <= set(choice_space.SKIPS)]
    name, column = min(places, key=lambda place: mixture[place[0]][place[1]])
    mixture[name][column] = -np.inf


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


def edges_of(space: DecisionSpace, chosen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the number of operations other than `none` on each edge, cell type to [edges]; `chosen` is the result of `one_hot`."""
  columns = {cell: [index for index, name in enumerate(space.columns_of(cell)) if name != NONE] for cell in chosen}
  return {cell: weights[:, columns[cell]].sum(1) for cell, weights in chosen.items()}


def one_hot(space: DecisionSpace, genotype: Any) -> dict[str, np.ndarray]:
  """Returns the mixture weights at which a supernet computes this architecture.

  The chosen operations have weight 1. An edge without a chosen operation has weight 1 on `none`. If a node reads one state twice, the row
  of this edge has two ones, or one 2 if both operations are equal. A choice that is not active has weight 1 on its first options.
  """
  if isinstance(space, ChoiceSpace):
    chosen = dict(genotype.choices)
    kept = {point.name: chosen.get(point.name, point.values[0]) for point in space.points}
    return {point.name: np.array([[option in kept[point.name] for option in point.options]], np.float32) for point in space.points}
  space, mixture = of_cells(space), {}
  for cell in space.cells:
    weights = np.zeros(space.arch_shape(), np.float32)
    for target, node in enumerate(genotype[cell].nodes, start=space.num_inputs):
      for operation, source in node:
        weights[space.edges.index((source, target)), space.operations.index(operation)] += 1
    if NONE in space.operations:
      weights[~weights.any(1), space.operations.index(NONE)] = 1
    mixture[cell] = weights
  return mixture
