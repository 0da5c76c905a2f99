"""A limit of a cost in regularized evolution: Deb's feasibility rules, and what a limited search finds."""

import itertools
import math

import pytest
from sequences import sequence

from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.evaluate import digits_bench
from dnas.evaluate.tabular import Tabular
from dnas.search.blackbox import regularized_evolution, study

TABLE = digits_bench.load(0)
SPACE = TABLE.space
LIMIT = 40_000.0
LIMITED = regularized_evolution.Config(population=2, tournament=2, limit_of="multiply_adds", limit=LIMIT)


def by_the_rules(one: Evaluation, other: Evaluation) -> bool:
  """Whether one network beats the other, as the papers say it."""
  (score, cost), (other_score, other_cost) = ((each.score, each.metrics["multiply_adds"]) for each in (one, other))
  if (cost <= LIMIT) != (other_cost <= LIMIT):
    return cost <= LIMIT
  return score > other_score if cost <= LIMIT else cost < other_cost or (cost == other_cost and score > other_score)


def test_tournaments_follow_the_rules():
  strategy = LIMITED.on(SPACE)
  parents = [SPACE.decode((value,) * 6) for value in (0, 2)]  # all six edges differ, so a child tells its parent
  values = list(itertools.product((10.0, 90.0), (20_000.0, LIMIT, LIMIT + 1, 90_000.0)))
  for pair in itertools.permutations([Evaluation(score, 1.0, {"multiply_adds": cost}) for score, cost in values], 2):
    state = strategy.init(0)._replace(asked=2)
    for genotype, evaluation in zip(parents, pair, strict=True):
      state = strategy.tell(state, Proposal(genotype), evaluation)
    if by_the_rules(*pair) == by_the_rules(*pair[::-1]):
      continue  # equal
    winner = parents[0] if by_the_rules(*pair) else parents[1]
    chosen = [_distance(winner, strategy.ask(state._replace(asked=draw))[0].genotype) == 1 for draw in range(2, 42)]
    assert 20 < sum(chosen) < 40, "three of four tournaments hold the winner"


def _distance(one, other) -> int:
  return sum(a != b for a, b in zip(SPACE.encode(one), SPACE.encode(other), strict=True))


def test_incumbents_follow_the_rules():
  answers = [(50, 90_000), (99, 90_000), (20, 80_000), (10, LIMIT), (99, LIMIT + 1), (9, 0), (30, 1), (math.nan, 0)]
  journal = [
    (Proposal(TABLE.genotypes[row]), Evaluation(score, 1.0, {"multiply_adds": cost})) for row, (score, cost) in enumerate(answers)
  ]
  assert [one.trial for one in study.incumbents(journal, LIMITED.violation)] == [0, 1, 2, 3, 6]
  assert [one.trial for one in study.incumbents(journal)] == [0, 1]


def test_a_limited_search_finds_the_best_within_the_limit():
  config = regularized_evolution.Config(limit_of="multiply_adds", limit=LIMIT)
  within = TABLE.costs["multiply_adds"] <= LIMIT
  assert 0 < within.sum() < len(within) / 2
  best = TABLE.valid(12)[within].max()
  entries, _ = sequence(config.on(SPACE), Tabular(TABLE), 0, 150)
  found = study.incumbents(entries, config.violation)[-1]
  assert found.score == best < max(evaluation.score for _, evaluation in entries)
  assert within[TABLE.row(found.genotype)]
  late = [within[TABLE.row(proposal.genotype)] for proposal, _ in entries[50:]]
  assert sum(late) > 0.6 * len(late), "most children are within the limit"


def test_without_a_limit_nothing_changes():
  plain = sequence(regularized_evolution.Config().on(SPACE), Tabular(TABLE), 4, 60)[0]
  assert plain == sequence(regularized_evolution.Config(limit=5.0).on(SPACE), Tabular(TABLE), 4, 60)[0]
  wide = regularized_evolution.Config(limit_of="multiply_adds", limit=1e9)
  assert plain == sequence(wide.on(SPACE), Tabular(TABLE), 4, 60)[0]


def test_refused():
  with pytest.raises(InputError, match="limit is -1.0; it must be zero or more"):
    regularized_evolution.Config(limit=-1.0)
  strategy = regularized_evolution.Config(limit_of="price", limit=1.0).on(SPACE)
  proposal, state = strategy.ask(strategy.init(0))
  with pytest.raises(InputError, match="no finite 'price', which the strategy needs; its metrics are epochs, multiply_adds, weights."):
    strategy.tell(state, proposal, Tabular(TABLE)(proposal))
