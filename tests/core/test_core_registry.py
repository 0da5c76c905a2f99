"""Registries keep order, refuse a name that is taken, and suggest the nearest name for one that is not; packages fill them."""

import dataclasses
import importlib
import pathlib
import sys

import pytest

from dnas.core.errors import InputError, unknown_name
from dnas.core.registry import Registry, is_function, is_settings


@pytest.fixture
def colours() -> Registry[int]:
  registry = Registry("colour")
  assert registry.register("red")(1) == 1
  registry.register("green")(2)
  return registry


def test_units_are_found_in_the_order_of_registration(colours: Registry[int]):
  assert list(colours) == ["red", "green"] and colours["green"] == 2
  assert "red" in colours and "blue" not in colours


def test_register_decorates_and_returns_the_unit(colours: Registry):
  @colours.register("blue")
  def blue() -> str:
    return "blue"

  assert blue() == "blue" and colours["blue"] is blue


def test_a_name_that_is_taken_is_refused_and_the_first_stays(colours: Registry[int]):
  with pytest.raises(ValueError, match="colour 'red' is registered twice") as error:
    colours.register("red")(3)
  assert not isinstance(error.value, InputError) and colours["red"] == 1


def test_an_unknown_name_gets_the_nearest(colours: Registry[int]):
  with pytest.raises(InputError) as error:
    colours["gren"]
  assert str(error.value) == "unknown colour 'gren'. Did you mean 'green'? Known: green, red."
  with pytest.raises(InputError) as error:
    colours["xyz"]
  assert str(error.value) == "unknown colour 'xyz'. Known: green, red."


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "x" * 100_000, "\udcff", 3, None])
def test_strange_names_give_one_short_line(name: object):
  message = str(unknown_name("colour", name, ["red"]))
  assert message.isprintable() and len(message) < 200


def test_a_file_in_a_package_is_imported_and_those_of_first_come_first(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  package = tmp_path / "shades"
  package.mkdir()
  (package / "__init__.py").write_text(
    "from dnas.core.registry import import_modules\nfrom shades.base import SHADES\nimport_modules(__name__, first=('red',))"
  )
  (package / "base.py").write_text("from dnas.core.registry import Registry\nSHADES = Registry('shade')")
  for name in ("red", "amber"):
    (package / f"{name}.py").write_text(f"from shades.base import SHADES\nSHADES.register('{name}')(0)")
  monkeypatch.syspath_prepend(tmp_path)
  try:
    assert list(importlib.import_module("shades").SHADES) == ["red", "amber"]
  finally:
    for name in [name for name in sys.modules if name.partition(".")[0] == "shades"]:
      del sys.modules[name]


@dataclasses.dataclass(frozen=True)
class Settings:
  def on(self):
    pass


@pytest.mark.parametrize("unit", [5, "text", None, object, object()])
def test_what_is_no_function_and_no_settings_is_refused(unit: object):
  settings: Registry[object] = Registry("strategy", is_settings("a strategy", "on"))
  with pytest.raises(InputError, match="^'own' is .*; a strategy is a dataclass with the method 'on'.$"):
    settings.register("own")(unit)
  settings.register("own")(Settings)
  if not callable(unit):
    with pytest.raises(InputError, match="^'own' is .*; register a function of a number.$"):
      Registry("square", is_function("a function of a number")).register("own")(unit)
