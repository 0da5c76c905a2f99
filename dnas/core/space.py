"""Search spaces of cells, as values."""

import dataclasses

import numpy as np

from dnas.core.errors import InputError, unknown_name
from dnas.core.genotype import CellGenotype, Edge, Genotype

NONE = "none"
"""The operation 'no edge' of DARTS: it takes part in the softmax and is never chosen."""


@dataclasses.dataclass(frozen=True)
class CellSpace:
  """A space of cells in which every node may read every earlier state.

  Attributes:
    name: the name that genotypes carry.
    cells: cell types, such as ('normal', 'reduce').
    operations: names of the candidate operations, in the published order; columns of the architecture parameters.
    num_inputs: how many states a cell starts with.
    num_nodes: how many intermediate nodes a cell has.
    edges_per_node: how many edges enter each node of a discrete cell.
  """

  name: str
  cells: tuple[str, ...]
  operations: tuple[str, ...]
  num_inputs: int = 2
  num_nodes: int = 4
  edges_per_node: int = 2

  @property
  def edges(self) -> tuple[tuple[int, int], ...]:
    """All (source, target) pairs, target by target: rows of the architecture parameters."""
    targets = range(self.num_inputs, self.num_inputs + self.num_nodes)
    return tuple((source, target) for target in targets for source in range(target))

  @property
  def concat(self) -> tuple[int, ...]:
    """The states that a searched cell concatenates: all of its nodes."""
    return tuple(range(self.num_inputs, self.num_inputs + self.num_nodes))

  def arch_shape(self) -> tuple[int, int]:
    """Shape (edges, operations) of the architecture parameters of one cell."""
    return len(self.edges), len(self.operations)

  def sample(self, rng: np.random.Generator) -> Genotype:
    """Draws an architecture: sources of a node without replacement, operations uniformly, `none` excluded."""
    operations = [name for name in self.operations if name != NONE]
    cells = []
    for cell_type in self.cells:
      nodes = []
      for node in range(self.num_nodes):
        sources = rng.choice(self.num_inputs + node, size=min(self.edges_per_node, self.num_inputs + node), replace=False)
        nodes.append(tuple(Edge(operations[rng.integers(len(operations))], int(source)) for source in sorted(sources)))
      cells.append((cell_type, CellGenotype(tuple(nodes), self.concat)))
    return Genotype(self.name, tuple(cells))

  def validate(self, genotype: Genotype, operations: tuple[str, ...] | None = None, where: str = "genotype") -> Genotype:
    """Checks that a genotype is a network of this space, and returns it.

    Args:
      genotype: the architecture.
      operations: names that an edge may use; the candidates of the space if not given.
      where: how an error names the input.

    Raises:
      InputError: for a missing or unknown cell, an unknown operation, a node without input, an edge from a node that does not
        exist or comes later (a cycle), or a concatenation of states that do not exist.
    """
    names = [name for name, _ in genotype.cells]
    for name in names:
      if name not in self.cells:
        raise InputError(f"{where}: {unknown_name('cell', name, self.cells)}")
    for name in self.cells:
      if names.count(name) != 1:
        raise InputError(f"{where}: cell '{name}' of space '{self.name}' is given {names.count(name)} times; give it once.")
      self._validate_cell(genotype[name], operations or self.operations, f"{where}, cell '{name}'")
    return genotype

  def _validate_cell(self, cell: CellGenotype, operations: tuple[str, ...], where: str) -> None:
    num_states = self.num_inputs + len(cell.nodes)
    if not cell.nodes:
      raise InputError(f"{where}: it has no nodes; give it at least one.")
    for index, node in enumerate(cell.nodes):
      target = self.num_inputs + index
      if not node:
        raise InputError(f"{where}: node {target} has no input; give it at least one edge.")
      for operation, source in node:
        if operation not in operations:
          raise InputError(f"{where}, node {target}: {unknown_name('operation', operation, operations)}")
        if not 0 <= source < num_states:
          raise InputError(f"{where}: node {target} has an edge from node {source}, which does not exist; sources are 0 to {target - 1}.")
        if source >= target:
          raise InputError(f"{where}: node {target} has an edge from node {source}, which makes a cycle; sources are 0 to {target - 1}.")
    for state in cell.concat:
      if not self.num_inputs <= state < num_states:
        raise InputError(f"{where}: concat names node {state}; the nodes are {self.num_inputs} to {num_states - 1}.")
