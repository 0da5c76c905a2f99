"""Packages that only some features need. They are imported where they are used, and their lack is told in one sentence."""

import contextlib
import importlib
from collections.abc import Generator

from dnas.core.errors import InputError

EXTRAS = {"grain": "stream", "mlflow": "mlflow", "optuna": "tune", "sqlalchemy": "tune", "tensorflow_datasets": "tfds", "wandb": "wandb"}
"""Module to the extra of this package that installs it."""


@contextlib.contextmanager
def needed_by(what: str) -> Generator[None]:
  """Tells which extra is missing if an import within fails.

  >>> with needed_by("strategy 'tpe'"):
  ...   import optuna

  Args:
    what: what needs the package, for the message: "strategy 'tpe'", 'dnas tune'.

  Raises:
    InputError: for a missing package of an extra.
  """
  try:
    yield
  except ImportError as e:
    package = (e.name or "").partition(".")[0]
    if package not in EXTRAS:
      raise
    extra = EXTRAS[package]
    hint = f"it is of the extra '{extra}': pip install -e '.[{extra}]' in a checkout"
    raise InputError(f"{what} needs the package {package}, which is not installed; {hint}.") from None


def can_import(module: str) -> bool:
  """Returns whether a module can be imported; it then is."""
  try:
    importlib.import_module(module)
  except ImportError:
    return False
  return True
