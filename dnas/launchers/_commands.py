"""Commands for a shell, printed for a person who goes on with a run."""

import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import dnas
from dnas.launchers import _units


def command(launcher: str, values: Mapping[str, Any]) -> str:
  """Returns the command of a launcher with flags, for a shell; with the modules that register units of others."""
  return in_words(program(launcher), [f"--{name}={text_of(value)}" for name, value in values.items()])


def in_words(program: str, words: Sequence[str]) -> str:
  """Returns a command for a shell; with the modules that register units of others."""
  imports = ",".join(_units.to_import())
  return " ".join([program, *map(shlex.quote, [*words, *([f"--imports={imports}"] if imports else [])])])


def program(launcher: str) -> str:
  """Returns the command that starts a launcher in the way in which this process was started, and by the same Python."""
  if pathlib.Path(sys.argv[0]).stem == "dnas":
    return f"dnas {launcher}"
  main = sys.modules["__main__"]
  spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
  ours = pathlib.Path(dnas.__file__).parents[1] / "experiments"
  in_checkout = spec is not None and spec.name.startswith("experiments.") and pathlib.Path(file or "").parent == ours
  return f"{_python()} -m experiments.{launcher}" if in_checkout else f"{_python()} -m dnas {launcher}"


def _python() -> str:
  """Returns the name of this Python for a shell: 'python' if the shell finds this one by it, else its path."""
  this, found = pathlib.Path(sys.executable), pathlib.Path(shutil.which("python") or "")
  if found.parent == this.parent and os.path.realpath(found) == os.path.realpath(this):
    return "python"
  here = pathlib.Path.cwd()
  return shlex.quote(str(this.relative_to(here) if this.is_relative_to(here) else this))


def text_of(value: Any) -> str:
  """Returns the value of a flag as a person writes it."""
  return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
