"""JSON objects in files, read with errors that a person can read."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from dnas.core.errors import InputError, shown, unreadable

Fields = Mapping[str, type | tuple[type, ...]]
"""Name to type of the fields that an object must have."""

NUMBER = (int, float)
"""Type of a number."""


def parse_object(text: str, where: str, mend: str) -> dict[str, Any]:
  """Returns the JSON object in a text.

  Args:
    text: the text.
    where: how an error names it, for instance by its file.
    mend: what to do about it.

  Raises:
    InputError: if it is not JSON, or no object.
  """
  try:
    value = json.loads(text)
  except json.JSONDecodeError as e:
    raise InputError(f"{where}: not valid JSON, {e.msg} at column {e.colno}; {mend}.") from None
  except (ValueError, RecursionError):  # a number of thousands of digits; thousands of brackets
    raise InputError(f"{where}: not valid JSON, a number is too long or brackets are nested too deeply; {mend}.") from None
  if not isinstance(value, dict):
    raise InputError(f"{where}: {shown(text[:40])} is not a JSON object; {mend}.")
  return value


def read_object(path: pathlib.Path, mend: str, fields: Fields | None = None) -> dict[str, Any]:
  """Returns the JSON object that a file holds.

  Args:
    path: the file.
    mend: what to do where it was read and is wrong.
    fields: what it must have.

  Raises:
    InputError: if the file cannot be read, which names the cause, or is not such an object.
  """
  value = parse_object(read_text(path, mend), str(path), mend)
  check_fields(value, fields or {}, path, mend)
  return value


def check_fields(value: Mapping[str, Any], fields: Fields, path: pathlib.Path, mend: str) -> None:
  """Raises InputError unless the object in a file has the fields; see `read_object`."""
  for name, kind in fields.items():
    if name not in value:
      raise InputError(f"{path}: field '{name}' is missing; {mend}.")
    if not isinstance(value[name], kind) or isinstance(value[name], bool):
      raise InputError(f"{path}: field '{name}' is {shown(value[name])}; {mend}.")


def read_text(path: pathlib.Path, mend: str, errors: str = "strict") -> str:
  """Returns the text of a file in UTF-8; `errors` says what becomes of bytes that are none, as in `bytes.decode`.

  Raises:
    InputError: if it cannot be read, which names the cause, or is no text; `mend` says what to do about that.
  """
  try:
    return path.read_text(encoding="utf-8", errors=errors)
  except OSError as e:
    raise unreadable(path, e) from None
  except UnicodeDecodeError as e:
    raise InputError(f"{path} is not text in UTF-8 (byte {e.start + 1} is 0x{e.object[e.start]:02x}); {mend}.") from None


_WRITE_ANEW = "delete it and give the same command again, which writes it anew"


def read_result(
  folder: pathlib.Path, fields: Fields, and_then: Callable[[Mapping[str, Any]], Fields] = lambda result: {}
) -> dict[str, Any] | None:
  """Returns what the run in a folder ended in, its result.json, or None if it has not ended.

  Args:
    folder: the folder of the run, which may be missing.
    fields: what its result must have.
    and_then: what else a result with those must have.

  Raises:
    InputError: if the folder or the file cannot be read, or it is no such result.
  """
  try:
    names = os.listdir(folder)
  except FileNotFoundError:
    return None
  except OSError as e:
    raise unreadable(folder, e) from None
  if "result.json" not in names:
    return None
  result = read_object(folder / "result.json", _WRITE_ANEW, fields)
  check_fields(result, and_then(result), folder / "result.json", _WRITE_ANEW)
  return result
