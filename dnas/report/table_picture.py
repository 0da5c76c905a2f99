"""A table as a picture, PNG and SVG."""

import functools
import pathlib
import textwrap

from matplotlib.figure import Figure

from dnas.core import durable
from dnas.report.tables import Table

_ROW, _LETTER, _WIDEST = 0.28, 0.085, 18  # inches, inches, letters of a column of the header


def picture(table: Table) -> Figure:
  """Returns the table as a figure, with rules above and below the header and at the end, as in a book."""
  header = [textwrap.fill(name, _WIDEST) for name in table.header]
  cells = [header, *table.rows]
  widths = [_LETTER * (2 + max(len(line) for row in cells for line in row[column].split("\n"))) for column in range(len(header))]
  tall = _ROW * max(name.count("\n") + 1 for name in header) * 0.75
  caption = textwrap.wrap(table.caption, int(sum(widths) / _LETTER))
  height = _ROW * (len(table.rows) + 1) + tall + _ROW * len(caption)
  figure = Figure(figsize=(sum(widths) + 0.3, height), facecolor="white")
  axes = figure.add_axes((0, 0, 1, 1), frameon=False)
  axes.set(xlim=(-0.15, sum(widths) + 0.15), ylim=(height, 0))
  axes.set_axis_off()
  for number, line in enumerate(caption):
    axes.text(0, _ROW * (number + 0.7), line, size=9, weight="bold", va="center")
  top = _ROW * (len(caption) + 0.3)
  lines = [top, top + tall, top + tall + _ROW * len(table.rows) + 0.05]
  for y, width in zip(lines, (1.2, 0.6, 1.2), strict=True):
    axes.plot([0, sum(widths)], [y, y], color="black", linewidth=width)
  for number, row in enumerate(cells):
    middle = top + tall / 2 if number == 0 else top + tall + _ROW * (number - 0.5)
    for column, text in enumerate(row):
      left = sum(widths[:column])
      x, align = (left, "left") if column < 3 else (left + widths[column] - _LETTER, "right")
      axes.text(x, middle, text, size=8, va="center", ha=align)
  return figure


def save_picture(table: Table, path: pathlib.Path) -> list[pathlib.Path]:
  """Draws a table into `path`.png and `path`.svg, and returns the two."""
  figure, made = picture(table), [path.with_suffix(suffix) for suffix in (".png", ".svg")]
  for file in made:
    durable.write_by(file, functools.partial(figure.savefig, dpi=150, format=file.suffix[1:]))
  return made
