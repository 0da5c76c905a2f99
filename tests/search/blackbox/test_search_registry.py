"""The registry of strategies is full once `dnas.search.blackbox.strategies` is imported."""

from dnas.search.blackbox.strategies import STRATEGIES

NAMES = """
asha gp hill_climbing hyperband local_search nao nsga2 random_search regularized_evolution reinforce reinforce_lstm tpe
""".split()


def test_every_strategy_is_found_by_its_name():
  assert sorted(STRATEGIES) == NAMES
  for name in STRATEGIES:
    assert "Attributes:" in STRATEGIES[name].__doc__ or not STRATEGIES[name].__dataclass_fields__
