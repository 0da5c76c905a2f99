"""The README and the pages of docs/: every link leads somewhere, the example runs, and what docstrings show is so."""

import doctest
import importlib
import pathlib
import re
import runpy
import sys

import jax
import numpy as np
import pytest

import dnas

ROOT = pathlib.Path(dnas.__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "generated" not in path.parts and path.name != "index_page.md")
FILES = [*sorted(ROOT.glob("*.md")), *PAGES]
GENERATED = re.compile(r"generated/(?:notebooks/(.*)\.ipynb|(presets|commands|api)/(\w+)\.md)$")


def prose(path):
  """The text of a page without its listings."""
  return re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)


def anchors(path):
  """The anchors of the headings of a page, as MyST and GitHub make them."""
  titles = re.findall(r"^#+ +(.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE)
  return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_of_a_page_lead_somewhere(path):
  text = prose(path)
  targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
  for target in targets:
    file, _, anchor = target.partition("#")
    if re.match(r"\w+:", target):
      continue
    found = (path.parent / file).resolve() if file else path
    generated = GENERATED.search(str(found))
    assert found.exists() or (generated and made(*generated.groups())), f"{path.name} links to {target}"
    if anchor and found.suffix == ".md" and not generated:
      assert anchor in anchors(found), f"{path.name} links to {target}, and that page has {sorted(anchors(found))}"


def made(notebook, kind, name):
  """Whether docs/extensions/generated.py makes a page."""
  if notebook:
    return (ROOT / "notebooks" / f"{notebook}.ipynb").exists()
  generated = extension()
  return name in {"presets": generated.PRESET_KINDS, "commands": generated.LAUNCHERS, "api": map(generated.slug, generated.themes())}[kind]


def extension():
  sys.path.insert(0, str(ROOT / "docs" / "extensions"))
  try:
    return importlib.import_module("generated")
  finally:
    sys.path.pop(0)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_in_a_table_of_contents(path):
  named = {(index.parent / name).resolve() for index in PAGES for name in contents(index)}
  assert path == ROOT / "docs" / "index.md" or path in named


def contents(index):
  (entries,) = re.findall(r"```\{toctree\}\n(.*?)```", index.read_text(), re.DOTALL) or [""]
  names = [line for line in entries.splitlines() if line and not line.startswith((":", "/"))]
  return [name for entry in names for name in ([file.name for file in index.parent.glob("*.md")] if entry == "*" else [f"{entry}.md"])]


def test_paths_that_texts_name_exist():
  for path in (ROOT / "README.md", *PAGES):
    for name in re.findall(r"`((?:docs|dnas|tests|notebooks|examples|benchmarks|constraints)/[\w./]*)`", path.read_text()):
      assert (ROOT / name).exists(), f"{path.name} names {name}"
  for path in [*(ROOT / "dnas").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]:
    for name in re.findall(r"\bdocs/[\w/]+\.md", path.read_text()):
      assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_the_generated_pages_tell_every_preset_launcher_and_public_name():
  generated = extension()
  assert {name for names in generated.themes().values() for name in names} == set(dnas.__all__) - {"__version__"}
  from dnas.launchers import _presets

  assert {_presets.launcher_of(name) for name in _presets.names()} <= set(generated.PRESET_KINDS)
  page = generated.of_presets("compare", "Comparisons")
  assert all(f"\n## {name}\n" in page for name in _presets.names_for("compare")) and "dnas compare --preset=digits_contest" in page
  assert "--seconds=20.0" in page and "--pool.workers" not in page, "only what differs from the defaults is told"
  assert ".. autofunction:: dnas.load_run\n" in generated.of_theme("What was trained", ["load_run"])
  assert "| `gdas` | One operation per edge" in generated.of_theme("Methods", ["METHODS"])


def test_the_readme_is_short_and_its_commands_are_those_of_the_gate():
  readme = (ROOT / "README.md").read_text()
  assert len(readme.split()) <= 700
  assert re.search(r"^make demo ", readme, re.MULTILINE) and re.search(r"^make test ", readme, re.MULTILINE)
  assert "\nmake test PYTHON=" in (ROOT / ".ci" / "run").read_text()
  version = re.findall(r"version = \{(.*)\}", readme + (ROOT / "docs" / "project" / "citing.md").read_text())
  assert version == [dnas.__version__] * 2


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
  (code, shown) = re.findall(r"```python\n(.*?)```.*?```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
  assert len(code.splitlines()) == 12
  smaller = {"digits_demo": {"darts.epochs": 1, "supernet.cells": 1, "supernet.channels": 2}}
  smaller["digits_demo_retrain"] = {"network.cells": 1, "network.channels": 4, "train.epochs": 1}
  whole, cache = dnas.load_preset, jax.config.jax_compilation_cache_dir or "none"
  monkeypatch.setattr(dnas, "load_preset", lambda name: whole(name, smaller[name]))
  for run in (dnas.run_search, dnas.run_training):
    monkeypatch.setattr(dnas, run.__name__, lambda *values, run=run: run(*values, compilation_cache=cache))
  monkeypatch.chdir(tmp_path)
  (tmp_path / "example.py").write_text(code)
  runpy.run_path(str(tmp_path / "example.py"))
  line = r"(found|random) cell: test error \d+\.\d %, [\d,]+ weights"
  printed = [line_ for line_ in capsys.readouterr().out.splitlines() if re.fullmatch(line, line_)]
  assert [one.split()[0] for one in printed] == ["found", "random"] and (tmp_path / "cell.png").stat().st_size > 1000
  assert all(re.fullmatch(line, one) for one in shown.splitlines()) and len(shown.splitlines()) == 2


@pytest.mark.parametrize("name", ["dnas", "dnas.core.registry.Registry", *(f"dnas.{name}" for name in dnas.__all__)])
def test_what_a_docstring_shows_is_so(name):
  module, _, attribute = name.rpartition(".")
  value = getattr(importlib.import_module(module), attribute) if module else dnas
  names = {**vars(sys.modules[getattr(value, "__module__", "dnas")]), "dnas": dnas, "np": np}
  for example in doctest.DocTestFinder(recurse=False).find(value, name, globs=names):
    assert doctest.DocTestRunner().run(example).failed == 0
