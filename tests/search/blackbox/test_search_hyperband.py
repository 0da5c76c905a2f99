"""Hyperband: brackets of the paper, complete rungs, promotion and resumed training."""

import pytest
from halving_toy import SPACE, Resuming, Scripted, letter

from dnas.core.errors import InputError
from dnas.core.trials import trial_id
from dnas.search.blackbox import hyperband

SCORES = {"a": 5.0, "b": 3.0, "c": 8.0, "d": 1.0, "e": 6.0, "f": 9.0, "g": 2.0, "h": 0.0, "i": 4.0, "j": 7.0, "k": 5.5, "l": 2.5}


def test_brackets():
  brackets = hyperband.Config(min_budget=1, max_budget=81, eta=3).brackets()
  # n = ceil((s_max + 1) eta^s / (s + 1)), then n_i = floor(n / eta^i) at R eta^(i - s): algorithm 1 with R = 81, eta = 3.
  assert brackets == (
    ((81, 1), (27, 3), (9, 9), (3, 27), (1, 81)),
    ((34, 3), (11, 9), (3, 27), (1, 81)),
    ((15, 9), (5, 27), (1, 81)),
    ((8, 27), (2, 81)),
    ((5, 81),),
  )
  assert hyperband.Config(min_budget=9, max_budget=81).brackets() == (((9, 9), (3, 27), (1, 81)), ((5, 27), (1, 81)), ((3, 81),))
  assert hyperband.Config(min_budget=5, max_budget=14).brackets() == (((1, 14),),)


def run(strategy: hyperband.Hyperband, evaluate: Resuming, count: int) -> list[str]:
  state, out = strategy.init(0), []
  made = {}
  for _ in range(count):
    assert not strategy.waits(state)  # one worker never waits
    proposal, state = strategy.ask(state)
    made[trial_id(proposal)] = proposal
    if proposal.parent is not None:
      assert made[proposal.parent].budget * 2 == proposal.budget
    state = strategy.tell(state, proposal, evaluate(proposal))
    out.append(f"{letter(proposal)}{proposal.budget}")
  return out


def test_one_worker_by_hand():
  """R = 4, eta = 2: brackets of (4, 2, 1), (3, 1) and (3) trials; then the first again."""
  strategy = hyperband.Config(max_budget=4, eta=2).around(Scripted("abcdefghijklmn"))
  assert strategy.brackets == (((4, 1), (2, 2), (1, 4)), ((3, 2), (1, 4)), ((3, 4),))
  expected = "a1 b1 c1 d1 c2 a2 c4 e2 f2 g2 f4 h4 i4 j4 k1".split()
  assert run(strategy, Resuming(SCORES), 15) == expected


def test_a_rung_is_complete_before_it_promotes():
  strategy, evaluate = hyperband.Config(max_budget=4, eta=2).around(Scripted("abcd")), Resuming(SCORES)
  state, proposals = strategy.init(0), []
  for _ in range(4):
    proposal, state = strategy.ask(state)
    proposals.append(proposal)
  for proposal in reversed(proposals):
    assert strategy.waits(state)
    with pytest.raises(ValueError, match="asked while a rung is incomplete"):
      strategy.ask(state)
    state = strategy.tell(state, proposal, evaluate(proposal))
  assert not strategy.waits(state)
  assert [letter(strategy.ask(state)[0])] == ["c"]


def test_repeated_and_failed_trials_are_not_promoted():
  strategy = hyperband.Config(max_budget=4, eta=2).around(Scripted("aaabefg"))
  assert run(strategy, Resuming(SCORES), 8) == "a1 a1 a1 b1 a2 b2 a4 e2".split()
  nan = Resuming({name: float("nan") for name in "abcdefgh"})
  assert run(hyperband.Config(max_budget=4, eta=2).around(Scripted("abcdefgh")), nan, 8) == "a1 b1 c1 d1 e2 f2 g2 h4".split()


def test_the_wrapped_strategy_is_told_first_rungs():
  strategy, evaluate = hyperband.Config(max_budget=4, eta=2).around(Scripted("abcdefghijk")), Resuming(SCORES)
  state = strategy.init(0)
  for _ in range(12):
    proposal, state = strategy.ask(state)
    state = strategy.tell(state, proposal, evaluate(proposal))
  assert [letter(proposal) for proposal, _ in state.strategy[1]] == list("abcdefgh")


def test_bad_settings():
  for settings, message in (
    ({"eta": 1}, "eta is 1; it must be a whole number of at least 2"),
    ({"min_budget": 0}, "min_budget is 0; it must be above zero"),
    ({"min_budget": 9, "max_budget": 3}, "max_budget is 3; it must be at least min_budget, 9"),
  ):
    with pytest.raises(InputError, match=message):
      hyperband.Config(**settings)
  nested = hyperband.Config().around(hyperband.Config().on(SPACE))
  with pytest.raises(InputError, match="strategy Hyperband sets budgets itself"):
    nested.ask(nested.init(0))
