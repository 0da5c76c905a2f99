"""Configurations: frozen dataclasses, nested, addressed by dotted paths.

Each component has one frozen dataclass. Its fields have defaults, and its `__post_init__` checks them with the functions of this module. A
launcher's configuration is a frozen dataclass of such components. The path of a field in it looks like `darts.learning_rate`.
"""

# A component can be any dataclass, so the types of its values are unknown.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import dataclasses
import difflib
import functools
import keyword
import math
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from dnas.core.errors import FieldError, InputError, shown, unknown_name
from dnas.core.registry import Registry

C = TypeVar("C")

_KNOWN = "known"
"""Key in a field's metadata. Its value is a function that returns the names that the field takes."""


def named(default: str | tuple[str, ...], known: Callable[[], Iterable[str]]) -> Any:
  """Returns a configuration field whose value is a name, or names, of a registry's units. `help_texts` lists the known names.

  Args:
    default: the default of the field: a name, or names.
    known: returns all known names. `help_texts` calls it, so the help lists all units registered by then.
  """
  return dataclasses.field(default=default, metadata={_KNOWN: known})


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
  """Yields (dotted path, type, value) for every leaf field of a configuration."""
  hints = typing.get_type_hints(type(config))
  for field in dataclasses.fields(config):
    value, path = getattr(config, field.name), prefix + field.name
    if dataclasses.is_dataclass(value):
      yield from fields(value, f"{path}.")
    else:
      yield path, hints[field.name], value


def flatten(config: Any) -> dict[str, Any]:
  """Returns dotted path to value for every leaf field, in types that JSON can hold."""
  return {path: list(value) if isinstance(value, tuple) else value for path, _, value in fields(config)}


def defaults(config: Any, prefix: str = "") -> dict[str, Any]:
  """Returns dotted path to default for every leaf field whose class gives one, in types that JSON can hold.

  A run that was begun before a field existed is taken to have used the default of that field.
  """
  out: dict[str, Any] = {}
  for field in dataclasses.fields(config):
    value, path = getattr(config, field.name), prefix + field.name
    if dataclasses.is_dataclass(value):
      out |= defaults(value, f"{path}.")
    elif field.default is not dataclasses.MISSING:
      out[path] = list(field.default) if isinstance(field.default, tuple) else field.default
  return out


def mounts(*registries: Registry[Any]) -> Callable[[type[C]], type[C]]:
  """Returns a class decorator that adds a component, under the unit's name, for every registered unit that is a dataclass with fields.

  `mounted` adds the units that are registered later.
  """

  def decorate(config_type: type[C]) -> type[C]:
    setattr(config_type, "registries", registries)  # noqa: B010  # no type checker knows the attribute
    return mounted(config_type)

  return decorate


def mounted(config_type: type[C]) -> type[C]:
  """Returns the configuration type with a component for every unit of its registries, including units registered after the type was made.

  Raises:
    InputError: if a unit's name is taken or cannot begin a flag, or a field of a unit has no default or a type that no flag can give.
  """
  known = _fields_of(config_type)
  missing: list[tuple[str, type]] = []
  for registry in getattr(config_type, "registries", ()):
    for name in registry:
      unit, where = registry[name], f"{registry.kind} '{name}'"
      if not isinstance(unit, type) or not dataclasses.is_dataclass(unit) or not dataclasses.fields(unit):
        continue
      if name not in known:
        _check_unit(unit, where)
        if not name.isidentifier() or keyword.iskeyword(name) or hasattr(config_type, name):
          raise InputError(f"{where} has a name that flags cannot begin with; give another name, with letters, digits and '_' alone.")
        missing.append((name, unit))
      elif known[name].default_factory is not unit:
        raise InputError(f"{where} has the name of another component of the configuration; register it under another name.")
  return _extended(config_type, tuple(missing)) if missing else config_type


def _fields_of(config: Any) -> dict[str, dataclasses.Field[Any]]:
  return {field.name: field for field in dataclasses.fields(config)}


FLAG_TYPES = (bool, int, float, str, tuple[int, ...], tuple[str, ...])
"""The field types that a flag can set."""


def _check_unit(unit: type, where: str) -> None:
  hints = typing.get_type_hints(unit)
  for field in dataclasses.fields(unit):
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
      raise InputError(f"{where}: its field '{field.name}' has no default; give it one.")
    if hints[field.name] not in FLAG_TYPES:
      listed = "bool, int, float, str, tuple[int, ...] or tuple[str, ...]"
      raise InputError(f"{where}: its field '{field.name}' is of type {hints[field.name]}, which no flag can hold; make it {listed}.")


@functools.cache
def _extended(config_type: type[C], units: tuple[tuple[str, type], ...]) -> type[C]:
  fields = [(name, unit, dataclasses.field(default_factory=unit)) for name, unit in units]
  about = {"__doc__": config_type.__doc__, "__reduce__": _reduce}
  made = dataclasses.make_dataclass(config_type.__name__, fields, bases=(config_type,), namespace=about, frozen=True)
  made.__module__ = config_type.__module__
  return made


def _reduce(self: Any) -> tuple[Any, ...]:
  """Pickles a configuration as its module's type and its values. Unpickling mounts the units on that type again."""
  named = next(base for base in type(self).__mro__ if getattr(sys.modules[base.__module__], base.__name__, None) is base)
  return _remade, (named, flatten(self))


def _remade(config_type: type[C], values: Mapping[str, Any]) -> C:
  return replace(mounted(config_type)(), values)


def with_units(config: C) -> C:
  """Returns the configuration converted to its `mounted` type, with the same values."""
  config_type = mounted(type(config))
  if config_type is type(config):
    return config
  return config_type(**{name: getattr(config, name) for name in _fields_of(config)})


def units(config: Any, registry: Registry[Any]) -> tuple[str, ...]:
  """Returns the names of the units of a registry that are components of a configuration."""
  return tuple(name for name in registry if isinstance(registry[name], type) and isinstance(getattr(config, name, None), registry[name]))


def unit(config: Any, registry: Registry[Any], name: str) -> Any:
  """Returns a unit with its settings from the configuration, or with its defaults if it is no component there."""
  return getattr(config, name) if name in units(config, registry) else registry[name]()


def help_texts(config_type: type, prefix: str = "") -> dict[str, str]:
  """Returns dotted path to help text: the field's entry in the 'Attributes' of its component's docstring, then the names that it takes."""
  texts: dict[str, str] = {}
  for base in reversed(config_type.__mro__):  # an inherited field is described in the class that defines it
    texts |= _attribute_texts(base.__doc__ or "")
  out: dict[str, str] = {}
  hints = typing.get_type_hints(config_type)
  for field in dataclasses.fields(config_type):
    if dataclasses.is_dataclass(hints[field.name]):
      out.update(help_texts(hints[field.name], f"{prefix}{field.name}."))
    else:
      names = f" Known: {', '.join(field.metadata[_KNOWN]())}." if _KNOWN in field.metadata else ""
      out[prefix + field.name] = texts.get(field.name, "") + names
  return out


def replace(config: C, values: Mapping[str, Any]) -> C:
  """Returns a copy with the fields at the dotted paths replaced.

  Raises:
    InputError: if a path does not exist (the message suggests the nearest one), or the component refuses the value.
  """
  known = [path for path, _, _ in fields(config)]
  for path in values:
    if path not in known:
      raise unknown_name("configuration field", path, known)
  return _replace(config, values)


def _replace(config: Any, values: Mapping[str, Any]) -> Any:
  changed: dict[str, Any] = {}
  nested: dict[str, dict[str, Any]] = {}
  for path, value in values.items():
    head, _, rest = path.partition(".")
    if rest:
      nested.setdefault(head, {})[rest] = value
    else:
      changed[head] = tuple(value) if isinstance(value, list) else value
  for head, inner in nested.items():
    try:
      changed[head] = _replace(getattr(config, head), inner)
    except FieldError as e:
      raise e.within(head) from None
  return dataclasses.replace(config, **changed)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
  """Returns path to (old, new) for every field that differs between two flattened configurations; None stands for a missing field."""
  return {path: (old.get(path), new.get(path)) for path in sorted({*old, *new}) if old.get(path) != new.get(path)}


def check(condition: bool, field: str, value: Any, hint: str) -> None:
  """Raises FieldError 'FIELD is VALUE; HINT.' unless the condition holds."""
  if not condition:
    raise FieldError(field, value, hint)


def check_types(component: Any) -> None:
  """Raises FieldError for the first field of a component whose value is not of the field's type, or is a number that is not finite.

  Call it before the other checks, since they compare values.
  """
  hints = typing.get_type_hints(type(component))
  for field in dataclasses.fields(component):
    kind, value = hints[field.name], getattr(component, field.name)
    if kind in _MEMBERS:
      fits, hint = _MEMBERS[kind]
      check(fits(value), field.name, value if kind is str or not isinstance(value, str) else shown(value), f"it must be {hint}")
    elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
      hint = f"it must be a {kind.__module__}.{kind.__qualname__}; dataclasses.replace changes single fields of one"
      check(isinstance(value, kind), field.name, shown(value), hint)


def is_whole(value: Any) -> bool:
  """Returns whether a value is an integer of 64 bits, and no truth value."""
  return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_finite(value: Any) -> bool:
  return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


_MEMBERS: Mapping[Any, tuple[Callable[[Any], bool], str]] = {
  bool: (lambda value: isinstance(value, bool), "true or false"),
  int: (is_whole, "a whole number of 64 bits"),
  float: (_is_finite, "a finite number"),
  str: (lambda value: isinstance(value, str), "text"),
  tuple[int, ...]: (lambda value: isinstance(value, tuple) and all(map(is_whole, value)), "a tuple of whole numbers of 64 bits"),
  tuple[str, ...]: (lambda value: isinstance(value, tuple) and all(isinstance(each, str) for each in value), "a tuple of texts"),
}
"""Type of a field, from FLAG_TYPES, to (test of a value, description of the values that pass)."""


def check_positive(**values: float) -> None:
  """Raises FieldError for the first value that is not above zero, or is too large for float32."""
  for field, value in values.items():
    check(value > 0, field, value, "it must be above zero")
  check_at_most(_LARGEST, **values)


def check_not_negative(**values: float) -> None:
  """Raises FieldError for the first value that is below zero, or is too large for float32."""
  for field, value in values.items():
    check(value >= 0, field, value, "it must be zero or more")
  check_at_most(_LARGEST, **values)


def check_fraction(**values: float) -> None:
  """Raises FieldError for the first value that is outside [0, 1) or rounds to 1 in float32."""
  for field, value in values.items():
    check(0 <= value < 1, field, value, "it must be at least 0 and below 1")
    check(bool(np.float32(value) < 1), field, value, "it rounds to 1 in float32 and must be below 1; lower it")


_LARGEST = float(np.finfo(np.float32).max)


def check_at_most(bound: float, **values: float) -> None:
  """Raises FieldError for the first value above the bound. Bounds are far above any sensible value."""
  for field, value in values.items():
    check(value <= bound, field, _shortened(value), f"it must be at most {bound:{',' if isinstance(bound, int) else 'g'}}")


def check_port(field: str, value: object, port: int) -> None:
  """Raises FieldError unless the port of an address is 1 to 65535; `value` is the whole address."""
  check(1 <= port <= 65535, field, value, "its port must be 1 to 65535")


def _shortened(value: float) -> str:
  text = str(value)
  return text if len(text) <= 40 else f"{text[:20]}... ({len(text)} digits)"


def check_name(field: str, name: str, known: Iterable[str], others: str = "") -> None:
  """Raises FieldError unless the name is known. The message has the nearest known name; `others` describes further accepted values."""
  known = sorted(known)
  if name not in known:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join([*known, others] if others else known)
    raise FieldError(field, name, f"did you mean '{near[0]}'? It can be {listed}" if near else f"it can be {listed}")


def _attribute_texts(doc: str) -> dict[str, str]:
  """Returns name to text from a docstring's 'Attributes:' section. A text goes on over lines that are indented deeper."""
  texts: dict[str, str] = {}
  name, inside, indent = None, False, 0
  for line in doc.expandtabs().splitlines():
    stripped = line.strip()
    if stripped == "Attributes:":
      inside, indent = True, len(line) - len(line.lstrip()) + 2
    elif inside and stripped:
      depth = len(line) - len(line.lstrip())
      if depth < indent:
        inside = False
      elif depth == indent and ":" in stripped:
        name, _, text = stripped.partition(":")
        texts[name] = text.strip()
      elif name:
        texts[name] += " " + stripped
  return texts
