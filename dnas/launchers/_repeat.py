"""The command that repeats a run, from what its folder recorded.

A command is given only if it is one: parsed again, it must give the recorded configuration. The words that a person typed come first. Where
they were others, for instance in a script, the command has every flag that differs from its default.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dnas.core import config as config_lib
from dnas.core.errors import InputError
from dnas.launchers import _commands
from dnas.launchers._flags import ALL_OPTIONS, Launcher, Options

_SWITCHES = [field.name for field in dataclasses.fields(Options) if isinstance(field.default, bool)]
"""Options that stand without a value."""


def repeating(
  launcher: Launcher[Any], typed: Sequence[str], flags: Mapping[str, Any], folder: pathlib.Path, is_of: Callable[[Any], bool]
) -> str:
  """Returns the command that repeats a run in another folder, for a shell; an empty text if none does.

  Args:
    launcher: the launcher of the run.
    typed: the words of the process that began it.
    flags: flag to value, of all that may differ from its default.
    folder: the folder of the run.
    is_of: whether a configuration is that of the run.
  """
  for words in (_typed(launcher.name, typed), _built(launcher, flags)):
    if words is None:
      continue
    try:
      config, _, _ = launcher.parse([launcher.name, *words])
      if is_of(config):
        return _commands.in_words(f"dnas {launcher.name}", [*words, f"--workdir={folder.parent / f'{folder.name}_again'}"])
    except InputError:
      continue
  return ""


def _built(launcher: Launcher[Any], flags: Mapping[str, Any]) -> list[str] | None:
  """Returns the flags whose values are not the defaults; first those that choose the defaults. None for values that cannot be."""
  first = [_flag(name, flags[name]) for name in ("space", "model") if flags.get(name)]
  try:
    base, _, _ = launcher.parse([launcher.name, *first])
  except InputError:
    try:
      base, first = launcher.parse([launcher.name])[0], []
    except InputError:
      return None
  defaults = as_recorded(config_lib.flatten(base))
  return [*first, *(_flag(path, value) for path, value in flags.items() if path in defaults and defaults[path] != value)]


def _flag(name: str, value: Any) -> str:
  return f"--{name}={_commands.text_of(value)}"


def _typed(name: str, command: Sequence[str]) -> list[str] | None:
  """Returns the flags of a command that change its result; None for a command of another program."""
  if not command:
    return None
  started, *rest = command
  program = pathlib.Path(started).stem
  if program in ("dnas", "__main__") and rest[:1] == [name]:
    rest = rest[1:]
  elif program != name:
    return None
  out, skips = [], False
  for word in rest:
    flag, given, _ = word.lstrip("-").partition("=")
    if skips or (word.startswith("-") and flag.removeprefix("no") in ALL_OPTIONS and flag != "preset"):
      skips = not (skips or given or flag.removeprefix("no") in _SWITCHES)
      continue
    out.append(word)
  return out


def as_recorded(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a configuration as config.json holds it."""
  return json.loads(json.dumps(dict(values)))
