"""Drawings of genotypes: every cell as a graph, from its inputs on the left to its output on the right.

Nodes carry the numbers of the papers. A convolutional cell reads c_{k-2} and c_{k-1}, its nodes are 0, 1, ..., and its output is c_{k}.
A recurrent cell reads x_{t} and h_{t-1} into node 0, its nodes are 1, 2, ..., and its output is h_{t}.
A chain is a whole network. It reads the image, its nodes are the layers 1, 2, ..., and what it gives goes to the classifier.
"""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from dnas.core import durable
from dnas.core.chain_space import CHAIN
from dnas.core.errors import InputError
from dnas.core.genotype import CellGenotype, Genotype
from dnas.core.space import NONE
from dnas.report.layout import Layout, Link, layered_layout
from dnas.report.palette import FAINT, INK, operation_color

RECURRENT = "recurrent"
"""The cell type that is drawn, and whose states are named, as a recurrent cell."""

NODE, TERMINAL = (0.36, 0.34), (0.62, 0.34)
"""Width and height of the box of a node, and of an input or the output, in inches."""

_LABEL_POINTS, _NODE_POINTS, _TITLE_POINTS = 9.0, 11.0, 12.0
_PAD, _TITLE_HEIGHT = 0.18, 0.36
_INPUT_OF_CHAIN = r"$\mathrm{image}$"
_OUTPUT_OF_CELL = "$c_{k}$"
_OUTPUTS = {RECURRENT: "$h_{t}$", CHAIN: r"$\mathrm{output}$"}
_INPUT_FILL, _NODE_FILL, _OUTPUT_FILL = "#D9EAD3", "#DCE9F5", "#FBEFC4"
_ARROW: dict[str, Any] = {
  "arrowstyle": "-|>,head_length=4.5,head_width=2",
  "mutation_scale": 1,
  "shrinkA": 0,
  "shrinkB": 0,
  "joinstyle": "miter",
}
_BOX: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.07", "edgecolor": INK, "linewidth": 1.0, "zorder": 4}
_WHITE = {"boxstyle": "square,pad=0.18", "facecolor": "white", "edgecolor": "none"}
_LABEL: dict[str, Any] = {"size": _LABEL_POINTS, "ha": "center", "bbox": _WHITE, "zorder": 3, "label": "operation"}
_NAME: dict[str, Any] = {"size": _NODE_POINTS, "color": INK, "ha": "center", "math_fontfamily": "cm", "zorder": 5, "label": "state"}


def state_names(cell_type: str, num_inputs: int, num_states: int) -> list[str]:
  """Returns how drawings and plots name the states of a cell [num_states], in Matplotlib's mathematical text.

  Args:
    cell_type: 'recurrent' names every state by its number, and 'chain' its input image and its layers from 1. Any other type names its
      nodes from 0, and its inputs c_{k-2} and c_{k-1}.
    num_inputs: how many states the cell starts with.
    num_states: inputs and nodes together.
  """
  if cell_type == RECURRENT:
    return [str(state) for state in range(num_states)]
  if cell_type == CHAIN:
    return [_INPUT_OF_CHAIN, *(str(layer) for layer in range(1, num_states))]
  inputs = [f"$c_{{k-{num_inputs - state}}}$" for state in range(num_inputs)]
  return inputs + [str(state) for state in range(num_states - num_inputs)]


def cell_title(cell_type: str) -> str:
  """Returns the words for a cell type: 'Normal cell', 'Reduction cell', 'Recurrent cell', 'Chain'."""
  return {"reduce": "Reduction cell", "cell": "Cell", CHAIN: "Chain"}.get(cell_type, f"{cell_type.capitalize()} cell")


def draw_genotype(genotype: Genotype, num_inputs: int, title: str = "") -> Figure:
  """Draws every cell of a genotype, one below the other, in one figure.

  Args:
    genotype: the architecture; a cell of type 'recurrent' is drawn with the inputs and the output of a recurrent cell.
    num_inputs: how many states each cell starts with: 2 in the convolutional cells of DARTS, 1 in recurrent ones.
    title: a line above the drawing.

  Raises:
    InputError: for a genotype without cells, or if an edge or the concatenation names a state that does not come before it.
  """
  if not genotype.cells:
    raise InputError("the genotype has no cells, so there is nothing to draw.")
  layouts = [lay_out(cell_type, cell, num_inputs) for cell_type, cell in genotype.cells]
  width = max(layout.width for layout, _, _ in layouts) + 2 * _PAD
  height = sum(layout.height + 2 * _PAD + _TITLE_HEIGHT for layout, _, _ in layouts) + (_TITLE_HEIGHT if title else 0.0)
  figure = Figure(figsize=(width, height), facecolor="white")
  top = height
  if title:
    figure.text(0.5, 1 - 0.6 * _TITLE_HEIGHT / height, title, ha="center", va="center", size=_TITLE_POINTS + 2, color=INK)
    top -= _TITLE_HEIGHT
  for (cell_type, _), (layout, names, links) in zip(genotype.cells, layouts, strict=True):
    tall = layout.height + 2 * _PAD + _TITLE_HEIGHT
    axes = figure.add_axes((0, (top - tall) / height, 1, tall / height), label=cell_type)
    margin = (width - layout.width) / 2
    axes.set(xlim=(-margin, width - margin), ylim=(layout.height + _PAD, -_PAD - _TITLE_HEIGHT))
    axes.set_axis_off()
    middle = -(_PAD + _TITLE_HEIGHT) / 2
    axes.text(_PAD - margin, middle, cell_title(cell_type), size=_TITLE_POINTS, weight="bold", color=INK, va="center")
    _draw_cell(axes, layout, names, links)
    top -= tall
  return figure


def save_drawing(genotype: Genotype, path: str | pathlib.Path, num_inputs: int, title: str = "") -> list[pathlib.Path]:
  """Draws a genotype into `path`.png and `path`.svg and returns the two; the folder is made if it is missing.

  Raises:
    InputError: as `draw_genotype` does.
  """
  figure = draw_genotype(genotype, num_inputs, title)
  path = pathlib.Path(path)
  durable.make_folder(path.parent)
  paths = [path.with_name(f"{path.name}.{suffix}") for suffix in ("png", "svg")]
  with matplotlib.rc_context({"svg.hashsalt": "dnas"}):  # with this and without a date, the same cell gives the same bytes
    for target in paths:
      kind = target.suffix.removeprefix(".")
      save = functools.partial(figure.savefig, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
      durable.write_by(target, save)
  return paths


def lay_out(cell_type: str, cell: CellGenotype, num_inputs: int) -> tuple[Layout, list[str], list[tuple[str, Link]]]:
  """Returns the layout of a cell, the names of its boxes, and its links with their operations ('' for a link without one).

  Raises:
    InputError: if an edge or the concatenation names a state that does not come before it.
  """
  num_states = num_inputs + len(cell.nodes)
  names = state_names(cell_type, num_inputs, num_states)
  depth = [0] * num_inputs
  links = []
  for target, node in enumerate(cell.nodes, num_inputs):
    for operation, source in node:
      if not 0 <= source < target:
        raise InputError(f"cell '{cell_type}', node {target} has an edge from state {source}; give a state from 0 to {target - 1}.")
      links.append((operation, Link(source, target, _label_size(operation))))
    depth.append(1 + max(depth[source] for _, source in node))
  for state in cell.concat:
    if not 0 <= state < num_states:
      raise InputError(f"cell '{cell_type}' concatenates state {state}; give states from 0 to {num_states - 1}.")
  links += [("", Link(state, num_states)) for state in cell.concat]
  depth.append(1 + max(depth))
  names.append(_OUTPUTS.get(cell_type, _OUTPUT_OF_CELL))
  if cell_type == RECURRENT:
    first = len(names)
    names += ["$x_{t}$", "$h_{t-1}$"]
    links += [("", Link(first, 0)), ("", Link(first + 1, 0))]
    depth = [1 + column for column in depth] + [0, 0]
  sizes = [TERMINAL if name.startswith("$") else NODE for name in names]
  return layered_layout(depth, sizes, [link for _, link in links]), names, links


def is_output(name: str) -> bool:
  """Returns whether the name of a box is that of an output."""
  return name in (*_OUTPUTS.values(), _OUTPUT_OF_CELL)


@functools.cache
def _label_size(text: str) -> tuple[float, float]:
  """Returns the width and height of an operation's label with its white box, in inches."""
  return (TextPath((0, 0), text, size=_LABEL_POINTS).get_extents().width + 7.0) / 72, (_LABEL_POINTS + 5.0) / 72


def _draw_cell(axes: Axes, layout: Layout, names: Sequence[str], links: Sequence[tuple[str, Link]]) -> None:
  for (operation, _), route, label in zip(links, layout.routes, layout.labels, strict=True):
    color = operation_color(operation) if operation else FAINT
    arrow = FancyArrowPatch(path=Path(route, [Path.MOVETO] + [Path.CURVE4] * (len(route) - 1)), color=color, **_ARROW)
    arrow.set(label="edge" if operation else "link", linewidth=1.3 if operation else 1.1, zorder=2 if operation else 1)
    if operation == NONE:
      arrow.set_linestyle((0, (2, 2)))
    axes.add_patch(arrow)
    if label:
      axes.text(*label, operation, color=color, va="center_baseline", **_LABEL)
  for name, (x, y), height in zip(names, layout.centers, layout.heights, strict=True):
    width, fill = (TERMINAL[0], _INPUT_FILL) if name.startswith("$") else (NODE[0], _NODE_FILL)
    fill = _OUTPUT_FILL if is_output(name) else fill
    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, facecolor=fill, **_BOX))
    axes.text(x, y, name, va="center" if name.startswith("$") else "center_baseline", **_NAME)
