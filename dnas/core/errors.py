"""The one exception that a person's mistake raises."""

import difflib
import reprlib
from collections.abc import Iterable


class InputError(ValueError):
  """Bad input from a person: a flag, a file or a field.

  The message is one sentence that names the flag, file or field, the value it had, and the mend. Launchers print it without a
  traceback and leave with exit status 2.
  """


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
    value = str(self.value)
    return f"{self.field} is {value if value.isprintable() else repr(value)}; {self.mend}."

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
  near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
  hint = f" Did you mean '{near[0]}'?" if near else ""
  return InputError(f"unknown {kind} {shown(name)}.{hint} Known: {', '.join(known)}.")


def shown(value: object) -> str:
  """Returns a value that a person gave as one short printable line, for a message."""
  text = _SHORT.repr(value)
  return text if len(text) <= 100 else f"{text[:100]}..."


def counted(number: int, noun: str, plural: str = "") -> str:
  """Returns a number with its noun, for a message: '1 seed', '2 seeds', '1,000 searches' ('search', 'searches')."""
  return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def first_line(error: BaseException) -> str:
  """Returns the beginning of another library's message, or where it has none the name of the error, for a message of ours."""
  return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
