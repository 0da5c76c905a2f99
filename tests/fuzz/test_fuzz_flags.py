"""Configurations, presets and flags of every launcher, with any values and texts.

`fuzz_units` says what holds, and how to run this for longer by hand. A component is tried here as soon as a launcher has it.
"""

import dataclasses
import json
import math
import pathlib
import shlex
import tempfile
import typing
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fuzz_units import ANYTHING, FLOATS, JSON, NUMPY, REFUSED, TEXT, WHOLE, as_json, edited, fuzzed, outcome
from hypothesis import strategies as st

from dnas.cells.registries import IMAGE_GENOTYPES, LANGUAGE_GENOTYPES, SPACES
from dnas.core import config as config_lib
from dnas.core.errors import FieldError
from dnas.core.genotype import Genotype
from dnas.launchers import _commands, _flags, _presets, compare, demo, report, search, train, tune
from dnas.launchers._flags import Options
from dnas.search.blackbox.strategies import STRATEGIES
from dnas.search.gradient.methods import METHODS
from dnas.supernet.hypergradients import HYPERGRADIENTS

LAUNCHERS = {
  module.LAUNCHER.name: _flags.Launcher(module.LAUNCHER.name, module.LAUNCHER._default, lambda *_: None, "", module.LAUNCHER._by_space)
  for module in (search, train, compare, tune, report, demo)
}
"""Name to the launcher with its configurations and flags, which runs nothing."""


def parts_of(config: Any) -> Iterator[Any]:
  yield config
  for field in dataclasses.fields(config):
    if dataclasses.is_dataclass(getattr(config, field.name)):
      yield from parts_of(getattr(config, field.name))


CONFIGS = {f"{name} {index}": config for name, launcher in LAUNCHERS.items() for index, config in enumerate(launcher._configs())}
COMPONENTS = {f"{type(part).__module__}.{type(part).__name__}": part for config in CONFIGS.values() for part in parts_of(config)}
UNITS = [registry[name] for registry in (METHODS, HYPERGRADIENTS, STRATEGIES) for name in registry]
COMPONENTS |= {f"{unit.__module__}.{unit.__name__}": unit() for unit in UNITS}
COMPONENTS["options"] = Options()
REGISTRIES = (SPACES, METHODS, HYPERGRADIENTS, STRATEGIES, IMAGE_GENOTYPES, LANGUAGE_GENOTYPES)
KNOWN = st.sampled_from(sorted({name for registry in REGISTRIES for name in registry} | {*_presets.names(), "none", "word", "linear"}))

OF_KIND: dict[Any, st.SearchStrategy[Any]] = {
  bool: st.booleans(),
  int: st.integers(1, 9) | WHOLE,
  float: st.floats(0, 1) | FLOATS | st.integers(0, 3),
  str: KNOWN | TEXT,
  tuple[int, ...]: st.lists(st.integers(1, 9) | WHOLE, max_size=3).map(tuple),
  tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple),
}


def leaves_of(component: Any) -> dict[str, st.SearchStrategy[Any]]:
  """Returns, for each field of a component that is none itself, values of its type more often than not."""
  hints = typing.get_type_hints(type(component))
  fields = [field.name for field in dataclasses.fields(component) if hints[field.name] in OF_KIND]
  return {name: OF_KIND[hints[name]] | OF_KIND[hints[name]] | ANYTHING for name in fields}


def some_of(values: dict[str, st.SearchStrategy[Any]], most: int) -> st.SearchStrategy[dict[str, Any]]:
  names = st.lists(st.sampled_from(sorted(values)), max_size=most, unique=True) if values else st.just([])
  return names.flatmap(lambda chosen: st.fixed_dictionaries({name: values[name] for name in chosen}))


def check_config(made: Any) -> None:
  """A configuration has values of its types, which JSON holds and from which it comes back."""
  for path, kind, value in config_lib.fields(made):
    number = isinstance(value, int | float) if kind is float else isinstance(value, typing.get_origin(kind) or kind)
    assert number and (kind is bool or not isinstance(value, bool)), path
  flat = as_json(config_lib.flatten(made))
  assert config_lib.replace(made, flat) == made
  assert config_lib.differences(flat, as_json(config_lib.flatten(config_lib.replace(made, flat)))) == {}


@pytest.mark.parametrize("name", list(COMPONENTS))
@fuzzed(25, data=st.data())
def test_a_component_has_values_of_its_types_or_is_refused(name: str, data: st.DataObject):
  component = COMPONENTS[name]
  values = data.draw(some_of(leaves_of(component), 3))
  try:
    made = outcome(dataclasses.replace, component, **values)
  except FieldError as e:
    assert e.field in values
    raise
  if made is not REFUSED:
    check_config(made)
    assert made == dataclasses.replace(component, **values)


WRONG = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "bool": True, "text": "1", "None": None, "bytes": b"1", "list": [1]}
WRONG |= {"complex": 1j, "5000 digits": 10**5000, "-5000 digits": -(10**5000), "numpy": np.int64(1)}


@pytest.mark.parametrize("name", list(COMPONENTS))
@pytest.mark.parametrize("wrong", list(WRONG.values()), ids=list(WRONG))
def test_no_number_or_text_is_one_of_another_type(name: str, wrong: Any):
  component = COMPONENTS[name]
  hints = typing.get_type_hints(type(component))
  for field in dataclasses.fields(component):
    kind = hints[field.name]
    if kind in OF_KIND and not (kind is bool and wrong is True) and not (kind is str and wrong == "1"):
      assert outcome(dataclasses.replace, component, **{field.name: wrong}) is REFUSED, field.name


@pytest.mark.parametrize("name", [name for name in COMPONENTS if not name.startswith("dnas.data")])
def test_no_setting_is_beyond_what_float32_holds(name: str):
  component = COMPONENTS[name]
  hints = typing.get_type_hints(type(component))
  for field in dataclasses.fields(component):
    assert hints[field.name] is not float or outcome(dataclasses.replace, component, **{field.name: 1e39}) is REFUSED, field.name


PATHS = st.sampled_from([path for config in CONFIGS.values() for path, _, _ in config_lib.fields(config)])


@pytest.mark.parametrize("name", list(CONFIGS))
@fuzzed(30, data=st.data())
def test_fields_are_replaced_or_refused(name: str, data: st.DataObject):
  config = CONFIGS[name]
  kinds = {path: kind for path, kind, _ in config_lib.fields(config)}
  values = {path: OF_KIND[kind] | OF_KIND[kind] | JSON | NUMPY for path, kind in kinds.items()}
  drawn = data.draw(some_of(values, 3)) | data.draw(st.dictionaries(PATHS | TEXT, ANYTHING, max_size=1) | st.just({}))
  made = outcome(config_lib.replace, config, drawn)
  if made is not REFUSED:
    check_config(made)
    now = config_lib.flatten(made)
    assert all(now[path] == (list(value) if isinstance(value, tuple) else value) for path, value in drawn.items())
    check_uses(made)


def check_uses(config: Any) -> None:
  """What a launcher asks of its configuration before it runs has an answer."""
  if hasattr(config, "idle"):
    answers = outcome(lambda: [config.idle(path) for path, _, _ in config_lib.fields(config)])  # of data it looks at the files
    assert answers is REFUSED or all(isinstance(answer, str) for answer in answers)
  if hasattr(config, "make_method"):
    assert as_json(config.recorded()) and config.make_method() and config.make_hypergradient() and config.searched_space()
  if hasattr(config, "of_cell"):
    for method in config.method_names:
      outcome(lambda method=method: as_json(config.of_cell(method, 0)))


# Flags.


@st.composite
def flags_of(draw: st.DrawFn, launcher: _flags.Launcher) -> list[str]:
  """Flags as a person may type them: mostly those of the launcher, with values of their kind or any text, in any of absl's forms."""
  base = draw(st.sampled_from(launcher._configs()))
  fields = [*config_lib.fields(base), *(field for field in config_lib.fields(Options()) if field[0] in launcher.option_names)]
  out = [f"--space={base.space}"] if hasattr(base, "space") and draw(st.booleans()) else []
  own = _presets.names_for(launcher.name)
  if own and not draw(st.integers(0, 4)):
    out = [f"--preset={draw(st.sampled_from(own))}"]
  for _ in range(draw(st.integers(0, 4))):
    path, kind, default = draw(st.sampled_from(fields))
    text = st.just(_commands.text_of(default))
    value = draw(OF_KIND[kind].map(_commands.text_of) | text | TEXT | edited(text))
    form = draw(st.sampled_from(("--{}={}",) * 6 + ("-{}={}", "--no{}", "--no{}={}", "--{}", "{}={}", "{}", "--{} {}")))
    name = path if draw(st.integers(0, 5)) else draw(edited(st.just(path)) | TEXT)
    if name not in ("flagfile", "imports"):
      out += form.format(name, value).split(" ", 1) if form == "--{} {}" else [form.format(name, value)]
  return out


OF_ABSL = ("--", "-", "--=", "---x=1", "--flagfile", "--flagfile=", "--flagfile=/nowhere", "--flagfile=/", "--flagfile=\0", "--undefok")
IMPORTS = ("no_such_module", "a..b", ".x", "/", "\0.py", "\ud800", "~nouser/x.py", "", "x" * 300, "/nowhere.py", ",,")
HELPS = ("--help", "-h", "--help=x", "--helpxml", "--helpfull", "--nohelp")
CHOICES = ("--preset=", "--preset=__init__", "--preset=..", "--preset=a/b", "--space=", "--space=\x1b", "--workdir=\0", "--undefok=z --z=1")
ODD = st.sampled_from((*OF_ABSL, *(f"--imports={name}" for name in IMPORTS), *HELPS, *CHOICES)).map(str.split)


@pytest.mark.parametrize("name", list(LAUNCHERS))
@fuzzed(40, data=st.data())
def test_flags_are_a_configuration_or_refused(name: str, data: st.DataObject):
  launcher = LAUNCHERS[name]
  given = data.draw(flags_of(launcher) | st.tuples(flags_of(launcher), ODD).map(lambda two: two[0] + two[1]))
  found = outcome(launcher.parse, [name, *given])
  if found is REFUSED:
    return
  config, options, _ = found
  check_config(config)
  check_uses(config)
  shared = {path: value for path, value in config_lib.flatten(options).items() if path in launcher.option_names and path != "imports"}
  values = shared | config_lib.flatten(config)
  again, same, _ = launcher.parse([name, *shlex.split(_commands.command(name, values))[4:]])
  assert again == config and dataclasses.replace(same, imports=()) == dataclasses.replace(options, imports=())


@pytest.mark.parametrize("name", list(LAUNCHERS))
@fuzzed(15, data=st.data())
def test_a_launcher_leaves_with_one_line(name: str, data: st.DataObject):
  given = data.draw(flags_of(LAUNCHERS[name]) | ODD | st.lists(TEXT, max_size=2))
  with pytest.MonkeyPatch.context() as patch:
    said: list[str] = []
    patch.setattr(_flags, "print", lambda text="", file=None, **_: said.append(str(text)), raising=False)
    status = LAUNCHERS[name].main([name, *given])
  assert status in (0, 2)
  assert status == 0 or (len(said) == 1 and said[0].isprintable() and said[0].startswith("error: ") and len(said[0]) < 2000), said


# Genotypes.

ANY_SPACE = st.sampled_from(list(SPACES))
CELLS = [registry[name] for registry in (IMAGE_GENOTYPES, LANGUAGE_GENOTYPES) for name in registry]
SEED_TEXTS = st.integers(-3, 2**70).map("random:{}".format)
GENOTYPES = st.sampled_from([form(cell) for cell in CELLS for form in (Genotype.to_json, str)]) | SEED_TEXTS | KNOWN


ODD_NAMES = st.sampled_from((".", "/", "~nouser/x", "~", "random:", "random:²", "random:٣", "\0", "a" * 300))


@fuzzed(200, text=edited(GENOTYPES) | TEXT | ODD_NAMES, space=ANY_SPACE)
def test_a_text_names_a_genotype_or_is_refused(text: str, space: str):
  found = outcome(train.load_genotype, text, space)
  if found is not REFUSED:
    assert SPACES[found.space].validate(found) == found


CONTENTS = (edited(GENOTYPES) | JSON.map(json.dumps)).map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=9)


@fuzzed(80, content=CONTENTS, space=ANY_SPACE)
def test_a_file_holds_a_genotype_or_is_refused(content: bytes, space: str):
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "genotype.json"
    file.write_bytes(content)
    for named in (file, folder):
      found = outcome(train.load_genotype, str(named), space)
      if found is not REFUSED:
        assert SPACES[found.space].validate(found) == found
