"""The folder in which JAX keeps compiled programs between runs. Only this user may write to it, and its size is limited.

Anyone who can write to the folder controls what this user's runs compute. So its owner and modes are checked as `sshd` checks `~/.ssh`.

JAX loads any program that it finds there, and never writes a program twice. So before JAX may read the folder, every program is compared
with its SHA-256 digest. A program is deleted, and later compiled anew, if it differs, has no digest, or is not a file of this user.

    digests.txt      a line for every program: digest and name; the last line of a name counts
    .lock            every process that uses the folder holds a shared lock on it

A process writes the digest of a new program within seconds, and all missing digests when it ends. A program without a digest is left from
a process that was killed while it wrote. But if another process uses the folder, it may be writing the program, so the program stays.
"""

# JAX's own annotations are incomplete.
# pyright: reportUnknownMemberType=false

import atexit
import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import os
import pathlib
import re
import stat
import tempfile
import threading
import time
import warnings

import jax
from jax.experimental.compilation_cache import compilation_cache

from dnas.core.errors import InputError
from dnas.core.paths import expanded

_OF_JAX = re.compile(r".+-[0-9a-f]{64}-cache")
"""Names of the files that JAX writes; no other file is ever deleted."""

_LINE = re.compile(r"^([0-9a-f]{64})  (.+)\n", re.MULTILINE)
_DIGESTS = "digests.txt"
_WRITTEN = "/jax/compilation_cache/cache_misses"
"""JAX's name of the event that it is about to write a program."""

_SETTLED = 1.0
"""Seconds after the last write to a program's file after which the program counts as complete."""

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_Signature = tuple[int, ...]


def use(folder: str, limit: float) -> None:
  """Makes JAX keep compiled programs in a folder. A missing folder is made, for this user alone.

  If another user owns the folder or may write to it, nothing is kept, and a warning says so.

  Args:
    folder: the folder; 'none' keeps nothing.
    limit: size of all programs in bytes. The least recently used are deleted, now and when this process ends.

  Raises:
    InputError: if `folder` is empty, or the folder cannot be made or written to.
  """
  compilation_cache.reset_cache()  # else JAX does not read its settings again
  jax.config.update("jax_compilation_cache_dir", None)
  path = None if folder == "none" else _checked(folder)
  if path is None or _users.setdefault(path, _User(path)) is not _used[0]:
    _end()
  if path is None:
    return
  _used[0] = user = _users[path]
  user.begin(limit)
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  # JAX writes a program in place. A run that reads half a program, while another run writes it, compiles it anew.
  warnings.filterwarnings("ignore", message="Error reading persistent compilation cache entry")


def folder() -> pathlib.Path | None:
  """Returns the folder that `use` has chosen, or None."""
  return _used[0] and _used[0].path


def trim(path: pathlib.Path, limit: float) -> None:
  """Deletes programs in a folder, the least recently used first, until the rest and the file of digests take at most `limit` bytes."""
  found: list[tuple[float, int, pathlib.Path]] = []
  for file in filter(lambda file: _OF_JAX.fullmatch(file.name), path.glob("*-cache")):
    with contextlib.suppress(OSError):  # another process deletes too
      about = file.stat()
      found.append((max(about.st_atime, about.st_mtime), about.st_size, file))
  total = sum(size for _, size, _ in found)
  with contextlib.suppress(OSError):
    total += (path / _DIGESTS).stat().st_size
  for _, size, file in sorted(found):
    if total <= limit:
      break
    with contextlib.suppress(OSError):
      file.unlink()
    total -= size


@dataclasses.dataclass
class _User:
  """This process's use of a folder.

  Attributes:
    path: the folder.
    limit: size of its programs, in bytes.
    lock: descriptor of the lock that this process holds; None if it does not use the folder, or the file system has no locks.
    known: name to signature of the programs that have a digest.
    foreign: names of the programs without a digest that another process may be writing.
    timer: writes the digests of new programs after a moment; None if it is not running.
  """

  path: pathlib.Path
  limit: float = 0.0
  lock: int | None = None
  known: dict[str, _Signature] = dataclasses.field(default_factory=dict[str, _Signature])
  foreign: set[str] = dataclasses.field(default_factory=set[str])
  timer: threading.Timer | None = None
  busy: threading.RLock = dataclasses.field(default_factory=threading.RLock)

  def begin(self, limit: float) -> None:
    """Takes the lock. Deletes programs without a matching digest, and programs above the limit."""
    with self.busy:
      self.limit = limit
      if self.lock is not None:
        self.seal()
      alone = self._lock()
      self._verify(alone)
      trim(self.path, limit)
      if self.lock is not None:
        fcntl.flock(self.lock, fcntl.LOCK_SH)

  def end(self) -> None:
    """Writes the missing digests, deletes programs above the limit, and gives the lock back."""
    with self.busy:
      if self.timer is not None:
        self.timer.cancel()
        self.timer = None
      with contextlib.suppress(OSError):
        self.seal()
        trim(self.path, self.limit)
      if self.lock is not None:
        os.close(self.lock)
        self.lock = None

  def soon(self) -> None:
    """Starts the timer that writes the digests of new programs, unless it runs."""
    with self.busy:
      if self.timer is None:
        self.timer = threading.Timer(2 * _SETTLED, self._in_time)
        self.timer.daemon = True
        self.timer.start()

  def seal(self, older_than: float = 0.0) -> bool:
    """Writes the missing digests of programs that are older than so many seconds. Returns whether no younger program is left."""
    lines: list[str] = []
    whole = True
    for entry in self._programs():
      if entry.name in self.known or entry.name in self.foreign:
        continue
      with contextlib.suppress(OSError):
        if older_than and time.time() - entry.stat(follow_symlinks=False).st_mtime < older_than:
          whole = False
        elif (digest := _digest(entry.path, seal=True)) is not None:
          self.known[entry.name] = _signature(os.lstat(entry.path))
          lines.append(f"{digest}  {entry.name}")
    if lines:
      descriptor = os.open(self.path / _DIGESTS, _APPEND, 0o600)
      try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, "\n".join(["", *lines, ""]).encode())  # the last line in the file may be incomplete
      finally:
        os.close(descriptor)
    return whole

  def _in_time(self) -> None:
    with self.busy:
      if self.timer is None:  # it was cancelled
        return
      self.timer, whole = None, True
      with contextlib.suppress(OSError):
        whole = self.seal(_SETTLED)
      if not whole:
        self.soon()

  def _lock(self) -> bool:
    """Returns whether no other process uses the folder. If so, none can begin to until this lock is shared again."""
    try:
      if self.lock is None:
        self.lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(self.lock, 0o600)
      fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return True
    except BlockingIOError:
      assert self.lock is not None  # another process holds it
      fcntl.flock(self.lock, fcntl.LOCK_SH)  # a refused request may have released the shared lock
    except OSError as e:
      if e.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
        raise
    return False

  def _verify(self, alone: bool) -> None:
    digests = {name: digest for digest, name in _LINE.findall(_text(self.path / _DIGESTS))}
    self.foreign = set()
    known: dict[str, _Signature] = {}
    kept: dict[str, str] = {}
    for entry in self._programs():
      with contextlib.suppress(FileNotFoundError):  # another process deletes too
        name, signature = entry.name, _signature(entry.stat(follow_symlinks=False))
        if name in digests and (self.known.get(name) == signature or _digest(entry.path) == digests[name]):
          known[name], kept[name] = signature, digests[name]
        elif name in digests or alone or not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
          with contextlib.suppress(IsADirectoryError, PermissionError):
            os.unlink(entry.path)
        else:
          self.foreign.add(name)
    self.known = known
    text = "".join(f"{digest}  {name}\n" for name, digest in kept.items())
    if alone and text != _text(self.path / _DIGESTS):
      temporary = self.path / f".{_DIGESTS}.tmp"
      with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
      with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
      os.replace(temporary, self.path / _DIGESTS)

  def _programs(self) -> list[os.DirEntry[str]]:
    with os.scandir(self.path) as entries:
      return [entry for entry in entries if _OF_JAX.fullmatch(entry.name)]


_users: dict[pathlib.Path, _User] = {}
_used: list[_User | None] = [None]


def _end() -> None:
  user, _used[0] = _used[0], None
  if user is not None:
    user.end()


def _on_event(event: str, **_: object) -> None:
  user = _used[0]
  if event == _WRITTEN and user is not None:
    user.soon()


jax.monitoring.register_event_listener(_on_event)
atexit.register(_end)


def _text(path: pathlib.Path) -> str:
  """Returns the text of a file, or '' if it is missing. Deletes the path and returns '' if it is unreadable or no regular file."""
  try:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8", errors="replace") as file:
      if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise OSError
      return file.read()
  except FileNotFoundError:
    return ""
  except OSError:
    with contextlib.suppress(OSError):
      path.unlink()
    return ""


def _digest(path: str, seal: bool = False) -> str | None:
  """Returns the digest of a file that this user owns and no other user may write to, or None for anything else.

  Args:
    path: path of the file. Its access time does not change, where the system allows that.
    seal: whether to set the file's mode to 0600 first.
  """
  flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
  try:
    try:
      descriptor = os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:  # the file is another user's, or O_NOATIME is not supported
      descriptor = os.open(path, flags)
    with open(descriptor, "rb") as file:
      about = os.fstat(descriptor)
      if seal and stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid():
        os.fchmod(descriptor, 0o600)
        about = os.fstat(descriptor)
      if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
      return hashlib.file_digest(file, "sha256").hexdigest()
  except OSError:
    return None


def _signature(about: os.stat_result) -> _Signature:
  """Returns inode, size and times of a file, which change when the file changes."""
  return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _checked(folder: str) -> pathlib.Path | None:
  """Returns the folder, and makes it if missing. Warns and returns None if it is not safe. Raises InputError as `use` does."""
  if not folder.strip():
    raise InputError("--compilation_cache is empty; give a folder, or 'none'.")
  path = expanded("--compilation_cache", folder).absolute()
  try:
    _make(path)
    why = _distrusted(path)
    with contextlib.nullcontext() if why else tempfile.TemporaryFile(dir=path):
      pass
  except (OSError, ValueError) as e:
    wrong = f"cannot be made or written to ({getattr(e, 'strerror', None) or e})"
    raise InputError(f"--compilation_cache={folder} {wrong}; give another folder, or 'none'.") from None
  if why:
    hint = "delete the folder or give another; until then every start compiles everything"
    warnings.warn(f"--compilation_cache={folder} is not used, since {why}; {hint}.", stacklevel=3)
    return None
  return path


def _make(path: pathlib.Path) -> None:
  for folder in (*reversed(path.parents), path):
    if not folder.exists():
      with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # the umask may have removed permissions
  if not path.is_dir():
    raise NotADirectoryError(20, os.strerror(20))


def _distrusted(path: pathlib.Path) -> str:
  """Returns the reason why a folder is not safe, or '' if it is safe."""
  about = path.stat()
  if about.st_uid != os.geteuid():
    return f"it belongs to the user with number {about.st_uid}"
  if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    return f"others may write to it (its mode is {stat.S_IMODE(about.st_mode):04o})"
  umask = os.umask(0o077)
  os.umask(umask)
  for enter, write in ((stat.S_IXGRP, stat.S_IWGRP), (stat.S_IXOTH, stat.S_IWOTH)):
    if about.st_mode & enter and not umask & write:
      return f"others may enter it (its mode is {stat.S_IMODE(about.st_mode):04o}) and write to new files (the umask is {umask:04o})"
  for parent in path.resolve().parents:
    mode = parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
      return f"others may replace it (the mode of {parent} is {stat.S_IMODE(mode):04o})"
  return ""
