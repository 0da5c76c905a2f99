"""Launchers in processes of their own that start at once: forks of a Python that has imported them and has begun nothing.

`run` and `Process` stand for `subprocess.run` and `subprocess.Popen`, where it does not matter how a Python begins. A process has its own
session, environment, folder and arguments, and ends as a Python ends. All of one environment have the seed of hashes of their parent.
"""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import NamedTuple

CHANGING = "PYTEST_CURRENT_TEST"


class Done(NamedTuple):
  """How a process ended."""

  returncode: int
  stdout: str
  stderr: str


class Process:
  """A running `python *words`."""

  def __init__(self, *words: object, cwd: object, env: Mapping[str, str]):
    self._files = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2)]  # noqa: SIM115  # `communicate` closes them
    self._end, end = os.pipe()
    asked = json.dumps({"words": list(map(str, words)), "cwd": str(cwd), "env": dict(env)}).encode()
    server = _server(tuple(sorted((name, value) for name, value in env.items() if name != CHANGING)))
    socket.send_fds(server, [len(asked).to_bytes(4)], [end, *(file.fileno() for file in self._files)])
    server.sendall(asked)
    os.close(end)
    self.args, self.returncode = words, None
    self.pid = self._number()

  def _number(self) -> int:
    data = os.read(self._end, 8)
    assert len(data) == 8, "the server of processes has ended"
    return int.from_bytes(data, signed=True)

  def poll(self) -> int | None:
    """Returns the exit status, None while the process runs."""
    return self.wait(0)

  def wait(self, timeout: float | None = None) -> int | None:
    """Waits for so many seconds, and returns the exit status, None while the process runs."""
    if self.returncode is None and select.select([self._end], [], [], timeout)[0]:
      self.returncode = os.waitstatus_to_exitcode(self._number())
    return self.returncode

  def send_signal(self, number: int) -> None:
    """Sends a signal, unless the process has ended."""
    if self.poll() is None:
      with contextlib.suppress(ProcessLookupError):
        os.kill(self.pid, number)

  def kill(self) -> None:
    """Kills the process."""
    self.send_signal(signal.SIGKILL)

  def communicate(self, timeout: float | None = None) -> tuple[str, str]:
    """Waits for the end, and returns what was printed. Raises subprocess.TimeoutExpired if it does not come in time."""
    if self.wait(timeout) is None:
      self.kill()
      raise subprocess.TimeoutExpired(list(map(str, self.args)), timeout or 0)
    texts = []
    for file in self._files:
      file.seek(0)
      texts.append(file.read())
      file.close()
    os.close(self._end)
    return texts[0], texts[1]


def run(*words: object, cwd: object, env: Mapping[str, str], timeout: float = 300) -> Done:
  """Runs `python *words`, and returns how it ended."""
  process = Process(*words, cwd=cwd, env=env)
  out, err = process.communicate(timeout)
  assert process.returncode is not None
  return Done(process.returncode, out, err)


@functools.cache
def _server(env: tuple[tuple[str, str], ...]) -> socket.socket:
  """Returns the socket of a Python that forks processes of this environment; JAX and Python read theirs when they begin."""
  ours, its = socket.socketpair()
  with its:
    command = [sys.executable, str(pathlib.Path(__file__).with_name("forks_server.py")), str(its.fileno())]
    server = subprocess.Popen(command, env=dict(env), pass_fds=[its.fileno()], start_new_session=True)

  def stop() -> None:
    ours.close()
    server.wait(60)

  atexit.register(stop)
  return ours
