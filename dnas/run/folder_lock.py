"""The lock of a run's folder: one process writes there. The lock ends with the process."""

import fcntl
import os
import pathlib
import platform
import time

from absl import logging

from dnas.core.errors import InputError

NAME = ".lock"
"""The file that is locked."""


def is_in_use(path: pathlib.Path) -> bool:
  """Returns whether a process writes to the folder of a run now; False where the file system cannot tell."""
  try:
    lock = os.open(path / NAME, os.O_RDONLY | os.O_CLOEXEC)
  except OSError:
    return False
  try:
    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except BlockingIOError:
    return True
  except OSError:
    return False
  finally:
    os.close(lock)
  return False


def acquire(path: pathlib.Path) -> int | None:
  """Locks the folder and returns the lock's descriptor, or None if it cannot be locked. The lock ends with the process."""
  lock = os.open(path / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
  try:
    _lock(lock)
  except BlockingIOError:
    holder = os.pread(lock, 100, 0).decode(errors="replace").strip()
    os.close(lock)
    raise InputError(f"--workdir {path} is in use by another process ({holder}); wait for it to end, or give another --workdir.") from None
  except OSError as e:
    os.close(lock)
    logging.warning("%s cannot be locked (%s); make sure that only one process runs there.", path, e.strerror)
    return None
  os.ftruncate(lock, 0)
  os.pwrite(lock, f"process {os.getpid()} on {platform.node()}".encode(), 0)
  return lock


def _lock(lock: int) -> None:
  """Takes a lock. `is_in_use` may hold it for a moment, so it tries for a while. Raises BlockingIOError if another process holds it."""
  last = time.monotonic() + 0.3
  while True:
    try:
      return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      if time.monotonic() > last:
        raise
    time.sleep(0.01)


def release(lock: int | None) -> None:
  """Ends the lock that `acquire` returned."""
  if lock is not None:
    os.close(lock)
