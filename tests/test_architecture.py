"""Imports only go down, and files stay short: rules over the source files, and the proof that a planted violation is seen."""

import ast
import graphlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LAYERS = [("core",), ("compiler", "run"), ("cells", "data"), ("supernet", "nets"), ("train",), ("evaluate",), ("search",)]
LAYERS += [("report", "tune"), ("launchers",)]
LAYER = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}
READERS = ("report", "tune")
STARTERS = ("experiments", "benchmarks")  # thin modules that start the launchers
MOST_LINES = {"dnas": 350, "experiments": 350, "benchmarks": 350, "tests": 400}

SEAM = "dnas/cells/functional.py"
TEST_SET_ACCESS = ("dnas/launchers/train.py", "dnas/launchers/test.py", "dnas/launchers/digits_bench.py")
BENCH = ("dnas/evaluate/digits_bench.py", "dnas/launchers/digits_bench.py")
HALVES = {"gradient", "blackbox"}  # of the package search
PEERS = "dnas.launchers.peers.pytorch"  # what another Python runs
# Name to the one file that may use it, None for no file at all.
HOMES = {f"flax.nnx.{name}": None for name in ("grad", "value_and_grad", "jit", "vmap", "pmap", "scan")}
HOMES |= {"flax.nnx.split": SEAM, "flax.nnx.merge": SEAM}


def sources(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """Returns module name to file."""
  modules = {}
  for top in ("dnas", *STARTERS):
    for path in sorted((root / top).rglob("*.py")):
      parts = path.relative_to(root).with_suffix("").parts
      modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
  return modules


def imported(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[str, str, int]]:
  """Yields (name in the file, dotted origin, line) for everything that a module imports, wherever the import stands."""
  package = module.split(".") if is_package else module.split(".")[:-1]
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.asname or alias.name.partition(".")[0], alias.name, node.lineno
    elif isinstance(node, ast.ImportFrom):
      base = package[: len(package) + 1 - node.level] if node.level else []
      origin = ".".join([*base, *([node.module] if node.module else [])])
      for alias in node.names:
        yield alias.asname or alias.name, f"{origin}.{alias.name}", node.lineno


def used(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[str, int]]:
  """Yields (dotted origin, line) for every import, and for every attribute of something imported."""
  roots = {}
  for name, origin, line in imported(tree, module, is_package):
    roots[name] = name if origin.partition(".")[0] == name else origin  # `import a.b` binds a
    yield origin, line
  for node in ast.walk(tree):
    attributes, value = [], node
    while isinstance(value, ast.Attribute):
      attributes.insert(0, value.attr)
      value = value.value
    if attributes and isinstance(value, ast.Name) and value.id in roots:
      yield ".".join([roots[value.id], *attributes]), node.lineno


def wrong_import(module: str, origin: str) -> str | None:
  """Returns what is wrong with an import of `origin`, something of ours, by `module`."""
  (top, package, part), (target_top, target_package, target_part) = ((*name.split("."), "", "")[:3] for name in (module, origin))
  if target_top in STARTERS:
    return f"nothing imports {target_top}"
  if top in STARTERS:
    return None
  if package == target_package:
    return "the halves of search do not import each other" if package == "search" and {part, target_part} == HALVES else None
  if not target_package or target_package.startswith("__"):
    return None
  for name in (package, target_package):
    if name and not name.startswith("__") and name not in LAYER:
      return f"package '{name}' is in no layer; give it one in {pathlib.Path(__file__).name}"
  if not package:
    return "it imports a higher layer"
  if package.startswith("__"):
    return None if target_package == "core" else "it imports a launcher before it knows which"
  if LAYER[target_package] > LAYER[package]:
    return "it imports a higher layer"
  if LAYER[target_package] == LAYER[package]:
    return "packages of one layer do not import each other"
  if package in READERS and target_package not in ("core", "run"):
    return f"{package} imports core and run only"
  return None


def violations(root: pathlib.Path) -> list[str]:
  """Returns one line for every broken rule in a tree of source files."""
  modules, out, graph = sources(root), [], {}
  for module, path in modules.items():
    tree, file, is_package = ast.parse(path.read_text()), path.relative_to(root).as_posix(), path.name == "__init__.py"
    graph[module] = set()
    for _, origin, line in imported(tree, module, is_package):
      target = origin if origin in modules else origin.rpartition(".")[0]
      if target in modules and target != module:
        graph[module].add(target)
      if origin.partition(".")[0] in ("dnas", *STARTERS):
        wrong = wrong_import(module, origin)
        out += [f"{file}:{line}: {wrong}: {origin}"] if wrong else []
      if module.startswith("dnas.core") and origin.partition(".")[0] == "flax":
        out.append(f"{file}:{line}: core knows no flax")
    for name, line in used(tree, module, is_package):
      if name in HOMES and HOMES[name] != file:
        out.append(f"{file}:{line}: {name} stands in {HOMES[name] or 'no file'}")
    for node in ast.walk(tree):
      if isinstance(node, ast.ExceptHandler) and node.type is None:
        out.append(f"{file}:{node.lineno}: bare except")
      name = getattr(node, "id", None) or getattr(node, "attr", None) or (node.name if isinstance(node, ast.alias) else None)
      if name == "open_test" and file not in TEST_SET_ACCESS or name == "_read_test" and file != "dnas/data/base.py":
        out.append(f"{file}:{node.lineno}: the test set is opened by {' and '.join(TEST_SET_ACCESS)} alone")
      if name == "rows_with_test" and file not in BENCH:
        out.append(f"{file}:{node.lineno}: the test values of digits_bench are read by {' and '.join(BENCH)} alone")
      if name in ("report_test", "report_shares") and file.startswith("dnas/search/"):
        out.append(f"{file}:{node.lineno}: no strategy reads the test accuracies of a table")
  try:
    graphlib.TopologicalSorter(graph).prepare()
  except graphlib.CycleError as e:
    out.append(f"cycle: {' -> '.join(reversed(e.args[1]))}")
  return [*out, *too_long(root)]


def too_long(root: pathlib.Path) -> Iterator[str]:
  """Yields one line for every file that should be two."""
  for top, most in MOST_LINES.items():
    for path in sorted((root / top).rglob("*.py")):
      count = len(path.read_text().splitlines())
      if count > most:
        yield f"{path.relative_to(root).as_posix()}: it has {count} lines, and a file of {top} has at most {most}"


# Imports every module into a Python that has nothing else of ours. What it imports in turn was imported so before, and does not run again.
# So it is not seen if a module needs what another one has changed in a third.
IMPORT_ALONE = """
import gc, importlib, importlib.machinery, json, sys, traceback
loaded, specs, brought, failures = {}, {}, {}, {}

def ours():
  return {name for name in sys.modules if name.partition(".")[0] in ("dnas", "experiments", "benchmarks")}

def place(name):
  parent, _, child = name.rpartition(".")
  return vars(sys.modules[parent]) if parent in sys.modules else {}, child

class Again:
  def find_spec(self, name, path=None, target=None):
    return importlib.machinery.ModuleSpec(name, self) if name in loaded else None

  def create_module(self, spec):
    return loaded[spec.name]

  def exec_module(self, module):
    module.__spec__ = specs[module.__name__]
    for name in sorted(brought.get(module.__name__, ())):
      sys.modules.setdefault(name, loaded[name])
      names, child = place(name)
      names.setdefault(child, loaded[name])

sys.meta_path.insert(0, Again())
for module in json.load(sys.stdin):
  there = ours()
  for name in there:
    names, child = place(name)
    if names.get(child) is sys.modules[name]:
      del names[child]
  for name in there:
    del sys.modules[name]
  try:
    importlib.import_module(module)
  except BaseException:
    failures[module] = traceback.format_exc(limit=-3)
  brought[module] = ours()
  for name in brought[module] - loaded.keys():
    loaded[name], specs[name] = sys.modules[name], sys.modules[name].__spec__
  gc.freeze()
print(json.dumps(failures))
"""


class AtOnce(ast.NodeTransformer):
  """Leaves of a module what runs when it is imported: no bodies of functions, and nothing for type checkers."""

  def visit_FunctionDef(self, _: ast.FunctionDef) -> None:
    """Removes a function."""

  def visit_AsyncFunctionDef(self, _: ast.AsyncFunctionDef) -> None:
    """Removes a function."""

  def visit_If(self, node: ast.If) -> ast.AST | None:
    """Removes what type checkers alone read."""
    return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)


def needed_at_once(modules: dict[str, pathlib.Path]) -> dict[str, set[str]]:
  """Returns module to those of ours that it imports when it is imported itself, and to its packages.

  A package stands for those of its modules that it imports itself: whoever imports one of them imports the package before it.
  """
  direct = {}
  for module, path in modules.items():
    origins = [origin for _, origin, _ in imported(AtOnce().visit(ast.parse(path.read_text())), module, path.name == "__init__.py")]
    direct[module] = {name for origin in origins for name in (origin, origin.rpartition(".")[0])} & modules.keys()
  stands_for: dict[str, str] = {}
  for package in sorted(modules):  # outer ones first
    reached, ahead = set(), [package]
    while ahead:
      name = ahead.pop()
      if name not in reached:
        reached.add(name)
        ahead += [other for other in direct[name] if other.startswith(f"{package}.")]
    stands_for |= {name: stands_for.get(package, package) for name in reached - stands_for.keys()}
  needed: dict[str, set[str]] = {}
  for module, others in direct.items():
    parts = module.split(".")
    packages = {".".join(parts[:end]) for end in range(1, len(parts))}
    needed.setdefault(stands_for[module], set()).update(stands_for[name] for name in (others | packages) & modules.keys())
  return {module: others - {module} for module, others in needed.items()}


def import_failures(root: pathlib.Path) -> dict[str, str]:
  """Returns module to traceback for every module that cannot be imported before all others."""
  needed = needed_at_once({name: path for name, path in sources(root).items() if not name.startswith(PEERS)})
  try:
    order = list(graphlib.TopologicalSorter(needed).static_order())
  except graphlib.CycleError as e:
    return {e.args[1][0]: f"cycle: {' -> '.join(reversed(e.args[1]))}"}
  environment = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1"}
  command = [sys.executable, "-c", IMPORT_ALONE]
  run = subprocess.run(command, input=json.dumps(order), cwd=root, env=environment, capture_output=True, text=True, timeout=300)
  assert run.returncode == 0, run.stderr
  return json.loads(run.stdout.splitlines()[-1])


# The project.


def test_the_project_keeps_its_rules():
  assert len(sources(ROOT)) > 30
  assert violations(ROOT) == []


@pytest.mark.versions
def test_every_module_imports_alone():
  assert import_failures(ROOT) == {}


# The rules see what they should.

CLEAN = {
  "dnas/__init__.py": '__version__ = "0"',
  "dnas/core/__init__.py": "",
  "dnas/core/space.py": "import dataclasses\nfrom dnas import __version__",
  "dnas/core/tree.py": "from dnas.core import space",
  "dnas/cells/__init__.py": "from dnas.cells import blocks",
  "dnas/cells/blocks.py": "from flax import nnx\nfrom dnas.cells.functional import apply\nclass Block(nnx.Module): ...",
  "dnas/cells/functional.py": "from flax import nnx\nsplit, apply = nnx.split, nnx.merge",
  "dnas/data/base.py": "from dnas.core import tree\ndef open_test(dataset): return dataset._read_test()",
  "dnas/supernet/edges.py": "import dnas.cells.blocks\ntext = 'a b'.split()",
  "dnas/nets/edges.py": "from ..cells import blocks\nfrom .. import core",
  "dnas/train/loop.py": "from dnas.nets.edges import blocks\nfrom dnas.data import base\nimport jax\nstep = jax.jit(jax.grad(sum))",
  "dnas/report/draw.py": "from dnas.core.tree import space",
  "experiments/__init__.py": "",
  "dnas/search/gradient/darts.py": "from dnas.train import loop",
  "dnas/search/blackbox/asha.py": "from dnas.search.blackbox import base",
  "dnas/launchers/train.py": "from dnas.data import base\nfrom dnas.train import loop\ntest = base.open_test(0)",
  "dnas/launchers/search.py": "from dnas.launchers.train import loop\ntry:\n  pass\nexcept Exception:\n  pass",
  "dnas/__main__.py": "from dnas.core import tree",
  "experiments/search.py": "from dnas.launchers.search import main",
}
PLANTED = {
  "dnas/core/space.py": {
    "import dnas.cells.blocks": "it imports a higher layer: dnas.cells.blocks",
    "from dnas import report": "it imports a higher layer: dnas.report",
    "def late():\n  from dnas.train.loop import step": "it imports a higher layer: dnas.train.loop.step",
    "from ..train import loop": "it imports a higher layer: dnas.train.loop",
    "from experiments import search": "nothing imports experiments: experiments.search",
    "import benchmarks.speed": "nothing imports benchmarks: benchmarks.speed",
    "from dnas.launchers import search": "it imports a higher layer: dnas.launchers.search",
    "from dnas.core.tree import space": "cycle: ",
    "def late():\n  import dnas.core.tree": "cycle: ",
    "from flax import nnx": "core knows no flax",
    "import flax.linen": "core knows no flax",
    "import dnas.news": "package 'news' is in no layer",
  },
  "dnas/__init__.py": {"from dnas.core import tree": "it imports a higher layer", "import dnas.train": "it imports a higher layer"},
  "dnas/cells/blocks.py": {
    "from dnas.data import base": "packages of one layer do not import each other: dnas.data.base",
    "nnx.jit(nnx.grad(sum))": "flax.nnx.grad stands in no file",
    "@nnx.jit\ndef f(): ...": "flax.nnx.jit stands in no file",
    "from flax.nnx import value_and_grad": "flax.nnx.value_and_grad stands in no file",
    "import flax\nflax.nnx.split(0)": f"flax.nnx.split stands in {SEAM}",
    "import flax.nnx\nflax.nnx.split(0)": f"flax.nnx.split stands in {SEAM}",
    "import flax.nnx as n\nn.merge(0)": f"flax.nnx.merge stands in {SEAM}",
    "from flax import nnx as n\nmerge = n.merge": f"flax.nnx.merge stands in {SEAM}",
    "try:\n  pass\nexcept:\n  pass": "bare except",
  },
  "dnas/cells/functional.py": {"nnx.jit(0)": "flax.nnx.jit stands in no file"},
  "dnas/nets/edges.py": {"from dnas.supernet import edges": "packages of one layer do not import each other"},
  "dnas/report/draw.py": {"from dnas.data import base": "report imports core and run only"},
  "dnas/train/loop.py": {
    "base.open_test(0)": f"the test set is opened by {TEST_SET_ACCESS[0]} and",
    "from dnas.data.base import open_test as o": f"the test set is opened by {TEST_SET_ACCESS[0]} and",
    "digits_bench.rows_with_test(0)": "the test values of digits_bench are read by",
    "base._read_test()": f"the test set is opened by {TEST_SET_ACCESS[0]} and",
    "from dnas.search.gradient import darts": "it imports a higher layer",
    "import experiments": "nothing imports experiments",
  },
  "dnas/data/base.py": {"open_test(0)": f"the test set is opened by {TEST_SET_ACCESS[0]} and"},
  "dnas/search/gradient/darts.py": {"from dnas.search.blackbox import asha": "the halves of search do not import each other"},
  "dnas/search/blackbox/asha.py": {"from ..gradient.darts import loop": "the halves of search do not import each other"},
  "dnas/__main__.py": {"from dnas.launchers import search": "it imports a launcher before it knows which"},
  "dnas/launchers/search.py": {
    "from dnas.data import base as b\nb.open_test(0)": f"the test set is opened by {TEST_SET_ACCESS[0]} and",
    "try:\n  pass\nexcept:\n  pass": "bare except",
  },
  "dnas/launchers/train.py": {"from dnas.launchers import search": "cycle: "},
}


def plant(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
  for name, text in files.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text + "\n")
  return root


def test_a_clean_tree_breaks_no_rule(tmp_path: pathlib.Path):
  assert violations(plant(tmp_path, CLEAN)) == []


@pytest.mark.parametrize(("file", "line"), [(file, line) for file, lines in PLANTED.items() for line in lines])
def test_a_planted_violation_is_seen(file: str, line: str, tmp_path: pathlib.Path):
  found = violations(plant(tmp_path, CLEAN | {file: f"{CLEAN[file]}\n{line}"}))
  expected = PLANTED[file][line]
  assert any(expected in text and (file in text or expected == "cycle: ") for text in found), found
  assert all(text.startswith((file, "cycle: ")) for text in found)


@pytest.mark.parametrize("file", ["dnas/core/tree.py", "experiments/search.py", "benchmarks/speed.py", "tests/core/test_tree.py"])
def test_a_file_that_is_too_long_is_seen(file: str, tmp_path: pathlib.Path):
  top = file.partition("/")[0]
  most = MOST_LINES[top]
  assert violations(plant(tmp_path, CLEAN | {file: "\n" * (most - 1)})) == []
  expected = f"{file}: it has {most + 1} lines, and a file of {top} has at most {most}"
  assert violations(plant(tmp_path, {file: "\n" * most})) == [expected]


def test_a_module_that_needs_another_one_first_is_seen(tmp_path: pathlib.Path):
  files = {f"dnas/{name}/__init__.py": "" for name in ("core", "cells")} | {"dnas/__init__.py": "", "dnas/core/tree.py": ""}
  files |= {"dnas/cells/good.py": "import dnas.core.tree", "dnas/cells/needy.py": "import dnas\ndnas.core.tree"}
  failures = import_failures(plant(tmp_path, files))
  assert list(failures) == ["dnas.cells.needy"] and "AttributeError" in failures["dnas.cells.needy"]
  plant(tmp_path, {f"dnas/cells/{one}.py": f"from dnas.cells import {other}" for one, other in (("good", "needy"), ("needy", "good"))})
  assert "dnas.cells.good" in next(iter(import_failures(tmp_path).values()))
