"""Downloads of published files: with a checksum, resumed after an interruption, with a progress bar in a terminal.

Pooch keeps the cache and checks the sums. It begins every download at byte 0, so the transfer itself is here: what has come is kept beside
the target as NAME.part, and the next try asks the server for the rest (an HTTP range, RFC 9110). A server that knows no ranges sends the
whole file again. A server that is busy is asked again after a few seconds.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
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

_BUSY = (429, 500, 502, 503, 504)
"""HTTP states after which a server is asked again."""

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
  part = folder / f"{download.name}.part"

  def transfer(url: str, output_file: Any, pooch: Any) -> None:
    _complete(url, part, download.size)
    part.rename(output_file)

  def retrieve() -> pathlib.Path:
    return pathlib.Path(pooch.retrieve(download.url, f"sha256:{download.sha256}", download.name, folder, downloader=transfer))  # pyright: ignore

  resumed = part.exists()
  try:
    return retrieve()
  except ValueError:
    if not resumed:
      raise
    return retrieve()


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
  """Waits until no other process downloads into a folder, which is made if needed, and keeps others waiting."""
  durable.make_folder(folder)
  with open(folder / ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _complete(url: str, part: pathlib.Path, size: int) -> None:
  """Transfers what is missing of a file of `size` bytes. A server that has fewer or more of them ends it too."""
  import requests  # here, because it is seldom needed
  import requests.adapters

  have = _size(part)
  resumed = f", resumed after {have / 1e6:.1f} MB" if have else ""
  console = Console()
  console.print(f"downloading {url} ({size / 1e6:.1f} MB{resumed})", markup=False, highlight=False, soft_wrap=True)
  columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
  bar = Progress(*columns, console=console, disable=not is_terminal(console), transient=True, refresh_per_second=4)
  with requests.Session() as session, bar:
    for scheme in ("http://", "https://"):
      session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=_retries()))
    task, tries = bar.add_task(part.stem, total=size), TRIES
    while _size(part) != size and tries:
      before = _size(part)
      try:
        if _transfer(session, url, part, lambda done: bar.update(task, completed=done)):
          return
      except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
        if _size(part) <= before and tries == 1:
          raise
      tries = TRIES if _size(part) > before else tries - 1


def _retries() -> Any:
  """Returns what is asked again without a word: answers of a busy server, at once, and after 2 and 4 seconds."""
  import urllib3  # here, because it is seldom needed

  again: dict[str, Any] = {"status": TRIES, "status_forcelist": _BUSY, "backoff_factor": 1, "respect_retry_after_header": False}
  return urllib3.Retry(None, connect=0, read=0, raise_on_status=False, **again)


def _transfer(session: Any, url: str, part: pathlib.Path, show: Callable[[int], object]) -> bool:
  """Writes the rest of a file to its part.

  Args:
    session: of requests.
    url: where the file is.
    part: what has come of it.
    show: called with the number of bytes that are there, after every piece.

  Returns:
    Whether the server has no more: it sent a whole file of a length that it told, or it has nothing beyond the part.
  """
  import requests  # here, because it is seldom needed

  have = _size(part)
  headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
  with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
    if have and response.status_code == requests.codes.requested_range_not_satisfiable:
      return True  # its checksum will tell whether these are the right bytes
    response.raise_for_status()
    whole = response.status_code != requests.codes.partial_content
    begin = 0 if whole else _begin_of(response.headers.get("Content-Range", ""), have)
    with open(part, "r+b" if have else "wb") as file:
      file.truncate(file.seek(begin))
      for piece in response.iter_content(_PIECE):
        file.write(piece)
        show(file.tell())
      if file.tell() == begin and not whole:
        raise requests.ConnectionError(f"{url} has sent none of the bytes from {begin:,} on")
  return whole and "Content-Length" in response.headers


def _begin_of(content_range: str, asked: int) -> int:
  """Returns the first byte of an answer by its header, such as 'bytes 100-199/200'; without a header, the byte that was asked for."""
  found = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", content_range.strip())
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
