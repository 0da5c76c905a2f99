"""The search space of a tuning: what it reads, what it refuses, and what it asks for."""

import optuna
import pytest

from dnas.cells.nasbench201 import SPACE as CELLS
from dnas.core.errors import InputError
from dnas.launchers.configs import ImageTrainConfig
from dnas.tune import space as spaces

CONFIG = ImageTrainConfig()
TEXT = """
  train.learning_rate = log(0.01, 0.3); data.cutout_length = int(0, 16, 4); train.epochs = logint(1, 8);
  train.schedule = choice(cosine, linear); train.final_learning_rate = uniform(0, 0.1) if train.schedule in (linear);
  train.nesterov = choice(true, false)
"""


def asked(space, seed):
  study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
  return space.suggest(study.ask())


def test_points_are_in_their_ranges_and_conditions_hold():
  space = spaces.parse(TEXT, CONFIG)
  seen = set()
  for seed in range(40):
    values = asked(space, seed).values
    assert 0.01 <= values["train.learning_rate"] <= 0.3 and values["data.cutout_length"] in (0, 4, 8, 12, 16)
    assert 1 <= values["train.epochs"] <= 8 and values["train.nesterov"] in (True, False)
    assert ("train.final_learning_rate" in values) == (values["train.schedule"] == "linear")
    config = spaces.apply(CONFIG, spaces.Point(values, None))
    assert config.train.learning_rate == values["train.learning_rate"] and config.network == CONFIG.network
    seen.add(values["train.schedule"])
  assert seen == {"cosine", "linear"}


def test_the_configuration_is_a_point_where_it_is_inside():
  space = spaces.parse("train.learning_rate = log(0.01, 0.3); train.schedule = choice(cosine, linear)", CONFIG)
  assert space.parameters_of(CONFIG, None) == {"train.learning_rate": 0.025, "train.schedule": "cosine"}
  assert spaces.parse("train.learning_rate = log(0.1, 0.3)", CONFIG).parameters_of(CONFIG, None) is None
  assert spaces.parse("data.cutout_length = int(2, 14, 4)", CONFIG).parameters_of(CONFIG, None) is None


def test_architectures_are_searched_too():
  space = spaces.parse("", CONFIG, CELLS)
  genotype = CELLS.decode((0, 1, 2, 3, 4, 0))
  assert list(space.parameters_of(CONFIG, genotype).values()) == [0, 1, 2, 3, 4, 0]
  decisions = asked(space, 0).decisions
  assert CELLS.encode(CELLS.decode(decisions)) == decisions and space.to_json() != spaces.parse(TEXT, CONFIG).to_json()


@pytest.mark.parametrize(
  ("choice", "condition", "expected"),
  [
    ("train.nesterov = choice(true, false)", "train.nesterov in (TRUE)", (True,)),
    ("train.momentum = choice(0.5, 0.25)", "train.momentum in (0.250, 5e-1)", (0.25, 0.5)),
    ("data.batch_size = choice(8, 16)", "data.batch_size in ( 16 )", (16,)),
    ("train.schedule = choice('cosine', linear)", 'train.schedule in ("cosine")', ("cosine",)),
  ],
)
def test_a_condition_names_a_value_and_not_a_spelling(choice, condition, expected):
  space = spaces.parse(f"{choice}; train.drop_path = uniform(0, 0.1) if {condition}", CONFIG)
  assert space.parameters[1].condition == (condition.split()[0], expected)


REFUSED = {
  "train.learning_rate = uniform(-1.7e308, 1.7e308)": "a sampler cannot tell its values apart; give whole numbers up to 1000000000000",
  f"train.epochs = int(1, {10**12 + 1})": "a sampler cannot tell its values apart",
  f"train.epochs = logint(1, {10**400})": "a sampler cannot tell its values apart",
  "data.cutout_length = int(0, 16)": r"data\.cutout_length may be 1 there, but data\.cutout_length is 1; it must be even",
  "train.nesterov = choice(true); train.drop_path = uniform(0, 0.1) if train.nesterov in (false)": "may be True, so name some of those",
  "train.learning_rat = log(0.1, 1)": r"unknown field 'train\.learning_rat'\. Did you mean 'train\.learning_rate'\?",
  "train.learning_rate = log(0.1": "write PATH = uniform",
  "train.learning_rate = normal(0.1, 1)": "write PATH = uniform",
  "train.learning_rate = log(1, 0.1)": r"its lower end 1\.0 is above its upper end 0\.1; swap them",
  "train.learning_rate = log(0, 0.1)": "a logarithmic range must begin above zero",
  "train.learning_rate = uniform(-1, 0.1)": r"train\.learning_rate may be -1\.0 there, but train\.learning_rate is -1\.0; it must be above",
  "train.learning_rate = uniform(0.1, high)": "is of type float; give a value of that type",
  "train.learning_rate = uniform(0.1)": r"write uniform\(LOW, HIGH\)",
  "train.learning_rate = int(1, 2)": "is of type float, so write uniform, log or choice",
  "data.batch_size = uniform(1, 2)": "is of type int, so write int, logint or choice",
  "data.batch_size = int(32, 64, 5)": "the step 5 must divide 32 to 64",
  "data.batch_size = choice()": "give values to choose from",
  "data.batch_size = choice(8, 8)": "a value is given twice",
  "data.batch_size = choice(8, many)": "is of type int; give a value of that type",
  "train.schedule = choice(cosine, cosin)": "train.schedule may be cosin there, but",
  "train.nesterov = choice(true, maybe)": "is of type bool; give a value of that type",
  "train.drop_path = uniform(0, 0.1); train.drop_path = uniform(0, 0.2)": "it is given twice",
  "train.drop_path = uniform(0, 0.1) if train.schedule in (linear)": "is not a choice given before it",
  "train.schedule = choice(linear, cosine); train.drop_path = uniform(0, 0.1) if train.schedule in (line)": "may be linear, cosine",
  "  ;": "search_space is empty; there is nothing to tune",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_said_in_one_sentence(text):
  with pytest.raises(InputError, match=REFUSED[text]) as raised:
    spaces.parse(text, CONFIG)
  assert "\n" not in str(raised.value) and str(raised.value).endswith(".")
