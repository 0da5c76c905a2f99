"""Bayesian optimization: states are values although Optuna's studies are not, and what TPE finds."""

import importlib.util
import math
import sys
from typing import Any

import numpy as np
import pytest
from sequences import sequence

from dnas.cells import darts_conv, nasbench201
from dnas.core.errors import InputError
from dnas.core.records import Evaluation, Proposal
from dnas.core.space import CellSpace
from dnas.evaluate import synthetic_table
from dnas.evaluate.tabular import Tabular
from dnas.search.blackbox import bayesian, random_search, study
from dnas.search.blackbox.base import STRATEGIES, replay
from dnas.search.blackbox.by_optuna import strategy as optuna_strategy

SPACE = nasbench201.SPACE
TORCH = importlib.util.find_spec("torch") is not None
SETTINGS: dict[str, Any] = {"tpe": bayesian.TpeConfig(), "tpe, one by one": bayesian.TpeConfig(multivariate=False)}
SETTINGS |= {"gp": bayesian.GpConfig(startup=5)} if TORCH else {}
COUNTS = {"gp": 9}  # a fit takes long


def toy(proposal: Proposal) -> Evaluation:
  return Evaluation(float(sum(SPACE.encode(proposal.genotype))), 1.0, {})


@pytest.mark.parametrize("name", SETTINGS)
def test_a_seed_has_one_sequence(name: str):
  count = COUNTS.get(name, 25)
  first, state = sequence(SETTINGS[name].on(SPACE), toy, 5, count)
  assert (first, state) == sequence(SETTINGS[name].on(SPACE), toy, 5, count)
  assert first != sequence(SETTINGS[name].on(SPACE), toy, 6, count)[0]
  assert replay(SETTINGS[name].on(SPACE), 5, first) == state
  assert len({proposal for proposal, _ in first}) > count / 2


@pytest.mark.parametrize("name", SETTINGS)
def test_a_study_rebuilt_from_a_state_asks_the_same(name: str):
  """Also with trials running and failed."""
  strategy = SETTINGS[name].on(SPACE)
  state, running = strategy.init(1), []
  for number in range(COUNTS.get(name, 24)):
    rebuilt = optuna_strategy.State(state.seed, state.trials)  # equal, and another object, so no study is kept for it
    fresh = SETTINGS[name].on(SPACE)
    expected = fresh.ask(rebuilt)
    assert strategy.ask(rebuilt) == expected
    proposal, state = strategy.ask(state)
    assert (proposal, state) == expected
    running.append(proposal)
    if len(running) == 3:
      done = running.pop(0)
      evaluation = toy(done) if number % 4 else Evaluation(math.nan, 1.0, {})
      assert fresh.tell(expected[1], done, evaluation) == strategy.tell(optuna_strategy.State(state.seed, state.trials), done, evaluation)
      state = strategy.tell(state, done, evaluation)
  assert [trial.score is None for trial in state.trials[-3:]] == [False, True, True]
  assert sum(trial.score == -math.inf for trial in state.trials) > 0


def test_nothing_is_changed_in_place():
  strategy = SETTINGS["tpe"].on(SPACE)
  _, state = sequence(strategy, toy, 0, 20)
  first = strategy.ask(state)
  again = strategy.ask(state)
  assert first == again and len(state.trials) == 20
  one = strategy.tell(first[1], first[0], Evaluation(1.0, 1.0, {}))
  other = strategy.tell(first[1], first[0], Evaluation(50.0, 1.0, {}))
  assert one.trials[:-1] == other.trials[:-1] and one.trials[-1].score == 1.0 and other.trials[-1].score == 50.0


def test_two_trials_of_one_architecture_are_told_in_turn():
  strategy = SETTINGS["tpe"].on(SPACE)
  trial = optuna_strategy.Trial((0,) * 6)
  state, proposal = optuna_strategy.State(0, (trial, trial)), Proposal(SPACE.decode(trial.decisions))
  state = strategy.tell(strategy.tell(state, proposal, Evaluation(1.0, 1.0, {})), proposal, Evaluation(2.0, 1.0, {}))
  assert [trial.score for trial in state.trials] == [1.0, 2.0]
  with pytest.raises(ValueError):
    strategy.tell(state, proposal, Evaluation(3.0, 1.0, {}))


def test_studies_of_old_states_are_forgotten():
  strategy = SETTINGS["tpe"].on(SPACE)
  states = [strategy.ask(strategy.init(seed))[1] for seed in range(100)]
  assert len(strategy._studies._studies) <= 64
  assert all(len(strategy.ask(state)[1].trials) == 2 for state in states)


def test_spaces_with_choices_of_sources():
  strategy = SETTINGS["tpe"].on(darts_conv.SPACE)
  state = strategy.init(0)
  for _ in range(15):
    proposal, state = strategy.ask(state)
    darts_conv.SPACE.validate(proposal.genotype)
    state = strategy.tell(state, proposal, Evaluation(float(len(str(proposal.genotype))), 1.0, {}))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]):
  sequence(SETTINGS["tpe"].on(SPACE), toy, 0, 15)
  assert capfd.readouterr() == ("", "")


def test_refused(monkeypatch: pytest.MonkeyPatch):
  single = CellSpace("single", ("c",), ("o",), num_inputs=1, num_nodes=1, edges_per_node=1)
  with pytest.raises(InputError, match="space 'single' has a single architecture, so there is nothing to model; give the space more"):
    STRATEGIES["tpe"]().on(single)
  for field in ("startup", "candidates"):
    with pytest.raises(InputError, match=f"{field} is 0; it must be above zero"):
      bayesian.TpeConfig(**{field: 0})
  with pytest.raises(InputError, match="startup is -1; it must be above zero"):
    bayesian.GpConfig(startup=-1)
  monkeypatch.setitem(sys.modules, "torch", None)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(
    InputError, match="strategy 'gp' needs the package torch, which is not installed; install it with 'pip install torch'"
  ):
    STRATEGIES["gp"]().on(SPACE)


def test_tpe_comes_within_the_best_thousandth_and_beats_random_search():
  table = synthetic_table.planted()
  best, won, near = np.sort(table.valid(12))[-15], 0, 0  # of 15,625
  for seed in range(10):
    learned, drawn = (
      study.incumbents(study.run(settings.on(SPACE), Tabular(table), seed, 20_000))[-1].score
      for settings in (bayesian.TpeConfig(), random_search.Config())
    )
    won, near = won + (learned > drawn or learned == table.valid(12).max()), near + (learned >= best)  # nothing beats the optimum
  assert won >= 9 and near >= 9
