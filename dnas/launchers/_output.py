"""Prints and pictures that never end a run, though a pipe closes, a disk is full, or a terminal lacks a character."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from dnas.core.errors import first_line

_PLAIN = str.maketrans({"±": "+-", "–": "-"})


class Output:
  """A stream in the place of another one. It writes in ASCII what the other cannot show, and drops what the other cannot take."""

  def __init__(self, stream: TextIO):
    """Stands in the place of `stream`."""
    self._stream = stream

  def write(self, text: str) -> int:
    """Writes a text, if the stream takes it."""
    try:
      return self._stream.write(text)
    except UnicodeEncodeError:
      return self.write(text.translate(_PLAIN).encode("ascii", "backslashreplace").decode())
    except OSError:
      self._lose()
    return len(text)

  def flush(self) -> None:
    """Writes the text that waits, if the stream takes it."""
    try:
      self._stream.flush()
    except OSError:
      self._lose()

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def _lose(self) -> None:
    """Drops the text that waits and all that follows."""
    with contextlib.suppress(OSError, ValueError):
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, self._stream.fileno())
      os.close(nowhere)
      self._stream.flush()


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
  """Makes the standard streams `Output`s for a while. A closed one is opened, as a file of the run would be in its place otherwise."""
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
  before = sys.stdout, sys.stderr
  with open(os.devnull, "w", encoding="utf-8") as nowhere:
    sys.stdout, sys.stderr = own = [Output(stream or nowhere) for stream in before]
    try:
      yield
    finally:
      for stream in own:
        stream.flush()
      sys.stdout, sys.stderr = before


@contextlib.contextmanager
def to_log(path: pathlib.Path) -> Iterator[None]:
  """Appends what is printed to a file."""
  file = open(path, "a", encoding="utf-8")  # noqa: SIM115  (its end may be lost)
  try:
    with contextlib.redirect_stdout(Output(file)):
      yield
  finally:
    Output(file).flush()
    file.close()


def drawn(draw: Callable[[], Any], what: str = "pictures are not drawn", again: str = "draws them") -> Any:
  """Returns the result of a function that draws pictures. If the function fails, a warning says why, and None is returned."""
  try:
    return draw()
  except Exception as e:  # whatever a library of drawing raises, the results are there
    cause = first_line(e).rstrip(".")
    print(f"warning: the {what} ({cause}); the results are whole, and the same command again {again}", flush=True)
  return None
