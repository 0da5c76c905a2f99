"""The presets: modules of `dnas.launchers.presets`, and configurations that users register."""

import ast
import functools
import importlib
import importlib.resources
import pkgutil
from typing import Any, NamedTuple

from dnas.core import config as config_lib
from dnas.core.errors import InputError, shown
from dnas.core.extras import needed_by
from dnas.core.registry import Registry
from dnas.launchers import presets

_LAUNCHERS = {"SearchConfig": "search", "TrainConfig": "train", "TuneConfig": "tune", "CompareConfig": "compare"}
_LAUNCHERS |= {"EvaluatorsConfig": "evaluators"}
"""Name of the base class of a configuration to its launcher."""


def _check(name: str, config: Any) -> None:
  kinds = ", ".join(["ImageSearchConfig", "ImageTrainConfig", "ImageTuneConfig", "CompareConfig"])
  if _launcher_for(config) is None:
    raise InputError(f"preset '{name}' is {shown(type(config).__name__)}; register a configuration, such as {kinds}.")
  if name in _packaged():
    raise InputError(f"preset '{name}' is one of this package; register yours under another name.")


PRESETS: Registry[Any] = Registry("preset", _check)
"""Presets of users: `PRESETS.register("mine")(ImageTuneConfig(...))`. A flag --imports names the module that registers them."""


def _launcher_for(config: Any) -> str | None:
  return next((_LAUNCHERS[base.__name__] for base in type(config).__mro__ if base.__name__ in _LAUNCHERS), None)


def _packaged() -> list[str]:
  return [module.name for module in pkgutil.iter_modules(presets.__path__)]


def names() -> list[str]:
  """Returns the names of all presets."""
  return sorted([*_packaged(), *PRESETS])


def names_for(launcher: str) -> list[str]:
  """Returns the names of the presets that are for a launcher."""
  return [name for name in names() if launcher_of(name) == launcher]


def launcher_of(name: str) -> str:
  """Returns the launcher that a preset is for."""
  return str(_launcher_for(PRESETS[name])) if name in PRESETS else _head(name).launcher


def about(name: str) -> str:
  """Returns what a preset is, one line or more."""
  return "A preset of yours." if name in PRESETS else _head(name).about


def load(name: str, launcher: str) -> Any:
  """Returns a preset's configuration.

  Raises:
    InputError: if there is none of that name, or it is for another launcher.
  """
  if name not in names():
    known = names_for(launcher)
    config_lib.check(bool(known), "preset", name, f"dnas {launcher} has none, so leave it out")
    config_lib.check_name("preset", name, known)
  if launcher_of(name) != launcher:
    raise InputError(f"--preset={name} is for dnas {launcher_of(name)} and this is dnas {launcher}; run that one.")
  return config_lib.with_units(PRESETS[name] if name in PRESETS else _module_of(name).CONFIG)


class _Head(NamedTuple):
  """What a preset of the package says of itself: its launcher, and its docstring."""

  launcher: str
  about: str


@functools.cache
def _head(name: str) -> _Head:
  """Reads the source of a preset. Its import would bring the launcher of its configuration, and the launchers of all presets are slow."""
  source = ast.parse(importlib.resources.files(presets).joinpath(f"{name}.py").read_text(encoding="utf-8"))
  (launcher,) = (ast.literal_eval(node.value) for node in source.body if isinstance(node, ast.Assign) and _names(node) == ["LAUNCHER"])
  return _Head(launcher, ast.get_docstring(source, clean=False) or "")


def _names(node: ast.Assign) -> list[str]:
  return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _module_of(name: str) -> Any:
  with needed_by(f"preset '{name}'"):
    return importlib.import_module(f"{presets.__name__}.{name}")
