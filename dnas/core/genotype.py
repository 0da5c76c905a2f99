"""Genotypes: discrete architectures as values.

A genotype lists the edges that enter each intermediate node of each cell. An edge is an operation applied to an earlier state. States are
numbered as in the published code: first the cell's inputs (0 and 1 in a convolutional cell), then its nodes.
"""

# What JSON and users give has no type, and can have another type than the annotated one.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnnecessaryIsInstance=false

import abc
import ast
import collections
import dataclasses
import itertools
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dnas.core.errors import InputError, shown


class Architecture(abc.ABC):
  """An architecture of a space: a hashable value that knows the name of its space."""

  space: str

  @abc.abstractmethod
  def to_json(self) -> str:
    """Returns the architecture as one line of JSON, which the `parse` of its space reads back."""


class Edge(NamedTuple):
  """One edge of a discrete cell: `operation` applied to state number `source`."""

  operation: str
  source: int


@dataclasses.dataclass(frozen=True)
class CellGenotype:
  """A discrete cell.

  Attributes:
    nodes: the edges that enter each intermediate node, in the order of the nodes.
    concat: numbers of the states whose concatenation (or mean, in a recurrent cell) is the output.

  Values of other types raise InputError.
  """

  nodes: tuple[tuple[Edge, ...], ...]
  concat: tuple[int, ...]

  def __post_init__(self):
    nested = isinstance(self.nodes, tuple) and all(isinstance(node, tuple) for node in self.nodes)
    if not nested or not all(_is_edge(edge) for node in self.nodes for edge in node):
      raise InputError(f"a cell has the nodes {shown(self.nodes)}; give each node as a tuple of Edge(operation name, source number).")
    if not isinstance(self.concat, tuple) or not all(map(_is_number, self.concat)):
      raise InputError(f"a cell has the concat {shown(self.concat)}; give a tuple of state numbers.")


@dataclasses.dataclass(frozen=True)
class Genotype(Architecture):
  """A discrete architecture: one cell per cell type of a space.

  Attributes:
    space: the name of the genotype's space.
    cells: pairs of cell type and cell, in the order of the space.

  Values of other types raise InputError.

  >>> genotype = dnas.IMAGE_GENOTYPES["DARTS_V2"]
  >>> genotype.space, [name for name, _ in genotype.cells]
  ('darts_conv', ['normal', 'reduce'])
  >>> genotype.cells[0][1].nodes[0]
  (Edge(operation='sep_conv_3x3', source=0), Edge(operation='sep_conv_3x3', source=1))
  """

  space: str
  cells: tuple[tuple[str, CellGenotype], ...]

  def __post_init__(self):
    if not isinstance(self.space, str):
      raise InputError(f"a genotype has the space {shown(self.space)}; give its name.")
    if not isinstance(self.cells, tuple) or not all(map(_is_named_cell, self.cells)):
      raise InputError(f"a genotype has the cells {shown(self.cells)}; give a tuple of pairs (cell type, CellGenotype).")

  def __getitem__(self, cell_type: str) -> CellGenotype:
    return dict(self.cells)[cell_type]

  def to_json(self) -> str:
    """Returns the genotype as one line of JSON; `parse` reads it back."""
    cells = {
      name: {"nodes": [[list(edge) for edge in node] for node in cell.nodes], "concat": list(cell.concat)} for name, cell in self.cells
    }
    return json.dumps({"space": self.space, "cells": cells})

  def __str__(self) -> str:
    """The form that the DARTS papers print: Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, ...], ...).

    In their cells all nodes have the same number of edges, so a flat list is enough. Other cells list nodes: cell=[[...], [...], ...].
    """
    sizes = {len(node) for _, cell in self.cells for node in cell.nodes}
    flat = sizes == {_PAPERS.get(tuple(name for name, _ in self.cells))}
    fields: list[str] = []
    for name, cell in self.cells:
      prefix = "" if len(self.cells) == 1 else f"{name}_"
      nodes = [[tuple(edge) for edge in node] for node in cell.nodes]
      fields.append(f"{name}={list(itertools.chain.from_iterable(nodes)) if flat else nodes}")
      fields.append(f"{prefix}concat={list(cell.concat)}")
    return f"Genotype({', '.join(fields)})"


_PAPERS: Mapping[tuple[str, ...], int] = {("normal", "reduce"): 2, ("recurrent",): 1}
"""Cell types of the DARTS papers to the number of edges that enter each node."""


def from_lists(space: str, edges: Sequence[int], cells: Mapping[str, tuple[Any, Any]], where: str = "genotype") -> Genotype:
  """Builds a genotype from the lists of the published form.

  Args:
    space: name of the space.
    edges: for each node of the space's cells, the number of edges that enter it. A flat list is divided by these numbers; further nodes
      take the last number. Empty if no space is known.
    cells: cell type to (list of (operation, source), or list of such lists, one for every node; concatenated states).
    where: how an error names the input.

  Raises:
    InputError: if a flat list is not a whole number of nodes, or an entry is not an (operation, source) pair.
  """
  pairs = isinstance(cells, Mapping) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in cells.values())
  if not pairs or not all(isinstance(name, str) for name in cells):
    raise InputError(f"{where}: {shown(cells)} is not a mapping of cell types to pairs (edges, concatenated states); give one.")
  out: list[tuple[str, CellGenotype]] = []
  for name, (listed, concat) in cells.items():
    here = f"{where}, cell '{name}'"
    nodes = listed if _is_nested(listed) else _divided(_checked_edges(listed, here), edges, here)
    checked = tuple(tuple(_checked_edges(node, f"{here}, node {index}")) for index, node in enumerate(nodes))
    out.append((name, CellGenotype(checked, _checked_concat(concat, here))))
  return Genotype(space, tuple(out))


def _is_nested(listed: Any) -> bool:
  """Returns whether a list holds lists of pairs, and not pairs."""
  return isinstance(listed, list | tuple) and all(
    isinstance(node, list | tuple) and all(isinstance(edge, list | tuple) for edge in node) for node in listed
  )


def _divided(listed: list[Edge], edges: Sequence[int], where: str) -> list[list[Edge]]:
  nodes: list[list[Edge]] = []
  rest = listed
  for size in itertools.chain(edges, itertools.repeat(edges[-1])) if edges else ():
    if len(rest) < size:
      break
    nodes.append(rest[:size])
    rest = rest[size:]
  if rest:
    sizes = ", ".join(map(str, edges if len(set(edges)) > 1 else edges[:1])) or "an unknown number"
    raise InputError(f"{where}: {len(listed)} edges do not divide into nodes of {sizes}; give every node a list of its own.")
  return nodes


def parse(value: str | Mapping[str, Any], space: str = "", edges: Sequence[int] = (), where: str = "genotype") -> Genotype:
  """Reads a genotype from JSON or from the published form `Genotype(normal=[...], normal_concat=..., ...)`.

  The text is parsed and never executed. The result is not checked against a space; `CellSpace.validate` does that. `CellSpace.parse` passes
  the `edges` of its space.

  Args:
    value: the genotype as text or as an object read from JSON. It may also be a result with the genotype in its field 'genotype'.
    space: the name of the space, if the value does not name one.
    edges: number of edges that enter each node, for the flat lists of the published form; see `from_lists`.
    where: how an error names the input, for instance the file it came from.

  Raises:
    InputError: if the value is no genotype.
  """
  if isinstance(value, Mapping):
    return _from_object(value, space, edges, where)
  if not isinstance(value, str):
    raise InputError(f"{where}: {shown(value)} is not a genotype; give an object with 'cells', or text.")
  text = value.strip()
  if len(text) > _MAX_LENGTH:
    raise InputError(f"{where}: {len(text)} characters are too many for a genotype; give at most {_MAX_LENGTH}.")
  if text.startswith("{"):
    return _from_object(_json_object(text, where), space, edges, where)
  if text.startswith("Genotype("):
    return _parse_published(text, space, edges, where)
  raise InputError(f"{where}: {text[:60]!r} is not a genotype; give JSON with 'cells', or the published 'Genotype(normal=[...], ...)'.")


_MAX_LENGTH = 100_000
_MAX_DIGITS = 20  # of an integer; Python does not print very long ones
_MAX_STATES = 10_000  # in a `range`; more would only waste memory


def _json_object(text: str, where: str) -> dict[str, Any]:
  def number(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
      raise InputError(f"{where}: {digits[:_MAX_DIGITS]}... is not the number of a state; write it as ['skip_connect', 0].")
    return int(digits)

  def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in collections.Counter(name for name, _ in pairs).items():
      if count > 1:
        raise InputError(f"{where}: {shown(name)} is given {count} times; give it once.")
    return dict(pairs)

  try:
    return json.loads(text, parse_int=number, object_pairs_hook=no_duplicates)
  except json.JSONDecodeError as e:
    raise InputError(f"{where}: not valid JSON at line {e.lineno}, column {e.colno}: {e.msg}; correct it there.") from None
  except RecursionError:
    raise InputError(f"{where}: {text[:60]!r} is nested too deeply for a genotype; give 'cells' with 'nodes' and 'concat'.") from None


def _from_object(value: Mapping[str, Any], space: str, edges: Sequence[int], where: str) -> Genotype:
  if "cells" not in value and isinstance(value.get("genotype"), str | Mapping):
    inner = value["genotype"]
    if isinstance(inner, Mapping) and "cells" not in inner:
      raise InputError(f"{where}: field 'genotype' has no 'cells'; it maps a cell type to its 'nodes' and 'concat'.")
    return parse(inner, space, edges, where)
  space, cells = value.get("space", space), value.get("cells")
  if not isinstance(space, str):
    raise InputError(f"{where}: field 'space' is {shown(space)}; give the name of a space in quotes.")
  if not isinstance(cells, dict) or not cells:
    raise InputError(f"{where}: field 'cells' is missing or empty; it maps a cell type to its 'nodes' and 'concat'.")
  out: list[tuple[str, CellGenotype]] = []
  for name, cell in cells.items():
    here = f"{where}, cell {shown(name)}"
    if not isinstance(cell, dict) or not isinstance(cell.get("nodes"), list):
      raise InputError(f"{here}: field 'nodes' is missing; it lists, for every node, its [operation, source] pairs.")
    nodes = tuple(tuple(_checked_edges(node, f"{here}, node {i}")) for i, node in enumerate(cell["nodes"]))
    out.append((name, CellGenotype(nodes, _checked_concat(cell.get("concat"), here))))
  return Genotype(space, tuple(out))


def _parse_published(text: str, space: str, edges: Sequence[int], where: str) -> Genotype:
  try:
    fields = _published_fields(text)
  except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):  # the parser runs out of memory on deep nesting
    form = "Genotype(name=[(operation, source), ...], name_concat=[...])"
    raise InputError(f"{where}: {text[:60]!r} does not parse as '{form}'; write it in that form.") from None
  for name, values in fields.items():
    if len(values) > 1:
      raise InputError(f"{where}: '{name}' is given {len(values)} times; give it once.")
  names = [name for name in fields if not name.endswith("concat")]
  if not names:
    raise InputError(f"{where}: {text[:60]!r} names no cell; give 'normal=[...]' and 'reduce=[...]', or 'recurrent=[...]'.")
  concats = {name: "concat" if len(names) == 1 and "concat" in fields else f"{name}_concat" for name in names}
  for name in fields:
    if name not in names and name not in concats.values():
      raise InputError(f"{where}: '{name}' belongs to no cell; the cells are {', '.join(names)}, so give {', '.join(concats.values())}.")
  for concat in concats.values():
    if concat not in fields:
      raise InputError(f"{where}: '{concat}' is missing; write it as {concat}=[2, 3, 4, 5].")
  return from_lists(space, edges, {name: (fields[name][0], fields[concats[name]][0]) for name in names}, where)


def _published_fields(text: str) -> dict[str, list[Any]]:
  """Returns keyword to its values in the call of `Genotype`. Raises one of several built-in errors if the text is not such a call."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the parser warns of a bad escape in a string
    call = ast.parse(text, mode="eval").body
  if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
    raise ValueError
  fields: dict[str, list[Any]] = {}
  for keyword in call.keywords:
    if keyword.arg is None:
      raise ValueError
    fields.setdefault(keyword.arg, []).append(_literal(keyword.value))
  return fields


def _literal(node: ast.AST) -> Any:
  """Evaluates a literal or a call of `range` with literal arguments; published genotypes contain both."""
  for part in ast.walk(node):
    if isinstance(part, ast.Constant) and isinstance(part.value, int) and part.value >= 10**_MAX_DIGITS:
      raise ValueError
  if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
    numbers = range(*(ast.literal_eval(argument) for argument in node.args))
    if numbers[_MAX_STATES:]:
      raise ValueError
    return list(numbers)
  return ast.literal_eval(node)


def _checked_edges(edges: Any, where: str) -> list[Edge]:
  if not isinstance(edges, list | tuple):
    raise InputError(f"{where}: {shown(edges)} is not a list of (operation, source) pairs; give one.")
  out: list[Edge] = []
  for edge in edges:
    pair = isinstance(edge, list | tuple) and len(edge) == 2
    if not pair or not isinstance(edge[0], str) or not _is_number(edge[1]):
      raise InputError(f"{where}: edge {shown(edge)} is not a pair (operation name, source number); write it as ('skip_connect', 0).")
    out.append(Edge(*edge))
  return out


def _checked_concat(concat: Any, where: str) -> tuple[int, ...]:
  if not isinstance(concat, list | tuple) or not concat or not all(_is_number(state) for state in concat):
    raise InputError(f"{where}: concat {shown(concat)} is not a list of state numbers; write it as [2, 3, 4, 5].")
  return tuple(concat)


def _is_edge(value: Any) -> bool:
  return isinstance(value, Edge) and isinstance(value.operation, str) and _is_number(value.source)


def _is_named_cell(value: Any) -> bool:
  return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], CellGenotype)


def _is_number(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_MAX_DIGITS
