"""Searches in networks of a user's own from Python: folders, resume to the same bits, black-box strategies, and refusals."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from flax import nnx

import dnas
from dnas.cells.choices import Choice
from dnas.core import pareto
from dnas.core.errors import FieldError
from dnas.launchers import _networks

TOY = pathlib.Path(__file__).parents[1] / "search" / "gradient"
sys.path.insert(0, str(TOY))
from choice_toy import BEST, Toy, arrays, squared_error  # noqa: E402

FAST = {"darts.arch_learning_rate": 0.1, "darts.learning_rate": 0.1, "darts.weight_decay": 0.0, "darts.diagnose_every": 0}
FAST |= {"darts.arch_warmup_epochs": 1}


def search(folder, **settings):
  changes = FAST | settings.pop("changes", {})
  return dnas.search_network(Toy, arrays(), squared_error, folder, changes=changes, compilation_cache="none", **settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("networks") / "run"
  return folder, search(folder, epochs=8)


def test_a_search_leaves_a_whole_folder_and_a_plain_network(run, capsys):
  folder, result = run
  assert str(result.genotype) == BEST and len(result.history) == 8
  assert json.loads((folder / "result.json").read_text())["notation"] == BEST
  assert result.network.space.parse((folder / "genotype.json").read_text()) == result.genotype
  pictures = {path.stem for path in (folder / "pictures").iterdir()}
  assert pictures == {"genotype", "mixture_lines", "learning_curves", "diagnoses"}
  assert len((folder / "architecture.jsonl").read_text().splitlines()) == 8
  derived = result.derive(inherit=True)
  assert {type(module) for _, module in nnx.iter_modules(derived)} == {Toy, nnx.List, nnx.Linear}
  outputs = derived(arrays().train_batch(jax.random.key(0), 0)[0])
  assert np.isfinite(outputs).all()
  assert len(dnas.draw_genotype(result.genotype, "mine", result.network.space).axes) == 1


def test_the_same_call_again_returns_the_result_and_another_network_is_refused(run):
  folder, result = run
  again = search(folder, epochs=8)
  assert again.genotype == result.genotype and again.metrics == result.metrics
  jax.tree.map(np.testing.assert_array_equal, again.variables, result.variables)
  with pytest.raises(dnas.InputError, match="belongs to a run of another configuration \\(darts.epochs: 8 -> 9\\)"):
    search(folder, epochs=9)
  with pytest.raises(dnas.InputError, match="network.json is not the one of this run"):
    dnas.search_network(Toy, arrays(batch_size=16), squared_error, folder, changes=FAST, epochs=8, compilation_cache="none")


SCRIPT = """
import sys
sys.path[:0] = [{toy!r}]
import dnas
from choice_toy import Toy, arrays, squared_error
dnas.search_network(Toy, arrays(), squared_error, sys.argv[1], changes={fast!r}, epochs=8, compilation_cache="none", save_every_steps=3)
"""


def test_a_killed_search_resumes_to_the_same_bits(run, tmp_path):
  _, result = run
  script = tmp_path / "script.py"
  script.write_text(SCRIPT.format(toy=str(TOY), fast=FAST))
  environment = os.environ | {"PYTHONPATH": str(pathlib.Path(dnas.__file__).parents[1]), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
  process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "run")], env=environment, stdout=subprocess.DEVNULL)
  saved = tmp_path / "run" / "checkpoints" / "9"  # within the second epoch
  while not saved.exists() and process.poll() is None:
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL
  resumed = search(tmp_path / "run", epochs=8)
  assert [{**one, "seconds": 0} for one in resumed.history] == [{**one, "seconds": 0} for one in result.history]
  jax.tree.map(np.testing.assert_array_equal, resumed.variables, result.variables)


def test_adam_finds_it_too_with_an_unrolled_hypergradient(tmp_path):
  changes = {"darts.optimizer": "adam", "darts.learning_rate": 0.03, "hypergradient": "unrolled"}
  assert str(search(tmp_path / "run", epochs=8, changes=changes).genotype) == BEST
  changes = {"train.optimizer": "adam", "train.learning_rate": 0.03, "train.weight_decay": 0.0}
  assert np.isfinite(trials(tmp_path / "trials", strategy="random_search", trials=1, changes=changes).score)


def trials(folder, **settings):
  return dnas.run_network_trials(Toy, arrays(), squared_error, folder, epochs=4, compilation_cache="none", **settings)


@pytest.mark.parametrize("strategy", ["random_search", "regularized_evolution", "local_search", "reinforce", "tpe", "asha"])
def test_black_box_strategies_search_it_and_resume(tmp_path, strategy):
  changes = {"train.learning_rate": 0.1, "train.weight_decay": 0.0} | ({"asha.max_budget": 4} if strategy == "asha" else {})
  first = trials(tmp_path / "run", strategy=strategy, trials=2, changes=changes)
  more = trials(tmp_path / "run", strategy=strategy, trials=5, changes=changes)
  whole = trials(tmp_path / "whole", strategy=strategy, trials=5, changes=changes)
  scores = [[(proposal, evaluation.score) for proposal, evaluation in one.trials] for one in (more, whole)]
  assert scores[0] == scores[1] and len(first.trials) == 2
  longest = max(proposal.budget or 0 for proposal, _ in scores[0])  # shorter trainings are not compared with it
  assert more.score == max(score for proposal, score in scores[0] if (proposal.budget or 0) == longest)
  assert more.network.space.validate(more.genotype) and isinstance(more.derive(), Toy)


class Sized(nnx.Module):
  """Options of 0, 12 and 38 weights, before 4 more."""

  def __init__(self, rngs: nnx.Rngs):
    one, other, last = (nnx.Linear(a, b, rngs=rngs) for a, b in ((3, 3), (3, 5), (5, 3)))
    self.hidden = Choice("hidden", skip=nnx.identity, product=one, two=nnx.Sequential(other, last))
    self.out = nnx.Linear(3, 1, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.out(self.hidden(x))[:, 0]


WEIGHTS = {"hidden=skip": 4, "hidden=product": 16, "hidden=two": 42}
PRODUCTS = {"hidden=skip": 3, "hidden=product": 12, "hidden=two": 33}


def test_costs_of_trials_are_objectives_and_limits(tmp_path, capsys):
  common = {"epochs": 1, "compilation_cache": "none"}
  several = {"strategy": "nsga2", "changes": {"objectives": "score,weights", "nsga2.population": 2}}
  found = dnas.run_network_trials(Sized, arrays(), squared_error, tmp_path / "run", trials=6, **several, **common)
  for proposal, evaluation in found.trials:
    costs = [evaluation.metrics[name] for name in ("weights", "multiply_adds")]
    assert costs == [WEIGHTS[str(proposal.genotype)], PRODUCTS[str(proposal.genotype)]] and evaluation.metrics["activation_bytes"] > 0
  assert len({proposal.genotype for proposal, _ in found.trials}) > 1
  points = [(-evaluation.score, evaluation.metrics["weights"]) for _, evaluation in found.trials]
  assert [found.trials.index(one) for one in found.front] == pareto.front(points).tolist()
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert [one["costs"] for one in result["front"]] == [{"weights": one.metrics["weights"]} for _, one in found.front]
  assert result["multiply_adds"] == PRODUCTS[str(found.genotype)]
  out = capsys.readouterr().out
  assert f"its network: {result['weights']} weights, {result['multiply_adds']} multiply-adds, " in out and "one objective" not in out
  limits = {"regularized_evolution.limit_of": "weights", "regularized_evolution.limit": 20.0, "objectives": "score,weights"}
  limited = dnas.run_network_trials(Sized, arrays(), squared_error, tmp_path / "limited", trials=8, changes=limits, **common)
  within = [one for _, one in limited.trials if one.metrics["weights"] <= 20]
  assert 0 < len(within) < 8 and limited.score == max(one.score for one in within) and WEIGHTS[str(limited.genotype)] <= 20
  sentence = "regularized_evolution has one objective and searches for score, not for costs; what it evaluates enters the front too.\n"
  assert sentence in capsys.readouterr().out


def test_a_metric_may_be_the_score(tmp_path):
  with pytest.raises(dnas.InputError, match="returns no metric 'accuracy'; it returns .*error"):
    trials(tmp_path / "run", trials=1, changes={"metric": "accuracy"})
  assert not (tmp_path / "run").exists()
  found = trials(tmp_path / "other", trials=1, changes={"metric": "error"})
  assert found.score == found.trials[0][1].metrics["valid/error"] > 0


def test_bad_settings_are_refused(tmp_path):
  with pytest.raises(FieldError, match="gaea.smallest is 0.001; it does nothing with --method=darts"):
    search(tmp_path, changes={"gaea.smallest": 0.001})
  with pytest.raises(FieldError, match="darts.momentum is 0.5; it does nothing with --darts.optimizer=adam"):
    search(tmp_path, changes={"darts.momentum": 0.5, "darts.optimizer": "adam"})
  epochs = {"darts.epochs": 4, "darts.arch_warmup_epochs": 4, "remedies.projection": True}
  with pytest.raises(FieldError, match="arch_learning_rate is 0.1; it does nothing where --darts.arch_warmup_epochs is --darts.epochs, 4"):
    search(tmp_path, changes={**epochs, "darts.arch_learning_rate": 0.1})
  with pytest.raises(FieldError, match="train.momentum is 0.5; it does nothing with the optimizer adam"):
    trials(tmp_path, changes={"train.momentum": 0.5, "train.optimizer": "adam"})
  with pytest.raises(FieldError, match="asha.max_budget is 4; it does nothing with the strategy regularized_evolution"):
    trials(tmp_path, changes={"asha.max_budget": 4})
  limit = {"regularized_evolution.limit": 9.0}
  for changes, sentence in (
    (limit, "limit is 9.0; it does nothing without --regularized_evolution.limit_of, so leave it out"),
    (limit | {"regularized_evolution.limit_of": "flops"}, "limit_of is flops; the costs are weights, multiply_adds, activation_bytes"),
    ({"regularized_evolution.limit_of": "weights"}, "limit is 0.0; give the most weights that a network may have"),
    ({"objectives": "score,flops"}, "objectives is flops; it can be activation_bytes, multiply_adds, weights"),
    ({"objectives": "weights"}, "objectives is weights; give score, then costs"),
  ):
    with pytest.raises(FieldError, match=re.escape(sentence)):
      trials(tmp_path, changes=changes)
  with pytest.raises(FieldError, match="metric is loss; a metric is to be high"):
    trials(tmp_path, changes={"metric": "loss"})
  with pytest.raises(dnas.InputError, match="search_network does not take 'int'; give NetworkSearchConfig"):
    _networks.configured(3, None, None, None)  # pyright: ignore[reportArgumentType]
  for call in (dnas.search_network, dnas.run_network_trials):
    with pytest.raises(dnas.InputError, match="changes is 'asha'; give a dictionary"):
      call(Toy, arrays(), squared_error, tmp_path, changes="asha")
    with pytest.raises(dnas.InputError, match="workdir=.* has a null character"):
      call(Toy, arrays(), squared_error, "a\0b", compilation_cache="none")
  with pytest.raises(dnas.InputError, match="data is 'NoneType', which gives no batches"):
    dnas.run_network_trials(Toy, None, squared_error, tmp_path / "run")
  with pytest.raises(FieldError, match="asha.max_budget is 81; the longest rung has 81 epochs and a full training 4; give at most that"):
    trials(tmp_path / "run", strategy="asha")
  with pytest.raises(FieldError, match="train.epochs is 3; the argument epochs is given too"):
    trials(tmp_path, changes={"train.epochs": 3})
  with pytest.raises(FieldError, match="profile_steps is .*; it has no effect here"):
    trials(tmp_path, profile_steps=(2, 3))
  with pytest.raises(dnas.InputError, match="unknown option 'save_every'"):
    search(tmp_path, save_every=3)
  with pytest.raises(dnas.InputError, match="give draw_genotype the space of the network"):
    dnas.draw_genotype(dnas.ChoiceGenotype("network", (("shape", ("skip",)),)))
  assert not list(tmp_path.iterdir())
