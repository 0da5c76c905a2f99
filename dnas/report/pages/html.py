"""The parts of a page, and the page as HTML.

A page is one file: its styles, its script, its data and Plotly's library stand in it. The library is compressed, and the browser unpacks
it. Jinja escapes every text. Colours in figures are names of the style sheet, such as '--series-1', so a page can be light or dark.
"""

import base64
import dataclasses
import functools
import gzip
import importlib.resources
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jinja2
import numpy as np

from dnas.core import durable
from dnas.report.tables import Table

NAME = "report.html"
"""The file of the page in the folder of a run."""


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph."""

  kind: ClassVar[str] = "text"
  text: str


@dataclasses.dataclass(frozen=True)
class Notes:
  """Sentences with a mark: 'warning', 'good', 'unknown', or '' for none.

  Attributes:
    items: (mark, head, sentence); the head may be empty.
  """

  kind: ClassVar[str] = "notes"
  items: Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Command:
  """Lines for a shell, with a button that copies them."""

  kind: ClassVar[str] = "command"
  text: str


@dataclasses.dataclass(frozen=True)
class Sheet:
  """A table whose columns can be sorted.

  Attributes:
    table: the table.
    folded: the words that unfold it; empty shows it at once.
    links: (row, column) to the address that a cell links to.
  """

  kind: ClassVar[str] = "sheet"
  table: Table
  folded: str = ""
  links: Mapping[tuple[int, int], str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Plot:
  """A figure.

  Attributes:
    title: what it shows.
    said: the same in words with its last values, for those who do not see it.
    figure: Plotly's 'data' and 'layout'.
    height: in pixels.
    wide: whether it takes a whole row.
  """

  kind: ClassVar[str] = "plot"
  title: str
  said: str
  figure: Mapping[str, Any]
  height: int = 260
  wide: bool = False


@dataclasses.dataclass(frozen=True)
class Plots:
  """Figures side by side.

  Attributes:
    plots: the figures.
    bands: whether a switch shows and hides the traces whose 'meta' is 'band'.
  """

  kind: ClassVar[str] = "plots"
  plots: Sequence[Plot]
  bands: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
  """A part of an architecture that a slider moves: its drawing, and the weights of its mixture.

  Attributes:
    title: such as 'Normal cell'.
    drawings: the different drawings, as SVG or HTML.
    weights: weights after every epoch, [epochs, rows, columns]; None where the run has none.
    rows, columns: their names.
    texts: what stands in the squares, [rows, columns]; empty for nothing.
    kept: (row, column) pairs that every drawing keeps.
  """

  title: str
  drawings: Sequence[str]
  weights: np.ndarray | None
  rows: Sequence[str]
  columns: Sequence[str]
  texts: Sequence[Sequence[str]]
  kept: Sequence[Sequence[tuple[int, int]]]


@dataclasses.dataclass(frozen=True)
class Explorer:
  """A slider over epochs, with what it moves.

  Attributes:
    epochs: the epochs.
    panels: what moves.
    shown: for every epoch, the number of its drawing in each panel; -1 for none.
    said: for every epoch, its architecture as one line.
  """

  kind: ClassVar[str] = "explorer"
  epochs: Sequence[int]
  panels: Sequence[Panel]
  shown: Sequence[Sequence[int]]
  said: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Drawing:
  """A drawing that does not move, as SVG, under a title."""

  kind: ClassVar[str] = "drawing"
  title: str
  svg: str


Block = Text | Notes | Command | Sheet | Plots | Explorer | Drawing


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of a page under a heading."""

  title: str
  blocks: Sequence[Block]


@dataclasses.dataclass(frozen=True)
class Page:
  """A page.

  Attributes:
    kind: what it is of, such as 'Search'.
    title: its heading, such as the name of the folder.
    lead: one or two sentences under it.
    facts: (name, value) of what a person looks for first.
    sections: the rest; those without blocks are left out.
  """

  kind: str
  title: str
  lead: str
  facts: Sequence[tuple[str, str]]
  sections: Sequence[Section]


def save(page: Page, folder: pathlib.Path) -> pathlib.Path:
  """Writes a page into the folder of its run, and returns the path of the file. Raises OSError."""
  path = folder / NAME
  durable.write(path, render(page).encode("utf-8", "replace"), shared=True)  # `dnas open` may write it while the run does
  return path


def render(page: Page) -> str:
  """Returns a page as HTML. The same page gives the same text."""
  sections = [section for section in page.sections if section.blocks]
  figures, explorers = _collected(sections)
  data = as_json({"figures": figures, "explorers": explorers})
  draws = bool(figures or explorers)
  own = {"style": _own("page.css"), "script": _own("page.js"), "data": data, "library": library() if draws else ""}
  return _template().render(page=page, sections=sections, **own)


def _collected(sections: Sequence[Section]) -> tuple[list[Any], list[Any]]:
  """Returns the figures and the explorers of a page, in the order in which the template numbers them."""
  figures, explorers = list[Any](), list[Any]()
  for block in (block for section in sections for block in section.blocks):
    if isinstance(block, Plots):
      figures += [plot.figure for plot in block.plots]
    if isinstance(block, Explorer):
      panels = [dataclasses.asdict(panel) for panel in block.panels]
      explorers.append({"epochs": block.epochs, "panels": panels, "shown": block.shown, "said": block.said})
  return figures, explorers


def as_json(value: Any) -> str:
  """Returns a value as JSON that can stand in a script element: numbers that are not finite are null, and no '<' ends the element."""
  return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {str(name): _plain(one) for name, one in value.items()}
  if isinstance(value, np.ndarray):
    return _plain(value.tolist())
  if isinstance(value, list | tuple):
    return [_plain(one) for one in value]
  if isinstance(value, float | np.floating):
    return float(f"{value:.6g}") if math.isfinite(value) else None
  return int(value) if isinstance(value, np.integer) else value


@functools.cache
def library() -> str:
  """Returns Plotly's library, compressed and in base 64."""
  from plotly.offline import get_plotlyjs  # it imports what takes a quarter of a second

  return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _own(name: str) -> str:
  return importlib.resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
  return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined).from_string(
    _own("page.html")
  )
