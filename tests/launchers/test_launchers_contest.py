"""A contest of tunings: equal budget, equal data, exact resume, and a report that says who won."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from optuna.trial import TrialState, create_trial
from tiny_runs import ENVIRONMENT, cache_flag

import dnas
from dnas.core import config as config_lib
from dnas.launchers import _contest, _flags, _presets, _units, compare, report
from dnas.report import contest

OWN = pathlib.Path(__file__).parent / "own_presets.py"
FLAGS = [f"--imports={OWN}", "--contestants=tiny_resnet,tiny_search+tiny_cell", "--budget_in=multiply_adds", cache_flag()]


def run(root, *flags):
  return compare.main(["compare", f"--workdir={root}", *FLAGS, "--pool.workers=1", *flags])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  root = tmp_path_factory.mktemp("contest")
  assert run(root, "--budget=1e8", "--seeds=1") == 0
  return root


def results_of(root):
  return {path.parent.relative_to(root): json.loads(path.read_text()) for path in sorted(root.glob("contest/*/seed_*/result.json"))}


def test_every_contestant_spends_its_budget_and_little_more(finished):
  results = results_of(finished)
  assert len(results) == 2
  for path, result in results.items():
    config = _presets.load(result["contestant"].split("+")[-1], "tune")
    changes = {"test": False, "data.train_portion": config.train_portion}
    if "+" in result["contestant"]:
      changes["genotype"] = str(finished / path / "search")
    training = config_lib.replace(config.training, changes)
    epoch = _contest.multiply_adds_of_epoch(training)
    assert 1e8 <= result["spent"] < 1e8 + epoch  # a trial ends with the epoch that uses up the budget
    assert result["incumbents"][-1][1] == result["valid"]
    assert (result["search"] > 0) == ("+" in result["contestant"])


def test_the_search_is_paid_for_before_the_tuning(finished):
  folders = [_contest.folder_of(finished, name, 0) for name in ("tiny_resnet", "tiny_search+tiny_cell")]
  alone, searched = (json.loads((folder / "result.json").read_text()) for folder in folders)
  search = _contest.contestant("tiny_search+tiny_cell").seeded(0).search
  assert searched["search"] == pytest.approx(_contest.multiply_adds_of_search(search))
  assert alone["search"] == 0 and min(spent for spent, _ in searched["incumbents"]) > searched["search"]


def test_the_cost_of_a_search_follows_its_epochs_its_hypergradient_and_its_projection():
  _units.load([str(OWN)])
  base = _presets.load("tiny_search", "search")

  def cost(**changes):
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return _contest.multiply_adds_of_search(config_lib.replace(base, named))

  one, two, three = (cost(darts__epochs=epochs) for epochs in (1, 2, 3))
  assert three - two == pytest.approx(two - one) and one == pytest.approx(two - one)
  warm = cost(darts__epochs=2, darts__arch_warmup_epochs=1)  # a step without the architecture takes one gradient, not two
  assert one < warm < two
  assert cost(hypergradient="unrolled") > 2 * one
  decisions, epochs_between = 6, 5
  projected = cost(darts__epochs=1, remedies__projection=True)
  assert projected > one + (decisions - 1) * epochs_between * (warm - one)  # and the validations of the decisions


def test_the_test_set_is_read_once_and_after_the_tuning(finished):
  for folder in finished.glob("contest/*/seed_*"):
    tested = [path for path in folder.rglob("result.json") if "test/accuracy" in json.loads(path.read_text())]
    assert tested == [folder / "final/seed/result.json"]


def clocks(root):
  # The command on the page names the module of the presets, which the tests forget between them.
  left_out = (".lock", "report.html")
  return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.name not in left_out}


def test_the_same_command_again_changes_nothing(finished, capsys):
  before = clocks(finished)
  assert run(finished, "--budget=1e8", "--seeds=1") == 0
  assert "complete: 2 of 2 runs" in capsys.readouterr().out
  assert clocks(finished) == before


def test_a_killed_contest_goes_on_to_the_same_result(finished, tmp_path):
  flags = [f"--workdir={tmp_path}", *FLAGS, "--compilation_cache=none", "--pool.workers=1", "--budget=1e8", "--seeds=1"]
  command, quiet = [sys.executable, "-m", "dnas", "compare", *flags], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
  with subprocess.Popen(command, **quiet, env=ENVIRONMENT, start_new_session=True) as process:
    until = time.monotonic() + 120
    while time.monotonic() < until and not list(tmp_path.glob("contest/tiny_resnet/seed_0000/trials/trial_0001/config.json")):
      time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
  assert not list(tmp_path.glob("contest/*/seed_*/result.json"))
  assert run(tmp_path, "--budget=1e8", "--seeds=1") == 0
  assert _without_clocks(results_of(tmp_path)) == _without_clocks(results_of(finished))


def _without_clocks(results):
  return {
    path: {name: value for name, value in result.items() if name not in ("seconds", "best")} | {"point": result["best"]["point"]}
    for path, result in results.items()
  }


def test_the_report_says_who_won_with_intervals(finished, capsys):
  assert report.main(["report", f"--workdir={finished}"]) == 0
  told = capsys.readouterr().out
  found = contest.load(finished)
  best, other = found.entries
  assert f"| {best} " in told and contest.verdict(found) in told and f"test error of {other} is higher than that of {best} by" in told
  names = {"contest.png", "contest.svg", "report.md", "report.tex"}
  assert {path.name for path in (finished / "report").iterdir()} == names


def test_seconds_are_a_budget_too_and_python_gives_the_contest(tmp_path):
  pool = compare.executors.Config(workers=1)
  config = dnas.CompareConfig(contestants="tiny_resnet_short,tiny_cell_short", budget=0.01, seeds=1, pool=pool)
  found = dnas.run_contest(config, tmp_path, compilation_cache=cache_flag().partition("=")[2])
  assert found.unit == "seconds" and all(entry.trials == 1 and entry.spent > 0.01 for (entry,) in found.entries.values())
  with pytest.raises(dnas.InputError, match="give it to run_contest"):
    dnas.run_comparison(config, tmp_path)


def entry(test, **changes):
  values = dict(seed=0, valid=0.9, spent=1.0, search=0.0, seconds=1.0, trials=1, weights=10, incumbents=((0.5, 0.9),))
  return contest.Entry(test=test, **{**values, **changes})


def of_tests(**tests):
  entries = {name: tuple(entry(value) for value in values) for name, values in tests.items()}
  return contest.Contest(1.0, "seconds", "accuracy", "test error", "%", entries, ())


def test_the_interval_of_a_difference_is_welchs():
  first, second = np.array([1.0, 2.0, 3.0]), np.array([4.0, 6.0])
  # variances 1 and 2, of means 1/3 and 1; degrees of freedom (4/3)^2 / (1/18 + 1) = 1.684; t = 5.0886 (R: qt(0.975, 1.684211))
  mean, low, high = contest.difference(first, second)
  assert mean == 3 and high - mean == pytest.approx(mean - low) and (high - mean) / np.sqrt(4 / 3) == pytest.approx(5.146, abs=0.1)


def test_a_verdict_needs_intervals_above_zero():
  assert contest.verdict(of_tests(a=(1.0, 1.1, 0.9), b=(5.0, 5.1, 4.9))).startswith("a won, over 3 seeds.")
  assert contest.verdict(of_tests(a=(1.0, 9.0), b=(5.0, 5.2))).startswith("No contestant won, over 2 seeds: a is ahead")
  assert "one seed gives no interval" in contest.verdict(of_tests(a=(1.0,), b=(5.0,)))
  assert "alone has ended" in contest.verdict(of_tests(a=(1.0,)))


@pytest.mark.parametrize(
  "flags, told",
  [
    (["--budget=1e8", "--contestants=tiny_resnet"], "at least two"),
    (["--budget=0"], "budget is 0.0; it must be above zero"),
    (["--budget=1e8", "--contestants=tiny_resnet,tiny_resnet"], "given twice"),
    (["--budget=1e8", "--contestants=tiny_resnet,tiny_cel"], "no preset of dnas tune; one is tiny_cell"),
    (["--budget=1e8", "--contestants=tiny_cell,tiny_search+tiny_resnet"], "no cell to search"),
    (["--budget=1e8", "--contestants=tiny_resnet,tune_darts_cifar10"], "data.dataset is cifar10"),
    (["--budget=1e8", "--budget_in=hours"], "budget_in is hours"),
    (["--budget=1e8", "--methods=random_search"], "does nothing with --contestants"),
    (["--budget=1e3"], "give more than that"),
  ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(tmp_path, capsys, flags, told):
  assert run(tmp_path / "new", *flags) == 2
  error = capsys.readouterr().err
  assert told in error and error.count("\n") == 1
  assert not (tmp_path / "new").exists()


def test_a_folder_of_another_kind_or_budget_is_refused(finished, tmp_path, capsys):
  assert compare.main(["compare", f"--workdir={finished}", "--methods=random_search", "--seeds=1"]) == 2
  assert "holds a contest of tunings" in capsys.readouterr().err
  assert run(finished, "--budget=2e8", "--seeds=1") == 2
  assert "budget" in capsys.readouterr().err
  assert compare.main(["compare", f"--workdir={tmp_path}", "--budget=3"]) == 2
  assert "does nothing without --contestants" in capsys.readouterr().err


def trial(_, state=TrialState.COMPLETE, **attrs):
  return create_trial(state=state, value=0.5 if state is TrialState.COMPLETE else None, user_attrs=attrs)


def test_an_account_counts_what_has_ended_and_ends_a_study_whose_trials_fail():
  account = _contest.Account(_contest.Rules(10.0, "seconds", _flags.Options()), searched=4.0)
  assert not account.exhausted([trial(0, cost=5.9), trial(1, TrialState.RUNNING)])
  assert account.exhausted([trial(0, cost=5.9), trial(1, TrialState.PRUNED, cost=0.1)])
  failed = [trial(number, TrialState.FAIL, error="resnet.depth is 9.") for number in range(20)]
  assert not account.exhausted(failed[:19])
  with pytest.raises(dnas.InputError, match="the last 20 trials failed, the last one because: resnet.depth is 9; correct"):
    account.exhausted(failed)
