"""The presets: modules of `dnas.launchers.presets`, each with the name of its launcher and a configuration."""

import importlib
import pkgutil
from typing import Any

from dnas.core import config as config_lib
from dnas.core.errors import InputError
from dnas.launchers import presets


def names() -> list[str]:
  """Returns the names of all presets."""
  return sorted(module.name for module in pkgutil.iter_modules(presets.__path__))


def launcher_of(name: str) -> str:
  """Returns the launcher that a preset is for."""
  return module_of(name).LAUNCHER


def load(name: str, launcher: str) -> Any:
  """Returns a preset's configuration.

  Raises:
    InputError: if there is none of that name, or it is for another launcher.
  """
  if name not in names():
    known = [known for known in names() if launcher_of(known) == launcher]
    config_lib.check(bool(known), "preset", name, f"dnas {launcher} has none, so leave it out")
    config_lib.check_name("preset", name, known)
  preset = module_of(name)
  if preset.LAUNCHER != launcher:
    raise InputError(f"--preset={name} is for dnas {preset.LAUNCHER} and this is dnas {launcher}; run that one.")
  return config_lib.with_units(preset.CONFIG)


def module_of(name: str) -> Any:
  """Returns the module of a preset, with its LAUNCHER and CONFIG."""
  return importlib.import_module(f"{presets.__name__}.{name}")
