"""The text of --help: what a launcher does, its presets, and its flags by component."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from dnas.core import config as config_lib
from dnas.launchers import _commands, _presets

Told = tuple[str, Any, str]
"""Path, default and meaning of a field."""


def told(config: Any) -> list[Told]:
  """Returns what a person is told of every field of a configuration, but of those that `config.untold` leaves out."""
  texts, untold = config_lib.help_texts(type(config)), getattr(config, "untold", lambda path: False)
  return [(path, default, texts[path]) for path, _, default in config_lib.fields(config) if not untold(path)]


def _common(of_all: Sequence[Sequence[Told]]) -> list[Told]:
  """Returns the fields of components that are the same in all configurations, and single fields of no component."""

  def whole(flags: Sequence[Told], flag: Told) -> list[Told]:
    component = flag[0].rpartition(".")[0]
    return [other for other in flags if component and other[0].startswith(f"{component}.")] or [other for other in flags if other == flag]

  return [flag for flag in of_all[0] if all(whole(flags, flag) == whole(of_all[0], flag) for flags in of_all)]


def listed(title: str, fields: Sequence[Told]) -> list[str]:
  """Returns the lines of the help on some fields: under the title those of no component, and under its name those of each component."""
  lines: list[str] = []
  last = None
  for path, default, text in fields:
    component = path.rpartition(".")[0]
    if component != last:
      lines += ["", f"{component or title}:"] if component or title else [""]
    last = component
    lines.append(f"  --{path}={' '.join(default.split()) if isinstance(default, str) else default}")  # a preset's may have several lines
    lines += textwrap.wrap(text, 96, initial_indent="      ", subsequent_indent="      ")
  return lines


def head(about: str, launcher: str) -> list[str]:
  """Returns the first lines of the help: what a launcher does, with its commands as they are started here, and its presets."""
  names = _presets.names_for(launcher)
  lines = [re.sub(r"^  dnas (\w+)", lambda found: f"  {_commands.program(found[1])}", about.strip(), flags=re.MULTILINE)]
  lines += ["", "Presets (--preset=NAME):" if names else "Presets: none"]
  width = max(map(len, names), default=0)
  return lines + [f"  {name:<{width}}  {_first_line(_presets.about(name))}" for name in names]


def by_space(configs: Sequence[Any]) -> list[str]:
  """Returns the lines on configurations among which --space chooses: first their common fields, then what is of each alone."""
  common = _common([told(config) for config in configs])
  lines = listed("Configuration", common)
  for index, config in enumerate(configs if len(configs) > 1 else ()):
    alike = [other for other in configs[:index] if type(other) is type(config)][:1]
    known = [flag for other in alike for flag in told(other)]
    title = f"With --space={config.space}, " + (f"as with --space={alike[0].space}, but" if alike else "or a preset of that kind")
    lines += ["", f"---- {title} ----", *([] if alike else [_first_line(type(config).__doc__)])]
    lines += listed("", [flag for flag in told(config) if flag not in common and flag not in known])
  return lines


def _first_line(doc: str | None) -> str:
  return (doc or "").strip().splitlines()[0]
