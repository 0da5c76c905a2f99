"""NSGA-II: a seed has one sequence however its studies are kept, its parents are the best fronts, and it finds better fronts."""

import math

import numpy as np
import pytest
from sequences import sequence

from dnas.cells import conv_chain
from dnas.core import pareto
from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.evaluate import digits_bench
from dnas.evaluate.tabular import Tabular
from dnas.search.blackbox import nsga2, random_search, study
from dnas.search.blackbox.base import replay
from dnas.search.blackbox.by_optuna import strategy as optuna_strategy

TABLE = digits_bench.load(0)
EVALUATE = Tabular(TABLE)
COSTS = ("multiply_adds", "weights")
SPACE = CellSpace("complete", ("c",), ("a", "b", "c", "d"), num_inputs=1, num_nodes=4, edges_per_node=4)


def toy(proposal: Proposal) -> Evaluation:
  """Two objectives in conflict: a decision of a higher value adds to score and cost, by amounts of its own."""
  decisions = SPACE.encode(proposal.genotype)
  cost = float(sum((place % 3 + 1) * value for place, value in enumerate(decisions)))
  return Evaluation(float(sum(decisions)), 1.0, {"price": cost})


@pytest.mark.parametrize("costs", [(), COSTS[:1], COSTS])
def test_a_seed_has_one_sequence(costs: tuple[str, ...]):
  make = lambda: nsga2.Config(population=6).on(TABLE.space, costs)  # noqa: E731
  first, state = sequence(make(), EVALUATE, 5, 30)
  assert (first, state) == sequence(make(), EVALUATE, 5, 30)
  assert first != sequence(make(), EVALUATE, 6, 30)[0]
  assert replay(make(), 5, first) == state and len({proposal for proposal, _ in first}) > 10


def test_a_broken_off_study_goes_on_as_if_nothing_had_been():
  make = lambda: nsga2.Config(population=5).on(TABLE.space, COSTS[:1])  # noqa: E731
  whole = list(study.run(make(), EVALUATE, 3, 20))
  assert len(whole) > 20
  for broken_off in (0, 1, 5, 13, 20):
    journal = study.from_lines("".join(map(study.to_line, whole[:broken_off])), TABLE.space, "journal")
    assert journal == whole[:broken_off] and journal + list(study.run(make(), EVALUATE, 3, 20, journal)) == whole


def test_a_study_repeated_from_a_state_asks_the_same():
  """Also with trials running, failed, and told out of their order."""
  make = lambda: nsga2.Config(population=3).on(SPACE, ("price",))  # noqa: E731
  strategy, rng = make(), np.random.default_rng(0)
  state, running = strategy.init(1), []
  for number in range(22):
    again = optuna_strategy.State(state.seed, state.trials)  # equal, and another object, so no study is kept for it
    expected = make().ask(again)
    assert strategy.ask(again) == expected
    proposal, state = strategy.ask(state)
    assert (proposal, state) == expected
    running.append(proposal)
    if len(running) == 4:
      done = running.pop(rng.integers(4))
      answer = toy(done) if number % 5 else Evaluation(math.nan, 1.0, {"price": 0.0})
      state = strategy.tell(state, done, answer)


def fronts(points: list[tuple[float, float]]) -> list[int]:
  """The number of the front of each point, 0 for the best, by definition: what is left undominated once better fronts are gone."""
  rank, left, level = [0] * len(points), set(range(len(points))), 0
  while left:
    best = {
      one
      for one in left
      if not any(all(a <= b for a, b in zip(points[other], points[one], strict=True)) and points[other] != points[one] for other in left)
    }
    for one in best:
      rank[one] = level
    left, level = left - best, level + 1
  return rank


def test_parents_are_of_the_best_fronts():
  """Without crossover, and hardly any mutation, a child is a copy of a parent. Parents of generation 2 are half of the first two."""
  size = 16
  entries, _ = sequence(nsga2.Config(population=size, crossover=0.0, mutation=1e-9).on(SPACE, ("price",)), toy, 2, 3 * size)
  points = [(-evaluation.score, evaluation.metrics["price"]) for _, evaluation in entries]
  rank = fronts(points[: 2 * size])
  worst = sorted(rank)[size - 1]  # the last front that reaches into the better half
  known = [proposal.genotype for proposal, _ in entries[: 2 * size]]
  parents = [known.index(proposal.genotype) for proposal, _ in entries[2 * size :]]
  assert max(rank) > worst >= max(rank[parent] for parent in parents) and len(set(parents)) > 4


def test_it_finds_better_fronts_than_random_search():
  won = 0
  for seed in range(3):
    ends = []
    for strategy in (nsga2.Config().on(SPACE, ("price",)), random_search.Config().on(SPACE)):
      entries, _ = sequence(strategy, toy, seed, 200)
      ends.append(pareto.hypervolume([(-evaluation.score, evaluation.metrics["price"]) for _, evaluation in entries], (0.0, 60.0)))
    won += ends[0] > ends[1]
  assert won == 3


def test_the_front_of_a_journal():
  journal = [(Proposal(TABLE.genotypes[row]), Evaluation(score, 1.0, {"price": cost})) for row, score, cost in
             ((0, 5.0, 5.0), (1, 4.0, 6.0), (2, math.nan, 0.0), (3, 6.0, 9.0), (4, 5.0, 5.0), (5, 1.0, 1.0))]
  assert [entry[1].score for entry in study.front(journal, ("price",))] == [5.0, 6.0, 1.0]
  journal += [(Proposal(TABLE.genotypes[9], 3), Evaluation(99.0, 1.0, {"price": 0.0}))]
  assert len(study.front(journal, ("price",))) == 3, "a shorter training does not count"
  assert study.front(journal[2:3], ("price",)) == study.front([], ("price",)) == []


def test_refused():
  bad = (("population", 1, "a child has two parents"), ("crossover", 1.5, "it is a probability"), ("mutation", 1.0, "below 1"))
  for field, value, said in bad:
    with pytest.raises(InputError, match=f"{field} is {value}; .*{said}"):
      nsga2.Config(**{field: value})
  strategy = nsga2.Config().on(SPACE, ("latency",))
  proposal, state = strategy.ask(strategy.init(0))
  with pytest.raises(InputError, match="an evaluation has no finite 'latency', which the strategy needs; its metrics are price."):
    strategy.tell(state, proposal, toy(proposal))
  with pytest.raises(InputError, match="has no fixed number of decisions"):
    nsga2.Config().on(conv_chain.SPACE)
