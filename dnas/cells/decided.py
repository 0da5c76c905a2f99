"""The choices of a whole network: its space, and the network in which they are decided."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dnas.cells.choices import Choice, InputChoice, Named, children, places
from dnas.core.choice_space import ChoiceGenotype, ChoiceSpace, Path, Point
from dnas.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class SumOf:
  """A function: the sum of some of the given arrays. It stands in a derived network in the place of an `InputChoice`."""

  columns: tuple[int, ...]

  def __call__(self, inputs: Sequence[Any]) -> Any:
    """Returns the sum of the arrays, or trees of arrays, with these numbers."""
    first, *others = (inputs[column] for column in self.columns)
    for other in others:
      first = jax.tree.map(jnp.add, first, other)
    return first


def space_of(module: nnx.Module, name: str) -> ChoiceSpace:
  """Returns the space of the choices of a network.

  Args:
    module: the network.
    name: name of the space.

  Raises:
    InputError: if the network has no choices, choices of one name differ in their options, or choices stand inside each other.
  """
  found: dict[str, Named] = {}
  where: dict[str, dict[Path, None]] = {}
  for choice, path in places(module):
    first = found.setdefault(choice.name, choice)
    if (first.options, first.keep, type(first)) != (choice.options, choice.keep, type(choice)):
      words = f"{', '.join(first.options)} in one place and {', '.join(choice.options)} in another"
      raise InputError(f"choice '{choice.name}' has the options {words}; choices of one name are one decision, so make them equal.")
    where.setdefault(choice.name, {})[path] = None
  if not found:
    hint = "give it a dnas.Choice, a dnas.InputChoice or a dnas.WidthChoice as an attribute"
    raise InputError(f"network {type(module).__name__} has no choices, so there is nothing to search; {hint}.")
  points = {name: Point(name, one.options, one.keep, tuple(where[name])) for name, one in found.items()}
  return ChoiceSpace(name, tuple(points[name] for name in _ordered(points)))


def _ordered(points: Mapping[str, Point]) -> list[str]:
  """Returns the names in an order in which a choice comes after all choices around it, otherwise in the given order."""
  around = {name: {outer for path in point.places for outer, _ in path} for name, point in points.items()}
  out: list[str] = []
  while len(out) < len(points):
    ready = [name for name in points if name not in out and around[name] <= set(out)]
    if not ready:
      left = ", ".join(name for name in points if name not in out)
      raise InputError(f"the choices {left} stand inside each other in a circle; give them other names.")
    out.append(ready[0])
  return out


def decided(module: Any, genotype: ChoiceGenotype) -> Any:
  """Returns a network with what an architecture keeps in the place of every choice. It changes the module that is given."""
  chosen, done = dict(genotype.choices), {}

  def replaced(value: Any) -> Any:
    if id(value) not in done:
      done[id(value)] = value, _in_place_of(value, chosen)  # the value too, so that no other gets its id
      kept = done[id(value)][1]
      if kept is value:
        for name, part in children(value) if isinstance(value, nnx.Module) else []:
          other = replaced(part)
          if other is not part:
            is_function = callable(other) and not isinstance(other, nnx.Module)
            setattr(value, name, nnx.static(other) if is_function else other)  # so that it is not taken for an array
        if isinstance(value, list | tuple | dict):
          done[id(value)] = value, _rebuilt(value, replaced)
      else:
        done[id(value)] = value, replaced(kept)
    return done[id(value)][1]

  return replaced(module)


def _rebuilt(value: Any, replaced: Callable[[Any], Any]) -> Any:
  parts = [(key, part, replaced(part)) for key, part in children(value)]
  if all(new is old for _, old, new in parts):
    return value
  if isinstance(value, dict):
    return type(value)((key, new) for key, _, new in parts)
  return type(value)(new for _, _, new in parts)


def _in_place_of(value: Any, chosen: Mapping[str, tuple[str, ...]]) -> Any:
  """Returns what stands for a value in a derived network; the value itself if it is no choice."""
  if not isinstance(value, Named):
    return value
  columns = [value.options.index(option) for option in chosen.get(value.name, value.options[:1])]
  if isinstance(value, Choice):
    return value.modules[columns[0]]
  return SumOf(tuple(columns)) if isinstance(value, InputChoice) else nnx.identity
