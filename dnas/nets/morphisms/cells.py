"""The morphisms of cells: what an edge inherits from the edge that it replaces.

Edges that both architectures have keep their arrays, and so does everything outside of the edges. An exact rule leaves the function of the
network as it is, in inference and in training. Sources: Wei et al., "Network Morphism", ICML 2016 (kernel growth); Goyal et al., "Accurate,
Large Minibatch SGD", 2017, section 5.1 (a branch with a scale of zero); Elsken, Metzen and Hutter, "LEMONADE", ICLR 2019 (approximate).
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from dnas.cells.blocks import on_device
from dnas.cells.functional import Variables
from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Genotype
from dnas.core.registry import Registry
from dnas.core.space import NONE
from dnas.nets.morphisms.base import Inherited, Trained

Tree = Any
Flat = dict[tuple[Any, ...], np.ndarray]
"""Arrays of one edge by their path; each begins with an axis of length 1."""

_FAMILY = re.compile(r"((?:residual_)?sep_conv|dil_conv|nor_conv)_(\d)x\d")
_CONVOLUTION = re.compile(r"(?:sep|dil|nor)_conv_\dx\d")


@dataclasses.dataclass(frozen=True)
class CellMorphism:
  """What the arrays of an edge become if its operation changes.

  Attributes:
    exact: whether the network computes the same function as before.
    applies: maps (old operation, new operation) to whether this is the morphism; an edge that is not there has the operation none.
    carry: maps (arrays of the old edge, new arrays of the new one) to its arrays.
    carry_gradients: the same for momentum, where the new arrays are zeros.
  """

  exact: bool
  applies: Callable[[str, str], bool]
  carry: Callable[[Flat, Flat], Flat]
  carry_gradients: Callable[[Flat, Flat], Flat]


CELL_MORPHISMS: Registry[CellMorphism] = Registry("morphism of cells")
"""Morphisms of cells. The first that applies is the one."""


def _grows(old: str, new: str) -> bool:
  one, other = _FAMILY.fullmatch(old), _FAMILY.fullmatch(new)
  return one is not None and other is not None and one[1] == other[1] and int(one[2]) < int(other[2])


def _padded(old: Flat, new: Flat) -> Flat:
  """Surrounds the kernels with zeros. The arrays of both operations have the same names but for that of the operation."""
  out: Flat = {}
  for path, (array, like) in zip(new, zip(old.values(), new.values(), strict=True), strict=True):
    out[path] = np.pad(array, [((after - before) // 2,) * 2 for before, after in zip(array.shape, like.shape, strict=True)])
  return out


def _silent(old: Flat, new: Flat) -> Flat:
  """Gives the last normalization of a new convolution a scale of zero; its bias is zero too."""
  last = max(path for path in new if path[-1] == "scale" and "skip" not in path)
  return {path: np.zeros_like(array) if path in (last, (*last[:-1], "bias")) else array for path, array in new.items()}


def _beside_skip(old: Flat, new: Flat) -> Flat:
  """Gives the skip connection of the sum the arrays of the old one, and silences the branch."""
  return _skip_kept(old, _silent(old, new))


def _skip_kept(old: Flat, new: Flat) -> Flat:
  own = {(path[0], *path[path.index("skip_connect") + 1 :]): array for path, array in old.items()}
  return {path: own[path[0], *path[path.index("skip") + 1 :]] if "skip" in path else array for path, array in new.items()}


def _new(old: Flat, new: Flat) -> Flat:
  return new


CELL_MORPHISMS.register("unchanged")(
  CellMorphism(True, lambda old, new: old == new, lambda old, new: old, lambda old, new: old)
)
CELL_MORPHISMS.register("cell_kernel_growth")(CellMorphism(True, _grows, _padded, _padded))
CELL_MORPHISMS.register("cell_operation_swap")(
  CellMorphism(True, lambda old, new: old == "skip_connect" and new.startswith("residual_"), _beside_skip, _skip_kept)
)
CELL_MORPHISMS.register("cell_branch")(
  CellMorphism(True, lambda old, new: old == NONE and _CONVOLUTION.fullmatch(new) is not None, _silent, _new)
)
CELL_MORPHISMS.register("cell_replacement")(CellMorphism(False, lambda old, new: True, _new, _new))


def morphism_of(old: str, new: str) -> str:
  """Returns the name of the morphism that turns an edge with one operation into an edge with another."""
  return next(name for name in CELL_MORPHISMS if CELL_MORPHISMS[name].applies(old, new))


def _operation(cell: CellGenotype, source: int, target: int, num_inputs: int) -> str:
  return next((name for name, origin in cell.nodes[target - num_inputs] if origin == source), NONE)


def is_exact(start: Genotype, goal: Genotype, num_inputs: int) -> bool:
  """Returns whether an architecture that inherits from another one computes the same function. Both have the same number of nodes."""
  for (_, before), (_, after) in zip(start.cells, goal.cells, strict=True):
    if before.concat != after.concat:
      return False
    ends = {(source, target) for cell in (before, after) for target, node in enumerate(cell.nodes, num_inputs) for _, source in node}
    for source, target in ends:
      old, new = (_operation(cell, source, target, num_inputs) for cell in (before, after))
      if not CELL_MORPHISMS[morphism_of(old, new)].exact:
        return False
  return True


def _targets(cell: CellGenotype, source: int, num_inputs: int) -> dict[str, list[int]]:
  """Returns operation to the targets of its edges from a state, as `edges.DiscreteEdges` stacks them."""
  found: dict[str, list[int]] = {}
  for target, node in enumerate(cell.nodes, num_inputs):
    for name, origin in node:
      if origin == source and name != NONE:
        found.setdefault(name, []).append(target)
  return found


def _flat(tree: Tree, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
  for key in sorted(tree, key=str):
    if isinstance(tree[key], dict):
      yield from _flat(tree[key], (*path, key))
    else:
      yield (*path, key), np.asarray(tree[key])


def _nested(flat: Flat) -> Tree:
  tree: Tree = {}
  for (*above, last), array in flat.items():
    place = tree
    for key in above:
      place = place.setdefault(key, {})
    place[last] = on_device(array) if np.issubdtype(array.dtype, np.floating) else jax.device_put(array)
  return tree


_Group = tuple[tuple[Any, ...], int, str]
"""The edges of one operation that leave one state of a cell: (path of the cell, number of the state, operation)."""


def _grouped(flat: Flat) -> tuple[Flat, dict[_Group, Flat]]:
  """Returns the arrays outside of the edges, and those of the edges."""
  outside: Flat = {}
  groups: dict[_Group, Flat] = {}
  for path, array in flat.items():
    if "outgoing" not in path:
      outside[path] = array
      continue
    place = path.index("outgoing")
    source, _, operation, *rest = path[place + 1 :]
    groups.setdefault((path[1:place], source, operation), {})[path[0], *rest] = array
  return outside, groups


class Inheritance:
  """Lets the network of one architecture inherit from that of another one; both are of one space and one size."""

  def __init__(self, start: Genotype, goal: Genotype, num_inputs: int, cell_types: Sequence[str]):
    """Prepares the inheritance.

    Args:
      start: the architecture that was trained.
      goal: the architecture that inherits.
      num_inputs: number of input states of a cell.
      cell_types: the types of all cells of the network; not used if there is one type.

    Raises:
      InputError: if the types of the cells are needed and not given.
    """
    if len(goal.cells) > 1 and not cell_types:
      hint = "give its stack the attribute 'cell_types'"
      raise InputError(f"space '{goal.space}' has several types of cells, and its stack does not tell which cell has which; {hint}.")
    self._start, self._goal, self._num_inputs, self._cell_types = start, goal, num_inputs, tuple(cell_types)

  def __call__(self, trained: Trained, fresh: Variables) -> Inherited:
    """Returns the arrays of the network that inherits; where it has nothing to inherit, they are the `fresh` ones."""
    new = {"weights": fresh.weights, "stats": fresh.stats}
    old = {"weights": trained.variables.weights, "stats": trained.variables.stats}
    found = _nested(self._carried(dict(_flat(old)), dict(_flat(new)), of_gradients=False))
    momentum = None
    if trained.momentum is not None:
      zeros = {("weights", *path): np.zeros_like(array) for path, array in _flat(fresh.weights)}
      momentum = _nested(self._carried(dict(_flat({"weights": trained.momentum})), zeros, of_gradients=True))["weights"]
    variables = Variables(found["weights"], found.get("stats", {}))
    return Inherited(Trained(variables, momentum), is_exact(self._start, self._goal, self._num_inputs))

  def _carried(self, old: Flat, new: Flat, of_gradients: bool) -> Flat:
    (outside, groups), (wanted, new_groups) = _grouped(old), _grouped(new)
    out = {path: outside[path] if path in outside and outside[path].shape == array.shape else array for path, array in wanted.items()}
    for (cell, source, operation), arrays in new_groups.items():
      cell_type = self._cell_types[cell[-1]] if self._cell_types else self._goal.cells[0][0]
      before, after = self._start[cell_type], self._goal[cell_type]
      parts: list[Flat] = []
      for edge, target in enumerate(_targets(after, source, self._num_inputs)[operation]):
        former = _operation(before, source, target, self._num_inputs)
        own: Flat = {}
        if former != NONE:
          place = _targets(before, source, self._num_inputs)[former].index(target)
          own = {path: array[place : place + 1] for path, array in groups.get((cell, source, former), {}).items()}
        unit = CELL_MORPHISMS[morphism_of(former, operation)]
        given = {path: array[edge : edge + 1] for path, array in arrays.items()}
        parts.append((unit.carry_gradients if of_gradients else unit.carry)(own, given))
      for side, *rest in arrays:
        joined = np.concatenate([part[side, *rest] for part in parts])
        out[side, *cell, "outgoing", source, "operations", operation, *rest] = joined
    return out
