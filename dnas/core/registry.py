"""Registries: small units found by name, registered in the file that defines them."""

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

    def add(unit: T) -> T:
      if name in self._units:
        raise ValueError(f"{self.kind} '{name}' is registered twice")
      self._check(name, unit)
      self._units[name] = unit
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
