"""Opens the page of a run in a browser, and prints where it is. The page is made anew from the files of the folder.

  dnas open runs/first
  dnas open runs/first --nobrowser

The folder is that of a search, a training, a tuning, a comparison or a contest, running or ended, also of an earlier version. Its page is
the file report.html in it: one file that needs no network. Where there is no display, the command only prints the path. Units of your own
need --imports, as everywhere.
"""

import dataclasses
import os
import sys
import webbrowser

from dnas.core.config import check_types
from dnas.core.errors import InputError
from dnas.core.paths import expanded
from dnas.launchers import _flags, _pages
from dnas.launchers._page_launchers import LAUNCHERS


@dataclasses.dataclass(frozen=True)
class OpenConfig:
  """What to open.

  Attributes:
    run: folder of the run; the word after the command may give it too.
    browser: whether the page is opened in a browser, if there is a display.
  """

  run: str = ""
  browser: bool = True

  def __post_init__(self):
    check_types(self)


def run(config: OpenConfig, options: _flags.Options, given: set[str]) -> None:
  """Makes the page, prints its path, and opens it."""
  if not config.run.strip():
    raise InputError("--run is empty; give the folder of a run, for instance dnas open runs/first.")
  path = _pages.save(expanded("--run", config.run).absolute(), LAUNCHERS)
  print(path, flush=True)
  if config.browser and _has_display():
    webbrowser.open(path.as_uri())


def _has_display() -> bool:
  return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


LAUNCHER = _flags.Launcher("open", OpenConfig(), run, __doc__, option_names=("imports",), positional="run")
main = LAUNCHER.main
