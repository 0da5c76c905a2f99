"""Descriptions of traced functions: equal only where the functions compute the same, in this process and, if possible, in another."""

import dataclasses
import enum
import hashlib
from typing import Any

import jax
import numpy as np
from jax.extend import core as jex

_FOR_DERIVATIVES = frozenset(("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd", "policy"))
"""Parameters of equations that say how to differentiate, and so nothing to a compiler."""


@dataclasses.dataclass(frozen=True)
class Description:
  """What a function computes.

  Attributes:
    digest: a hash of it.
    objects: those that it is told by as themselves, and which it keeps; without any it holds in another process too.
  """

  digest: str
  objects: tuple[Any, ...] = dataclasses.field(compare=False)


class Describer:
  """Describes functions, each part of them once."""

  def __init__(self):
    self._known: dict[int, tuple[Any, Description]] = {}  # by identity, with the function, which so is kept
    self._types: dict[jax.core.AbstractValue, Any] = {}

  def __call__(self, function: jex.Jaxpr | jex.ClosedJaxpr) -> Description:
    """Returns the description of a function."""
    if id(function) not in self._known:
      objects: list[Any] = []
      text = repr(self._function(function, objects))
      self._known[id(function)] = function, Description(hashlib.sha256(text.encode()).hexdigest(), tuple(objects))
    return self._known[id(function)][1]

  def _function(self, function: jex.Jaxpr | jex.ClosedJaxpr, objects: list[Any]) -> Any:
    if isinstance(function, jex.ClosedJaxpr):
      return self._value(function.jaxpr, objects), *(self._value(value, objects) for value in function.consts)
    numbers: dict[Any, Any] = {}

    def name(atom: Any) -> Any:
      if isinstance(atom, jex.Literal):
        return self._value(atom.aval, objects), self._value(atom.val, objects)
      if atom not in numbers:
        numbers[atom] = len(numbers), self._value(atom.aval, objects)
        return numbers[atom]
      return numbers[atom][0]

    inputs = *map(name, function.constvars), None, *map(name, function.invars)
    equations = [
      (
        eqn.primitive.name,
        [name(atom) for atom in eqn.invars],
        [(key, self._value(value, objects)) for key, value in sorted(eqn.params.items()) if key not in _FOR_DERIVATIVES],
        repr(eqn.ctx),
        [name(atom) for atom in eqn.outvars],
      )
      for eqn in function.eqns
    ]
    return inputs, equations, [name(atom) for atom in function.outvars]

  def _value(self, value: Any, objects: list[Any]) -> Any:
    """Returns something whose `repr` tells of a value all that matters; what cannot be told so is kept among the objects."""
    if value is None or type(value) in (bool, str):
      return value
    if isinstance(value, int | float):  # JAX has such with a type
      return int(value) if isinstance(value, int) else float(value), str(getattr(value, "dtype", ""))
    if isinstance(value, jex.Jaxpr | jex.ClosedJaxpr):
      description = self(value)
      objects += description.objects
      return description.digest
    if isinstance(value, jax.core.AbstractValue):
      return self._type(value, objects)
    if isinstance(value, np.ndarray | np.generic):
      return str(value.dtype), value.shape, np.asarray(value).tobytes()
    if isinstance(value, np.dtype | enum.Enum):
      return str(value)
    name = type(value).__qualname__
    if isinstance(value, tuple | list):
      return name, *(self._value(part, objects) for part in value)
    if isinstance(value, frozenset):
      return name, sorted(repr(self._value(part, objects)) for part in value)
    if isinstance(value, dict):
      return name, *((key, self._value(part, objects)) for key, part in sorted(value.items()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
      return name, *((field.name, self._value(getattr(value, field.name), objects)) for field in dataclasses.fields(value))
    if isinstance(value, jax.sharding.Mesh | jax.sharding.AbstractMesh) and value.empty:
      return name
    if name == "UnspecifiedValue":
      return name
    objects.append(value)
    if isinstance(value, jax.sharding.NamedSharding) and isinstance(value.mesh, jax.sharding.Mesh):
      return repr(value), [device.id for device in value.mesh.devices.flat]
    return name, id(value)

  def _type(self, value: jax.core.AbstractValue, objects: list[Any]) -> Any:
    if value not in self._types:
      if type(value) is not jax.core.ShapedArray or not value.sharding.mesh.empty:
        objects.append(value)
        return repr(value), id(value)
      self._types[value] = repr(value), str(value.memory_space)
    return self._types[value]
