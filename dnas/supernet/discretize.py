"""From mixture weights to a genotype, as DARTS does it.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, section 2.4. The weights are those after the softmax with `none` in it; ranking the
raw parameters gives other cells.
"""

from collections.abc import Mapping

import numpy as np

from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import NONE, CellSpace


def discretize(space: CellSpace, mixture: Mapping[str, np.ndarray]) -> Genotype:
  """Keeps the strongest edges of every node, and on each the strongest operation that is not `none`.

  Args:
    space: the space.
    mixture: cell type to weights of the mixed operations, [edges, operations].

  Returns:
    The genotype; the edges of a node come strongest first, as in the published code, earlier sources first among equals.
  """
  return Genotype(space.name, tuple((cell, _discretize_cell(space, mixture[cell])) for cell in space.cells))


def _discretize_cell(space: CellSpace, weights: np.ndarray) -> CellGenotype:
  columns = [column for column, name in enumerate(space.operations) if name != NONE]
  nodes = []
  for target in space.concat:
    rows = [(source, weights[row, columns]) for row, (source, end) in enumerate(space.edges) if end == target]
    strongest = sorted(rows, key=lambda edge: -edge[1].max())[: space.edges_per_node]
    nodes.append(tuple(Edge(space.operations[columns[int(choices.argmax())]], source) for source, choices in strongest))
  return CellGenotype(tuple(nodes), space.concat)


def one_hot(space: CellSpace, genotype: Genotype) -> dict[str, np.ndarray]:
  """Returns the mixture weights at which a supernet computes this genotype: 1 on its choices and on `none` of all other edges.

  A node that reads one state twice receives both operations, so its row has two ones, or a two.
  """
  mixture = {}
  for cell in space.cells:
    weights = np.zeros(space.arch_shape(), np.float32)
    for target, node in zip(space.concat, genotype[cell].nodes, strict=True):
      for operation, source in node:
        weights[space.edges.index((source, target)), space.operations.index(operation)] += 1
    if NONE in space.operations:
      weights[~weights.any(1), space.operations.index(NONE)] = 1
    mixture[cell] = weights
  return mixture
