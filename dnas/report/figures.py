"""Files of figures: PNG, and SVG of which the same figure gives the same bytes."""

import functools
import pathlib

import matplotlib
from matplotlib.figure import Figure

from dnas.core import durable


def save_both(figure: Figure, path: pathlib.Path) -> pathlib.Path:
  """Saves a figure as `path`.svg and `path`.png, and returns the path of the PNG."""
  with matplotlib.rc_context({"svg.hashsalt": "dnas"}):  # with this and without a date, the same figure gives the same bytes
    durable.write_by(path.with_suffix(".svg"), functools.partial(figure.savefig, format="svg", metadata={"Date": None}))
  durable.write_by(path.with_suffix(".png"), functools.partial(figure.savefig, format="png", dpi=130))
  return path.with_suffix(".png")
