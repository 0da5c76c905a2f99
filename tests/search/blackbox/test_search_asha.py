"""ASHA: the rungs of the paper's algorithm, promotion and resumed training, around any strategy."""

import dataclasses
import functools
import hashlib
from typing import Any

import pytest
from halving_toy import SPACE, Resuming, Scripted, letter

from dnas.cells import nasbench201
from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.core.trials import trial_id
from dnas.evaluate import synthetic_table
from dnas.evaluate.tabular import Table, Tabular
from dnas.search.blackbox import asha, hyperband, random_search, regularized_evolution, study
from dnas.search.blackbox.base import STRATEGIES, Strategy, replay

SCORES = {"a": 5.0, "b": 3.0, "c": 8.0, "d": 1.0, "e": 6.0, "f": 9.0, "g": 2.0, "h": 0.0}


def sequence(strategy: Strategy, evaluate: Any, count: int) -> tuple[list[Proposal], Any]:
  state, out = strategy.init(0), []
  for _ in range(count):
    proposal, state = strategy.ask(state)
    state = strategy.tell(state, proposal, evaluate(proposal))
    out.append(proposal)
  return out, state


def test_rungs():
  assert asha.Config(min_budget=1, max_budget=81, eta=3).rungs() == (1, 3, 9, 27, 81)
  assert asha.Config(min_budget=2, max_budget=31, eta=4).rungs() == (2, 8)  # floor(log_eta(R / r)) = 1
  assert asha.Config(min_budget=7, max_budget=7).rungs() == (7,)
  assert asha.Config(budgets=(12, 200)).rungs() == (12, 200)


def test_one_worker_by_hand():
  """Rungs of 1, 2 and 4 epochs, eta 2: a rung promotes the best of each further two."""
  strategy = asha.Config(max_budget=4, eta=2).around(Scripted("abcdefgh"))
  proposals, state = sequence(strategy, Resuming(SCORES), 13)
  # Half of the trials of a rung, rounded down, are promoted: of a and b, a; of three, c, and at two epochs c of c and a; of four, c and a;
  # of five, c and e, and at two epochs c of c, e and a; of six, f, c and e, and at two epochs f and c; of seven, the same.
  expected = "a1 b1 a2 c1 c2 c4 d1 e1 e2 f1 f2 f4 g1".split()
  assert [f"{letter(proposal)}{proposal.budget}" for proposal in proposals] == expected
  assert [[entry.score for entry in rung] for rung in state.rungs] == [[9, 8, 6, 5, 3, 2, 1], [9, 8, 6, 5], [9, 8]]


def test_a_promotion_resumes_the_trial_one_rung_below():
  proposals, _ = sequence(asha.Config(max_budget=4, eta=2).around(Scripted("abcdefgh")), Resuming(SCORES), 13)
  made = {trial_id(proposal): proposal for proposal in proposals}
  assert len(made) == 13
  for proposal in proposals:
    if proposal.budget == 1:
      assert proposal.parent is None
    else:
      below = made[proposal.parent]
      assert below.genotype == proposal.genotype and below.budget == proposal.budget // 2


def test_only_the_epochs_added_cost():
  evaluate = Resuming(SCORES)
  costs = [evaluate(proposal).cost for proposal in sequence(asha.Config(max_budget=4, eta=2).around(Scripted("abc")), evaluate, 6)[0]]
  assert costs == [1, 1, 1, 1, 1, 2]


def test_the_wrapped_strategy_is_told_its_own_proposals_at_the_bottom_rung():
  _, state = sequence(asha.Config(max_budget=4, eta=2).around(Scripted("abcdefgh")), Resuming(SCORES), 13)
  asked, told = state.strategy
  assert asked == 7 and [score for _, score in told] == [5, 3, 8, 1, 6, 9, 2]
  assert all(proposal.budget is None and proposal.parent is None for proposal, _ in told)


def test_all_of_the_best_third_are_promoted_before_the_bottom_rung_grows(table: Table):
  strategy = asha.Config().on(nasbench201.SPACE)
  state, evaluate, grew = strategy.init(0), ResumedTable(table), 0
  for _ in range(300):
    proposal, asked = strategy.ask(state)
    tops = [{entry.trial for entry in rung[: len(rung) // 3]} for rung in state.rungs]
    if proposal.parent is None:
      grew += 1
      assert all(top <= promoted for top, promoted in zip(tops[:-1], state.promoted, strict=False))
    else:
      k = EPOCHS.index(proposal.budget) - 1
      assert proposal.parent in tops[k] - state.promoted[k]
      assert all(top <= promoted for top, promoted in zip(tops[k + 1 : -1], state.promoted[k + 1 :], strict=False))  # higher rungs first
    state = strategy.tell(asked, proposal, evaluate(proposal))
  assert 150 < grew < 250 and [len(rung) for rung in state.rungs[1:]] == [len(promoted) for promoted in state.promoted[:-1]]


def test_an_architecture_asked_twice_is_one_trial():
  strategy = asha.Config(max_budget=2, eta=2).around(Scripted("aaab"))
  proposals, state = sequence(strategy, Resuming(SCORES), 5)
  assert [f"{letter(proposal)}{proposal.budget}" for proposal in proposals] == ["a1", "a1", "a1", "b1", "a2"]
  assert len(state.rungs[0]) == 2 and len(state.strategy[1]) == 4


def test_failed_trainings_are_not_promoted():
  strategy = asha.Config(max_budget=2, eta=2).around(Scripted("abcd"))
  nan = {name: float("nan") for name in "abc"}
  proposals, _ = sequence(strategy, Resuming(nan | {"d": 0.0}), 5)
  assert [f"{letter(proposal)}{proposal.budget}" for proposal in proposals] == ["a1", "b1", "c1", "d1", "d2"]


def test_bad_settings():
  for settings, message in (
    ({"eta": 1}, "eta is 1; it must be a whole number of at least 2"),
    ({"min_budget": 0}, "min_budget is 0; it must be above zero"),
    ({"min_budget": 9, "max_budget": 3}, "max_budget is 3; it must be at least min_budget, 9"),
    ({"budgets": (12, 12)}, r"budgets is \(12, 12\); they must be above zero and ascend"),
    ({"budgets": (0, 12)}, r"budgets is \(0, 12\); they must be above zero and ascend"),
  ):
    with pytest.raises(InputError, match=message):
      asha.Config(**settings)
  with pytest.raises(InputError, match=r"strategy is random_serch; did you mean 'random_search'\? It can be"):
    asha.Config(strategy="random_serch")
  nested = asha.Config(max_budget=9).around(asha.Config().on(SPACE))
  with pytest.raises(InputError, match="strategy Asha sets budgets itself, so rungs cannot; give a strategy that"):
    nested.ask(nested.init(0))


EPOCHS = (1, 3, 9, 27, 81)
WRAPPERS: dict[str, Any] = {
  "asha": asha.Config(),
  "asha around evolution": asha.Config(strategy="regularized_evolution"),
  "hyperband": hyperband.Config(),
}
PINNED = {"asha": "52ae5176fddc", "asha around evolution": "3313904dde86", "hyperband": "5bb53aef7083"}


@pytest.fixture(scope="module")
def table() -> Table:
  return synthetic_table.planted(synthetic_table.Config(epochs=EPOCHS))


class ResumedTable:
  """The planted table, where a promoted training costs only the epochs that it adds."""

  def __init__(self, table: Table):
    self._tabular, self._below = Tabular(table, EPOCHS[-1]), dict(zip(EPOCHS[1:], EPOCHS, strict=False))

  def __call__(self, proposal: Proposal) -> Evaluation:
    evaluation = self._tabular(proposal)
    if proposal.parent is None:
      return evaluation
    below = self._tabular(Proposal(proposal.genotype, self._below[proposal.budget]))
    return dataclasses.replace(evaluation, cost=evaluation.cost - below.cost)


def toy(proposal: Proposal) -> Evaluation:
  values = nasbench201.SPACE.encode(proposal.genotype)
  return Evaluation(sum(value * (edge + 1) for edge, value in enumerate(values)) + 1 / proposal.budget, 1.0, {})


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_sequence_of_a_seed_is_pinned(name: str):
  proposals, _ = sequence(WRAPPERS[name].on(nasbench201.SPACE), toy, 150)
  text = "\n".join(trial_id(proposal) for proposal in proposals)
  assert hashlib.sha256(text.encode()).hexdigest()[:12] == PINNED[name]


@pytest.mark.parametrize("name", WRAPPERS)
def test_states_are_values_and_replay_brings_them_back(name: str):
  strategy, journal = WRAPPERS[name].on(nasbench201.SPACE), []
  state = strategy.init(4)
  for _ in range(120):
    proposal, asked = strategy.ask(state)
    assert strategy.ask(state) == (proposal, asked)
    journal.append((proposal, toy(proposal)))
    state = strategy.tell(asked, *journal[-1])
    assert strategy.tell(asked, *journal[-1]) == state
  assert replay(WRAPPERS[name].on(nasbench201.SPACE), 4, journal) == state


@functools.cache
def drawn_at_random(table: Table, seed: int) -> float:
  return study.incumbents(study.run(random_search.Config().on(nasbench201.SPACE), ResumedTable(table), seed, 48_000))[-1].score


@pytest.mark.parametrize("name", WRAPPERS)
def test_each_beats_random_search_of_full_trainings_in_9_of_10_seeds(name: str, table: Table):
  """At the cost of about ninety full trainings, by the score after a full training."""
  won = 0
  for seed in range(10):
    found = study.incumbents(study.run(WRAPPERS[name].on(nasbench201.SPACE), ResumedTable(table), seed, 48_000))[-1].genotype
    score = table.valid(81)[table.row(found)]
    won += score > drawn_at_random(table, seed) or score == table.valid(81).max()  # nothing beats the optimum
  assert won >= 9


def test_asha_around_evolution_finds_the_planted_optimum(table: Table):
  strategy = asha.Config().around(regularized_evolution.Config(population=50, tournament=10).on(nasbench201.SPACE))
  best = table.genotypes[synthetic_table.optimum(synthetic_table.Config(epochs=EPOCHS))]
  for seed in range(5):
    assert study.incumbents(study.run(strategy, ResumedTable(table), seed, 60_000))[-1].genotype == best, seed


def test_registered():
  assert STRATEGIES["asha"] is asha.Config and STRATEGIES["hyperband"] is hyperband.Config
