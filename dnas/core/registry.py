"""Registries: small units found by name, registered in the file that defines them."""

import inspect
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from dnas.core.errors import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
  """Names of one kind of unit, in the order of registration.

  >>> OPERATIONS = Registry("operation")
  >>> @OPERATIONS.register("skip_connect")
  ... def skip_connect(...): ...
  """

  def __init__(self, kind: str, check: Callable[[str, T], None] = lambda name, unit: None):
    """Makes a registry; `check` raises InputError for a unit that does not fit its name."""
    self.kind, self._check = kind, check
    self._units: dict[str, T] = {}

  def register(self, name: str) -> Callable[[T], T]:
    """Returns a decorator that registers its argument. Raises ValueError if the name is taken, and InputError if the unit does not fit."""
    module = _caller()

    def add(unit: T) -> T:
      if name in self._units:
        raise ValueError(f"{self.kind} '{name}' is registered twice")
      self._check(name, unit)
      self._units[name] = unit
      _MODULES.setdefault(module)
      return unit

    return add

  def __getitem__(self, name: str) -> T:
    """Returns the unit. Raises InputError, with the nearest known name, if there is none."""
    if name not in self._units:
      raise unknown_name(self.kind, name, self._units)
    return self._units[name]

  def __contains__(self, name: object) -> bool:
    return name in self._units

  def __iter__(self) -> Iterator[str]:
    return iter(self._units)


_MODULES: dict[str, None] = {}
_OURS = ("dnas", "experiments", "benchmarks")


def foreign_modules() -> tuple[str, ...]:
  """Returns the names of the modules of others that have registered units, in the order of their first unit: a run may depend on them."""
  return tuple(name for name in _MODULES if is_foreign(name))


def is_foreign(module: str) -> bool:
  """Returns whether a module is none of this project."""
  return module.partition(".")[0] not in _OURS


def _caller() -> str:
  """Returns the name of the module that calls the function which calls this one."""
  frame = inspect.currentframe()
  for _ in range(2):
    frame = frame and frame.f_back
  return frame.f_globals.get("__name__", "") if frame else ""
