"""One colour per family of operations, shared by drawings and plots.

As text on white each has a contrast of at least 4.5 to 1. Any two stay at least 20 CIE76 units apart under simulated protanopia,
deuteranopia and tritanopia, save the grey of `none`, whose lines are dotted. Operations of one family differ in the dashes of their lines.
"""

from collections.abc import Sequence
from typing import Any

from dnas.core.space import NONE

INK = "#1F1F1F"
"""Text, axes and outlines."""
FAINT = "#9A9A9A"
"""Lines that carry no operation, such as those from a node to the output of its cell."""
TRAIN, VALID = "#BF5000", "#004DA8"
"""Curves on the training and on the validation split."""
CURVES = ("#767676", VALID, TRAIN, "#00804F", "#802070", INK, "#8C6D00", "#C2185B", "#00838F", "#5D4037")
"""Things that are compared, in their order, such as methods; grey is the first."""

_FAMILIES = (
  ((NONE,), "#767676"),
  (("skip", "identity"), "#1F1F1F"),
  (("sep_conv", "tanh"), "#004DA8"),
  (("dil_conv", "relu"), "#BF5000"),
  (("pool", "sigmoid"), "#00804F"),
)
_OTHER = "#802070"
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (6, 1.5, 1.2, 1.5)), (0, (2, 1)))


def operation_color(operation: str) -> str:
  """Returns the colour of the family that the operation's name shows: '#rrggbb'; a name of no known family has the remaining one."""
  for words, color in _FAMILIES:
    if any(word in operation for word in words):
      return color
  return _OTHER


def operation_lines(operations: Sequence[str]) -> dict[str, dict[str, Any]]:
  """Returns name to line properties ('color', 'linestyle'), different for every operation unless a family has more than four."""
  lines: dict[str, dict[str, Any]] = {}
  for name in operations:
    color = operation_color(name)
    members = sum(line["color"] == color for line in lines.values())
    lines[name] = {"color": color, "linestyle": (0, (1.2, 1.2)) if name == NONE else _DASHES[members % len(_DASHES)]}
  return lines
