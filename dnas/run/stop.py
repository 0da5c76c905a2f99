"""Stops a run by signals: the first signal asks it to save and exit, the second one kills it."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The signal that a scheduler sends before it kills a job, and the signal of Ctrl-C."""


class StopRequest:
  """A context manager that listens for `SIGNALS`. Enter it in the main thread.

  Python runs signal handlers only between its own instructions, so not while XLA compiles, which may take a minute. A thread therefore also
  reads the signals, from the pipe that `signal.set_wakeup_fd` writes to. This thread kills the process at the second signal.

  Attributes:
    requested: whether a signal has arrived; the loop checks it after every step.
  """

  def __init__(self, notify: Callable[[str], None] | None = None):
    """Makes a request that does not listen yet. `notify` is called from another thread, with a sentence for the user."""
    self.requested, self._notify = False, notify

  def __enter__(self) -> Self:
    """Installs the handlers. Raises ValueError outside the main thread."""
    self._old_handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}
    self._reading, self._writing = os.pipe()
    os.set_blocking(self._writing, False)
    self._old_wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
    self._watcher = threading.Thread(target=self._watch, name="stop_request", daemon=True)
    self._watcher.start()
    return self

  def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    signal.set_wakeup_fd(self._old_wakeup)
    for number, handler in self._old_handlers.items():
      signal.signal(number, handler)
    os.close(self._writing)
    self._watcher.join()
    os.close(self._reading)

  def _handle(self, number: int, frame: FrameType | None) -> None:
    self.requested = True

  def _watch(self) -> None:
    heard = 0
    while number := os.read(self._reading, 1):
      if number[0] not in SIGNALS:
        continue
      heard += 1
      if heard > 1:
        os._exit(128 + number[0])
      self.requested = True
      if self._notify:
        self._notify(f"{signal.Signals(number[0]).name} received: saving after this step; a second signal kills at once.")
