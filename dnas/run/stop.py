"""Stopping a run from outside: the first signal asks it to save and leave, the second one kills it."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What a scheduler sends before it kills, and what Ctrl-C sends."""


class StopRequest:
  """Listens for `SIGNALS` while it is entered as a context manager, in the main thread.

  Python runs signal handlers between two of its own instructions, and so not while XLA compiles, which may take a minute. The signals
  are therefore also read by a thread, from the file that Python's `set_wakeup_fd` writes to: it is that thread which kills.

  Attributes:
    requested: whether a signal has come; what works in steps looks at it after each one.
  """

  def __init__(self, notify: Callable[[str], None] | None = None):
    """Makes a request that is not yet listening; `notify` is called with a sentence for a person, from another thread."""
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
