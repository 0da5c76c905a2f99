"""What the fuzzed tests of data, evaluators and tuning share beside `fuzz_units`: inputs, damaged files, settings of components."""

import dataclasses
import json
import math
import typing
from typing import Any

from fuzz_units import REFUSED, outcome
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dnas.core import config as config_lib
from dnas.core.errors import FieldError

# Inputs.

STRANGE = ("", " ", "\0", "\n", "\ud800", "é", "😀", "nan", "inf", "-1", "1e999", "0", "9" * 5000, "~nouser/x", "../..", "x" * 300)
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(STRANGE))
WHOLE = st.one_of(st.integers(-3, 40), st.integers(), st.sampled_from((2**31, 2**63, -(2**63), 10**400)))
NUMBERS = st.one_of(st.floats(), st.floats(0, 1), WHOLE)
_TYPES = st.sampled_from(("?", "u1", "i2", "i8", "u8", "f8", "c16", "U2", "S2", "M8[s]"))
ARRAYS = npst.arrays(_TYPES, npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3))
_PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.binary(max_size=5), st.complex_numbers(), st.builds(object))
ANYTHING = st.one_of(
  _PLAIN,
  st.lists(_PLAIN, max_size=4),
  st.lists(_PLAIN, max_size=4).map(tuple),
  st.dictionaries(TEXTS, _PLAIN, max_size=2),
  st.lists(st.lists(st.integers(-1, 3), max_size=3), max_size=3),
  ARRAYS,
)


# Files.


@st.composite
def damaged(draw, content):
  """Returns bytes that are a file with some damage: cut, bytes changed, left out or added, or others altogether."""
  kind = draw(st.sampled_from(("none", "cut", "change", "insert", "repeat", "other")))
  place = draw(st.integers(0, len(content)))
  if kind == "none":
    return content
  if kind == "cut":
    return content[:place]
  if kind == "change":
    return content[:place] + draw(st.binary(min_size=1, max_size=3)) + content[place + 1 :]
  if kind == "insert":
    return content[:place] + draw(st.binary(max_size=8)) + content[place:]
  return content + content if kind == "repeat" else draw(st.binary(max_size=60))


# Configurations.

_OF_TYPE = {
  bool: st.booleans(),
  int: WHOLE,
  float: NUMBERS,
  str: TEXTS,
  tuple[int, ...]: st.lists(WHOLE, max_size=4).map(tuple),
  tuple[str, ...]: st.lists(TEXTS, max_size=3).map(tuple),
}


def settings_of(config_type: type) -> st.SearchStrategy[dict[str, Any]]:
  """Returns values for some fields of a component: mostly of their type, and names that it knows."""
  hints = typing.get_type_hints(config_type)
  return st.fixed_dictionaries({}, optional={field.name: _values(field, hints[field.name]) for field in dataclasses.fields(config_type)})


def _values(field: dataclasses.Field, kind: Any) -> st.SearchStrategy[Any]:
  known = st.sampled_from([field.default, *field.metadata.get("known", tuple)()])
  return st.one_of(known, _OF_TYPE[kind], known, _OF_TYPE[kind], ANYTHING)


def check_settings(config_type: type, values: dict[str, Any]) -> Any:
  """Makes a component of values. What is refused is one of the fields; what is made survives JSON, and has finite numbers alone."""

  def make() -> Any:
    try:
      return config_type(**values)
    except FieldError as e:
      assert e.field in {field.name for field in dataclasses.fields(config_type)}
      raise

  made = outcome(make)
  if made is not REFUSED:
    flat = json.loads(json.dumps(config_lib.flatten(made), allow_nan=False))
    assert config_lib.replace(config_type(), flat) == made
    assert all(math.isfinite(value) for value in flat.values() if isinstance(value, float))
  return made
