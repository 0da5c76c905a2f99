"""Files that survive a power cut.

A file is written under a temporary name in the same folder, synced, and renamed. Then the folder is synced, which puts the name on disk.
After a power cut the file has either its old or its new content, never a part. A folder that another library wrote is synced as a whole.

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
from typing import IO, Any, Self

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""Errors of a file system that cannot sync folders."""


def write(path: pathlib.Path, content: str | bytes, shared: bool = False) -> None:
  """Writes a whole file; text becomes UTF-8. A file that already has this content is not touched.

  Args:
    path: the file.
    content: the new content.
    shared: whether several processes may write the file at once, as in a folder that belongs to no run.

  Raises:
    OSError: if the file cannot be written. If it existed, it keeps its old content.
  """
  data = content.encode() if isinstance(content, str) else content
  with contextlib.suppress(OSError):
    if path.stat().st_size == len(data) and path.read_bytes() == data:
      return
  beside = path.with_name(f".{path.name}.{os.getpid()}.tmp") if shared else temporary(path)
  beside.unlink(missing_ok=True)  # left by a writer that was killed; a link is not followed
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
  """Writes a whole file, as `write` does. `fill` writes the content to the stream that it is given. Raises OSError."""
  content = io.BytesIO()
  fill(content)
  write(path, content.getvalue())


def temporary(path: pathlib.Path) -> pathlib.Path:
  """Returns the temporary path under which `write` writes a file before it renames it."""
  return path.with_name(f".{path.name}.tmp")


def append(path: pathlib.Path, text: str) -> None:
  """Adds text to the end of a file and blocks until it is on disk. Raises OSError."""
  with Lines(path) as lines:
    lines.write(text)


class Lines:
  """A context manager that adds lines to the end of a file. When it exits, all lines are on disk.

  Every line goes to the operating system at once, so a kill loses none. A sync may take longer than the work that a line reports, so lines
  are synced at most once a second. A power cut loses the lines since the last sync, and may leave zero bytes there; see `whole_lines`.
  """

  def __init__(self, path: pathlib.Path):
    """Opens the file, or creates it. Raises OSError."""
    is_new = not path.exists()
    self._file, self._synced = open(path, "a", encoding="utf-8"), -math.inf  # noqa: SIM115
    if is_new:
      sync_folder(path.parent)

  def write(self, line: str) -> None:
    """Adds a line, which must end in a newline. Raises OSError."""
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
  """Returns the complete lines of a file's text before the first zero byte. So it drops what a kill or a power cut may have damaged."""
  return text.partition("\0")[0].split("\n")[:-1]


def make_folder(path: pathlib.Path) -> None:
  """Makes a folder and its missing parents. Raises OSError."""
  missing = [folder for folder in (path, *path.parents) if not folder.exists()]
  path.mkdir(parents=True, exist_ok=True)
  for folder in missing:
    sync_folder(folder.parent)


def sync(file: IO[Any]) -> None:
  """Blocks until the content of an open file is on disk. Raises OSError."""
  file.flush()
  os.fsync(file.fileno())


def sync_folder(folder: pathlib.Path) -> None:
  """Blocks until the names in a folder are on disk, if the file system can sync folders. Raises OSError."""
  descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
  try:
    os.fsync(descriptor)
  except OSError as e:
    if e.errno not in _NO_SYNC:
      raise
  finally:
    os.close(descriptor)


def sync_tree(folder: pathlib.Path) -> None:
  """Blocks until a folder and its whole content are on disk. Syncs files before their folder, and inner folders first. Raises OSError."""
  for path, _, names in os.walk(folder, topdown=False, onerror=_raise):
    for name in names:
      with open(os.path.join(path, name), "rb") as file:
        os.fsync(file.fileno())
    sync_folder(pathlib.Path(path))


def _raise(error: OSError) -> None:
  raise error
