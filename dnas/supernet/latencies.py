"""Latencies of single operations: a table measured on a device, and the costs that it gives the operations of a space.

An operation is measured alone, in one compiled program that applies it to several states, one after the other. So the time to start a
program counts little. The latency of a network is estimated by the sum of its operations and its skeleton. A device may run operations of
one network at once, or fuse them, so the sum is an estimate.

Source: Cai, Zhu and Han, "ProxylessNAS", ICLR 2019, section 3.3.
"""

import dataclasses
import datetime
import json
import pathlib
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from dnas.cells import functional
from dnas.cells.image_stack import Size
from dnas.core import durable
from dnas.core.errors import InputError, shown
from dnas.run.timing import milliseconds
from dnas.supernet.operation_costs import OperationCosts, Place, Skeleton

IN_A_ROW = 8
"""Number of states to which a program applies an operation."""


@dataclasses.dataclass(frozen=True)
class Row:
  """One measurement.

  Attributes:
    operation: name of the operation; empty for a skeleton.
    place: where it stands; for a skeleton the images, the channels of the supernet, and its number of cells in the place of the stride.
    milliseconds: median of the repeats, for one batch.
    quartiles: the lower and the upper quartile, in milliseconds.
  """

  operation: str
  place: Place
  milliseconds: float
  quartiles: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of latencies.

  Attributes:
    about: what was measured where: device, machine, versions, date, batch size, repeats.
    rows: (operation, place) to its measurement.
  """

  about: Mapping[str, Any]
  rows: Mapping[tuple[str, Place], Row]

  def latency(self, operation: str, place: Place) -> float:
    """Returns the latency of an operation in milliseconds per batch. Raises InputError if the table lacks it."""
    if (operation, place) not in self.rows:
      raise InputError(f"it lacks {named(operation, place)}; measure it by dnas latency --make")
    return self.rows[operation, place].milliseconds

  def costs(self, skeleton: Skeleton, size: Size) -> OperationCosts:
    """Returns the costs of the operations of a space, in milliseconds per batch.

    The skeleton costs nothing if the table has no skeleton at all, as a table of a user's own.

    Raises:
      InputError: if the table lacks an operation that the space has in a network of this size, or has skeletons of other networks alone.
    """
    latencies = {key: self.latency(*key) for key in skeleton.operations()}
    measured = any(not operation for operation, _ in self.rows)
    return skeleton.costs(self.latency("", place_of(skeleton, size)) if measured else 0.0, latencies)

  def with_row(self, row: Row) -> "Table":
    """Returns the table with one more row."""
    return dataclasses.replace(self, rows={**self.rows, (row.operation, row.place): row})

  def write(self, path: pathlib.Path) -> None:
    """Writes the table as JSON."""
    rows = [{"operation": row.operation, **row.place._asdict(), **_times(row)} for row in self.rows.values()]
    lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    durable.write(path, f'{{\n  "about": {json.dumps(dict(self.about))},\n  "rows": [\n{lines}\n  ]\n}}\n')

  @classmethod
  def read(cls, path: pathlib.Path) -> "Table":
    """Reads a table. Raises InputError, without a full stop, if the file is none; quartiles may be missing."""
    try:
      value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
      raise InputError("it is no file with a table as JSON; dnas latency --make writes one") from None
    rows = value.get("rows") if isinstance(value, dict) else None
    if not isinstance(rows, list):
      raise InputError("it has no list of 'rows'; dnas latency --make writes one")
    found: dict[tuple[str, Place], Row] = {}
    for number, value_of_row in enumerate(rows, 1):
      row = _row(number, value_of_row)
      if (row.operation, row.place) in found:
        raise InputError(f"its row {number} is a second one of {named(row.operation, row.place)}; give each place once")
      found[row.operation, row.place] = row
    about = value.get("about")
    return cls(about if isinstance(about, dict) else {}, found)


def _times(row: Row) -> dict[str, Any]:
  return {"milliseconds": row.milliseconds, "quartiles": list(row.quartiles)}


_MOST_MILLISECONDS = 1e9


def _row(number: int, value: Any) -> Row:
  """Returns a row from its JSON. Raises InputError, without a full stop, which names the field that does not fit."""
  if not isinstance(value, dict):
    raise InputError(f"its row {number} is {shown(value)}; a row has operation, {', '.join(Place._fields)} and milliseconds")
  fields: dict[str, Any] = value
  milliseconds = fields.get("milliseconds")
  _check(number, "operation", fields.get("operation"), isinstance(fields.get("operation"), str), "a name")
  for name in Place._fields:
    size = fields.get(name)
    _check(number, name, size, type(size) is int and 0 < size < 2**31, "a size above zero")
  quartiles = fields.get("quartiles")
  _check(number, "quartiles", quartiles, quartiles is None or isinstance(quartiles, list), "two numbers")
  times: list[Any] = [milliseconds, *(quartiles or (milliseconds, milliseconds))]
  for name, time in zip(("milliseconds", "quartiles", "quartiles"), times, strict=False):
    fits = type(time) in (int, float) and 0 <= time <= _MOST_MILLISECONDS
    _check(number, name, time, fits, f"milliseconds from 0 to {_MOST_MILLISECONDS:.0e}")
  _check(number, "quartiles", quartiles, len(times) == 3, "two numbers")
  return Row(fields["operation"], Place(*(fields[name] for name in Place._fields)), float(times[0]), (float(times[1]), float(times[2])))


def _check(number: int, name: str, value: Any, fits: bool, hint: str) -> None:
  if not fits:
    told = "no" if value is None else f"{shown(value)} as"
    raise InputError(f"its row {number} has {told} {name}; give {hint}")


def named(operation: str, place: Place) -> str:
  """Returns a row in words."""
  of_state = f"{place.height}x{place.width}x{place.channels_in}"
  if not operation:
    return f"the skeleton of {place.stride} cells and {place.channels} channels on images of {of_state}"
  return f"{operation} from {of_state} to {place.channels} channels at stride {place.stride}"


def place_of(skeleton: Skeleton, size: Size) -> Place:
  """Returns the place of the row of a skeleton."""
  height, width, channels = skeleton.image_shape
  return Place(channels, size.channels, size.cells, height, width)


def about(batch_size: int, repeats: int) -> dict[str, Any]:
  """Returns what a table says of its making, today and on this device."""
  device = jax.devices()[0]
  return {
    **{"device": device.device_kind, "platform": device.platform, "machine": processor(), "python": platform.python_version()},
    **{"jax": jax.__version__, "date": datetime.date.today().isoformat(), "batch_size": batch_size, "repeats": repeats},
  }


def processor() -> str:
  """Returns the model of the processor, or the kind of machine if the system does not tell."""
  info = pathlib.Path("/proc/cpuinfo")
  lines = info.read_text().splitlines() if info.exists() else []
  return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def measured(skeleton: Skeleton, size: Size, batch_size: int, repeats: int, known: Table) -> Iterator[Row]:
  """Yields the rows that a table lacks: the skeleton, and every operation at every place.

  Args:
    skeleton: of the networks.
    size: of the networks.
    batch_size: states in a batch.
    repeats: number of timed calls, each of `IN_A_ROW` applications.
    known: the table so far.
  """
  place = place_of(skeleton, size)
  if ("", place) not in known.rows:
    yield _measured("", place, skeleton.logits, skeleton.variables, skeleton.example(batch_size), repeats)
  for name, place in skeleton.operations():
    if (name, place) not in known.rows:
      network, variables = place.build(name)

      def apply(variables: functional.Variables, x: jax.Array, network: functional.Network = network, name: str = name) -> jax.Array:
        return functional.apply(network, variables, x, False)[0][name]

      yield _measured(name, place, apply, variables, place.example(batch_size), repeats)


def _measured(
  name: str, place: Place, apply: Callable[..., Any], variables: functional.Variables, example: jax.ShapeDtypeStruct, repeats: int
) -> Row:
  states = np.random.default_rng(0).standard_normal((IN_A_ROW, *example.shape), np.float32)
  program = jax.jit(lambda variables, states: jax.lax.map(lambda x: apply(variables, x), states))
  times = milliseconds(program, *jax.device_put((variables, states)), most=repeats)
  lower, median, upper = (float(value) / IN_A_ROW for value in np.quantile(times, [0.25, 0.5, 0.75]))
  return Row(name, place, median, (lower, upper))
