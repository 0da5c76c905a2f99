"""The folder in which JAX keeps compiled programs between runs: nobody else may put something there, and it does not grow for ever.

Whoever may write to the folder decides what this user's runs compute. So it is judged as `ssh` judges its keys.
"""

import atexit
import contextlib
import os
import pathlib
import stat
import warnings

import jax

from dnas.core.errors import InputError

_SUFFIX = "-cache"  # of the files that JAX writes


def use(folder: str, limit: float) -> None:
  """Has compiled programs kept in a folder, which is made, for this user alone, if there is none.

  Where another user owns the folder or may write to it, nothing is kept, and a warning says so.

  Args:
    folder: the folder; 'none' keeps nothing.
    limit: how many bytes the programs may have together; when this process begins and ends, those go that were not used for longest.

  Raises:
    InputError: if the folder cannot be made.
  """
  jax.config.update("jax_compilation_cache_dir", None)
  if folder == "none":
    return
  path = pathlib.Path(os.path.expanduser(folder)).absolute()
  try:
    _make(path)
    why = _distrusted(path.stat())
  except OSError as e:
    raise InputError(f"--compilation_cache={folder} cannot be made ({os.strerror(e.errno)}); give another folder, or 'none'.") from None
  if why:
    mend = "mend that with chown and chmod, or give another folder"
    warnings.warn(f"--compilation_cache={folder} is not used, since {why}; {mend}.", stacklevel=2)
    return
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  # JAX writes a program in place: while another run does so, or after one was killed there, it is read in part, and then compiled anew.
  warnings.filterwarnings("ignore", message="Error reading persistent compilation cache entry")
  trim(path, limit)
  atexit.unregister(trim)
  atexit.register(trim, path, limit)


def trim(path: pathlib.Path, limit: float) -> None:
  """Deletes programs in a folder, those that were not used for longest first, until the others have at most `limit` bytes together."""
  found = []
  for file in path.glob(f"*{_SUFFIX}"):
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
    path.mkdir()
    path.chmod(0o700)  # `mkdir` heeds the umask
  if not path.is_dir():
    raise NotADirectoryError(20, os.strerror(20))


def _distrusted(about: os.stat_result) -> str:
  """Returns why a folder is not to be trusted; nothing if it is."""
  if about.st_uid != os.geteuid():
    return f"it belongs to the user with number {about.st_uid}"
  if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    return f"others may write to it (its mode is {stat.S_IMODE(about.st_mode):04o})"
  return ""
