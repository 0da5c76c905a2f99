"""The modules of a user that register units, such as operations, spaces and methods. A run imports them, and so does every later command.

A module that registers a unit is known to its registry. So a script that registers units and then calls a launcher needs to name nothing;
what is printed to be run next names the script for it.

An installed package makes its units known by entry points of the group GROUP. Its modules are imported by every launcher, without
`--imports`. In the package's pyproject.toml:

    [project.entry-points."dnas.units"]
    anything = "package.module"
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
import traceback
from collections.abc import Iterator, Sequence

from dnas.core.errors import InputError, first_line, shown
from dnas.core.paths import expanded
from dnas.core.registry import foreign_modules

GROUP = "dnas.units"
"""Entry points of installed packages whose modules register units."""

_importing: list[str] = []


def load(entries: Sequence[str]) -> None:
  """Imports the modules of installed packages, and then these, each once, by their names or, with a '/' or '.py', their paths.

  Raises:
    InputError: for one that does not exist, fails, or runs a launcher.
  """
  load_installed()
  for entry in entries:
    try:
      path = _path_of(entry)
    except InputError:
      raise
    except (OSError, RuntimeError, ValueError) as e:  # links in a circle, no such user, a zero byte
      raise InputError(f"--imports={entry} names no file ({first_line(e)}); give a module or a file of Python.") from None
    if path is not None and path in map(_file_of, list(sys.modules)):
      continue
    with _explained(entry, f"--imports={entry} cannot be imported", "correct it", path):
      if path is None:
        importlib.import_module(entry)
      else:
        _load_file(path)


def load_installed() -> None:
  """Imports the modules that installed packages name in entry points. Raises InputError as `load` does, with the package's name."""
  for point in _installed():
    package = point.dist.name if point.dist is not None else point.name
    where = f"the installed package '{package}' has units in {point.module}, which cannot be imported"
    with _explained(point.module, where, "correct or uninstall it"):
      importlib.import_module(point.module)


def _installed() -> tuple[importlib.metadata.EntryPoint, ...]:
  """Returns the entry points of installed packages. They are read again once the folders of `sys.path`, or what they hold, are others."""
  return _read(tuple((entry, _changed(entry)) for entry in sys.path))


def _changed(entry: str) -> int:
  try:
    return os.stat(entry or ".").st_mtime_ns
  except OSError:
    return 0


@functools.lru_cache(maxsize=1)
def _read(_: tuple[tuple[str, int], ...]) -> tuple[importlib.metadata.EntryPoint, ...]:
  return tuple(importlib.metadata.entry_points(group=GROUP))


def refuse_while_importing() -> None:
  """Raises InputError in a module that is being imported, for a launcher that it runs."""
  if _importing:
    raise InputError("importing it runs a launcher; put that call under if __name__ == '__main__'")


def to_import() -> tuple[str, ...]:
  """Returns the modules that another process must import to know the same units: absolute paths, or names of modules in packages.

  Those of installed packages with entry points are left out, since every process imports them.
  """
  entries, installed = [], {point.module.partition(".")[0] for point in _installed()}
  for name in foreign_modules():
    if name.partition(".")[0] in installed:
      continue
    module = sys.modules.get("__main__" if name == "__mp_main__" else name)
    spec, path = getattr(module, "__spec__", None), _file_of(name)
    dotted = spec.name.removesuffix(".__main__") if spec is not None and "." in spec.name else ""
    if dotted or path:
      entries.append(dotted or str(path))
  return tuple(dict.fromkeys(entries))


def _path_of(entry: str) -> pathlib.Path | None:
  return expanded("--imports", entry).resolve() if entry.endswith(".py") or os.sep in entry else None


def _file_of(module: str) -> pathlib.Path | None:
  file = getattr(sys.modules.get(module), "__file__", None)
  return pathlib.Path(file).resolve() if file else None


def _load_file(path: pathlib.Path) -> None:
  """Imports a file under its own name, with its folder among those that it imports from, as if Python had been started with it."""
  if not path.is_file():
    raise InputError("there is no such file")
  name = path.stem
  if name in sys.modules or not name.isidentifier():
    raise InputError(f"{shown(name)} is taken or is not a name of a module; give the file another name")
  if str(path.parent) not in sys.path:
    sys.path.append(str(path.parent))
  spec = importlib.util.spec_from_file_location(name, path)
  assert spec is not None and spec.loader is not None  # it ends in .py, or has a loader of its own
  sys.modules[name] = module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except BaseException:
    del sys.modules[name]
    raise


@contextlib.contextmanager
def _explained(entry: str, failure: str, hint: str, path: pathlib.Path | None = None) -> Iterator[None]:
  """Turns any exception of a module into one sentence that names the line."""
  _importing.append(entry)
  try:
    yield
  except InputError as e:
    raise InputError(f"{failure}: {str(e).rstrip('.')}.") from None
  except (Exception, SystemExit) as e:
    frames = traceback.extract_tb(e.__traceback__)
    own = [frame for frame in frames if path is not None and pathlib.Path(frame.filename).resolve() == path] or frames[-1:]
    cause = " ".join(f"{type(e).__name__}: {e}".split())[:200]
    raise InputError(f"{failure} ({cause}; {own[-1].filename}, line {own[-1].lineno}); {hint}.") from None
  finally:
    _importing.pop()
