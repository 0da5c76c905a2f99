"""Writes the pages that are made from files and docstrings: notebooks, presets, command lines and the reference of `import dnas`.

Sphinx reads pages from one folder alone. So before it reads, these pages are written to `generated/` in it. `pages` needs no Sphinx.
"""

import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import dnas
from dnas.__main__ import LAUNCHERS
from dnas.core import config as config_lib
from dnas.core.registry import Registry
from dnas.launchers import _presets

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "generated"
PRESET_KINDS = {
  "search": "Searches",
  "train": "Trainings",
  "tune": "Tunings",
  "compare": "Comparisons",
  "evaluators": "Evaluators",
}


def pages() -> dict[str, str]:
  """Returns the text of every page by its path in `generated/`."""
  out = {f"notebooks/{path.name}": _notebook(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
  out |= {f"presets/{launcher}.md": of_presets(launcher, title) for launcher, title in PRESET_KINDS.items()}
  out |= {f"commands/{launcher}.md": _of_launcher(launcher, about) for launcher, about in LAUNCHERS.items()}
  return out | {f"api/{slug(theme)}.md": of_theme(theme, names) for theme, names in themes().items()}


def themes() -> dict[str, list[str]]:
  """Returns the public names by their theme, as the docstring of `dnas` lists them."""
  found = re.findall(r"^  (\w[^\n]*):\n((?:    [^\n]*\n)+)", dnas.__doc__ or "", re.MULTILINE)
  return {re.sub(r" \(.*\)", "", theme): re.findall(r"\w+", names) for theme, names in found}


def _notebook(path: pathlib.Path) -> str:
  """Returns a notebook in which what one cell printed piece by piece is one piece."""
  notebook = json.loads(path.read_text(encoding="utf-8"))
  for cell in notebook["cells"]:
    joined: list[dict[str, Any]] = []
    for output in cell.get("outputs", ()):
      if joined and output["output_type"] == "stream" and output["name"] == joined[-1].get("name"):
        joined[-1]["text"] = [*joined[-1]["text"], *output["text"]]
      else:
        joined.append(output)
    if "outputs" in cell:
      cell["outputs"] = joined
  return json.dumps(notebook)


def slug(theme: str) -> str:
  """Returns the name of the page of a theme."""
  return re.sub(r"\W+", "_", theme.lower())


def of_presets(launcher: str, title: str) -> str:
  """Returns the page of the presets of a launcher."""
  names = _presets.names_for(launcher)
  about = f"Presets of [`dnas {launcher}`](../commands/{launcher}.md). A listing has the flags that differ from the defaults."
  lines = [f"# {title}", "", about, ""]
  lines += ["| preset | what it is |", "|---|---|", *(f"| [`{name}`](#{name}) | {_escaped(_about(name)[0])} |" for name in names)]
  for name in names:
    first, *rest = _about(name)
    lines += ["", f"## {name}", "", first, "", *_definitions(rest), "", *_listing(_flags_of(name, launcher))]
  return "\n".join(lines) + "\n"


def _about(name: str) -> list[str]:
  """Returns the first paragraph of the docstring of a preset, then its other paragraphs, fields and items of lists, each as one line."""
  out: list[str] = []
  for paragraph in _presets.about(name).strip().split("\n\n"):
    for index, line in enumerate(paragraph.splitlines()):
      if index == 0 or re.match(r"- |[A-Z][a-z]+(?: [a-z]+)?: ", line):
        out.append(line.strip())
      else:
        out[-1] += f" {line.strip()}"
  return out


def _definitions(lines: list[str]) -> Iterator[str]:
  for line in lines:
    title, colon, text = line.partition(": ")
    if title.startswith("Command") and colon:
      yield from ("```", text, "```", "")
    elif colon and title in ("Paper", "Papers", "Expected result", "Expected time"):
      yield from (f"**{title}.** {_escaped(text)}", "")
    else:
      yield from (_escaped(line), "")


def _flags_of(name: str, launcher: str) -> list[str]:
  """Returns the flags by which a preset differs from the defaults of its configuration."""
  config = _presets.load(name, launcher)
  defaults = config_lib.flatten(config_lib.with_units(type(config)())) if _has_defaults(config) else {}
  values = config_lib.flatten(config)
  return [f"--{path}={_shown(value)}" for path, value in values.items() if path not in defaults or defaults[path] != value]


def _has_defaults(config: Any) -> bool:
  return all(
    field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING for field in dataclasses.fields(config)
  )


def _shown(value: Any) -> str:
  text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
  return " ".join(text.split())


def _listing(flags: list[str]) -> list[str]:
  return ["```", *flags, "```"] if flags else ["All values are defaults."]


def _escaped(text: str) -> str:
  """Returns text of a docstring as Markdown: backticks keep their meaning, flags get them, and pages of the documentation are links."""
  parts = re.sub(r"(?<![\w`-])--[a-z]\w*(?:\.\w+)*(?:=[\w./]*\w)?", r"`\g<0>`", text).split("`")
  plain = [part if index % 2 else re.sub(r"([*_<>|$\[\]])", r"\\\1", part) for index, part in enumerate(parts)]

  def link(found: re.Match[str]) -> str:
    path = found[1].replace("\\", "")
    return f"[{path.rpartition('/')[2]}](../../{path}.md)"

  return re.sub(r"docs/([\w/\\]+)\.md", link, "`".join(plain))


def _of_launcher(launcher: str, about: str) -> str:
  out, argv = io.StringIO(), sys.argv
  sys.argv = ["dnas"]  # the help names the program as it was started
  try:
    with contextlib.redirect_stdout(out):
      importlib.import_module(f"dnas.launchers.{launcher}").main([f"dnas {launcher}", "--help"])
  finally:
    sys.argv = argv
  return f"# dnas {launcher}\n\n{about[0].upper()}{about[1:]}.\n\n```text\n{out.getvalue().rstrip()}\n```\n"


def of_theme(theme: str, names: list[str]) -> str:
  """Returns the page of some public names."""
  lines = [f"# {theme}", ""]
  for name in names:
    lines += ["", f"## {name}", "", *_of_name(name)]
  return "\n".join(lines) + "\n"


def _of_name(name: str) -> list[str]:
  value = getattr(dnas, name)
  if isinstance(value, Registry):
    return _of_registry(name, value)
  if inspect.isclass(value) and name.endswith("Config"):
    return ["```{eval-rst}", f".. autoclass:: dnas.{name}", "```", "", *_of_config(value)]
  kind = "class" if inspect.isclass(value) else "function"
  members = ["   :members:"] if kind == "class" else []
  return ["```{eval-rst}", f".. auto{kind}:: dnas.{name}", *members, "```"]


def _of_config(config_type: Any) -> Iterator[str]:
  """Yields a table of the fields of a configuration. Those of its components are flags, which the pages of the launchers tell."""
  texts = config_lib.help_texts(config_type)
  yield from ("| field | default | meaning |", "|---|---|---|")
  for field in dataclasses.fields(config_type):
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if dataclasses.is_dataclass(default):
      flags = ", ".join(f"`{inner.name}`" for inner in dataclasses.fields(default))
      yield f"| `{field.name}` | | component: {flags or 'no fields'} |"
    else:
      yield f"| `{field.name}` | `{default!r}` | {_escaped(texts[field.name])} |"


def _of_registry(name: str, registry: Registry[Any]) -> list[str]:
  lines = [f"The registry of kind '{registry.kind}'. `dnas.{name}[NAME]` is one of them. `dnas.{name}.register(NAME)` adds one.", ""]
  about = {unit: _first_line(registry[unit]) for unit in registry}
  if not any(about.values()):
    return [*lines, f"Names: {', '.join(f'`{unit}`' for unit in about)}." if about else "It is empty until a file of yours registers one."]
  return [*lines, "| name | what it is |", "|---|---|", *(f"| `{unit}` | {_escaped(text)} |" for unit, text in about.items())]


def _first_line(unit: Any) -> str:
  """Returns the first line of the docstring of a class or a function; a value has that of its class, which says nothing of it."""
  return (inspect.getdoc(unit) or "").partition("\n")[0] if inspect.isclass(unit) or inspect.isfunction(unit) else ""


def write() -> None:
  """Writes the pages that changed, and removes those that are gone."""
  made = {FOLDER / name: text for name, text in pages().items()}
  for path in set(FOLDER.rglob("*.*")) - set(made):
    path.unlink()
  for path, text in made.items():
    if not path.exists() or path.read_text(encoding="utf-8") != text:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
  """Writes the pages before Sphinx looks for its sources."""
  app.connect("config-inited", lambda app, config: write())
  return {"parallel_read_safe": True, "parallel_write_safe": True}
