"""The parent of the processes of `forks`: imports the launchers, and forks whenever it is asked over the socket of the given number."""

import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import warnings

LEFT_OUT = ("peers",)


def imported():
  """Imports every launcher, and what a run imports late."""
  import matplotlib.pyplot  # noqa: F401
  import tensorboardX  # noqa: F401

  import dnas.launchers
  from dnas.launchers import _presets

  for module in pkgutil.iter_modules(dnas.launchers.__path__):
    if module.name not in LEFT_OUT:
      importlib.import_module(f"dnas.launchers.{module.name}")
  for name in _presets.names():
    _presets.launcher_of(name)


def received(connection, size):
  """Returns so many bytes, or nothing if the other side has closed."""
  data = b""
  while len(data) < size:
    data += (part := connection.recv(size - len(data)))
    if not part:
      return b""
  return data


def forked():
  """Forks; a process without threads of Python can, whatever threads its libraries have for arithmetic."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    return os.fork()


def served(connection):
  """Serves until the other side closes. Returns in every new process, what it should run, and in this one, at the end, None."""
  while True:
    size, files, *_ = socket.recv_fds(connection, 4, 3)
    if not size:
      return None
    asked = json.loads(received(connection, int.from_bytes(size)))
    if forked():
      for file in files:
        os.close(file)
      continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end, *streams = files
    if pid := forked():  # this one tells how the other ends
      os.write(end, pid.to_bytes(8, signed=True))
      os.write(end, os.waitpid(pid, 0)[1].to_bytes(8, signed=True))
      os._exit(0)
    os.setsid()
    for number, stream in enumerate(streams, 1):
      os.dup2(stream, number)
    for file in files:
      os.close(file)
    connection.close()
    return asked


def begin(asked):
  """Runs `python *words` in this process."""
  os.chdir(asked["cwd"])
  os.environ.clear()
  os.environ.update(asked["env"])
  first, *rest = asked["words"]
  if first == "-m":
    sys.path.insert(0, asked["cwd"])
    sys.argv = rest
    runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
  else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(first)))
    sys.argv = [first, *rest]
    runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
  del sys.path[0]
  imported()
  signal.signal(signal.SIGCHLD, signal.SIG_IGN)
  with socket.socket(fileno=int(sys.argv[1])) as served_by:
    wanted = served(served_by)
  if wanted is not None:
    begin(wanted)
