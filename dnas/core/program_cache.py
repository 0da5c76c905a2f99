"""The folder in which JAX keeps compiled programs between runs: nobody else may write there, and it does not grow forever.

Whoever may write to the folder decides what this user's runs compute. So it is judged as `sshd` judges `~/.ssh`.
"""

import atexit
import contextlib
import os
import pathlib
import re
import stat
import tempfile
import warnings

import jax
from jax.experimental.compilation_cache import compilation_cache

from dnas.core.errors import InputError

_OF_JAX = re.compile(r".+-[0-9a-f]{64}-cache")
"""Names of the files that JAX writes; no other file is ever deleted."""


def use(folder: str, limit: float) -> None:
  """Makes JAX keep compiled programs in a folder. A missing one is made, for this user alone.

  Where another user owns the folder or may write to it, nothing is kept, and a warning says so.

  Args:
    folder: the folder; 'none' keeps nothing.
    limit: of all programs, in bytes. The least recently used are deleted, now and when this process ends.

  Raises:
    InputError: if no folder is named, or it cannot be made or written to.
  """
  compilation_cache.reset_cache()  # JAX does not look at its settings again before
  jax.config.update("jax_compilation_cache_dir", None)
  atexit.unregister(trim)
  if folder == "none":
    return
  if not folder.strip():
    raise InputError("--compilation_cache is empty; give a folder, or 'none'.")
  path = pathlib.Path(os.path.expanduser(folder)).absolute()
  try:
    _make(path)
    why = _distrusted(path.stat())
    with contextlib.nullcontext() if why else tempfile.TemporaryFile(dir=path):
      pass
  except (OSError, ValueError) as e:
    wrong = f"cannot be made or written to ({getattr(e, 'strerror', None) or e})"
    raise InputError(f"--compilation_cache={folder} {wrong}; give another folder, or 'none'.") from None
  if why:
    mend = "delete the folder, which is then made anew, or give another; until then every start compiles everything"
    warnings.warn(f"--compilation_cache={folder} is not used, since {why}; {mend}.", stacklevel=2)
    return
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  # JAX writes a program in place: while another run does so, or after one was killed there, it is read in part, and then compiled anew.
  warnings.filterwarnings("ignore", message="Error reading persistent compilation cache entry")
  trim(path, limit)
  atexit.register(trim, path, limit)


def trim(path: pathlib.Path, limit: float) -> None:
  """Deletes programs in a folder, the least recently used first, until the others have at most `limit` bytes together."""
  found = []
  for file in filter(lambda file: _OF_JAX.fullmatch(file.name), path.glob("*-cache")):
    with contextlib.suppress(OSError):  # another process deletes too
      about = file.stat()
      found.append((max(about.st_atime, about.st_mtime), about.st_size, file))
  total = sum(size for _, size, _ in found)
  for _, size, file in sorted(found):
    if total <= limit:
      break
    with contextlib.suppress(OSError):
      file.unlink()
    total -= size


def _make(path: pathlib.Path) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  with contextlib.suppress(FileExistsError):
    path.mkdir(mode=0o700)
    path.chmod(0o700)  # the umask may have taken some of it away
  if not path.is_dir():
    raise NotADirectoryError(20, os.strerror(20))


def _distrusted(about: os.stat_result) -> str:
  """Returns why a folder is not to be trusted; nothing if it is."""
  if about.st_uid != os.geteuid():
    return f"it belongs to the user with number {about.st_uid}"
  if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    return f"others may write to it (its mode is {stat.S_IMODE(about.st_mode):04o})"
  return ""
