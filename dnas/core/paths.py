"""Paths that a user gives."""

import pathlib

from dnas.core.errors import InputError, shown


def expanded(flag: str, text: str) -> pathlib.Path:
  """Returns a path with '~' or '~USER' at its start replaced by that home folder.

  Args:
    flag: the flag that gave the path, for the message: '--workdir'.
    text: the path.

  Raises:
    InputError: if the user does not exist or has no home, or the path has a null character.
  """
  if "\0" in text:
    raise InputError(f"{flag}={shown(text)[1:-1]} has a null character, which no path has; leave it out.")
  try:
    return pathlib.Path(text).expanduser()
  except RuntimeError:
    first = pathlib.Path(text).parts[0]
    hint = f"there is no user '{first[1:]}'" if first[1:] else "this user has no home folder"
    raise InputError(f"{flag}={shown(text)[1:-1]} begins with '{first}', a home folder, and {hint}; write the path from '/' on.") from None
