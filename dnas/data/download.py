"""Downloads of published files: with a checksum, resumed after an interruption, with a progress bar in a terminal.

Pooch keeps the cache and checks the sums. It begins every download at byte 0, so the transfer itself is here: what has come is kept beside
the target as NAME.part, and the next try asks the server for the rest (an HTTP range, RFC 9110). A server that knows no ranges sends the
whole file again.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from dnas.core import durable
from dnas.run.console import is_terminal

TIMEOUT = 20
"""Seconds to wait for an answer of a server, and for the next bytes of a transfer."""

TRIES = 3
"""Tries in a row that bring nothing before a download is given up."""

_PIECE = 1 << 13  # bytes; what is cut off within a piece is lost


@dataclasses.dataclass(frozen=True)
class Download:
  """One published file.

  Attributes:
    url: where it is. A tar or zip archive is unpacked; another file is kept under its name.
    size: bytes.
    sha256: hexadecimal checksum.
  """

  url: str
  size: int
  sha256: str

  @property
  def name(self) -> str:
    """The name of the file."""
    return self.url.rpartition("/")[2]


def fetch(download: Download, folder: pathlib.Path) -> pathlib.Path:
  """Returns the path of a downloaded file in a folder, once its checksum is right.

  Raises:
    OSError: for a server or a network that does not answer (the errors of requests are OSErrors), or a folder that cannot be written.
    ValueError: if the checksum is another. What was downloaded is then removed.
  """
  import pooch  # here, because it is seldom needed

  pooch.get_logger().setLevel("WARNING")
  part = folder / f"{download.name}.part"

  def transfer(url: str, output_file: Any, pooch: Any) -> None:
    _complete(url, part, download.size)
    part.rename(output_file)

  return pathlib.Path(pooch.retrieve(download.url, f"sha256:{download.sha256}", download.name, folder, downloader=transfer))  # pyright: ignore


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
  """Waits until no other process downloads into a folder, which is made if needed, and keeps others waiting."""
  durable.make_folder(folder)
  with open(folder / ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _complete(url: str, part: pathlib.Path, size: int) -> None:
  """Transfers what is missing of a file of `size` bytes."""
  import requests  # here, because it is seldom needed

  have = part.stat().st_size if part.exists() else 0
  resumed = f", resumed after {have / 1e6:.1f} MB" if have else ""
  console = Console()
  console.print(f"downloading {url} ({size / 1e6:.1f} MB{resumed})", markup=False, highlight=False, soft_wrap=True)
  columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
  with Progress(*columns, console=console, disable=not is_terminal(console), transient=True, refresh_per_second=4) as bar:
    task, tries = bar.add_task(part.stem, total=size), TRIES
    while True:
      before = part.stat().st_size if part.exists() else 0
      try:
        for have in _transfer(requests, url, part):
          bar.update(task, completed=have)
        return
      except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
        gained = part.exists() and part.stat().st_size > before
        tries = TRIES if gained else tries - 1
        if tries == 0:
          raise


def _transfer(requests: Any, url: str, part: pathlib.Path) -> Iterator[int]:
  """Appends the rest of a file to its part, and yields the number of its bytes after every piece."""
  have = part.stat().st_size if part.exists() else 0
  headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
  with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
    if have and response.status_code == requests.codes.requested_range_not_satisfiable:
      return  # it has all bytes, as its checksum will tell
    response.raise_for_status()
    have = have if response.status_code == requests.codes.partial_content else 0
    with open(part, "ab" if have else "wb") as file:
      for piece in response.iter_content(_PIECE):
        file.write(piece)
        have += len(piece)
        yield have


def reason_of(error: BaseException) -> str:
  """Returns why a download failed, in one line: the cause of the system where there is one, such as 'Connection refused'."""
  cause: BaseException | None = error
  while cause is not None:
    if isinstance(cause, OSError) and cause.strerror and cause.errno:
      return os.strerror(cause.errno)
    cause = cause.__cause__ or cause.__context__
  return " ".join(f"{type(error).__name__}: {error}".split())[:200]
