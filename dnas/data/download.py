"""Downloads of published files: with a checksum, resumed after an interruption, with a progress bar in a terminal.

Pooch keeps the cache and checks the sums. It begins every download at byte 0, so the transfer itself is here: what has come is kept beside
the target as NAME.part, and the next try asks the server for the rest (an HTTP range, RFC 9110). A server that sends the whole file again
is read from where the part ends. So a part only grows, until its checksum is known to be wrong.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from dnas.core import durable
from dnas.run.console import is_terminal

TIMEOUT = 20
"""Seconds to wait for an answer of a server, and for the next bytes of a transfer."""

TRIES = 3
"""Tries in a row that bring nothing before a download is given up."""

WAIT = 1.0
"""Seconds before the next try after one that brought nothing; they double each time."""

_BUSY = (429, 502, 503, 504)  # HTTP states after which a server may answer later

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
    ValueError: if the checksum is another. What was downloaded is then removed. A file that was resumed is first downloaded anew, since
      the server may have another one by now.
  """
  import pooch  # here, because it is seldom needed

  pooch.get_logger().setLevel("WARNING")
  part, answers = folder / f"{download.name}.part", [0]

  def transfer(url: str, output_file: Any, pooch: Any) -> None:
    answers[0] = _complete(url, part, download.size)
    try:
      os.unlink(output_file)
      os.link(part, output_file)  # the part stays while the checksum is computed, which a signal may end
    except OSError:
      part.rename(output_file)

  def retrieve() -> pathlib.Path:
    try:
      found = pooch.retrieve(download.url, f"sha256:{download.sha256}", download.name, folder, downloader=transfer)  # pyright: ignore
    except ValueError:
      part.unlink(missing_ok=True)
      raise
    part.unlink(missing_ok=True)
    return pathlib.Path(found)

  resumed = part.exists()
  try:
    return retrieve()
  except ValueError:
    if not resumed and answers[0] == 1:
      raise
    return retrieve()


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
  """Waits until no other process downloads into a folder, which is made if needed, and keeps others waiting."""
  durable.make_folder(folder)
  with open(folder / ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _complete(url: str, part: pathlib.Path, size: int) -> int:
  """Transfers what is missing of a file of `size` bytes, and returns how many answers of the server that took.

  It also ends where the server has no more.
  """
  import requests  # here, because it is seldom needed

  if _size(part) > size:
    part.unlink()
  have = _size(part)
  resumed = f", resumed after {have / 1e6:.1f} MB" if have else ""
  console = Console()
  console.print(f"downloading {url} ({size / 1e6:.1f} MB{resumed})", markup=False, highlight=False, soft_wrap=True)
  columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
  failures, answers, ranged = 0, 0, True
  with Progress(*columns, console=console, disable=not is_terminal(console), transient=True, refresh_per_second=4) as bar:
    task = bar.add_task(part.stem, total=size)
    while (have := _size(part)) < size or not part.exists():
      answers += 1
      try:
        if _transfer(url, part, size, ranged, lambda done: bar.update(task, completed=done)):
          return answers
        failed = None
      except requests.HTTPError as e:
        status = e.response.status_code if e.response is not None else 0
        if status not in _BUSY and not (ranged and have):
          raise
        failed, ranged = e, ranged and status in _BUSY
      except requests.exceptions.ContentDecodingError as e:
        failed, ranged = e, False
      except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as e:
        failed = e
      failures = 0 if _size(part) > have else failures + 1
      if failures == TRIES:
        raise failed or requests.ConnectionError(f"{url} has sent none of the bytes from {have:,} on")
      if failures:
        time.sleep(WAIT * 2 ** (failures - 1))
  return answers


def _transfer(url: str, part: pathlib.Path, size: int, ranged: bool, show: Callable[[int], object]) -> bool:
  """Appends the rest of a file to its part.

  Args:
    url: where the file is.
    part: what has come of it.
    size: bytes of the whole file; what comes beyond them is not read.
    ranged: whether the server is asked for the rest alone.
    show: called with the number of bytes that are there, after every piece.

  Returns:
    Whether the server has no more: it sent a whole file of a length that it told, or it has nothing beyond the part.
  """
  import requests  # here, because it is seldom needed

  have = _size(part)
  headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if ranged and have else {})}
  with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
    if ranged and have and response.status_code == requests.codes.requested_range_not_satisfiable:
      return True  # its checksum will tell whether these are the right bytes
    response.raise_for_status()
    whole = response.status_code != requests.codes.partial_content
    begin = 0 if whole else _begin_of(response.headers.get("Content-Range", ""), have)
    if begin > have:
      raise requests.ConnectionError(f"{url} has sent the bytes from {begin:,} on, and not those from {have:,} on")
    ahead = have - begin  # bytes that are there
    with open(part, "ab") as file:
      for piece in response.iter_content(_PIECE):
        new, ahead = piece[ahead:], max(0, ahead - len(piece))
        file.write(new[: size - have])
        have = min(size, have + len(new))
        show(have)
        if have == size:
          break
  return whole and "Content-Length" in response.headers and have < size


def _begin_of(content_range: str, asked: int) -> int:
  """Returns the first byte of an answer by its header, such as 'bytes 100-199/200'; without a header, the byte that was asked for."""
  found = re.fullmatch(r"bytes (\d{1,15})-\d+/(?:\d+|\*)", content_range.strip())
  return int(found[1]) if found else asked


def _size(part: pathlib.Path) -> int:
  """Returns the bytes of a part, 0 if there is none."""
  return part.stat().st_size if part.exists() else 0


def reason_of(error: BaseException) -> str:
  """Returns why a download failed, in one line: the cause of the system where there is one, such as 'Connection refused'."""
  cause: BaseException | None = error
  while cause is not None:
    if isinstance(cause, OSError) and cause.strerror and cause.errno:
      return os.strerror(cause.errno)
    cause = cause.__cause__ or cause.__context__
  return " ".join(f"{type(error).__name__}: {error}".split())[:200]
