"""Tables of a report, as Markdown and as LaTeX."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Table:
  """A table whose cells are strings.

  Attributes:
    caption: the caption, in plain text.
    header: names of the columns.
    rows: the cells, row by row.
  """

  caption: str
  header: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]

  def to_markdown(self) -> str:
    """Returns the caption in bold and the table, in Markdown. Every column is padded to one width. A bar in a cell is escaped."""
    lines = [tuple(cell.replace("|", "\\|") for cell in line) for line in (self.header, *self.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
    rows = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([f"**{self.caption}**", "", rows[0], rule, *rows[1:]]) + "\n"

  def to_latex(self) -> str:
    """Returns a LaTeX table environment. It needs the package booktabs."""
    lines = [" & ".join(_escaped(cell) for cell in line) + r" \\" for line in (self.header, *self.rows)]
    columns = "l" + "r" * (len(self.header) - 1)
    body = [lines[0], r"\midrule", *lines[1:]]
    return "\n".join(
      [r"\begin{table}", r"\centering", rf"\caption{{{_escaped(self.caption)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
      + body
      + [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    )


_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--"}


def _escaped(text: str) -> str:
  return re.sub(r"[\\~^±–&%$#_{}]", lambda match: _SPECIAL.get(match[0], "\\" + match[0]), text)
