"""The planted table: its optimum, its locality, and the noise of short trainings."""

import numpy as np
import pytest

from dnas.cells import nasbench201
from dnas.core.errors import InputError
from dnas.evaluate import synthetic_table
from dnas.evaluate.synthetic_table import Config, optimum, planted
from dnas.search.blackbox.base import generator


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_is_best_at_every_number_of_epochs(seed: int):
  config = Config(seed=seed, epochs=(1, 4, 16, 200))
  table = planted(config)
  for epochs in config.epochs:
    column = table.valid(epochs)
    assert column.argmax() == optimum(config) and np.sort(column)[-1] == pytest.approx(np.sort(column)[-2] + 0.25)


def test_the_table_is_a_function_of_its_seed():
  first, second, other = planted(Config(seed=1)), planted(Config(seed=1)), planted(Config(seed=2))
  assert (first.valid(12) == second.valid(12)).all() and (first.valid(12) != other.valid(12)).any()
  assert optimum(Config(seed=1)) != optimum(Config(seed=2))


@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_is_no_early_draw_of_a_search_of_the_same_seed(seed: int):
  best = planted(Config(seed=seed)).genotypes[optimum(Config(seed=seed))]
  assert best not in [nasbench201.SPACE.sample(generator(seed, draw)) for draw in range(5)]


def test_neighbours_are_alike():
  table = planted(Config(noise=0))
  rng = np.random.default_rng(0)
  rows = rng.integers(15_625, size=200)
  near = [table.row(nasbench201.SPACE.mutate(table.genotypes[row], rng)) for row in rows]
  far, valid = rng.integers(15_625, size=200), table.valid(200)
  assert np.abs(valid[rows] - valid[near]).mean() < 0.6 * np.abs(valid[rows] - valid[far]).mean()


def test_short_trainings_reach_less_and_are_noisier():
  config = Config(epochs=(2, 20, 200), noise=1.0)
  noisy, exact = planted(config), planted(Config(epochs=(2, 20, 200), noise=0.0))
  means = [exact.valid(epochs).mean() for epochs in config.epochs]
  assert means == sorted(means)
  inside = (exact.valid(200) > 40) & (exact.valid(200) < 60)  # where no noise is clipped
  for epochs in config.epochs:
    deviation = (noisy.valid(epochs) - exact.valid(epochs))[inside].std()
    assert deviation == pytest.approx((200 / epochs) ** 0.5, rel=0.1)


def test_seconds_are_those_of_the_operations():
  table = planted(Config())
  convolutions = nasbench201.from_string("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|")
  assert table.seconds(200)[table.row(convolutions)] == 200 * synthetic_table._SECONDS[3] == table.seconds(200).max()
  np.testing.assert_allclose(table.seconds(12) * 200 / 12, table.seconds(200))


BAD: list[dict] = [{"seed": -1}, {"noise": -1.0}, {"ruggedness": -0.1}, {"epochs": ()}, {"epochs": (12, 12)}, {"epochs": (0, 5)}]
BAD += [{"noise": 1e308}, {"ruggedness": 1e308}, {"epochs": (1, 10**6)}, {"epochs": (1, 10**400)}, {"noise": "much"}]


@pytest.mark.parametrize("change", BAD)
def test_bad_settings_are_refused(change: dict):
  with pytest.raises(InputError, match=f"^{next(iter(change))} is "):
    Config(**change)
