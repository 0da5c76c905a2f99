"""The space of NAS-Bench-201: its architectures, their standard strings, and a canonical text of each distinct network.

A cell is a complete graph over four states. Every edge applies one of five operations, `none` included. The last state is the output.
So there are 5^6 = 15,625 architectures. Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
Search", ICLR 2020, section 2.
"""

import re
from collections.abc import Mapping
from typing import Any

from dnas.cells.registries import SPACES
from dnas.core.errors import InputError, counted, shown, unknown_name
from dnas.core.genotype import CellGenotype, Edge, Genotype
from dnas.core.space import NONE, CellSpace


class NasBench201(CellSpace):
  """The space of NAS-Bench-201. It also reads the benchmark's own notation, and writes it where it can."""

  def parse(self, value: str | Mapping[str, Any], where: str = "genotype") -> Genotype:
    """See `CellSpace`."""
    if isinstance(value, str) and value.lstrip().startswith("|"):
      return from_string(value, where)
    return super().parse(value, where)

  def notation(self, genotype: Genotype) -> str:
    """See `CellSpace`. A cell that is not in the benchmark is written in the common form."""
    try:
      return to_string(genotype)
    except InputError:
      return super().notation(genotype)


SPACE = NasBench201(
  name="nasbench201",
  cells=("cell",),
  operations=(NONE, "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
  num_inputs=1,
  num_nodes=3,
  edges_per_node=3,
  none_allowed=True,
  num_outputs=1,
  pool_norm=False,
)
SPACES.register(SPACE.name)(SPACE)
_SKIP, _CONVOLUTIONS = "skip_connect", ("nor_conv_1x1", "nor_conv_3x3")

_EDGE = re.compile(r"([^|~+]+)~(\d{1,3})")


def to_string(genotype: Genotype) -> str:
  """Returns the standard form `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`; `from_string` reads it back.

  Raises:
    InputError: if the genotype is not of this space.
  """
  operations = iter(SPACE.encode(genotype))
  names = SPACE.choices
  return "+".join("".join(f"|{names[next(operations)]}~{source}" for source in range(target)) + "|" for target in range(1, 4))


def from_string(text: str, where: str = "architecture") -> Genotype:
  """Reads the standard form.

  Args:
    text: the architecture, such as `|skip_connect~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|`.
    where: how an error names the input.

  Raises:
    InputError: if the text does not parse, names an unknown operation, or does not list every earlier state of each node in order.
  """
  if not isinstance(text, str):
    raise InputError(f"{where}: {shown(text)} is not text; write an architecture as |op~0|+|op~0|op~1|+|op~0|op~1|op~2|.")
  parts = text.strip().split("+")
  if len(parts) != SPACE.num_nodes:
    nodes = counted(len(parts), "node")
    raise InputError(f"{where}: {shown(text)} has {nodes} between its '+'; write three, as |op~0|+|op~0|op~1|+|op~0|op~1|op~2|.")
  nodes = []
  for target, part in enumerate(parts, start=1):
    matches = [_EDGE.fullmatch(edge) for edge in part[1:-1].split("|")]
    if part[:1] != "|" or part[-1:] != "|" or None in matches:
      raise InputError(f"{where}: node {target} of {shown(text)} is {shown(part)}; write its edges as |op~0|op~1|.")
    edges = tuple(Edge(match[1], int(match[2])) for match in matches if match)
    for operation, _ in edges:
      if operation not in SPACE.operations:
        raise InputError(f"{where}, node {target}: {unknown_name('operation', operation, SPACE.operations)}")
    if [source for _, source in edges] != list(range(target)):
      expected = "|".join(f"op~{source}" for source in range(target))
      raise InputError(f"{where}: node {target} of {shown(text)} reads {[e.source for e in edges]}; give it |{expected}|, in this order.")
    nodes.append(edges)
  return Genotype(SPACE.name, ((SPACE.cells[0], CellGenotype(tuple(nodes), SPACE.concat)),))


def canonical(genotype: Genotype) -> str:
  """Returns a text that is equal for two architectures exactly if they are the same network, regardless of node numbers.

  The text is the output as a sum of sorted terms, followed by the term of every convolution that contributes. This list tells one
  convolution used twice from two convolutions of the same form. The text omits edges that are `none` or lie on no path from input to
  output. A skip contributes the terms of its source. There are 5,260 such texts; 341 cells compute nothing, and theirs is `0`.

  The paper counts 6,466 by another rule: an edge without input leaves a mark in the sum, a skipped sum loses its brackets but is not
  sorted again, and a shared convolution counts as two.

  Raises:
    InputError: if the genotype is not of this space.
  """
  operations = (SPACE.choices[number] for number in SPACE.encode(genotype))
  states: list[tuple[list[str], set[_Convolution]]] = [(["x"], set())]
  for target in range(1, 4):
    terms, used = [], set()
    for source, operation in zip(range(target), operations, strict=False):
      source_terms, source_used = states[source]
      if operation == NONE or not source_terms:
        continue
      used |= source_used
      if operation == _SKIP:
        terms += source_terms
      else:
        terms.append(f"{operation}({'+'.join(source_terms)})")
        used |= {(target, source, terms[-1])} if operation in _CONVOLUTIONS else set()
    states.append((sorted(terms), used))
  terms, used = states[-1]
  return "; ".join(["+".join(terms) or "0", *sorted(term for _, _, term in used)])


_Convolution = tuple[int, int, str]
"""A convolution of a cell: (target, source, term)."""
