"""What the fuzzed tests of spaces, methods, strategies and flags share: the rule, how long they run, and inputs of all kinds.

The rule: a public call with any input returns what its docstring promises, or raises InputError with one printable line. In the suite every
test draws a few examples, the same ones every time. By hand they are drawn anew, for so many seconds per test:

  DNAS_FUZZ_SECONDS=30 python -m pytest -n 0 tests/fuzz/test_fuzz_spaces.py

A failure prints the smallest input that was found.
"""

import functools
import json
import os
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st

from dnas.core.errors import InputError

SECONDS = float(os.environ.get("DNAS_FUZZ_SECONDS", "0"))
REFUSED = object()
"""What `outcome` returns for a call that refused its input."""

Test = Callable[..., None]


def fuzzed(examples: int, *, shrink: bool = True, **inputs: st.SearchStrategy[Any]) -> Callable[[Test], Test]:
  """Returns a decorator of a test, which is called with so many examples of its inputs, or by hand for DNAS_FUZZ_SECONDS.

  What fails is made smaller with `shrink`; a test that compiles takes too long for that.
  """
  settings = hypothesis.settings(
    max_examples=examples,
    derandomize=not SECONDS,
    deadline=None,
    database=None,
    print_blob=False,
    phases=(hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if shrink else [])),
    suppress_health_check=list(hypothesis.HealthCheck),
  )

  def decorate(test: Test) -> Test:
    once = settings(hypothesis.given(**inputs)(test))

    @functools.wraps(once)
    def for_seconds(*args: Any, **kwargs: Any) -> None:
      end = time.monotonic() + SECONDS
      while time.monotonic() < end:
        once(*args, **kwargs)

    return for_seconds if SECONDS else once

  return decorate


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
  """Returns what a call returns, or REFUSED; any other exception than InputError passes, and so does a warning, which is an error here."""
  try:
    return function(*args, **kwargs)
  except InputError as e:
    assert str(e) and str(e).isprintable(), repr(str(e))
    assert len(str(e)) < 2000, len(str(e))
    return REFUSED


WHOLE = st.integers(-3, 12) | st.integers() | st.sampled_from((2**31, 2**32 - 1, 2**63, 10**400, -(10**4000)))
FLOATS = st.floats() | st.floats(0, 1) | st.sampled_from((0.0, -0.0, 1e-300, 5e-324, 1e-45, 1e30, 3.4e38, 1e39, 1.7e308, 1 - 2**-53))
TEXT = st.text(max_size=12) | st.sampled_from(
  ("", " ", "\n", "\0", "\x1b[31m", "\ud800", "\u2028", "None", "nan", "True", "1", "..", "/", "a,b", "ﬁ", "x" * 3000)
)
NUMPY = st.sampled_from((np.float32(0.5), np.int64(2), np.bool_(True), np.float32("nan"), np.array([1, 2]), np.zeros(())))
SCALARS = st.none() | st.booleans() | WHOLE | FLOATS | TEXT | st.binary(max_size=4)
ANYTHING = SCALARS | NUMPY | st.recursive(
  SCALARS, lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(TEXT, inner, max_size=3)
)
JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.sampled_from((2**63, 10**400)) | st.floats() | TEXT,
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
  max_leaves=8,
)


@st.composite
def edited(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
  """Texts with up to three places cut out, doubled, or replaced, by something short or by a piece of the text itself."""
  text = draw(texts)
  for _ in range(draw(st.integers(0, 3))):
    start, length = draw(st.integers(0, len(text))), draw(st.integers(0, 8))
    other = draw(st.integers(0, len(text)))
    pieces = (text[start : start + length] * 2, text[other : other + 5], "-1", "1e9", "9" * 25, "NaN", "[", "]", "{", '"')
    text = text[:start] + draw(TEXT | st.sampled_from(pieces)) + text[start + length :]
  return text


@st.composite
def changed(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> Any:
  """Values read from JSON with one part, at any depth, replaced by anything, left out or doubled."""
  return _changed(draw, draw(values))


def _changed(draw: st.DrawFn, value: Any) -> Any:
  places = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
  if not places or not draw(st.integers(0, 3)):
    return draw(JSON)
  place, kind = draw(st.sampled_from(places)), draw(st.integers(0, 5))
  if isinstance(value, dict):
    rest = {name: inner for name, inner in value.items() if name != place}
    if kind == 0:
      return rest
    return rest | {draw(TEXT): value[place]} if kind == 1 else value | {place: _changed(draw, value[place])}
  if kind < 2:
    return value[:place] + value[place : place + 1] * (2 * kind) + value[place + 1 :]
  return [*value[:place], _changed(draw, value[place]), *value[place + 1 :]]


def as_json(value: Any) -> Any:
  """Returns a value as JSON reads it back; NaN is refused there."""
  return json.loads(json.dumps(value, allow_nan=False))
