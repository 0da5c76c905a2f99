"""Files that outlast a power cut.

A file is written beside its place, synced, and renamed; then the folder is synced, since a name is on disk only with its folder. After a
power cut either the old content or the new one is there, and never a part of it. A folder that another library wrote is synced as a whole.

Source of the order: Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

import contextlib
import errno
import io
import math
import os
import pathlib
import time
from collections.abc import Callable
from typing import IO, Self

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""What a file system says that cannot sync folders."""


def write(path: pathlib.Path, content: str | bytes, shared: bool = False) -> None:
  """Writes a whole file, text as UTF-8; a file that holds the same already is left alone.

  Args:
    path: the file.
    content: what it is to hold.
    shared: whether several processes may write it at once, as in a folder that belongs to no run.

  Raises:
    OSError: if it cannot be written; what was there before is there still.
  """
  data = content.encode() if isinstance(content, str) else content
  with contextlib.suppress(OSError):
    if path.stat().st_size == len(data) and path.read_bytes() == data:
      return
  beside = path.with_name(f".{path.name}.{os.getpid()}.tmp") if shared else temporary(path)
  beside.unlink(missing_ok=True)  # of a writer that was killed; a link there is not followed
  try:
    with open(beside, "xb") as file:
      file.write(data)
      sync(file)
    os.replace(beside, path)
  except OSError:
    with contextlib.suppress(OSError):
      beside.unlink(missing_ok=True)
    raise
  sync_folder(path.parent)


def write_by(path: pathlib.Path, fill: Callable[[IO[bytes]], object]) -> None:
  """Writes a whole file, as `write` does, of what a function writes to a stream. Raises OSError."""
  content = io.BytesIO()
  fill(content)
  write(path, content.getvalue())


def temporary(path: pathlib.Path) -> pathlib.Path:
  """Returns where `write` puts a file until it is whole."""
  return path.with_name(f".{path.name}.tmp")


def append(path: pathlib.Path, text: str) -> None:
  """Adds text to the end of a file; it is on disk then. Raises OSError."""
  with Lines(path) as lines:
    lines.write(text)


class Lines:
  """Adds lines to the end of a file; a context manager, which leaves all of them on disk.

  Every line is the system's at once, so that a kill loses none. A sync may take longer than what a line tells of, so lines are synced once
  a second: a power cut loses those of the last second. What it leaves in their place may be zero bytes, see `whole_lines`.
  """

  def __init__(self, path: pathlib.Path):
    """Opens the file, and makes it if needed. Raises OSError."""
    is_new = not path.exists()
    self._file, self._synced = open(path, "a", encoding="utf-8"), -math.inf  # noqa: SIM115
    if is_new:
      sync_folder(path.parent)

  def write(self, line: str) -> None:
    """Adds a line, with its end. Raises OSError."""
    self._file.write(line)
    self._file.flush()
    if time.monotonic() - self._synced > 1:
      sync(self._file)
      self._synced = time.monotonic()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    try:
      sync(self._file)
    finally:
      self._file.close()


def whole_lines(text: str) -> list[str]:
  """Returns the lines of a text to which lines were being added when the process was killed, or the power cut, but for what was lost."""
  return text.partition("\0")[0].split("\n")[:-1]


def make_folder(path: pathlib.Path) -> None:
  """Makes a folder, and those above it, where they are missing. Raises OSError."""
  missing = [folder for folder in (path, *path.parents) if not folder.exists()]
  path.mkdir(parents=True, exist_ok=True)
  for folder in missing:
    sync_folder(folder.parent)


def sync(file: IO) -> None:
  """Blocks until what was written to an open file is on disk. Raises OSError."""
  file.flush()
  os.fsync(file.fileno())


def sync_folder(folder: pathlib.Path) -> None:
  """Blocks until the names in a folder are on disk, where the file system can say so. Raises OSError."""
  descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
  try:
    os.fsync(descriptor)
  except OSError as e:
    if e.errno not in _NO_SYNC:
      raise
  finally:
    os.close(descriptor)


def sync_tree(folder: pathlib.Path) -> None:
  """Blocks until a folder is on disk with all below it: files first, then folders, inner ones before outer ones. Raises OSError."""
  for path, _, names in os.walk(folder, topdown=False, onerror=_raise):
    for name in names:
      with open(os.path.join(path, name), "rb") as file:
        os.fsync(file.fileno())
    sync_folder(pathlib.Path(path))


def _raise(error: OSError) -> None:
  raise error
