"""Writers of the scalars of a run, for instance for TensorBoard. Library code takes a writer as an argument."""

import contextlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from dnas.core.errors import InputError, cause_of


class Writer(Protocol):
  """Writes the scalars of a run; implement one per display. `contextlib.closing` makes it a context manager."""

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    """Write the scalars of a step, by name. Flush them before the method returns, since the run may be killed at any moment.

    `wall_time` is the time of the step in seconds since 1970; None means now.
    """
    ...

  def close(self) -> None:
    """Release all resources; `write` is not called afterwards."""
    ...


class NullWriter:
  """Writes nothing."""

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    """Does nothing."""

  def close(self) -> None:
    """Does nothing."""


class Writers:
  """Writes to several writers."""

  def __init__(self, writers: Sequence[Writer]):
    """Stands for the writers, which it closes."""
    self._writers = tuple(writers)

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    """Writes to every writer."""
    for writer in self._writers:
      writer.write(step, scalars, wall_time)

  def close(self) -> None:
    """Closes every writer."""
    for writer in self._writers:
      writer.close()


def finite(scalars: Mapping[str, float]) -> dict[str, float]:
  """Returns the scalars that are finite; the others have no place in a curve."""
  return {name: value for name, value in scalars.items() if math.isfinite(value)}


class TensorBoardWriter:
  """Writes event files for TensorBoard. Every `write` flushes its values to the file.

  A resumed run starts a new file. From step `purge_step` on, TensorBoard ignores the points of earlier files, so no point appears twice.
  To repair curves, give `purge_step=0` and write the whole history again. The curves then match the history, even if the run was killed
  after a checkpoint and before its point was written:

      writer = TensorBoardWriter(folder, purge_step=0)
      for record in position.history:
        writer.write(record["step"], record["metrics"], folder.created + record["seconds"])
  """

  def __init__(self, folder: str | os.PathLike[str], purge_step: int | None = None):
    """Starts an event file.

    Args:
      folder: the folder of the event files; it is created if needed.
      purge_step: TensorBoard ignores values of earlier files from this step on; None ignores nothing.

    Raises:
      ImportError: if tensorboardX is not installed.
      InputError: if the file cannot be written.
    """
    from tensorboardX import summary  # here, because a run goes on without it
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2

    self._messages: Any = event_pb2  # its classes are generated at import
    self._scalar = summary.scalar
    self._folder = os.fspath(folder)
    try:
      os.makedirs(self._folder, exist_ok=True)
      # `SummaryWriter` writes in a thread that hangs once the disk is full, and its file names differ only by the second.
      self._file = EventsWriter(os.path.join(self._folder, "events"), f".{os.getpid()}.{time.time_ns()}")
    except OSError as e:
      raise self._error(e) from None
    self._append([] if purge_step is None else [self._start(purge_step)])

  def write(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
    """Appends the finite scalars of a step. Infinite and NaN scalars are left out. Raises InputError if the file cannot be written."""
    events = [self._messages.Event(step=step, summary=self._scalar(name, value)) for name, value in finite(scalars).items()]
    self._append(events, wall_time)

  def close(self) -> None:
    """Closes the file."""
    with contextlib.suppress(OSError):  # `write` flushed all values, and raised if it could not
      self._file.close()

  def _start(self, step: int) -> Any:
    log = self._messages.SessionLog
    return self._messages.Event(step=step, session_log=log(status=log.START))

  def _append(self, events: Sequence[Any], wall_time: float | None = None) -> None:
    try:
      for event in events:
        event.wall_time = time.time() if wall_time is None else wall_time
        self._file.write_event(event)
      self._file.flush()
    except OSError as e:
      raise self._error(e) from None

  def _error(self, error: OSError) -> InputError:
    hint = "free space or set permissions there and give the command again"
    return InputError(f"TensorBoard folder {self._folder} cannot be written ({cause_of(error)}); {hint}.")
