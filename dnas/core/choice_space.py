"""Spaces of named choices, for networks of a user's own.

A network has choices with names (`dnas.cells.choices`). Each has options, and an architecture names the options that it keeps. Choices may
stand inside options of other choices. A choice is active if the options around it are kept, at one of its places at least. An architecture
lists the active choices alone, so two different architectures are two different networks.
"""

# What users give can have another type than the annotated one.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

import dataclasses
import functools
import itertools
import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnas.core.errors import InputError, shown, unknown_name
from dnas.core.genotype import Architecture
from dnas.core.registry import is_name

TOGETHER = "+"
"""Stands between the options of a choice that keeps several."""

SKIPS = ("skip", "skip_connect", "identity")
"""Names of options that return their input. A search that collapses keeps them."""

Path = tuple[tuple[str, str], ...]
"""The (choice, option) pairs around a choice, from the outside; () for a choice that stands in no other."""


def check_choice_name(what: str, name: Any) -> None:
  """Raises InputError for a name that a choice or an option cannot have."""
  if not is_name(name) or TOGETHER in name:
    raise InputError(f"{what} {shown(name)} has no usable name; write it with letters, digits, '_', '.' and '-', at most 100.")


@dataclasses.dataclass(frozen=True)
class Point:
  """One named choice.

  Attributes:
    name: its name.
    options: the names of its options, in the order of the network; columns of its architecture parameters.
    kept: number of options that an architecture keeps.
    places: where the choice stands: a path for every place.
  """

  name: str
  options: tuple[str, ...]
  kept: int = 1
  places: tuple[Path, ...] = ((),)

  @functools.cached_property
  def values(self) -> tuple[tuple[str, ...], ...]:
    """The sets of options that an architecture may keep, in lexicographic order of the columns."""
    return tuple(itertools.combinations(self.options, self.kept))

  def is_active(self, chosen: Mapping[str, tuple[str, ...]]) -> bool:
    """Returns whether one of the places is reached; `chosen` has the active choices before this one."""
    return any(all(option in chosen.get(name, ()) for name, option in path) for path in self.places)


@dataclasses.dataclass(frozen=True)
class ChoiceGenotype(Architecture):
  """An architecture: the options that every active choice keeps.

  Its text is 'block1=conv3,merge=left+right', and `ChoiceSpace.parse` reads it back.

  Attributes:
    space: the name of its space.
    choices: pairs of a choice and the options it keeps, in the order of the space.
  """

  space: str
  choices: tuple[tuple[str, tuple[str, ...]], ...]

  def __getitem__(self, name: str) -> str:
    """Returns the option that a choice keeps; several have '+' between them. Raises InputError if the choice is not active here."""
    chosen = dict(self.choices)
    if name not in chosen:
      raise unknown_name("choice", name, chosen)
    return TOGETHER.join(chosen[name])

  def __str__(self) -> str:
    return ",".join(f"{name}={TOGETHER.join(options)}" for name, options in self.choices)

  def to_json(self) -> str:
    """See `Architecture`."""
    return json.dumps({"space": self.space, "choices": {name: list(options) for name, options in self.choices}})


@dataclasses.dataclass(frozen=True)
class ChoiceSpace:
  """A space of named choices (a `spaces.Space`).

  Attributes:
    name: the name that architectures carry.
    points: the choices; a choice comes after the choices that it stands in.

  Raises InputError for a choice with one option, with two options of one name, or with a name that is taken.
  """

  name: str
  points: tuple[Point, ...]

  def __post_init__(self):
    check_choice_name("space", self.name)
    if not self.points:
      raise InputError(f"space '{self.name}' has no choices; give the network a Choice, an InputChoice or a WidthChoice.")
    for index, point in enumerate(self.points):
      before = [other.name for other in self.points[:index]]
      check_choice_name("choice", point.name)
      if point.name in before:
        raise InputError(f"choice '{point.name}' is given twice; give it once.")
      check_options(point.name, point.options)
      if not 1 <= point.kept < len(point.options):
        hint = f"keep at least 1 and at most {len(point.options) - 1}"
        raise InputError(f"choice '{point.name}' keeps {point.kept} of {len(point.options)} options; {hint}.")
      for name, option in itertools.chain.from_iterable(point.places):
        if name not in before or option not in self[name].options:
          raise InputError(f"choice '{point.name}' stands in '{name}={option}', which does not come before it.")

  def __getitem__(self, name: str) -> Point:
    """Returns a choice by its name. Raises InputError if there is none."""
    for point in self.points:
      if point.name == name:
        return point
    raise unknown_name("choice", name, [point.name for point in self.points])

  @property
  def arch_shapes(self) -> dict[str, tuple[int, int]]:
    """See `spaces.Space`."""
    return {point.name: (1, len(point.options)) for point in self.points}

  def columns_of(self, group: str) -> tuple[str, ...]:
    """See `spaces.Space`."""
    return self[group].options

  @property
  def decisions(self) -> tuple[int, ...]:
    """See `spaces.Space`. Every choice is a decision; those of choices that are not active do not matter."""
    return tuple(len(point.values) for point in self.points)

  def _of(self, values: Mapping[str, tuple[str, ...]]) -> ChoiceGenotype:
    """Returns the architecture with these options; choices without a value take their first options, those not active are left out."""
    chosen: dict[str, tuple[str, ...]] = {}
    for point in self.points:
      if point.is_active(chosen):
        chosen[point.name] = values.get(point.name, point.values[0])
    return ChoiceGenotype(self.name, tuple(chosen.items()))

  def decode(self, decisions: Sequence[int]) -> ChoiceGenotype:
    """Returns the architecture with these values of `decisions`. Raises InputError if their number is wrong or one is out of range."""
    try:
      numbers = [operator.index(value) for value in decisions]
    except TypeError:
      numbers = []
    if len(numbers) != len(self.points) or not all(0 <= value < size for value, size in zip(numbers, self.decisions, strict=True)):
      raise InputError(f"decisions {shown(decisions)} are not an architecture of space '{self.name}'; it has {shown(self.decisions)}.")
    return self._of({point.name: point.values[number] for point, number in zip(self.points, numbers, strict=True)})

  def encode(self, genotype: ChoiceGenotype) -> tuple[int, ...]:
    """Returns values of `decisions` that `decode` maps to the architecture; 0 for choices that are not active."""
    chosen = dict(self.validate(genotype).choices)
    return tuple(point.values.index(chosen[point.name]) if point.name in chosen else 0 for point in self.points)

  def sample(self, rng: np.random.Generator) -> ChoiceGenotype:
    """Draws an architecture: for every active choice uniformly what it keeps."""
    chosen: dict[str, tuple[str, ...]] = {}
    for point in self.points:
      if point.is_active(chosen):
        chosen[point.name] = point.values[rng.integers(len(point.values))]
    return ChoiceGenotype(self.name, tuple(chosen.items()))

  def neighbours(self, genotype: ChoiceGenotype) -> tuple[ChoiceGenotype, ...]:
    """Returns the architectures that differ in what one active choice keeps. Choices that become active keep their first options."""
    chosen = dict(self.validate(genotype).choices)
    pairs = [(name, value) for name in chosen for value in self[name].values if value != chosen[name]]
    return tuple(self._of(chosen | {name: value}) for name, value in pairs)

  def mutate(self, genotype: ChoiceGenotype, rng: np.random.Generator) -> ChoiceGenotype:
    """Returns the architecture with another value of one active choice, both drawn uniformly. Choices that become active are drawn too."""
    chosen = dict(self.validate(genotype).choices)
    name = list(chosen)[rng.integers(len(chosen))]
    others = [value for value in self[name].values if value != chosen[name]]
    drawn = {point.name: point.values[rng.integers(len(point.values))] for point in self.points if point.name not in chosen}
    return self._of(chosen | {name: others[rng.integers(len(others))]} | drawn)

  def parse(self, value: Any, where: str = "genotype") -> ChoiceGenotype:
    """Reads an architecture: 'block1=conv3,merge=left+right', JSON as `to_json` writes it, or an object read from JSON with it.

    Raises:
      InputError: if the value is no architecture of this space.
    """
    if isinstance(value, ChoiceGenotype):
      return self.validate(value, where)
    if isinstance(value, str) and value.strip().startswith("{"):
      try:
        value = json.loads(value)
      except (json.JSONDecodeError, RecursionError) as e:
        raise InputError(f"{where}: not valid JSON ({e}); correct it there.") from None
    if isinstance(value, Mapping) and "choices" not in value and value.get("genotype"):
      return self.parse(value["genotype"], where)
    if isinstance(value, Mapping) and isinstance(value.get("choices"), Mapping):
      return self._checked(list(value["choices"].items()), where)
    if not isinstance(value, str):
      raise InputError(f"{where}: {shown(value)} is not an architecture; write it as {self._example}.")
    pairs: list[tuple[Any, Any]] = []
    for part in value.split(","):
      name, equals, options = part.strip().partition("=")
      if not equals:
        raise InputError(f"{where}: {shown(part)} is not CHOICE=OPTION; write an architecture as {self._example}.")
      pairs.append((name.strip(), options.strip().split(TOGETHER)))
    return self._checked(pairs, where)

  def validate(self, genotype: Any, where: str = "genotype") -> ChoiceGenotype:
    """Returns the architecture. Raises InputError if it is not one of this space."""
    if not isinstance(genotype, ChoiceGenotype) or genotype.space != self.name:
      raise InputError(f"{where}: {shown(str(genotype))} is not an architecture of space '{self.name}'; write it as {self._example}.")
    return self._checked(list(genotype.choices), where)

  def notation(self, genotype: ChoiceGenotype) -> str:
    """Returns an architecture as one line; `parse` reads it back."""
    return str(genotype)

  @property
  def _example(self) -> str:
    return shown(str(self.decode([0] * len(self.points))))

  def _checked(self, pairs: list[tuple[Any, Any]], where: str) -> ChoiceGenotype:
    given: dict[str, tuple[str, ...]] = {}
    for name, options in pairs:
      try:
        point = self[name]
      except InputError as e:
        raise InputError(f"{where}: {e}") from None
      if name in given:
        raise InputError(f"{where}: choice '{name}' is given twice; give it once.")
      options = options if isinstance(options, list | tuple) else [options]
      for option in options:
        if option not in point.options:
          raise InputError(f"{where}, choice '{name}': {unknown_name('option', option, point.options)}")
      given[name] = tuple(option for option in point.options if option in options)
      if len(given[name]) != point.kept or len(options) != point.kept:
        raise InputError(f"{where}: choice '{name}' keeps {point.kept} of its options, and {shown(options)} was given.")
    genotype = self._of(given)
    active = dict(genotype.choices)
    for name in active:
      if name not in given:
        raise InputError(f"{where}: choice '{name}' is missing; give one of {', '.join(self[name].options)}.")
    for name in given:
      if name not in active:
        raise InputError(f"{where}: choice '{name}' has no effect in '{genotype}', since no option around it is kept; leave it out.")
    return genotype


def from_json(text: str) -> ChoiceGenotype | None:
  """Returns the architecture that `to_json` wrote, unchecked; None for any other text."""
  try:
    value = json.loads(text)
    return ChoiceGenotype(value["space"], tuple((name, tuple(options)) for name, options in value["choices"].items()))
  except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
    return None


def check_options(name: str, options: Sequence[str]) -> None:
  """Raises InputError if the options of a choice are no names, fewer than two, or two of one name."""
  if isinstance(options, str) or not isinstance(options, Sequence):
    raise InputError(f"choice '{name}' has the options {shown(options)}; give a list of names.")
  for option in options:
    check_choice_name(f"an option of choice '{name}',", option)
  if len(options) < 2:
    only = f"one option, '{options[0]}'" if options else "no options"
    raise InputError(f"choice '{name}' has {only}, so there is nothing to choose; give it at least two.")
  for index, option in enumerate(options):
    if option in options[:index]:
      raise InputError(f"choice '{name}' has two options of the name '{option}'; give every option a name of its own.")
