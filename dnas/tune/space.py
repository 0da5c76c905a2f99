"""The search space of a tuning: fields of a configuration, by dotted path, and the decisions of an architecture space.

A space is written as text, with one entry per field and semicolons between the entries:

    train.learning_rate = log(0.01, 0.3);  train.drop_path = uniform(0, 0.4);  data.cutout_length = int(0, 16, 4);
    train.schedule = choice(cosine, constant);  train.final_learning_rate = log(1e-4, 1e-2) if train.schedule in (cosine)

`int` takes a step, 1 by default. `logint` is uniform in the logarithm. An entry with `if` is active only where an earlier choice has one of
the listed values; elsewhere the field keeps its value in the configuration.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dnas.core import config as config_lib
from dnas.core.errors import FieldError, InputError, shown, unknown_name
from dnas.core.genotype import Genotype
from dnas.core.space import CellSpace

C = TypeVar("C")
Distribution = CategoricalDistribution | FloatDistribution | IntDistribution

_ENTRY = re.compile(r"\s*([\w.]+)\s*=\s*(\w+)\s*\((.*?)\)\s*(?:if\s+([\w.]+)\s+in\s*\((.*?)\)\s*)?", re.DOTALL)
_FORM = "write PATH = uniform(LOW, HIGH), log, int, logint or choice(A, B), with semicolons between entries"
_NUMBERS = {"uniform": float, "log": float, "int": int, "logint": int}
_LARGEST_WHOLE = 10**12  # not far above this, rounding makes the sampler tpe take the logarithm of zero
_WORDS = {"true": True, "false": False}


class Parameter(NamedTuple):
  """A field to tune.

  Attributes:
    path: dotted path of the field.
    distribution: distribution of its values.
    condition: (path, values) of the earlier choice that it depends on; None if it is always active.
  """

  path: str
  distribution: Distribution
  condition: tuple[str, tuple[Any, ...]] | None = None


class Point(NamedTuple):
  """A point of a search space.

  Attributes:
    values: values of the active fields by path.
    decisions: decisions of the architecture (see `CellSpace.decisions`); None if it is not searched.
  """

  values: dict[str, Any]
  decisions: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class SearchSpace:
  """The search space of a tuning.

  Attributes:
    parameters: the fields, each after those that it depends on.
    architecture: the architecture space; None if only the configuration is tuned.
  """

  parameters: tuple[Parameter, ...]
  architecture: CellSpace | None = None

  def __post_init__(self):
    if not self.parameters and self.architecture is None:
      hint = "there is nothing to tune: name a field, or search the architecture too (--joint)"
      raise FieldError("search_space", "empty", hint)

  def suggest(self, trial: optuna.Trial) -> Point:
    """Returns the point of a trial: asks it for the active fields and then for the architecture's decisions, in the order of the space."""
    values: dict[str, Any] = {}
    for path, distribution, condition in self.parameters:
      if condition is None or values.get(condition[0], _ABSENT) in condition[1]:
        values[path] = _ask(trial, path, distribution)
    if self.architecture is None:
      return Point(values, None)
    names = decision_names(self.architecture)
    sizes = zip(names, self.architecture.decisions, strict=True)
    return Point(values, tuple(int(trial.suggest_categorical(name, range(size))) for name, size in sizes))

  def parameters_of(self, config: Any, genotype: Genotype | None) -> dict[str, Any] | None:
    """Returns the Optuna parameters of a configuration and a genotype, or None if they are outside the space."""
    flat, out = config_lib.flatten(config), {}
    for path, distribution, condition in self.parameters:
      if condition is None or out.get(condition[0], _ABSENT) in condition[1]:
        if not _holds(distribution, flat[path]):
          return None
        out[path] = flat[path]
    if self.architecture is not None:
      assert genotype is not None
      try:
        decisions = self.architecture.encode(genotype)
      except InputError:
        return None
      out |= dict(zip(decision_names(self.architecture), decisions, strict=True))
    return out

  def to_json(self) -> list[Any]:
    """Returns a JSON description that differs for different spaces."""
    entries = [[path, optuna.distributions.distribution_to_json(d), condition] for path, d, condition in self.parameters]
    return [entries, self.architecture and [self.architecture.name, list(self.architecture.decisions)]]


_ABSENT = object()


def decision_names(space: CellSpace) -> tuple[str, ...]:
  """Returns a name for every decision of an architecture; 'architecture.normal.3' is the fourth decision of the normal cell."""
  each = len(space.decisions) // len(space.cells)
  return tuple(f"architecture.{cell}.{number}" for cell in space.cells for number in range(each))


def parse(text: str, config: Any, architecture: CellSpace | None = None) -> SearchSpace:
  """Parses a space, and checks it against the configuration that it changes.

  Args:
    text: the entries.
    config: the configuration.
    architecture: the architecture space; None if only the configuration is tuned.

  Raises:
    InputError: for an entry with a syntax error, an unknown path (the message names the nearest one), a path given twice, a bound or a
      choice that the field's type or its component refuses, a range that is empty or cannot be sampled, an empty choice, or a condition
      on anything but an earlier choice.
  """
  known = {path: kind for path, kind, _ in config_lib.fields(config)}
  parameters: dict[str, Parameter] = {}
  for entry in filter(None, (part.strip() for part in text.split(";"))):
    match = _ENTRY.fullmatch(entry)
    if not match:
      raise FieldError("search_space", shown(entry), _FORM)
    path, kind, arguments, on, values = match.groups()
    if path not in known:
      raise InputError(f"--search_space: {unknown_name('field', path, known)}")
    if path in parameters:
      raise FieldError("search_space", path, "it is given twice; give it once")
    distribution = _distribution(path, kind, arguments, known[path])
    for value in _tried(distribution):
      try:
        config_lib.replace(config, {path: value})
      except InputError as e:
        raise InputError(f"--search_space: {path} may be {value} there, but {e}") from None
    condition = _condition(path, on, values, parameters, known) if on else None
    parameters[path] = Parameter(path, distribution, condition)
  return SearchSpace(tuple(parameters.values()), architecture)


def apply(config: C, point: Point) -> C:
  """Returns the configuration with the values of a point. Raises InputError if a component of the configuration refuses one."""
  return config_lib.replace(config, point.values)


def _distribution(path: str, kind: str, arguments: str, of: Any) -> Distribution:
  words = [word.strip() for word in arguments.split(",") if word.strip()]
  if kind == "choice":
    if not words:
      raise FieldError("search_space", f"{path} = choice()", "give values to choose from, such as choice(0.1, 0.2)")
    values = [_value(path, word, of) for word in words]
    if len(set(values)) < len(values):
      raise FieldError("search_space", f"{path} = choice({arguments})", "a value is given twice; give each once")
    return CategoricalDistribution(values)
  if kind not in _NUMBERS:
    raise FieldError("search_space", f"{path} = {kind}(...)", _FORM)
  number = _NUMBERS[kind]
  if of is not number:
    hint = {float: "uniform, log or choice", int: "int, logint or choice"}.get(of, "choice")
    raise FieldError("search_space", f"{path} = {kind}({arguments})", f"{path} is of type {getattr(of, '__name__', of)}, so write {hint}")
  most = 3 if kind == "int" else 2
  if not 2 <= len(words) <= most:
    raise FieldError("search_space", f"{path} = {kind}({arguments})", f"write {kind}(LOW, HIGH{', STEP' * (most == 3)})")
  low, high, *step = (_value(path, word, of) for word in words)
  if low > high:
    raise FieldError("search_space", f"{path} = {kind}({arguments})", f"its lower end {low} is above its upper end {high}; swap them")
  if max(-low, high) > _LARGEST_WHOLE if number is int else math.isinf(high - low):
    hint = f"a sampler cannot tell its values apart; give whole numbers up to {_LARGEST_WHOLE}, and ends whose difference is finite"
    raise FieldError("search_space", f"{path} = {kind}({arguments})", hint)
  if kind in ("log", "logint") and low <= 0:
    raise FieldError("search_space", f"{path} = {kind}({arguments})", "a logarithmic range must begin above zero")
  if step and (step[0] <= 0 or (high - low) % step[0]):
    raise FieldError("search_space", f"{path} = {kind}({arguments})", f"the step {step[0]} must divide {low} to {high}")
  if kind in ("uniform", "log"):
    return FloatDistribution(low, high, log=kind == "log")
  return IntDistribution(low, high, log=kind == "logint", step=step[0] if step else 1)


def _value(path: str, word: str, kind: Any) -> Any:
  """Parses a value of a field. Raises InputError if it is not of the field's type."""
  word = word.strip("\"'")
  try:
    value = _WORDS[word.lower()] if kind is bool else kind(word)
    if kind not in (bool, int, float, str) or (kind is float and not math.isfinite(value)):
      raise ValueError
  except (KeyError, ValueError, TypeError):
    hint = f"{path} is of type {getattr(kind, '__name__', kind)}; give a value of that type"
    raise FieldError("search_space", f"{path} = ... {word}", hint) from None
  return value


def _tried(distribution: Distribution) -> Sequence[Any]:
  """Returns the values to check: all choices, or both ends of a range. An integer range adds low + step: some fields refuse odd numbers."""
  if isinstance(distribution, CategoricalDistribution):
    return distribution.choices
  if isinstance(distribution, IntDistribution):
    return distribution.low, min(distribution.low + distribution.step, distribution.high), distribution.high
  return distribution.low, distribution.high


def _ask(trial: optuna.Trial, path: str, distribution: Distribution) -> Any:
  match distribution:
    case CategoricalDistribution():
      return trial.suggest_categorical(path, distribution.choices)
    case FloatDistribution():
      return float(trial.suggest_float(path, distribution.low, distribution.high, log=distribution.log))
    case IntDistribution():
      return trial.suggest_int(path, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _holds(distribution: Distribution, value: Any) -> bool:
  if isinstance(distribution, CategoricalDistribution):
    return value in distribution.choices
  return distribution.low <= value <= distribution.high and (not distribution.step or not (value - distribution.low) % distribution.step)


def _condition(path: str, on: str, words: str, earlier: Mapping[str, Parameter], known: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
  given = earlier.get(on)
  if given is None or not isinstance(given.distribution, CategoricalDistribution):
    raise FieldError("search_space", f"{path} ... if {on}", f"{on} is not a choice given before it; give that choice first")
  choices = given.distribution.choices
  values = [_value(on, word.strip(), known[on]) for word in words.split(",") if word.strip()]
  if not values or not set(values) <= set(choices):
    hint = f"{on} may be {', '.join(map(str, choices))}, so name some of those"
    raise FieldError("search_space", f"{path} ... if {on} in ({words})", hint)
  return on, tuple(values)
