"""Registries: units are registered in the file that defines them, and found by name."""

import dataclasses
import hashlib
import importlib
import inspect
import pathlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from dnas.core.errors import InputError, shown, unknown_name

T = TypeVar("T")
U = TypeVar("U")

NAME_RULE = "write it with letters, digits, '_', '.', '+' and '-', at most 100, and none of the last three first"


def is_name(value: Any) -> bool:
  """Returns whether a value is text that can name a unit in flags, comma-separated lists and folder names. See NAME_RULE."""
  return isinstance(value, str) and len(value) <= 100 and re.fullmatch(r"\w[\w.+-]*", value) is not None


class Registry(Generic[T]):
  """The units of one kind by name, in the order of registration.

  >>> shapes = Registry("shape")
  >>> @shapes.register("circle")
  ... def area(radius):
  ...   return 3.14 * radius**2
  >>> shapes["circle"](10), "square" in shapes
  (314.0, False)
  """

  def __init__(self, kind: str, check: Callable[[str, T], None] = lambda name, unit: None):
    """Makes an empty registry. `check(name, unit)` raises InputError for a unit that may not have this name."""
    self.kind, self._check = kind, check
    self._units: dict[str, T] = {}

  def register(self, name: str, stacklevel: int = 1) -> Callable[[U], U]:
    """Returns a decorator that registers its argument.

    Args:
      name: the name of the unit.
      stacklevel: which caller the unit is from: 1 for the one that calls this function, 2 for the caller of that one.

    Raises:
      InputError: if the name is not valid (`is_name`), or `check` refuses the unit.
      ValueError: if the name is taken.
    """
    module = _caller(stacklevel)
    if not is_name(name):
      raise InputError(f"{self.kind} {shown(name)} has no name for a flag; {NAME_RULE}.")

    def add(unit: Any) -> Any:
      if name in self._units:
        raise ValueError(f"{self.kind} '{name}' is registered twice")
      self._check(name, unit)
      self._units[name] = unit
      _MODULES.setdefault(module)
      return unit

    return add

  def __getitem__(self, name: str) -> T:
    """Returns the unit with a name. Raises InputError, with the nearest known name, if there is none."""
    if name not in self:
      raise unknown_name(self.kind, name, self._units)
    return self._units[name]

  def __contains__(self, name: object) -> bool:
    return isinstance(name, str) and name in self._units

  def __iter__(self) -> Iterator[str]:
    return iter(self._units)

  def __len__(self) -> int:
    return len(self._units)

  def __repr__(self) -> str:
    return f"<registry of {len(self)} units of kind '{self.kind}': {', '.join(self)}>"


def is_function(what: str) -> Callable[[str, Any], None]:
  """Returns the check of units that are called; `what` says what they are, such as 'a function of logits and labels'."""

  def check(name: str, unit: Any) -> None:
    if not callable(unit):
      raise InputError(f"'{name}' is {shown(unit)}; register {what}.")

  return check


def is_settings(what: str, *methods: str) -> Callable[[str, Any], None]:
  """Returns the check of units that are dataclasses of settings with some methods; `what` says what they are, such as 'a strategy'."""

  def check(name: str, unit: Any) -> None:
    if not _is_dataclass(unit) or not all(_defines(unit, method) for method in methods):
      *others, last = map(repr, methods)
      told = f"the methods {', '.join(others)} and {last}" if others else f"the method {last}"
      raise InputError(f"'{name}' is {shown(unit)}; {what} is a dataclass with {told}.")

  return check


def _is_dataclass(unit: Any) -> bool:
  return isinstance(unit, type) and dataclasses.is_dataclass(unit)


def _defines(unit: type, method: str) -> bool:
  """Returns whether a class, or one that it extends, defines a method. Every class can be called, so `callable` does not tell."""
  return any(callable(vars(base).get(method)) or isinstance(vars(base).get(method), staticmethod) for base in unit.__mro__)


def import_modules(package: str, first: Sequence[str] = ()) -> None:
  """Imports every module of a package, so that a file in it is all that a new unit needs.

  Args:
    package: the name of the package.
    first: modules to import before the others, in this order; their units are listed first.
  """
  modules = [module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]
  for module in dict.fromkeys([*first, *modules]):
    importlib.import_module(f"{package}.{module}")


_MODULES: dict[str, None] = {}


def foreign_modules() -> tuple[str, ...]:
  """Returns the modules outside this project that registered units, in order of their first unit. A run may depend on them."""
  return tuple(name for name in _MODULES if is_foreign(name))


def foreign_digests() -> dict[str, str]:
  """Returns the SHA-256 of the file of every foreign module, by the name of the module; an empty text for a module without a file."""
  return {name: _digest(name) for name in foreign_modules()}


def _digest(module: str) -> str:
  file = getattr(sys.modules.get(module), "__file__", None)
  return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest() if file and pathlib.Path(file).is_file() else ""


def is_foreign(module: str) -> bool:
  """Returns whether a module is none of this project."""
  return module.partition(".")[0] != "dnas"


def _caller(stacklevel: int) -> str:
  """Returns the module name of the caller of the caller; of callers further up for a stacklevel above 1."""
  frame = inspect.currentframe()
  for _ in range(1 + stacklevel):
    frame = frame and frame.f_back
  return frame.f_globals.get("__name__", "") if frame else ""
