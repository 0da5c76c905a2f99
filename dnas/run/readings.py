"""Every reading of a test set, kept in the folder of the run whose network was tested.

A test set that is read again and again is fitted, by whoever looks. So the file `test_readings.jsonl` counts: it has a line for every
reading, with its date, command and numbers. A line is on disk before its numbers are told.
"""

import datetime
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from dnas.core import durable, json_files
from dnas.core.errors import counted

FILE = "test_readings.jsonl"


def add(folder: pathlib.Path, dataset: str, numbers: Mapping[str, float]) -> None:
  """Adds a line for a reading.

  Args:
    folder: the folder of the run.
    dataset: name of the data set, with its folder if it has one.
    numbers: what was measured, such as 'loss' (nats) and 'accuracy' (a fraction).

  Raises:
    InputError: if the file cannot be read.
    OSError: if the line cannot be written.
  """
  date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  line = {"date": date, "command": sys.argv, "dataset": dataset, "numbers": dict(numbers)}
  path = folder / FILE
  text = json_files.read_text(path, _HINT) if path.exists() else ""
  whole = "".join(f"{each}\n" for each in durable.whole_lines(text))
  if whole != text:  # a kill left a part of a line
    durable.write(path, whole)
  durable.append(path, json.dumps(line) + "\n")


def load(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the readings of a run in their order; none where the run was written by a version that did not count.

  Raises:
    InputError: if a line is not what `add` writes.
  """
  path = folder / FILE
  if not path.is_file():
    return []
  lines = durable.whole_lines(json_files.read_text(path, _HINT))
  found = [json_files.parse_object(line, f"{path}, line {number}", _HINT) for number, line in enumerate(lines, 1)]
  for line in found:
    json_files.check_fields(line, {"date": str, "dataset": str, "numbers": dict}, path, _HINT)
  return found


def told(readings: list[dict[str, Any]]) -> str:
  """Returns a line for a person: how often test sets were read, and which."""
  names = [line["dataset"] for line in readings]
  by_set = ", ".join(f"{name} {names.count(name)}" for name in dict.fromkeys(names))
  return f"test sets were read {counted(len(names), 'time')}" + (f": {by_set}" if names else "")


_HINT = "restore the line that the launcher wrote"
