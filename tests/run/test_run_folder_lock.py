"""The lock of a folder, beside one that only asks for it."""

import threading
import time

import pytest

from dnas.core.errors import InputError
from dnas.run import folder_lock


def test_a_question_never_keeps_a_run_from_its_folder(tmp_path):
  ended = threading.Event()

  def ask():
    while not ended.is_set():
      folder_lock.is_in_use(tmp_path)

  folder_lock.release(folder_lock.acquire(tmp_path))
  asking = threading.Thread(target=ask)
  asking.start()
  try:
    for _ in range(200):
      folder_lock.release(folder_lock.acquire(tmp_path))
  finally:
    ended.set()
    asking.join()


def test_a_folder_in_use_is_refused_soon(tmp_path):
  lock, began = folder_lock.acquire(tmp_path), time.monotonic()
  with pytest.raises(InputError, match="in use by another process"):
    folder_lock.acquire(tmp_path)
  assert time.monotonic() - began < 5 and folder_lock.is_in_use(tmp_path)
  folder_lock.release(lock)
  assert not folder_lock.is_in_use(tmp_path)
