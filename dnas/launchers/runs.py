"""Lists the runs in a folder: what each is, its state, how far it is, and its result.

  dnas runs runs
  dnas runs

A comparison and a tuning are one line each. A state is 'running' while a process holds the lock of the folder, 'finished' once there is a
result, 'failed' where the run ended with an error, and 'interrupted' otherwise. The command that began a run resumes it.
"""

import dataclasses
import pathlib

from dnas.core.config import check_types
from dnas.core.errors import InputError
from dnas.core.paths import expanded
from dnas.launchers import _flags
from dnas.report import listing


@dataclasses.dataclass(frozen=True)
class RunsConfig:
  """What to list.

  Attributes:
    folder: where to look, in all folders below it too; the word after the command may give it too.
  """

  folder: str = "."

  def __post_init__(self):
    check_types(self)


def run(config: RunsConfig, options: _flags.Options, given: set[str]) -> None:
  """Prints a line for every run."""
  folder = expanded("--folder", config.folder)
  if not folder.is_dir():
    raise InputError(f"--folder={config.folder} is no folder; give one with runs in it, for instance dnas runs runs.")
  found = listing.find(folder)
  if not found:
    print(f"no runs in {folder}")
    return
  header = ("folder", "kind", "state", "progress", "result")
  rows = [(_name(one.folder, folder), one.kind, one.state, one.progress, one.result) for one in found]
  widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
  for row in (header, *rows):
    print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _name(path: pathlib.Path, root: pathlib.Path) -> str:
  """Returns the path within the root; what is no letter or sign, such as a line break, is shown by its code."""
  name = str(path.relative_to(root)) if path != root else "."
  return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


LAUNCHER = _flags.Launcher("runs", RunsConfig(), run, __doc__, option_names=(), positional="folder")
main = LAUNCHER.main
