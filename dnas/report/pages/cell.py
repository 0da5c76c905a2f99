"""Drawings of architectures for pages: as SVG, whose colours are those of the style sheet, or as a list of choices.

Coordinates are points, 72 to the inch; the layout is that of `report.draw`.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from dnas.core.choice_space import ChoiceGenotype
from dnas.core.genotype import CellGenotype
from dnas.core.space import NONE
from dnas.report.draw import NODE, TERMINAL, is_output, lay_out
from dnas.report.palette import CURVES, operation_color

_POINTS = 72.0
_MARGIN = 5.0
_HEAD = 6.0, 2.6
"""Length and half the width of the head of an arrow."""


def color_name(color: str) -> str:
  """Returns the name in the style sheet of one of the colours in `palette.CURVES`."""
  return f"--series-{CURVES.index(color)}"


def plain_name(name: str) -> str:
  """Returns the name of a state without mathematical text: 'c_{k-2}', 'image', '3'."""
  return re.sub(r"\\mathrm\{(\w+)\}", r"\1", name.strip("$"))


def marked_name(name: str) -> str:
  """Returns the name of a state as the axes of figures write it: 'c<sub>k-2</sub>'."""
  return re.sub(r"_\{([^}]*)\}", r"<sub>\1</sub>", plain_name(name))


def draw_cell(cell_type: str, cell: CellGenotype, num_inputs: int) -> str:
  """Returns a cell as SVG. It carries its edges in words for those who do not see it.

  Args:
    cell_type: see `draw.state_names`.
    cell: the cell.
    num_inputs: how many states it starts with.

  Raises:
    InputError: as `draw.lay_out` does.
  """
  layout, names, links = lay_out(cell_type, cell, num_inputs)
  parts = []
  for (operation, _), route in zip(links, layout.routes, strict=True):
    color = color_name(operation_color(operation)) if operation else "--soft"
    parts.append(_arrow(_POINTS * np.asarray(route), color, "2 2" if operation == NONE else ""))
  for (operation, _), label in zip(links, layout.labels, strict=True):
    if label:
      parts.append(_label(operation, _POINTS * label[0], _POINTS * label[1]))
  for name, center, height in zip(names, layout.centers, layout.heights, strict=True):
    parts.append(_box(name, _POINTS * center, _POINTS * height))
  wide, tall = (_POINTS * side + 2 * _MARGIN for side in (layout.width, layout.height))
  box = f"{-_MARGIN:g} {-_MARGIN:g} {wide:.1f} {tall:.1f}"
  least = min(wide, 440.0)
  said = escape(_said(names, cell, num_inputs))
  head = f'<svg class="cell" role="img" aria-label="{said}" viewBox="{box}" width="{1.3 * wide:.0f}" style="min-width:{least:.0f}px">'
  return "".join([head, *parts, "</svg>"])


def _said(names: Sequence[str], cell: CellGenotype, num_inputs: int) -> str:
  told = []
  for target, node in enumerate(cell.nodes, num_inputs):
    edges = ", ".join(f"{operation} from {plain_name(names[source])}" for operation, source in node)
    told.append(f"node {plain_name(names[target])}: {edges}")
  return "; ".join(told)


def _arrow(route: np.ndarray, color: str, dashes: str) -> str:
  """Returns a link, cubic Bezier vertices [3 * curves + 1, 2], with its head."""
  end = route[-1]
  way = end - next(point for point in route[-2::-1] if np.linalg.norm(end - point) > 1e-6)
  way = way / np.linalg.norm(way)
  across, back = _HEAD[1] * np.array([-way[1], way[0]]), end - _HEAD[0] * way
  points = [_at(point) for point in (*route[:-1], back + 0.5 * way)]
  curves = " ".join(f"C{' '.join(points[start : start + 3])}" for start in range(1, len(points), 3))
  dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
  head = " ".join(_at(point) for point in (end, back + across, back - across))
  line = f'<path d="M{points[0]} {curves}" style="stroke:var({color})"{dashed}/>'
  return f'{line}<polygon points="{head}" style="fill:var({color})"/>'


def _at(point: np.ndarray) -> str:
  return f"{point[0]:.1f},{point[1]:.1f}"


def _label(operation: str, x: float, y: float) -> str:
  text, color = escape(operation), color_name(operation_color(operation))
  wide = 5.2 * len(operation) + 4
  behind = f'<rect class="behind" x="{x - wide / 2:.1f}" y="{y - 6.5:.1f}" width="{wide:.1f}" height="13"/>'
  return f'{behind}<text x="{x:.1f}" y="{y + 3.1:.1f}" text-anchor="middle" style="fill:var({color})">{text}</text>'


def _box(name: str, center: np.ndarray, height: float) -> str:
  terminal = name.startswith("$")
  wide = _POINTS * (TERMINAL[0] if terminal else NODE[0])
  kind = "out" if is_output(name) else "in" if terminal else "node"
  x, y = center
  rect = f'<rect class="{kind}" x="{x - wide / 2:.1f}" y="{y - height / 2:.1f}" width="{wide:.1f}" height="{height:.1f}" rx="5"/>'
  upper, _, lower = plain_name(name).replace("}", "").partition("_{")
  text = escape(upper)
  if lower:
    text += f'<tspan dy="3" font-size="8.5">{escape(lower)}</tspan>'
  style = "math" if "_" in name else "state"
  return f'{rect}<text class="{style}" x="{x:.1f}" y="{y + 3.8:.1f}" text-anchor="middle">{text}</text>'


def list_choices(options: Mapping[str, Sequence[str]], genotype: ChoiceGenotype) -> str:
  """Returns every choice of a network of a user's own as a row of a table. What the architecture keeps is marked."""
  chosen, rows = dict(genotype.choices), []
  for name, names in options.items():
    cells = []
    for option in names:
      kept = option in chosen.get(name, ())
      cells.append(f'<span class="kept">{escape(option)} (kept)</span>' if kept else escape(option))
    idle = "" if name in chosen else ' class="idle"'
    told = ", ".join(cells) + ("" if name in chosen else " (not active)")
    rows.append(f'<tr{idle}><th scope="row">{escape(name)}</th><td>{told}</td></tr>')
  head = '<thead><tr><th scope="col">choice</th><th scope="col">options</th></tr></thead>'
  return f'<table class="choices">{head}<tbody>{"".join(rows)}</tbody></table>'
