"""Configurations: dotted paths, replacement, help texts, and errors that carry the path of the field."""

import copy
import dataclasses
import json
import pickle

import pytest

from dnas.core import config
from dnas.core.errors import FieldError, InputError, counted
from dnas.core.registry import Registry


@dataclasses.dataclass(frozen=True)
class Adam:
  """An optimizer.

  Attributes:
    learning_rate: how far a step goes; it is the
      first one to tune.
    betas: decay: of the averages.
  Notes: these are not fields.
    name: of nothing.
  """

  learning_rate: float = 1e-3
  betas: tuple[float, ...] = (0.9, 0.999)

  def __post_init__(self):
    config.check_positive(learning_rate=self.learning_rate)


@dataclasses.dataclass(frozen=True)
class Search:
  """A search.

  Attributes:
    arch: not a leaf, so this is nowhere.
    epochs: how many passes.
  """

  arch: Adam = Adam()
  epochs: int = 50
  name: str = ""

  def __post_init__(self):
    config.check_not_negative(epochs=self.epochs)
    config.check(self.name != "bad", "name", self.name, "choose another")


@dataclasses.dataclass(frozen=True)
class Launch:
  search: Search = Search()
  weights: Adam = dataclasses.field(default_factory=lambda: Adam(learning_rate=0.025))
  seed: int | None = None


def test_defaults_are_those_of_the_component_and_not_of_the_instance():
  changed = config.replace(Launch(), {"search.epochs": 3, "weights.betas": (0.0, 0.0), "seed": 4})
  assert config.defaults(changed) == config.defaults(Launch()) == {
    "search.arch.learning_rate": 1e-3,
    "search.arch.betas": [0.9, 0.999],
    "search.epochs": 50,
    "search.name": "",
    "weights.learning_rate": 1e-3,
    "weights.betas": [0.9, 0.999],
    "seed": None,
  }  # fmt: skip
  json.dumps(config.defaults(changed))


def test_fields_are_leaves_in_order_with_types():
  assert list(config.fields(Launch())) == [
    ("search.arch.learning_rate", float, 1e-3),
    ("search.arch.betas", tuple[float, ...], (0.9, 0.999)),
    ("search.epochs", int, 50),
    ("search.name", str, ""),
    ("weights.learning_rate", float, 0.025),
    ("weights.betas", tuple[float, ...], (0.9, 0.999)),
    ("seed", int | None, None),
  ]


def test_flatten_is_json_and_replace_takes_it_back():
  launch = Launch(Search(Adam(0.5, (0.1,)), 7, "x"), Adam(2.0), 3)
  flat = json.loads(json.dumps(config.flatten(launch)))
  assert flat == config.flatten(launch) and flat["search.arch.betas"] == [0.1]
  assert config.replace(Launch(), flat) == launch


def test_replace_leaves_the_rest_and_the_original():
  launch = Launch()
  changed = config.replace(launch, {"search.arch.learning_rate": 0.1, "seed": 5})
  assert launch == Launch()
  assert changed == Launch(search=Search(arch=Adam(learning_rate=0.1)), seed=5)
  assert config.replace(launch, {}) == launch
  assert config.replace(launch, {"weights.betas": [1.0, 2.0]}).weights.betas == (1.0, 2.0)


@pytest.mark.parametrize("path", ["search.arch.learning_rat", "search.arch", "", ".", "search", "search.arch.learning_rate.x", "seed\n"])
def test_replace_refuses_unknown_paths(path: str):
  with pytest.raises(InputError, match="^unknown configuration field ") as error:
    config.replace(Launch(), {path: 1})
  assert str(error.value).isprintable() and "Known: search.arch.betas, search.arch.learning_rate" in str(error.value)
  if path == "search.arch.learning_rat":
    assert "Did you mean 'search.arch.learning_rate'?" in str(error.value)


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    ("search.arch.learning_rate", 0.0, "search.arch.learning_rate is 0.0; it must be above zero."),
    ("weights.learning_rate", float("nan"), "weights.learning_rate is nan; it must be above zero."),
    ("search.epochs", -1, "search.epochs is -1; it must be zero or more."),
    ("search.name", "bad", "search.name is bad; choose another."),
  ],
)
def test_refused_values_carry_the_whole_path(path: str, value: object, message: str):
  with pytest.raises(FieldError) as error:
    config.replace(Launch(), {path: value})
  assert str(error.value) == message and error.value.field == path
  for twin in (copy.copy(error.value), pickle.loads(pickle.dumps(error.value))):
    assert str(twin) == message and twin.hint == error.value.hint


def test_a_value_of_several_lines_is_shown_in_one():
  message = str(FieldError("data.folder", "a\nb", "mend it"))
  assert message == r"data.folder is 'a\nb'; mend it."


@pytest.mark.parametrize(
  ("value", "message"),
  [
    ("", "field is ''; mend it."),
    (-(10**400), f"field is -1{'0' * 16}...{'0' * 19}; mend it."),
    (0.5, "field is 0.5; mend it."),
    ("x" * 10_000, f"field is '{'x' * 37}...{'x' * 38}'; mend it."),
    ([1] * 10_000, "field is [1, 1, 1, 1, 1, 1, ...]; mend it."),
  ],
)
def test_any_value_is_shown_in_one_short_line(value: object, message: str):
  assert str(FieldError("field", value, "mend it")) == message


def test_a_number_that_python_does_not_write_is_told_of():
  assert str(FieldError("field", 10**5000, "mend it")) == "field is a value of type int that is too long to write; mend it."


def test_a_message_escapes_what_does_not_print_and_is_never_endless():
  assert str(InputError("a\nb\0\ud800 é.")) == r"a\nb\x00\ud800 é."
  long = str(InputError(f"{'a' * 5000} is the path."))
  assert len(long) < 1100 and long.endswith("aaa is the path.")


@dataclasses.dataclass(frozen=True)
class Typed:
  flag: bool = True
  whole: int = 1
  number: float = 1.0
  text: str = ""
  wholes: tuple[int, ...] = ()
  texts: tuple[str, ...] = ()
  inner: Adam = Adam()

  def __post_init__(self):
    config.check_types(self)


@pytest.mark.parametrize(
  ("field", "values", "hint"),
  [
    ("flag", (1, "true", None), "true or false"),
    ("whole", (1.0, "1", True, None, 2**63, 10**400, -(2**63) - 1), "a whole number of 64 bits"),
    ("number", ("1", True, None, float("nan"), float("inf"), 10**400, 1j), "a finite number"),
    ("text", (1, None, b"a"), "text"),
    ("wholes", ([1], 1, (1.5,), ("1",)), "a tuple of whole numbers of 64 bits"),
    ("texts", (["a"], "a", (1,)), "a tuple of texts"),
  ],
)
def test_a_value_of_another_type_is_refused(field: str, values: tuple, hint: str):
  for value in values:
    with pytest.raises(FieldError, match=f"^{field} is .*; it must be {hint}\\.$"):
      Typed(**{field: value})


def test_values_of_their_types_are_taken():
  Typed(False, -(2**63), 2, "é", (1, 2), ("a",))
  assert config.replace(Typed(), {"wholes": [1, 2], "number": 3}).wholes == (1, 2)


def test_checks():
  config.check(True, "x", 1, "mend")
  config.check_positive(a=1, b=1e-9)
  config.check_not_negative(a=0, b=2)
  config.check_fraction(a=0, b=0.999)
  refused = {config.check_positive: (0, -1), config.check_not_negative: (-1e-9,), config.check_fraction: (1.0, -0.1)}
  for check, values in refused.items():
    for bad in (*values, float("nan")):
      with pytest.raises(FieldError, match="^rate is .*; it must be .*\\.$"):
        check(fine=0.5, rate=bad)


def test_help_texts_list_the_names_of_a_registry_as_they_are_when_asked():
  units = ["adam"]

  @dataclasses.dataclass(frozen=True)
  class Optimizer:
    """An optimizer.

    Attributes:
      name: which one.
    """

    name: str = config.named("adam", lambda: units)

  assert config.help_texts(Optimizer) == {"name": "which one. Known: adam."} and Optimizer() == Optimizer("adam")
  units.append("sgd")
  assert config.help_texts(Optimizer) == {"name": "which one. Known: adam, sgd."}


def test_one_is_singular():
  assert [counted(number, "seed") for number in (0, 1, 2, 1000)] == ["0 seeds", "1 seed", "2 seeds", "1,000 seeds"]
  assert [counted(number, "search", "searches") for number in (1, 2)] == ["1 search", "2 searches"]


def test_help_texts_are_the_sentences_of_the_docstrings():
  assert config.help_texts(Launch) == {
    "search.arch.learning_rate": "how far a step goes; it is the first one to tune.",
    "search.arch.betas": "decay: of the averages.",
    "search.epochs": "how many passes.",
    "search.name": "",
    "weights.learning_rate": "how far a step goes; it is the first one to tune.",
    "weights.betas": "decay: of the averages.",
    "seed": "",
  }


def test_differences():
  old, new = config.flatten(Launch()), config.flatten(Launch(seed=1))
  assert config.differences(old, old) == {}
  assert config.differences(old, new) == {"seed": (None, 1)}
  assert config.differences({"a": 1, "b": 2}, {"b": 3, "c": 4}) == {"a": (1, None), "b": (2, 3), "c": (None, 4)}


def test_check_name_suggests_the_nearest_and_lists_the_rest():
  config.check_name("space", "b", ["b", "a"])
  with pytest.raises(FieldError, match="^space is alphb; did you mean 'alpha'\\? It can be alpha, beta.$"):
    config.check_name("space", "alphb", ["beta", "alpha"])
  with pytest.raises(FieldError, match="^space is zzz; it can be alpha, or a file.$"):
    config.check_name("space", "zzz", ["alpha"], others="or a file")


UNITS = Registry("unit")


@UNITS.register("first")
@dataclasses.dataclass(frozen=True)
class First:
  """One.

  Attributes:
    rate: how fast.
  """

  rate: float = 0.5


@UNITS.register("bare")
@dataclasses.dataclass(frozen=True)
class Bare:
  """It has no settings."""


@config.mounts(UNITS)
@dataclasses.dataclass(frozen=True)
class Mounting:
  """A configuration.

  Attributes:
    seed: of all.
  """

  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Derived(Mounting):
  arch: Adam = Adam()


@pytest.fixture
def late(monkeypatch):
  """A unit that is registered after the configuration was made."""
  monkeypatch.setattr(UNITS, "_units", dict(UNITS._units))

  @dataclasses.dataclass(frozen=True)
  class Late:
    """Late.

    Attributes:
      sizes: how large.
    """

    sizes: tuple[int, ...] = (1, 2)
    penalty: float = 0.05

  return UNITS.register("late")(Late)


def test_registered_units_are_components():
  assert config.flatten(Derived()) == {"seed": 0, "first.rate": 0.5, "arch.learning_rate": 1e-3, "arch.betas": [0.9, 0.999]}
  assert Derived(first=First(2.0)).first.rate == 2.0 and config.mounted(Derived) is Derived
  assert config.help_texts(Derived)["first.rate"] == "how fast." and config.help_texts(Derived)["seed"] == "of all."
  assert config.units(Derived(), UNITS) == ("first",) and config.unit(Derived(first=First(2.0)), UNITS, "first") == First(2.0)
  assert config.unit(Derived(), UNITS, "bare") == Bare()


def test_units_that_are_registered_later_are_mounted_later(late):
  old = Derived(seed=3, first=First(2.0))
  new = config.with_units(old)
  assert isinstance(new, Derived) and new == config.with_units(old) and type(new) is config.mounted(Derived)
  assert config.flatten(new) == config.flatten(old) | {"late.sizes": [1, 2], "late.penalty": 0.05}
  assert config.help_texts(type(new))["late.sizes"] == "how large." and config.help_texts(type(new))["seed"] == "of all."
  changed = config.replace(new, {"late.penalty": 5.0, "late.sizes": [7], "arch.learning_rate": 0.1})
  assert config.unit(changed, UNITS, "late") == late((7,), 5.0) and config.unit(old, UNITS, "late") == late()
  for copied in (pickle.loads(pickle.dumps(changed)), copy.deepcopy(changed)):
    assert copied == changed and type(copied) is type(changed)
  assert pickle.loads(pickle.dumps(old)) == new  # where it is read all units are known
  alone = config.with_units(Mounting(seed=4))
  assert pickle.loads(pickle.dumps(alone)) == alone != Mounting(seed=4)


@pytest.mark.parametrize(
  ("name", "annotations", "defaults", "message"),
  [
    ("arch", {"x": int}, {"x": 1}, "unit 'arch' has the name of another component of the configuration; register it under another name"),
    ("new", {"x": int}, {}, "unit 'new': its field 'x' has no default; give it one"),
    ("new", {"x": list}, {"x": None}, "unit 'new': its field 'x' is of type .*list.*, which no flag can hold; make it bool, int, float"),
  ],
)
def test_units_that_cannot_be_mounted(name, annotations, defaults, message, monkeypatch):
  monkeypatch.setattr(UNITS, "_units", dict(UNITS._units))
  UNITS.register(name)(dataclasses.dataclass(frozen=True)(type("Unit", (), {"__annotations__": annotations, **defaults})))
  with pytest.raises(InputError, match=message):
    config.with_units(Derived())
