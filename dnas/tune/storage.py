"""Where a study is kept: a file beside the run, or a data base by its URL.

    sqlite:////folder/study.db                     a file, the default
    journal:////folder/study.log                   a file of appended lines, for shared folders where SQLite cannot lock
    postgresql+psycopg://user:password@host/name   a server; MySQL in the same way

A server that goes away stalls a study and does not end it: every access is tried again until it answers.
"""

import contextlib
import functools
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import optuna
import sqlalchemy
from absl import logging
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from dnas.core.errors import InputError

JOURNAL = "journal:///"
_LONGEST_PAUSE = 10.0  # seconds


def file_url(path: pathlib.Path) -> str:
  """Returns the URL of a SQLite file, whatever characters its path has.

  Versions of SQLAlchemy differ in what they quote in a path. So a path with characters that mean something in a URL goes to SQLite as a URI
  of its own, in which they are quoted ("Uniform Resource Identifiers", https://www.sqlite.org/uri.html).

  Args:
    path: of the file, absolute.
  """
  uri = path.as_uri()
  plain = uri == f"file://{path}"
  url = sqlalchemy.URL.create("sqlite", database=str(path) if plain else uri, query={} if plain else {"uri": "true"})
  return url.render_as_string(hide_password=False)


def shown_url(url: str) -> str:
  """Returns the URL of a storage for people: without its password."""
  return url if url.startswith(JOURNAL) else _parsed(url).render_as_string(hide_password=True)


def wait_for_storage(url: str, patience: float) -> BaseStorage:
  """Opens a storage that was there before, and waits for it for so many seconds. Raises InputError as `open_storage` does."""
  began, pause = time.monotonic(), 0.5
  while True:
    try:
      return open_storage(url, patience)
    except InputError:
      if time.monotonic() - began > patience:
        raise
      time.sleep(pause)
      pause = min(2 * pause, _LONGEST_PAUSE)


def open_storage(url: str, patience: float) -> BaseStorage:
  """Opens a storage, and makes its tables if it has none.

  Args:
    url: where.
    patience: for how many seconds a server that has answered once is waited for, when it goes away.

  Raises:
    InputError: if the URL is none, its driver is not installed, or nothing answers.
  """
  if url.startswith(JOURNAL):
    return _open_journal(url)
  parsed, name = _parsed(url), shown_url(url)
  local = parsed.get_backend_name() == "sqlite"
  if local and parsed.database in (None, "", ":memory:"):
    raise InputError(f"--storage={name} is in the memory of one process, and workers have their own; give sqlite:////FOLDER/study.db.")
  if local and parsed.query and "uri" not in parsed.query:  # it would be left out, and the path be that of another file
    mend = "write a path with '?' as sqlite:///file:/FOLDER/a%3Fb.db?uri=true"
    raise InputError(f"--storage={name} has '?', behind which SQLite expects settings of its own; {mend}.")
  # A file is opened for every access and then closed, since nobody else would ever close it.
  options: dict[str, Any] = {"connect_args": {"timeout": 60}, "poolclass": sqlalchemy.NullPool} if local else {"pool_pre_ping": True}
  if parsed.get_backend_name() == "postgresql":
    options["connect_args"] = {"connect_timeout": 5}
  try:
    trial = sqlalchemy.create_engine(url, **options)
    try:
      with contextlib.closing(trial.connect()):
        pass
    finally:
      trial.dispose()
    return _PatientStorage(url, options, patience)
  except (ImportError, sqlalchemy.exc.NoSuchModuleError) as e:
    mend = "install it, for PostgreSQL: pip install 'psycopg[binary]'"
    raise InputError(f"--storage={name} needs a driver that is not installed ({e}); {mend}.") from None
  except (sqlalchemy.exc.DBAPIError, optuna.exceptions.StorageInternalError, ValueError) as e:  # ValueError: a path that no file can have
    cause = " ".join(str(getattr(e, "orig", None) or e).split())[:200]
    mend = f"start the {parsed.get_backend_name()} server, make the data base, or give another"
    mend = "give a folder that exists and can be written" if local else mend
    raise InputError(f"--storage={name} does not answer ({cause}); {mend}.") from None


def _parsed(url: str) -> sqlalchemy.URL:
  try:
    url.encode()
    return sqlalchemy.engine.make_url(url)
  except (sqlalchemy.exc.ArgumentError, ValueError):  # a port that is no number, a character that is none
    form = "sqlite:////FOLDER/study.db, journal:////FOLDER/study.log or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
    raise InputError(f"--storage={url} is no address of a data base; write {form}.") from None


def _open_journal(url: str) -> BaseStorage:
  try:
    return JournalStorage(JournalFileBackend(url.removeprefix(JOURNAL)))
  except (OSError, ValueError) as e:  # a path that no file can have, or a file that is no journal, is a ValueError
    cause = (getattr(e, "strerror", None) or str(e)).lower()
    raise InputError(f"--storage={url} cannot be used ({cause}); give a file in a folder that exists and can be written.") from None


class _PatientStorage(RDBStorage):
  """A data base whose every method is tried again while nothing answers."""

  def __init__(self, url: str, engine_options: dict[str, Any], patience: float):
    self._patience, self._outer = patience, threading.local()
    template = url.replace("{", "{{").replace("}", "}}")  # Optuna formats it
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
          if tried:  # the attempt whose answer was lost had been carried out
            return True
          raise
        except (sqlalchemy.exc.DBAPIError, optuna.exceptions.StorageInternalError) as e:
          if not _is_gone(e) or time.monotonic() - began > self._patience:
            raise
          logging.warning("The data base does not answer (%s); trying again in %.1f s.", " ".join(str(e).split())[:120], pause)
          time.sleep(pause)
          pause, tried = min(2 * pause, _LONGEST_PAUSE), True
    finally:
      self._outer.busy = False

  return call


def _is_gone(error: BaseException | None) -> bool:
  """Returns whether an error, or what caused it, says that the server is away or a file is locked."""
  while error is not None:
    if isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
      return True
    error = error.__cause__ or error.__context__
  return False


for _name, _method in list(vars(RDBStorage).items()):
  if callable(_method) and not _name.startswith("__") and not isinstance(_method, staticmethod | classmethod):
    setattr(_PatientStorage, _name, _patient(_method))
