"""The exceptions for a user's mistakes, and functions for their messages."""

# What users give can have another type than the annotated one.
# pyright: reportUnnecessaryIsInstance=false

import difflib
import reprlib
from collections.abc import Iterable


class InputError(ValueError):
  """Bad input from a user: a flag, a file or a field.

  The message is one sentence. It names the flag, file or field, its value, and how to correct it. Launchers print it without a traceback
  and exit with status 2. Unprintable characters are escaped, since paths and file names may contain any.
  """

  def __str__(self) -> str:
    return _printable(super().__str__())


class FieldError(InputError):
  """A configuration field with a value that its component refuses.

  Attributes:
    field: dotted path of the field, which is also the name of its flag.
    value: the value as given.
    hint: what to do about it.
  """

  def __init__(self, field: str, value: object, hint: str):
    super().__init__(field, value, hint)  # plain arguments, so that the error can be pickled
    self.field, self.value, self.hint = field, value, hint

  def __str__(self) -> str:
    value = self.value if isinstance(self.value, str) else shown(self.value)
    plain = value and value.isprintable() and len(value) <= _LONGEST
    return _printable(f"{self.field} is {value if plain else shown(value)}; {self.hint}.")

  def within(self, component: str) -> "FieldError":
    """Returns the same error with the component's name put before the path of the field."""
    return FieldError(f"{component}.{self.field}", self.value, self.hint)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
  """Returns the error for a name that is not registered; it suggests the nearest known one.

  Args:
    kind: kind of unit that the name should have, such as 'dataset'.
    name: the name as given.
    known: the names that exist.
  """
  known = sorted(known)
  near = difflib.get_close_matches(name if isinstance(name, str) else shown(name), known, n=1, cutoff=0.5)
  hint = f" Did you mean '{near[0]}'?" if near else ""
  return InputError(f"unknown {kind} {shown(name)}.{hint} Known: {', '.join(known)}.")


def shown(value: object) -> str:
  """Returns a user's value as one short printable line for a message."""
  try:
    text = " ".join(_SHORT.repr(value).split())
  except ValueError:  # Python refuses to write an integer of thousands of digits
    text = f"a value of type {type(value).__name__} that is too long to write"
  text = _printable(text)
  return text if len(text) <= 100 else f"{text[:100]}..."


def _printable(text: str) -> str:
  """Returns a text with unprintable characters escaped, and with its middle left out if it is very long."""
  text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
  return text if len(text) <= _LONGEST_MESSAGE else f"{text[: _LONGEST_MESSAGE // 2]} ... {text[-_LONGEST_MESSAGE // 2 :]}"


def counted(number: int, noun: str, plural: str = "") -> str:
  """Returns a number with its noun, for a message: '1 seed', '2 seeds', '1,000 searches' ('search', 'searches')."""
  return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def first_line(error: BaseException) -> str:
  """Returns the start of another library's error message, or the name of the error if the message is empty."""
  return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def cause_of(error: OSError | ValueError) -> str:
  """Returns the operating system's reason for a file error; for a ValueError (a path that no file can have) its message."""
  return (getattr(error, "strerror", None) or str(error)).lower()


def unreadable(path: object, error: OSError | ValueError) -> InputError:
  """Returns the error for a file or folder that cannot be read. Its message does not judge the content."""
  return InputError(f"{path} cannot be read ({cause_of(error)}); correct that, such as its permissions.")


_LONGEST = 300  # characters of a value that a message shows unchanged
_LONGEST_MESSAGE = 1000
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
