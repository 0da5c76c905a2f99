"""The one exception that a person's mistake raises."""

import difflib
import reprlib
from collections.abc import Iterable


class InputError(ValueError):
  """Bad input from a person: a flag, a file or a field.

  The message is one sentence that names the flag, file or field, the value it had, and the mend. Launchers print it without a
  traceback and leave with exit status 2. Characters that do not print are escaped in it, since paths and names of files may have any.
  """

  def __str__(self) -> str:
    return _printable(super().__str__())


class FieldError(InputError):
  """A configuration field with a value that its component refuses.

  Attributes:
    field: dotted path of the field, which is also the name of its flag.
    value: the value as given.
    mend: what to do about it.
  """

  def __init__(self, field: str, value: object, mend: str):
    super().__init__(field, value, mend)  # the arguments as they are, so that the error can be pickled
    self.field, self.value, self.mend = field, value, mend

  def __str__(self) -> str:
    value = self.value if isinstance(self.value, str) else shown(self.value)
    plain = value and value.isprintable() and len(value) <= _LONGEST
    return _printable(f"{self.field} is {value if plain else shown(value)}; {self.mend}.")

  def within(self, component: str) -> "FieldError":
    """Returns the same error with the path of the component before the field."""
    return FieldError(f"{component}.{self.field}", self.value, self.mend)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
  """Returns the error for a name that is not registered; it suggests the nearest known one.

  Args:
    kind: what the name was meant to name, such as 'dataset'.
    name: the name as given.
    known: the names that exist.
  """
  known = sorted(known)
  near = difflib.get_close_matches(name if isinstance(name, str) else shown(name), known, n=1, cutoff=0.5)
  hint = f" Did you mean '{near[0]}'?" if near else ""
  return InputError(f"unknown {kind} {shown(name)}.{hint} Known: {', '.join(known)}.")


def shown(value: object) -> str:
  """Returns a value that a person gave as one short printable line, for a message."""
  try:
    text = " ".join(_SHORT.repr(value).split())
  except ValueError:  # a whole number of thousands of digits, which Python does not write
    text = f"a value of type {type(value).__name__} that is too long to write"
  text = _printable(text)
  return text if len(text) <= 100 else f"{text[:100]}..."


def _printable(text: str) -> str:
  """Returns a text with escapes for what does not print, and without its middle if it is very long."""
  text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
  return text if len(text) <= _LONGEST_MESSAGE else f"{text[: _LONGEST_MESSAGE // 2]} ... {text[-_LONGEST_MESSAGE // 2 :]}"


def counted(number: int, noun: str, plural: str = "") -> str:
  """Returns a number with its noun, for a message: '1 seed', '2 seeds', '1,000 searches' ('search', 'searches')."""
  return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def first_line(error: BaseException) -> str:
  """Returns the beginning of another library's message, or where it has none the name of the error, for a message of ours."""
  return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def cause_of(error: OSError | ValueError) -> str:
  """Returns what the system says of a file, for a message; a path that no file can have is a ValueError."""
  return (getattr(error, "strerror", None) or str(error)).lower()


def unreadable(path: object, error: OSError | ValueError) -> InputError:
  """Returns the error for a file or folder that cannot be read, which says nothing of what it holds."""
  return InputError(f"{path} cannot be read ({cause_of(error)}); mend that, such as its permissions.")


_LONGEST = 300  # characters of a value that a message shows as it is
_LONGEST_MESSAGE = 1000
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
