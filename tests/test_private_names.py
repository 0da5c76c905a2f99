"""Nothing uses a private name of a dependency: a search of the whole source, and the proof that a planted one is seen.

A name is private if it begins with one underscore. The owner of an attribute is unknown here, so a private one that our own source defines
nowhere counts as a dependency's.
"""

import ast
import pathlib
from collections.abc import Iterator, Mapping

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TOPS = "dnas", "experiments", "benchmarks", "tests", "notebooks"
PUBLIC = {"_replace", "_asdict", "_fields", "_make", "_field_defaults", "_exit"}
"""Documented names of `collections.namedtuple` and of `os`."""


def is_private(name: str) -> bool:
  return name.startswith("_") and not name.startswith("__") and name not in PUBLIC | {"_"}


def defined(tree: ast.Module) -> Iterator[str]:
  """Yields every name that a source gives to something."""
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      yield node.name
    elif isinstance(node, ast.arg):
      yield node.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
      yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
      yield node.attr


def used(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
  """Yields (line, what is used, its private part) for imports from elsewhere, and for attributes of anything."""
  outside = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
      for alias in node.names:
        origin = ".".join(filter(None, [getattr(node, "module", None), alias.name]))
        if origin.partition(".")[0] not in TOPS:
          outside.add((alias.asname or alias.name).partition(".")[0])
          yield from ((node.lineno, origin, f"import of {part}") for part in origin.split(".") if is_private(part))
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute) and is_private(node.attr):
      root = node.value
      while isinstance(root, ast.Attribute | ast.Call | ast.Subscript):
        root = root.func if isinstance(root, ast.Call) else root.value
      from_outside = isinstance(root, ast.Name) and root.id in outside
      yield node.lineno, ast.unparse(node), f"import of {node.attr}" if from_outside else node.attr


def violations(sources: Mapping[str, str]) -> list[str]:
  """Returns a line for every use of a private name that is not ours."""
  trees = {name: ast.parse(source) for name, source in sources.items()}
  ours = {name for tree in trees.values() for name in defined(tree)}
  return [f"{name}:{line}: {what}" for name, tree in trees.items() for line, what, part in used(tree) if part not in ours]


def test_no_private_name_of_a_dependency_is_used():
  paths = [path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]
  assert len(paths) > 100
  assert violations({str(path.relative_to(ROOT)): path.read_text() for path in paths}) == []


OURS = "class Own:\n  def __init__(self):\n    self._own = 1\n  def _method(self): ...\n"


@pytest.mark.parametrize(
  "line",
  [
    "from jax._src import core",
    "import jax._src.core",
    "from flax.nnx import _hidden",
    "import jax\njax._src.core",
    "import jax\njax.jit(sum)._cache_size()",
    "import jax\njax._own",
    "def end(study): study._storage",
    "import optuna\ndef end(trial): trial.study._database_of()",
    "from collections import namedtuple as n\nn('a', 'b')._hidden",
  ],
)
def test_a_planted_one_is_seen(line):
  assert violations({"ours.py": OURS, "new.py": line}) != []


@pytest.mark.parametrize(
  "line",
  [
    "from dnas.core import _hidden",
    "def f(x): x._own, x._method()",
    "import os\nos._exit(0)",
    "def f(x): x._replace(a=1)._asdict()",
    "_ = 1",
    "x.__len__()",
  ],
)
def test_what_is_public_or_ours_is_not(line):
  assert violations({"ours.py": OURS, "new.py": line}) == []
