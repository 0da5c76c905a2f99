"""Search spaces of cells."""

# What users give can have another type than the annotated one.
# pyright: reportUnnecessaryIsInstance=false

import dataclasses
import functools
import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dnas.core import genotype as genotypes
from dnas.core.errors import FieldError, InputError, shown, unknown_name
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space_checks import check_fields

NONE = "none"
"""The operation 'no edge'. In the DARTS spaces it takes part in the softmax but is never chosen; other spaces may allow it."""

SKIPS = ("skip_connect", "identity")
"""Operations without weights that return their input. A search that collapses fills its cells with them."""


@dataclasses.dataclass(frozen=True)
class CellSpace:
  """A space of cells in which every node may read every earlier state.

  Attributes:
    name: the name that genotypes carry.
    cells: cell types, such as ('normal', 'reduce').
    operations: names of the candidate operations, in the published order; columns of the architecture parameters.
    num_inputs: number of input states of a cell.
    num_nodes: number of intermediate nodes of a cell.
    edges_per_node: number of edges that enter each node of a discrete cell; a node with fewer earlier states reads all of them.
    none_allowed: whether an edge of a discrete cell may be `none`.
    num_outputs: number of last nodes that form the output of a cell; None stands for all nodes.
    pool_norm: whether a supernet normalizes the output of a pooling, to bring it to the scale of the other operations.
    edge_choices: for every cell type, in the order of `cells`, and every edge, in the order of `edges`, the operations of that edge. All
      edges have equally many. None gives every edge all operations.
    inputs_in_concat: whether a discrete cell may concatenate its inputs beside its nodes.

  Invalid fields raise InputError.

  >>> space = dnas.CellSpace(name="small", cells=("normal",), operations=("skip_connect", "sep_conv_3x3"), num_nodes=2)
  >>> space.edges
  ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
  >>> space.sample(np.random.default_rng(0)).space
  'small'
  """

  name: str
  cells: tuple[str, ...]
  operations: tuple[str, ...]
  num_inputs: int = 2
  num_nodes: int = 4
  edges_per_node: int = 2
  none_allowed: bool = False
  num_outputs: int | None = None
  pool_norm: bool = True
  edge_choices: tuple[tuple[tuple[str, ...], ...], ...] | None = None
  inputs_in_concat: bool = False

  def __post_init__(self):
    try:
      check_fields(self)
    except FieldError as e:
      raise InputError(f"space {shown(self.name)}: {e}") from None

  @property
  def edges(self) -> tuple[tuple[int, int], ...]:
    """All (source, target) pairs, ordered by target: the rows of the architecture parameters."""
    targets = range(self.num_inputs, self.num_inputs + self.num_nodes)
    return tuple((source, target) for target in targets for source in range(target))

  @property
  def concat(self) -> tuple[int, ...]:
    """The states that a searched cell concatenates: all of its nodes, or the last `num_outputs`."""
    end = self.num_inputs + self.num_nodes
    return tuple(range(end - (self.num_outputs or self.num_nodes), end))

  @functools.cached_property
  def choices(self) -> tuple[str, ...]:
    """The operations that edges of a discrete cell may have, in the order of `operations`. `choices_of` has those of one edge."""
    return tuple(name for name in self.operations if name != NONE or self.none_allowed)

  def choices_of(self, cell_type: str, edge: tuple[int, int]) -> tuple[str, ...]:
    """Returns the operations that one edge, (source, target), of a discrete cell may have."""
    if self.edge_choices is None:
      return self.choices
    return self.edge_choices[self.cells.index(cell_type)][self.edges.index(edge)]

  @property
  def num_choices(self) -> int:
    """The number of operations that every edge of a discrete cell may have."""
    return len(self.choices) if self.edge_choices is None else len(self.edge_choices[0][0])

  @functools.cached_property
  def wirings(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """For every node of a cell, the possible sets of its sources. Each set ascends; the sets are in lexicographic order."""
    states = range(self.num_inputs, self.num_inputs + self.num_nodes)
    return tuple(tuple(itertools.combinations(range(state), min(self.edges_per_node, state))) for state in states)

  @property
  def decisions(self) -> tuple[int, ...]:
    """The number of values of each decision, where an architecture is a tuple of integer decisions.

    The decisions go cell by cell and node by node. A node's first decision is the index of its set of sources in `wirings`; it is left out
    if there is only one set. Then comes, for each source in ascending order, the index of the edge's operation in `choices_of`. `decode`
    and `encode` convert. The product of these numbers is the size of the space.
    """
    return self._decisions

  @functools.cached_property
  def _decisions(self) -> tuple[int, ...]:
    node_sizes = [(len(sets),) * (len(sets) > 1) + (self.num_choices,) * len(sets[0]) for sets in self.wirings]
    return tuple(itertools.chain.from_iterable(node_sizes)) * len(self.cells)

  def arch_shape(self) -> tuple[int, int]:
    """Shape (edges, operations) of the architecture parameters of one cell."""
    return len(self.edges), len(self.operations)

  @property
  def arch_shapes(self) -> dict[str, tuple[int, int]]:
    """See `spaces.Space`; the groups are the cell types."""
    return dict.fromkeys(self.cells, self.arch_shape())

  def columns_of(self, group: str) -> tuple[str, ...]:
    """See `spaces.Space`."""
    return self.operations

  def without(self, names: Sequence[str]) -> "CellSpace":
    """Returns the space without some operations. It keeps its name, since its genotypes are also genotypes of this space.

    Raises:
      InputError: if the space lacks one of the operations, or if no operation other than `none` would be left.
    """
    for name in names:
      if name not in self.operations:
        raise InputError(unknown_name("operation", name, self.operations))
    left = tuple(name for name in self.operations if name not in names)
    if not set(left) - {NONE}:
      raise InputError(f"space '{self.name}' has no operations but {', '.join(names)}, so keep at least one of them.")
    if self.edge_choices is None:
      return dataclasses.replace(self, operations=left)
    kept = tuple(tuple(tuple(name for name in choices if name in left) for choices in edges) for edges in self.edge_choices)
    if len({len(choices) for edges in kept for choices in edges}) > 1:
      hint = "name operations that all edges have"
      raise InputError(f"space '{self.name}': without {', '.join(names)} some edges would have fewer operations than others; {hint}.")
    return dataclasses.replace(self, operations=left, edge_choices=kept)

  def decode(self, decisions: Sequence[int]) -> Genotype:
    """Returns the architecture with these values of `decisions`. Raises InputError if their number is wrong or one is out of range."""
    try:
      numbers = [operator.index(value) for value in decisions]
    except TypeError:  # not a sequence of integers
      numbers = []
    if len(numbers) != len(self.decisions) or not all(0 <= value < size for value, size in zip(numbers, self.decisions, strict=True)):
      raise InputError(f"decisions {shown(decisions)} are not an architecture of space '{self.name}'; it has {shown(self.decisions)}.")
    values = iter(numbers)
    cells: list[tuple[str, CellGenotype]] = []
    for cell_type in self.cells:
      nodes: list[tuple[Edge, ...]] = []
      for target, sets in enumerate(self.wirings, self.num_inputs):
        sources = sets[next(values) if len(sets) > 1 else 0]
        nodes.append(tuple(Edge(self.choices_of(cell_type, (source, target))[next(values)], source) for source in sources))
      cells.append((cell_type, CellGenotype(tuple(nodes), self.concat)))
    return Genotype(self.name, tuple(cells))

  def encode(self, genotype: Genotype) -> tuple[int, ...]:
    """Returns the values of an architecture's `decisions`; the inverse of `decode`. The order of a node's edges does not matter.

    Raises:
      InputError: if `decode` cannot return the architecture, for instance because it has a forbidden `none` or another `concat`.
    """
    values: list[int] = []
    try:
      if genotype.space != self.name:
        raise ValueError
      for cell_type, (name, cell) in zip(self.cells, genotype.cells, strict=True):
        if name != cell_type or cell.concat != self.concat:
          raise ValueError
        for target, (sets, node) in enumerate(zip(self.wirings, cell.nodes, strict=True), self.num_inputs):
          edges = sorted(node, key=_source)
          wiring = sets.index(tuple(edge.source for edge in edges))
          values += [wiring] if len(sets) > 1 else []
          values += [self.choices_of(cell_type, (edge.source, target)).index(edge.operation) for edge in edges]
    except ValueError:
      raise self._not_own(genotype) from None
    return tuple(values)

  def parse(self, value: str | Mapping[str, Any], where: str = "genotype") -> Genotype:
    """Reads a genotype of this space, in the forms of `core.genotype.parse` or the form of `notation`. `validate` checks it.

    Args:
      value: text, or an object read from JSON; it may name another space.
      where: how an error names the input.

    Raises:
      InputError: if the value is no genotype.
    """
    return genotypes.parse(value, self.name, self._edges_of_nodes, where)

  def from_lists(self, cells: Mapping[str, tuple[Any, Any]], where: str = "genotype") -> Genotype:
    """Builds a genotype of this space from edge lists; see `core.genotype.from_lists`."""
    return genotypes.from_lists(self.name, self._edges_of_nodes, cells, where)

  @property
  def _edges_of_nodes(self) -> tuple[int, ...]:
    return tuple(len(sets[0]) for sets in self.wirings)

  def notation(self, genotype: Genotype) -> str:
    """Returns an architecture as one line, in the notation of the literature on this space. `parse` reads it back."""
    return str(genotype)

  def sample(self, rng: np.random.Generator) -> Genotype:
    """Draws an architecture: the sources of a node without replacement, its operations uniformly from `choices_of`."""
    if all(len(sets) == 1 for sets in self.wirings):  # only operations vary: one draw for all
      return self.decode(rng.integers(self.num_choices, size=len(self.decisions)).tolist())
    cells: list[tuple[str, CellGenotype]] = []
    for cell_type in self.cells:
      nodes: list[tuple[Edge, ...]] = []
      for node in range(self.num_nodes):
        sources = rng.choice(self.num_inputs + node, size=min(self.edges_per_node, self.num_inputs + node), replace=False)
        ends = [(int(source), self.num_inputs + node) for source in sorted(sources)]
        nodes.append(tuple(Edge(self.choices_of(cell_type, end)[rng.integers(self.num_choices)], end[0]) for end in ends))
      cells.append((cell_type, CellGenotype(tuple(nodes), self.concat)))
    return Genotype(self.name, tuple(cells))

  def mutate(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
    """Returns the genotype with one edge replaced. Draws the edge uniformly, then its replacement uniformly from all possible ones.

    Raises:
      InputError: if no edge can be changed, since the space has a single architecture; or the genotype is of another space.
    """
    self._check_own(genotype)
    several = self.num_choices > 1
    places = [place for place in _places(genotype) if several or self._replacements(genotype, place)]
    if not places:
      raise InputError(f"space '{self.name}' has a single architecture, so there is no other; give the space more operations.")
    place = places[rng.integers(len(places))]
    replacements = self._replacements(genotype, place)
    return self._with_edge(genotype, place, replacements[rng.integers(len(replacements))])

  def neighbours(self, genotype: Genotype) -> tuple[Genotype, ...]:
    """Returns the architectures that differ from this one in the operation or the source of one edge, ordered by edge.

    Raises:
      InputError: if the genotype is of another space.
    """
    self._check_own(genotype)
    return tuple(self._with_edge(genotype, place, edge) for place in _places(genotype) for edge in self._replacements(genotype, place))

  def validate(self, genotype: Genotype, operations: tuple[str, ...] | None = None, where: str = "genotype") -> Genotype:
    """Checks that a genotype is a network of this space, and returns it.

    Args:
      genotype: the architecture.
      operations: names that an edge may use; None stands for the operations of the space.
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
      self._validate_cell(name, genotype[name], operations, f"{where}, cell '{name}'")
    return genotype

  def _validate_cell(self, cell_type: str, cell: CellGenotype, operations: tuple[str, ...] | None, where: str) -> None:
    num_states = self.num_inputs + len(cell.nodes)
    if not cell.nodes or not cell.concat:
      raise InputError(f"{where}: it has no {'output' if cell.nodes else 'nodes'}; give it at least one.")
    for index, node in enumerate(cell.nodes):
      target = self.num_inputs + index
      if not node:
        raise InputError(f"{where}: node {target} has no input; give it at least one edge.")
      for operation, source in node:
        known = operations or self.operations
        if operations is None and self.edge_choices and (source, target) in self.edges:
          known = self.choices_of(cell_type, (source, target))
        if operation not in known:
          raise InputError(f"{where}, node {target}: {unknown_name('operation', operation, known)}")
        if not 0 <= source < num_states:
          raise InputError(f"{where}: node {target} has an edge from node {source}, which does not exist; sources are 0 to {target - 1}.")
        if source >= target:
          raise InputError(f"{where}: node {target} has an edge from node {source}, which makes a cycle; sources are 0 to {target - 1}.")
    first, kind = (0, "state") if self.inputs_in_concat else (self.num_inputs, "node")
    for state in cell.concat:
      if not first <= state < num_states:
        raise InputError(f"{where}: concat names {kind} {state}; the {kind}s are {first} to {num_states - 1}.")

  def _check_own(self, genotype: Genotype) -> None:
    if genotype.space != self.name or tuple(name for name, _ in genotype.cells) != self.cells:
      raise self._not_own(genotype)

  def _not_own(self, genotype: Genotype) -> InputError:
    return InputError(f"{shown(str(genotype))} is not an architecture of space '{self.name}'; give one of that space.")

  def _replacements(self, genotype: Genotype, place: "_Place") -> list[Edge]:
    """Returns the possible replacements of an edge: another operation, or another source that the node does not read yet.

    An edge from another source keeps its operation if it may have it there; else it takes any that it may have.
    """
    cell, node, number = place
    edges = genotype.cells[cell][1].nodes[node]
    operation, source = edges[number]
    cell_type, target, taken = genotype.cells[cell][0], self.num_inputs + node, [edge.source for edge in edges]
    out = [Edge(name, source) for name in self.choices_of(cell_type, (source, target)) if name != operation]
    for other in range(target):
      if other not in taken:
        choices = self.choices_of(cell_type, (other, target))
        out += [Edge(name, other) for name in ([operation] if operation in choices else choices)]
    return out

  def _with_edge(self, genotype: Genotype, place: "_Place", edge: Edge) -> Genotype:
    cell, node, number = place
    cell_type, old = genotype.cells[cell]
    edges = sorted((*old.nodes[node][:number], edge, *old.nodes[node][number + 1 :]), key=_source)
    new = CellGenotype((*old.nodes[:node], tuple(edges), *old.nodes[node + 1 :]), old.concat)
    return Genotype(genotype.space, (*genotype.cells[:cell], (cell_type, new), *genotype.cells[cell + 1 :]))


_Place = tuple[int, int, int]
"""Position of an edge in a genotype: number of the cell, of the node, and of the edge in the node."""

_source = operator.attrgetter("source")


def _places(genotype: Genotype) -> Iterator[_Place]:
  for cell, (_, value) in enumerate(genotype.cells):
    for node, edges in enumerate(value.nodes):
      yield from ((cell, node, number) for number in range(len(edges)))
