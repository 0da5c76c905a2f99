"""Renders equations as MathML, so that a page needs no script and no network to show them."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def inline(writer: Any, node: nodes.math) -> None:
  """Writes an equation within a line."""
  writer.body.append(_mathml(node, "inline"))
  raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
  """Writes an equation of its own."""
  # A wide equation scrolls by itself, and the keyboard reaches it.
  writer.body.append(f'<div class="equation" tabindex="0" role="group" aria-label="equation">{_mathml(node, "block")}</div>')
  raise nodes.SkipNode


def _mathml(node: nodes.Element, display: str) -> str:
  try:
    mathml = convert(node.astext(), display=display)
  except Exception as e:  # the errors of latex2mathml have no common class
    raise ExtensionError(f"the equation {node.astext()!r} cannot be rendered: {e}") from e
  if "\\" in mathml:
    raise ExtensionError(f"the equation {node.astext()!r} has a command that latex2mathml does not know")
  return mathml


def setup(app: Sphinx) -> dict[str, bool]:
  """Registers the renderer for `html_math_renderer = "mathml"`."""
  app.add_html_math_renderer("mathml", (inline, None), (block, None))
  return {"parallel_read_safe": True, "parallel_write_safe": True}
