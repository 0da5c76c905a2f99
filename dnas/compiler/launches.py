"""What a compiled program of XLA launches on a GPU, counted in its text."""

import collections
import math
import re
from typing import NamedTuple

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "opt-barrier", "partition-id"}
"""Instructions that launch nothing."""

_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


class Instruction(NamedTuple):
  """An instruction of a computation: its name, its type, its operation, and the rest of its line, which begins with its arguments."""

  name: str
  type: str
  operation: str
  rest: str


class Launches(NamedTuple):
  """What one call of a program launches.

  Attributes:
    fusions: kernels that XLA makes.
    libraries: calls of libraries, such as cuDNN and cuBLAS.
    copies: copies of arrays, and whatever else is launched.
    bytes: sizes of all arguments and results of these launches; what a launch reads twice counts once.
  """

  fusions: int
  libraries: int
  copies: int
  bytes: int

  @property
  def all(self) -> int:
    """The number of launches."""
    return self.fusions + self.libraries + self.copies


def launches(text: str) -> Launches:
  """Counts the launches of a compiled program; the body of a loop counts as often as it runs, if XLA knows that, else once.

  The branches of a conditional are not looked into; it counts as one copy.
  """
  computations, entry = _parsed(text)
  counts: collections.Counter[str] = collections.Counter()
  _count(computations, entry, 1, counts)
  return Launches(*(counts[field] for field in Launches._fields))


def _parsed(text: str) -> tuple[dict[str, list[Instruction]], str]:
  computations: dict[str, list[Instruction]] = {}
  entry = current = ""
  for line in text.splitlines():
    if head := _HEAD.match(line):
      current = head[2]
      computations[current] = []
      entry = current if head[1] else entry
    elif line.startswith("}"):
      current = ""
    elif current and (found := _INSTRUCTION.match(line)):
      computations[current].append(Instruction(*found.groups()))
  return computations, entry


def _count(computations: dict[str, list[Instruction]], name: str, times: int, counts: collections.Counter[str]) -> None:
  sizes = {one.name: _size(one.type) for one in computations[name]}
  for one in computations[name]:
    if one.operation in _FREE or one.operation.endswith("-done"):
      continue
    inner = re.search(r"(?:body|to_apply|calls)=%?([\w.\-]+)", one.rest)
    if one.operation in ("while", "call", "async-start") and inner:
      turns = re.search(r'known_trip_count":\{"n":"(\d+)"', one.rest)
      _count(computations, inner[1], times * (int(turns[1]) if turns else 1), counts)
      continue
    kind = {"fusion": "fusions", "custom-call": "libraries"}.get(one.operation, "copies")
    arguments = re.findall(r"%([\w.\-]+)", one.rest.partition(")")[0])
    counts[kind] += times
    counts["bytes"] += times * (sizes[one.name] + sum(sizes.get(argument, 0) for argument in arguments))


def _size(type_: str) -> int:
  return sum(_BYTES.get(kind, 0) * math.prod(int(side) for side in sides.split(",") if side) for kind, sides in _SHAPE.findall(type_))
