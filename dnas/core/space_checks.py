"""Checks of the fields of a `CellSpace`."""

# The fields may have any type here.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import collections
import itertools
import keyword
import math
import unicodedata
from typing import Any

from dnas.core.config import check
from dnas.core.errors import shown
from dnas.core.registry import NAME_RULE, is_name

_MOST_STATES, _MOST_WIRINGS = 100, 1_000_000  # of a cell; `edges` and `wirings` list them


def _is_whole(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def check_fields(space: Any) -> None:
  """Raises FieldError for the first field of a `CellSpace` that does not fit."""
  check(is_name(space.name), "name", shown(space.name), NAME_RULE)
  for field, values in (("cells", space.cells), ("operations", space.operations)):
    fits = isinstance(values, tuple) and values and all(isinstance(value, str) and value for value in values)
    check(bool(fits), field, shown(values), "give a tuple of names, at least one")
    twice = sorted(value for value, count in collections.Counter(values).items() if count > 1)
    check(not twice, field, shown(values), f"'{(twice or [''])[0]}' is given twice; give it once")
  for cell in space.cells:  # a printed genotype has the keywords CELL and CELL_concat
    plain = unicodedata.normalize("NFKC", cell) == cell  # Python normalizes identifiers
    fits = plain and cell.isidentifier() and not keyword.iskeyword(cell) and not cell.endswith("concat")
    check(fits, "cells", shown(space.cells), f"name a cell by a word that does not end in 'concat', and not {shown(cell)}")
  check(all(map(is_name, space.operations)), "operations", shown(space.operations), NAME_RULE)
  for field in ("num_inputs", "num_nodes", "edges_per_node"):
    value = getattr(space, field)
    check(_is_whole(value) and value >= 1, field, shown(value), "give a whole number, at least 1")
  states = space.num_inputs + space.num_nodes
  hint = f"a cell of {shown(states)} states is too large; give it at most {_MOST_STATES}"
  check(states <= _MOST_STATES, "num_nodes", space.num_nodes, hint)
  wirings = sum(math.comb(state, min(space.edges_per_node, state)) for state in range(space.num_inputs, states))
  hint = f"the nodes have {wirings:,} sets of sources; give fewer edges or nodes"
  check(wirings <= _MOST_WIRINGS, "edges_per_node", space.edges_per_node, hint)
  for field in ("none_allowed", "pool_norm", "inputs_in_concat"):
    check(isinstance(getattr(space, field), bool), field, shown(getattr(space, field)), "give True or False")
  outputs = space.num_outputs
  fits = outputs is None or (_is_whole(outputs) and 1 <= outputs <= space.num_nodes)
  check(fits, "num_outputs", shown(outputs), f"give None for all nodes, or a whole number from 1 to {space.num_nodes}")
  hint = "a discrete cell has no edge that is 'none'; give it another operation, or none_allowed=True"
  check(bool(space.choices), "operations", shown(space.operations), hint)
  try:
    hash(space.edge_choices)
    lengths = [len(edges) for edges in space.edge_choices or ()]
    whole = all(isinstance(choices, tuple) for edges in space.edge_choices or () for choices in edges)
  except TypeError:
    whole, lengths = False, []
  check(whole, "edge_choices", shown(space.edge_choices), "give None, or for every cell a tuple with a tuple of names for every edge")
  hint = f"give a tuple for each of {len(space.cells)} cells, with one for each of {len(space.edges)} edges"
  check(space.edge_choices is None or lengths == [len(space.edges)] * len(space.cells), "edge_choices", lengths, hint)
  for choices in itertools.chain.from_iterable(space.edge_choices or ()):
    fits = 0 < len(set(choices)) == len(choices) == space.num_choices and set(choices) <= set(space.choices)
    check(fits, "edge_choices", shown(choices), f"give every edge equally many different ones of {', '.join(space.choices)}")
