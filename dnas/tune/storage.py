"""Storage of a study: a file beside the run, or a database, given by its URL.

    sqlite:////folder/study.db                     a file, the default
    journal:////folder/study.log                   a file of appended lines, for shared folders where SQLite cannot lock
    postgresql+psycopg://user@host/name            a server; MySQL in the same way

A study waits for a server that does not answer: every access is retried until the server answers or the patience ends.

A URL must not hold a password, since it is recorded, printed and sent to workers. Every process reads the password from the environment
variable DNAS_STORAGE_PASSWORD. For PostgreSQL, its client library also reads ~/.pgpass and PGPASSWORD.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
from absl import logging
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from dnas.core.config import check_port
from dnas.core.errors import InputError, cause_of, first_line

JOURNAL = "journal:///"
PASSWORD = "DNAS_STORAGE_PASSWORD"
"""Environment variable with the password of a server."""

_SECRET = re.compile(r"(\w*(?:pass(?!file)|pwd|secret|token)\w*=)[^&]*", re.IGNORECASE)
"""Matches a setting after '?' in a URL that holds a secret."""

_LONGEST_PAUSE = 10.0  # seconds


def file_url(path: pathlib.Path) -> str:
  """Returns the URL of a SQLite file. The path may hold any characters.

  Versions of SQLAlchemy differ in how they quote a path. So a path with special characters is passed to SQLite as a quoted file URI
  ("Uniform Resource Identifiers", https://www.sqlite.org/uri.html).

  Args:
    path: absolute path of the file.
  """
  uri = path.as_uri()
  plain = uri == f"file://{path}"
  url = sqlalchemy.URL.create("sqlite", database=str(path) if plain else uri, query={} if plain else {"uri": "true"})
  return url.render_as_string(hide_password=False)


def shown_url(url: str) -> str:
  """Returns the URL of a storage for display. Passwords are replaced by '***', even in a text that is no valid URL."""
  if url.startswith(JOURNAL):
    return url
  parsed = _split(url)
  shown = re.sub(r"^([\w+.-]*:/*)?.*@", r"\1***@", url, flags=re.DOTALL) if parsed is None else parsed.render_as_string(hide_password=True)
  return _SECRET.sub(r"\1***", shown)


def _split(url: str) -> sqlalchemy.URL | None:
  """Returns the parsed URL, or None if it cannot be parsed, for instance because a password holds a '/'."""
  try:
    url.encode()
    parsed = sqlalchemy.engine.make_url(url)
  except (sqlalchemy.exc.ArgumentError, ValueError):  # an invalid port or character
    return None
  return parsed if _is_local(parsed) or "@" not in (parsed.database or "") else None


def wait_for_storage(url: str, patience: float) -> BaseStorage:
  """Opens an existing storage, and retries for `patience` seconds. Raises InputError as `open_storage` does."""
  began, pause = time.monotonic(), 0.5
  while True:
    try:
      return open_storage(url, patience)
    except InputError:
      if time.monotonic() - began > patience:
        raise
      time.sleep(pause)
      pause = min(2 * pause, _LONGEST_PAUSE)


def check_storage(url: str) -> None:
  """Checks that a storage can be opened. Writes nothing.

  Raises:
    InputError: if the URL is invalid or holds a password, its driver is missing, the server does not answer, or the file is no storage.
  """
  if url.startswith(JOURNAL):
    _check_journal(_journal_path(url), url)
    return
  parsed, name = _parsed(url), shown_url(url)
  if _is_local(parsed):
    _check_sqlite(parsed, name)
  else:
    with _explained(parsed, name):
      engine = sqlalchemy.create_engine(url, **_options(parsed))
      try:
        with contextlib.closing(engine.connect()):
          pass
      finally:
        engine.dispose()


def is_empty(url: str) -> bool:
  """Returns whether a storage is a file that does not exist or is empty. Raises InputError if the URL is invalid."""
  if url.startswith(JOURNAL):
    path: pathlib.Path | None = _journal_path(url)
  else:
    parsed = _parsed(url)
    path = _sqlite_path(parsed) if _is_local(parsed) else None
  return path is not None and (not path.exists() or not path.stat().st_size)


def open_storage(url: str, patience: float) -> BaseStorage:
  """Opens a storage, and creates its tables if it has none.

  Args:
    url: URL of the storage.
    patience: seconds for which every access is retried when a server that has answered once stops answering.

  Raises:
    InputError: as `check_storage` does.
  """
  check_storage(url)
  if url.startswith(JOURNAL):
    return _open_journal(url)
  parsed, name = _parsed(url), shown_url(url)
  with _explained(parsed, name):
    return _PatientStorage(url, _options(parsed), patience)


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
  """Turns the errors of an open storage that is damaged or does not answer into an InputError of one sentence."""
  try:
    yield
  except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, json.JSONDecodeError) as e:
    cause = " ".join(str(getattr(e, "orig", None) or e.__cause__ or e).split())[:200].rstrip(".")
    raise InputError(f"--storage={shown_url(url)} fails ({cause}); correct that, or restore a copy.") from None


@contextlib.contextmanager
def _explained(parsed: sqlalchemy.URL, name: str) -> Iterator[None]:
  """Turns the errors of opening a database into an InputError of one sentence."""
  try:
    yield
  except (ImportError, sqlalchemy.exc.NoSuchModuleError) as e:
    hint = "install it, for PostgreSQL: pip install 'psycopg[binary]'"
    raise InputError(f"--storage={name} needs a driver that is not installed ({e}); {hint}.") from None
  except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ValueError) as e:
    cause = " ".join(str(getattr(e, "orig", None) or e.__cause__ or e).split())[:200].rstrip(".")
    hint = f"start the {parsed.get_backend_name()} server, create the database, give its password in {PASSWORD}, or give another address"
    hint = "give a folder that exists and can be written" if _is_local(parsed) else hint
    raise InputError(f"--storage={name} does not answer ({cause}); {hint}.") from None
  except RuntimeError as e:  # tables of another version of Optuna
    raise InputError(f"--storage={name} cannot be used ({first_line(e).rstrip('.')}); give another address.") from None


def _parsed(url: str) -> sqlalchemy.URL:
  """Returns the parsed URL. Raises InputError if it is invalid, holds a password, or names a database in memory."""
  parsed, name = _split(url), shown_url(url)
  if parsed is None:
    form = "sqlite:////FOLDER/study.db, journal:////FOLDER/study.log or postgresql+psycopg://USER@HOST/DATABASE"
    raise InputError(f"--storage={name} is not the address of a database; write {form}.")
  if parsed.password is not None or any(_SECRET.match(f"{key}=") for key in parsed.query):
    hint = f"give the password in the environment variable {PASSWORD}, or for PostgreSQL in ~/.pgpass"
    raise InputError(f"--storage={name} holds a password, which others can read in the list of processes; {hint}.")
  if parsed.port is not None:
    check_port("storage", name, parsed.port)
  if _is_local(parsed):
    if parsed.database in (None, "", ":memory:"):
      raise InputError(f"--storage={name} keeps the study in the memory of one process, where workers cannot read it; give sqlite:////FOLDER/study.db.")
    if parsed.query and "uri" not in parsed.query:  # SQLAlchemy would cut it off, and open another file
      hint = "write a path with '?' as sqlite:///file:/FOLDER/a%3Fb.db?uri=true"
      raise InputError(f"--storage={name} has '?', after which SQLite reads its own settings; {hint}.")
  return parsed


def _is_local(parsed: sqlalchemy.URL) -> bool:
  return parsed.get_backend_name() == "sqlite"


def _options(parsed: sqlalchemy.URL) -> dict[str, Any]:
  """Returns the engine's settings, with the password. It is not put in the URL, because Optuna keeps the URL."""
  if _is_local(parsed):  # a file is opened and closed at every access, since nothing else closes it
    return {"connect_args": {"timeout": 60}, "poolclass": sqlalchemy.NullPool}
  settings: dict[str, Any] = {"connect_timeout": 5} if parsed.get_backend_name() == "postgresql" else {}
  if password := os.environ.get(PASSWORD):
    settings["password"] = password
  return {"pool_pre_ping": True, "connect_args": settings}


def _sqlite_path(parsed: sqlalchemy.URL) -> pathlib.Path:
  database = parsed.database or ""
  if database.startswith("file:"):
    database = urllib.parse.unquote(urllib.parse.urlsplit(database).path)
  return pathlib.Path(database)


def _check_sqlite(parsed: sqlalchemy.URL, name: str) -> None:
  head = _head_of(_sqlite_path(parsed), name)
  if head and not head.startswith(b"SQLite format 3\0"):
    raise InputError(f"--storage={name} is a file that is not a study, and would be overwritten; give another file.")


def _head_of(path: pathlib.Path, name: str) -> bytes:
  """Returns the first 16 bytes of a file, or b"" if it does not exist. Raises InputError if it can be neither read nor created."""
  hint = "give a file in a folder that exists and can be written"
  try:
    if path.exists() and not path.is_file():
      raise InputError(f"--storage={name} is not a file; {hint}.")
    if path.exists():
      with open(path, "r+b") as file:
        return file.read(16)
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
      raise InputError(f"--storage={name} is in a folder that does not exist or cannot be written; {hint}.")
  except InputError:
    raise
  except (OSError, ValueError) as e:
    raise InputError(f"--storage={name} cannot be used ({cause_of(e)}); {hint}.") from None
  return b""


def _journal_path(url: str) -> pathlib.Path:
  """Returns the absolute path of a journal file. It must be absolute, since the lock beside the file is a symbolic link to it."""
  if not url.removeprefix(JOURNAL).strip("/"):
    raise InputError(f"--storage={url} names no file; give journal:////FOLDER/study.log.")
  return pathlib.Path(url.removeprefix(JOURNAL)).absolute()


def _check_journal(path: pathlib.Path, url: str) -> None:
  """Raises InputError unless the file is a journal or can be created. Its last line may be incomplete (a killed or active writer)."""
  if not _head_of(path, url):
    return
  with open(path, "rb") as file:
    for number, line in enumerate(file, 1):
      if line.endswith(b"\n") and not _is_entry(line):
        hint = "restore it from a copy, or give another file"
        raise InputError(f"--storage={url} is not the journal of a study, or is damaged, at line {number}; {hint}.")
    if number == 1 and not line.endswith(b"\n") and not line.startswith(b'{"op_code":'[: len(line)]):
      raise InputError(f"--storage={url} is a file that is not a study; give another file.")


def _is_entry(line: bytes) -> bool:
  try:
    entry = json.loads(line)
  except (ValueError, RecursionError):
    return False
  return isinstance(entry, dict) and isinstance(entry.get("op_code"), int)


class _MendingLock(JournalFileSymlinkLock):
  """The lock of a journal. `acquire` terminates or removes an incomplete last line, so that the next entry starts on a new line."""

  def __init__(self, path: pathlib.Path):
    super().__init__(str(path))
    self._path = path

  def acquire(self) -> bool:
    """See `JournalFileSymlinkLock`."""
    got = super().acquire()
    with open(self._path, "r+b") as file:
      size = file.seek(0, os.SEEK_END)
      file.seek(max(size - 1, 0))
      if size and file.read(1) != b"\n":
        file.seek(0)
        content = file.read()
        kept = content.rfind(b"\n") + 1
        if _is_entry(content[kept:]):
          file.write(b"\n")
        else:
          file.truncate(kept)
    return got


def _open_journal(url: str) -> BaseStorage:
  path = _journal_path(url)
  try:
    return JournalStorage(JournalFileBackend(str(path), lock_obj=_MendingLock(path)))
  except OSError as e:
    raise InputError(f"--storage={url} cannot be used ({cause_of(e)}); give a file in a folder that exists and can be written.") from None
  except (ValueError, KeyError, TypeError, AttributeError) as e:  # inconsistent entries
    cause = f"{type(e).__name__}: {first_line(e)}"
    raise InputError(f"--storage={url} is damaged ({cause}); restore it from a copy, or give another file.") from None


class _PatientStorage(RDBStorage):
  """A database storage. Every method is retried for `patience` seconds while the database does not answer."""

  def __init__(self, url: str, engine_options: dict[str, Any], patience: float):
    self._patience, self._outer = patience, threading.local()
    template = url.replace("{", "{{").replace("}", "}}")  # Optuna calls str.format on it
    super().__init__(template, engine_kwargs=engine_options)


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
  @functools.wraps(method)
  def call(self: _PatientStorage, *args: Any, **kwargs: Any) -> Any:
    if getattr(self._outer, "busy", False):
      return method(self, *args, **kwargs)
    self._outer.busy, began, pause, tried = True, time.monotonic(), 0.5, False
    try:
      while True:
        try:
          return method(self, *args, **kwargs)
        except optuna.exceptions.UpdateFinishedTrialError:
          if tried:  # an earlier attempt was carried out, and only its answer was lost
            return True
          raise
        except (sqlalchemy.exc.DBAPIError, optuna.exceptions.StorageInternalError) as e:
          if not _is_gone(e) or time.monotonic() - began > self._patience:
            raise
          logging.warning("The database does not answer (%s); trying again in %.1f s.", " ".join(str(e).split())[:120], pause)
          time.sleep(pause)
          pause, tried = min(2 * pause, _LONGEST_PAUSE), True
    finally:
      self._outer.busy = False

  return call


def _is_gone(error: BaseException | None) -> bool:
  """Returns whether an error, or one of its causes, means that the server does not answer or a file is locked."""
  while error is not None:
    if isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
      return True
    error = error.__cause__ or error.__context__
  return False


for _name, _method in list(vars(RDBStorage).items()):
  if callable(_method) and not _name.startswith("__") and not isinstance(_method, staticmethod | classmethod):
    setattr(_PatientStorage, _name, _patient(_method))
