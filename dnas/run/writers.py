"""Writers of scalars, for those who watch a run; library code has one injected."""

import contextlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from dnas.core.errors import InputError, cause_of


class Writer(Protocol):
  """Takes the scalars of a run; write one per place that shows them. `contextlib.closing` makes it a context manager."""

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    """Show the scalars, by name, as those of a step; be done when you return, since the run may be killed at any moment.

    `wall_time`, in seconds since 1970, is when the step was; None is now.
    """
    ...

  def close(self) -> None:
    """Release what you hold; nothing is written afterwards."""
    ...


class NullWriter:
  """Writes nothing."""

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    """Does nothing."""

  def close(self) -> None:
    """Does nothing."""


class TensorBoardWriter:
  """Writes event files that TensorBoard shows, each value on disk when `write` returns.

  A resumed run goes on in a new file. Give the first step that it is to write again as `purge_step`: TensorBoard then forgets what earlier
  files hold from there on, and shows no point twice. With 0, followed by the history, the curves are as the history has them, also
  where a kill came between a checkpoint and its point:

      writer = TensorBoardWriter(folder, purge_step=0)
      for record in position.history:
        writer.write(record["step"], record["metrics"], folder.created + record["seconds"])
  """

  def __init__(self, folder: str | os.PathLike[str], purge_step: int | None = None):
    """Begins an event file.

    Args:
      folder: where; it is made if needed.
      purge_step: values of earlier files at this step and above are forgotten; None forgets nothing.

    Raises:
      InputError: if the file cannot be written.
    """
    self._folder = os.fspath(folder)
    try:
      os.makedirs(self._folder, exist_ok=True)
      # `SummaryWriter` writes in a thread that waits for ever once the disk is full, and names files by the second alone.
      self._file = EventsWriter(os.path.join(self._folder, "events"), f".{os.getpid()}.{time.time_ns()}")
    except OSError as e:
      raise self._error(e) from None
    self._append([] if purge_step is None else [Event(step=purge_step, session_log=SessionLog(status=SessionLog.START))])

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    """Appends the scalars of a step that are finite, as others cannot be drawn. Raises InputError if the file cannot be written."""
    finite = {name: value for name, value in scalars.items() if math.isfinite(value)}
    self._append([Event(step=step, summary=scalar(name, value)) for name, value in finite.items()], wall_time)

  def close(self) -> None:
    """Closes the file."""
    with contextlib.suppress(OSError):  # `write` has raised it
      self._file.close()

  def _append(self, events: Sequence[Event], wall_time: float | None = None) -> None:
    try:
      for event in events:
        event.wall_time = time.time() if wall_time is None else wall_time
        self._file.write_event(event)
      self._file.flush()
    except OSError as e:
      raise self._error(e) from None

  def _error(self, error: OSError) -> InputError:
    mend = "make room or rights for it and give the command again"
    return InputError(f"TensorBoard folder {self._folder} cannot be written ({cause_of(error)}); {mend}.")
