"""Reading of JSON objects from files, with error messages for users."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from dnas.core.errors import InputError, shown, unreadable

Fields = Mapping[str, type | tuple[type, ...]]
"""Name to type of each field that an object must have."""

NUMBER = (int, float)
"""The types of a number field."""


def parse_object(text: str, where: str, hint: str) -> dict[str, Any]:
  """Returns the JSON object that a text holds.

  Args:
    text: the text.
    where: how an error names the text, for instance by its file.
    hint: how the user can correct the text, for the message.

  Raises:
    InputError: if the text is not JSON, or not an object.
  """
  try:
    value = json.loads(text)
  except json.JSONDecodeError as e:
    raise InputError(f"{where}: not valid JSON, {e.msg} at column {e.colno}; {hint}.") from None
  except (ValueError, RecursionError):  # a number of thousands of digits; thousands of brackets
    raise InputError(f"{where}: not valid JSON, a number is too long or brackets are nested too deeply; {hint}.") from None
  if not isinstance(value, dict):
    raise InputError(f"{where}: {shown(text[:40])} is not a JSON object; {hint}.")
  return value  # pyright: ignore[reportUnknownVariableType]  # the keys of JSON are text


def read_object(path: pathlib.Path, hint: str, fields: Fields | None = None) -> dict[str, Any]:
  """Returns the JSON object that a file holds.

  Args:
    path: the file.
    hint: how the user can correct a file with wrong content, for the message.
    fields: the fields that the object must have.

  Raises:
    InputError: if the file cannot be read (the message names the cause), or does not hold such an object.
  """
  value = parse_object(read_text(path, hint), str(path), hint)
  check_fields(value, fields or {}, path, hint)
  return value


def check_fields(value: Mapping[str, Any], fields: Fields, path: pathlib.Path, hint: str) -> None:
  """Raises InputError unless the object in a file has the fields; see `read_object`."""
  for name, kind in fields.items():
    if name not in value:
      raise InputError(f"{path}: field '{name}' is missing; {hint}.")
    if not isinstance(value[name], kind) or isinstance(value[name], bool):
      raise InputError(f"{path}: field '{name}' is {shown(value[name])}; {hint}.")


def read_text(path: pathlib.Path, hint: str, errors: str = "strict") -> str:
  """Returns the text of a UTF-8 file. `errors` selects the treatment of invalid bytes, as in `bytes.decode`.

  Raises:
    InputError: if the file cannot be read (the message names the cause) or is not UTF-8; the `hint` says how to correct the latter.
  """
  try:
    return path.read_text(encoding="utf-8", errors=errors)
  except OSError as e:
    raise unreadable(path, e) from None
  except UnicodeDecodeError as e:
    raise InputError(f"{path} is not text in UTF-8 (byte {e.start + 1} is 0x{e.object[e.start]:02x}); {hint}.") from None


_WRITE_ANEW = "delete it and give the same command again, which writes it anew"


def read_result(
  folder: pathlib.Path, fields: Fields, and_then: Callable[[Mapping[str, Any]], Fields] = lambda result: {}
) -> dict[str, Any] | None:
  """Returns the result of a finished run, from its result.json, or None if the file does not exist.

  Args:
    folder: the folder of the run, which may be missing.
    fields: the fields that the result must have.
    and_then: maps a result with those fields to further fields that it must have.

  Raises:
    InputError: if the folder or the file cannot be read, or the file does not hold such a result.
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


def present(result: dict[str, Any] | None, folder: pathlib.Path) -> dict[str, Any]:
  """Returns the result of a run that has ended. Raises InputError if its result.json is gone."""
  if result is None:
    raise InputError(f"{folder}: result.json is missing, though the run has ended; {_WRITE_ANEW.partition('and ')[2]}.")
  return result
