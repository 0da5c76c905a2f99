"""Genotypes: discrete architectures as values.

A genotype lists, for every intermediate node of every cell, the edges that enter it. An edge is an operation applied to an earlier
state. States are numbered as in the published code: the cell's inputs first (0 and 1 in a convolutional cell), then its nodes.
"""

import ast
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from dnas.core.errors import InputError


class Edge(NamedTuple):
  """One edge of a discrete cell: `operation` applied to state number `source`."""

  operation: str
  source: int


@dataclasses.dataclass(frozen=True)
class CellGenotype:
  """A discrete cell.

  Attributes:
    nodes: for every intermediate node, in order, the edges that enter it.
    concat: numbers of the states whose concatenation (or mean, in a recurrent cell) is the output.
  """

  nodes: tuple[tuple[Edge, ...], ...]
  concat: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Genotype:
  """A discrete architecture: one cell per cell type of a space.

  Attributes:
    space: the name of the space that it belongs to.
    cells: pairs of cell type and cell, in the order of the space.
  """

  space: str
  cells: tuple[tuple[str, CellGenotype], ...]

  def __getitem__(self, cell_type: str) -> CellGenotype:
    return dict(self.cells)[cell_type]

  def to_json(self) -> str:
    """Returns the genotype as one line of JSON; `parse` reads it back."""
    cells = {
      name: {"nodes": [[list(edge) for edge in node] for node in cell.nodes], "concat": list(cell.concat)} for name, cell in self.cells
    }
    return json.dumps({"space": self.space, "cells": cells})

  def __str__(self) -> str:
    """The form that the DARTS papers print: Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, ...], ...)."""
    fields = []
    for name, cell in self.cells:
      prefix = "" if len(self.cells) == 1 else f"{name}_"
      fields.append(f"{name}={[tuple(edge) for node in cell.nodes for edge in node]}")
      fields.append(f"{prefix}concat={list(cell.concat)}")
    return f"Genotype({', '.join(fields)})"


def from_edge_lists(
  space: str, edges_per_node: int, cells: Mapping[str, tuple[list[tuple[str, int]], list[int]]], where: str = "genotype"
) -> Genotype:
  """Builds a genotype from flat edge lists, the form of the published code.

  Args:
    space: name of the space.
    edges_per_node: how many consecutive edges enter one node.
    cells: cell type to (flat list of (operation, source), concatenated states).
    where: how an error names the input.

  Raises:
    InputError: if a list is not a whole number of nodes, or an entry is not an (operation, source) pair.
  """
  out = []
  for name, (edges, concat) in cells.items():
    edges = _checked_edges(edges, f"{where}, cell '{name}'")
    if len(edges) % edges_per_node:
      raise InputError(f"{where}, cell '{name}': {len(edges)} edges do not divide into nodes of {edges_per_node}; give every node its edges.")
    nodes = tuple(tuple(edges[i : i + edges_per_node]) for i in range(0, len(edges), edges_per_node))
    out.append((name, CellGenotype(nodes, _checked_concat(concat, f"{where}, cell '{name}'"))))
  return Genotype(space, tuple(out))


def parse(text: str, space: str, edges_per_node: int, where: str = "genotype") -> Genotype:
  """Reads a genotype from JSON or from the published form `Genotype(normal=[...], normal_concat=..., ...)`.

  The text is parsed and never run. The result is not yet checked against a space: `CellSpace.validate` does that.

  Args:
    text: the genotype.
    space: the name of the space, used where the text does not name one.
    edges_per_node: edges that enter a node, used by the published form, whose lists are flat.
    where: how an error names the input, for instance the file it came from.

  Raises:
    InputError: if the text does not parse.
  """
  text = text.strip()
  if text.startswith("{"):
    return _parse_json(text, space, where)
  if text.startswith("Genotype("):
    return _parse_published(text, space, edges_per_node, where)
  raise InputError(f"{where}: {text[:60]!r} is not a genotype; give JSON with 'cells', or the published form 'Genotype(normal=[...], ...)'.")


def _parse_json(text: str, space: str, where: str) -> Genotype:
  try:
    value = json.loads(text)
  except json.JSONDecodeError as e:
    raise InputError(f"{where}: not valid JSON at line {e.lineno}, column {e.colno}: {e.msg}; mend it there.") from None
  cells = value.get("cells")
  if not isinstance(cells, dict) or not cells:
    raise InputError(f"{where}: field 'cells' is missing or empty; it maps a cell type to its 'nodes' and 'concat'.")
  out = []
  for name, cell in cells.items():
    here = f"{where}, cell '{name}'"
    if not isinstance(cell, dict) or not isinstance(cell.get("nodes"), list):
      raise InputError(f"{here}: field 'nodes' is missing; it lists, for every node, its [operation, source] pairs.")
    nodes = tuple(tuple(_checked_edges(node, f"{here}, node {i}")) for i, node in enumerate(cell["nodes"]))
    out.append((name, CellGenotype(nodes, _checked_concat(cell.get("concat"), here))))
  return Genotype(str(value.get("space", space)), tuple(out))


def _parse_published(text: str, space: str, edges_per_node: int, where: str) -> Genotype:
  try:
    call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call) or call.args:
      raise ValueError
    fields = {keyword.arg: _literal(keyword.value) for keyword in call.keywords}
  except (SyntaxError, ValueError, TypeError, RecursionError):
    raise InputError(f"{where}: {text[:60]!r} does not parse as 'Genotype(name=[(operation, source), ...], name_concat=[...])'; mend it.") from None
  names = [name for name in fields if name and not name.endswith("concat")]
  if not names:
    raise InputError(f"{where}: {text[:60]!r} names no cell; give 'normal=[...]' and 'reduce=[...]', or 'recurrent=[...]'.")
  cells = {name: (fields[name], fields.get(f"{name}_concat", fields.get("concat"))) for name in names}
  return from_edge_lists(space, edges_per_node, cells, where)


def _literal(node: ast.AST) -> Any:
  """Evaluates a literal, or a call of `range` with literal arguments; the published genotypes hold both."""
  if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
    return list(range(*(ast.literal_eval(argument) for argument in node.args)))
  return ast.literal_eval(node)


def _checked_edges(edges: Any, where: str) -> list[Edge]:
  if not isinstance(edges, (list, tuple)):
    raise InputError(f"{where}: {edges!r} is not a list of (operation, source) pairs; give one.")
  out = []
  for edge in edges:
    pair = isinstance(edge, (list, tuple)) and len(edge) == 2
    if not pair or not isinstance(edge[0], str) or not isinstance(edge[1], int) or isinstance(edge[1], bool):
      raise InputError(f"{where}: edge {edge!r} is not a pair (operation name, source number); write it as ('skip_connect', 0).")
    out.append(Edge(*edge))
  return out


def _checked_concat(concat: Any, where: str) -> tuple[int, ...]:
  valid = isinstance(concat, (list, tuple)) and concat and all(isinstance(i, int) and not isinstance(i, bool) for i in concat)
  if not valid:
    raise InputError(f"{where}: concat {concat!r} is not a list of state numbers; write it as [2, 3, 4, 5].")
  return tuple(concat)
