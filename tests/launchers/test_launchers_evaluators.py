"""What evaluators are worth, through the launcher: on the benchmark in the package and another table, resumed, killed, with bad input."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats
from tiny_runs import ENVIRONMENT, ROOT, cache_flag

import dnas
from dnas.core import config as config_lib
from dnas.core.records import Evaluation
from dnas.core.trials import trial_id
from dnas.evaluate import digits_bench
from dnas.evaluate.synthetic_table import planted
from dnas.launchers import _evaluator_makers, _presets, _sampled, evaluators
from dnas.report.statistics import rank_correlation

FLAGS = ("--evaluators=tabular,random", "--architectures=30", "--budgets=3,6", "--resamples=50")
TINY = {
  "digits_bench_darts": {"supernet.channels": 2, "supernet.cells": 3, "darts.epochs": 2},
  "digits_bench_retrain": {"network.cells": 3, "train.epochs": 2},
}


@pytest.fixture
def tiny(monkeypatch):
  load = _presets.load
  monkeypatch.setattr(_presets, "load", lambda name, launcher: config_lib.replace(load(name, launcher), TINY.get(name, {})))


def launch(root, *flags):
  return evaluators.main(["evaluators", f"--workdir={root}", cache_flag(), *map(str, flags)])


def measured(root):
  return {row["name"]: row for row in json.loads((root / "report/evaluators.json").read_text())["evaluators"]}


def journals(root):
  """Every journal without its costs, which are measured."""
  found = {str(path.relative_to(root)): path.read_text().splitlines() for path in sorted(root.glob("*/seed_*/journal.jsonl"))}
  return {name: [json.loads(line) | {"cost": 0} for line in lines] for name, lines in found.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  root = tmp_path_factory.mktemp("evaluators")
  assert launch(root, *FLAGS) == 0
  return root


def test_partial_training_is_compared_with_full_trainings_from_other_seeds(finished):
  rows, numbers = measured(finished), []
  table = digits_bench.load()
  sample = [table.row(genotype) for genotype in _sampled.sampled(table, 30, 0)]
  assert len(set(sample)) == 30 and _sampled.sampled(table, 10, 0) == _sampled.sampled(table, 30, 0)[:10]
  right = digits_bench.measurements()["valid_correct"][sample].astype(float)
  for seed in range(3):
    others = np.delete(right[..., -1], seed, axis=1).mean(1)
    numbers.append([rank_correlation(right[:, seed, epoch - 1], others).kendall for epoch in (3, 6, 12)])
  names = ("partial training, 3 epochs", "partial training, 6 epochs", "full training, another seed")
  for name, taus, cost in zip(names, np.transpose(numbers), (0.25, 0.5, 1), strict=True):
    row = rows[name]
    assert row["kendall"] == pytest.approx(taus.mean()) and row["kendall_deviation"] == pytest.approx(taus.std(ddof=1))
    assert row["kendall_low"] < row["kendall"] < row["kendall_high"] and row["cost"] == row["cost_shared"] == pytest.approx(cost)
    assert row["above_random"] == pytest.approx(row["kendall"] - rows["random"]["kendall"]) and 0 <= row["top_tenth"] <= 1
  assert rows["random"]["cost"] < 0.01 and rows.keys() == {*names, "random"}


def test_the_report_is_a_table_a_picture_and_numbers(finished, capsys):
  before = journals(finished)
  assert launch(finished, *FLAGS) == 0 and journals(finished) == before
  out = capsys.readouterr().out
  assert out.startswith("complete: 6 of 6 evaluators and seeds\n") and "| full training, another seed " in out
  text = (finished / "report/evaluators.md").read_text()
  assert "over 30 architectures, mean of 3 seeds" in text and "(evaluators.png)" in text
  assert (finished / "report/evaluators.png").stat().st_size > 5000 and (finished / "report/evaluators.svg").exists()
  with open(finished / "report/evaluators.csv") as file:
    read = list(csv.DictReader(file))
  assert [(row["name"], float(row["spearman"])) for row in read] == [(name, row["spearman"]) for name, row in measured(finished).items()]


def test_a_measurement_that_is_cut_or_made_larger_goes_on_to_the_same_numbers(finished, tmp_path):
  root = tmp_path / "cut"
  assert launch(root, *FLAGS, "--architectures=20", "--budgets=6", "--seeds=2") == 0
  path = root / "random/seed_0001/journal.jsonl"
  text = path.read_text()
  path.write_text(text[: len(text) // 2])  # in the middle of a line
  (root / "random/seed_0001/result.json").unlink()
  shutil.rmtree(root / "tabular/seed_0000")
  assert launch(root, *FLAGS) == 0
  for name, lines in journals(finished).items():
    assert sorted(map(str, journals(root)[name])) == sorted(map(str, lines))
  for name, row in measured(finished).items():
    assert measured(root)[name] | {"cost": 0, "cost_shared": 0} == row | {"cost": 0, "cost_shared": 0}


def test_a_notebook_gets_the_rows_of_the_report(finished, tmp_path):
  shutil.copytree(finished, tmp_path / "copy")
  config = dnas.EvaluatorsConfig(architectures=30, budgets=(3, 6), resamples=50)
  rows = dnas.run_evaluators(config, tmp_path / "copy")
  assert {row.name: row.kendall.mean for row in rows} == {name: row["kendall"] for name, row in measured(finished).items()}
  with pytest.raises(dnas.InputError, match="give it to run_evaluators"):
    dnas.run_comparison(config, tmp_path / "copy")


def test_a_measurement_that_is_killed_goes_on_in_two_processes(tmp_path):
  flags = (f"--workdir={tmp_path}", "--architectures=400", "--evaluators=random,tabular", "--resamples=10", "--compilation_cache=none")
  command = [sys.executable, "-m", "experiments.evaluators", *flags]
  with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
    while process.poll() is None and not sum(path.stat().st_size > 9999 for path in tmp_path.glob("*/*/journal.jsonl")) > 1:
      time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
  begun = journals(tmp_path)
  assert 0 < sum(map(len, begun.values())) < 3 * 400 * 13
  assert launch(tmp_path, *flags[1:], "--pool.workers=2") == 0
  after = journals(tmp_path)
  assert sum(map(len, after.values())) == 3 * 400 * 13
  assert all(lines[:-1] == after[name][: len(lines) - 1] for name, lines in begun.items())
  assert all(len(set(map(str, lines))) == len(lines) for lines in after.values())


def test_evaluators_by_one_training_tell_its_seconds_apart(tmp_path, tiny):
  flags = ("--preset=digits_bench_evaluators", "--evaluators=weight_sharing,parameters", "--architectures=3", "--seeds=1", "--resamples=20")
  assert launch(tmp_path, *flags) == 0
  rows = measured(tmp_path)
  shared = json.loads((tmp_path / "weight_sharing/seed_0000/result.json").read_text())
  table = digits_bench.load()
  sample = [table.row(genotype) for genotype in _sampled.sampled(table, 3, 0)]
  full = float(table.seconds(12)[sample].mean())
  journal = [json.loads(line) for line in (tmp_path / "weight_sharing/seed_0000/journal.jsonl").read_text().splitlines()]
  row = rows["weight_sharing"]
  assert row["cost"] == pytest.approx(np.mean([entry["cost"] for entry in journal]) / full)
  assert row["cost_shared"] == pytest.approx(row["cost"] + shared["shared"] / 3 / full)
  assert 0 < shared["compilation"] <= shared["shared"] and max(entry["cost"] for entry in journal) < shared["shared"]
  weights = digits_bench.measurements()["weights"][sample]
  scores = [json.loads(line)["score"] for line in (tmp_path / "parameters/seed_0000/journal.jsonl").read_text().splitlines()]
  np.testing.assert_array_equal(stats.rankdata(scores), stats.rankdata(weights))
  assert "above_parameters" not in rows["parameters"] or rows["parameters"]["above_parameters"] is None
  before = (tmp_path / "weight_sharing/seed_0000/journal.jsonl").read_text()
  (tmp_path / "weight_sharing/seed_0000/journal.jsonl").write_text(before.splitlines(keepends=True)[0])
  assert launch(tmp_path, *flags) == 0
  again = [json.loads(line) for line in (tmp_path / "weight_sharing/seed_0000/journal.jsonl").read_text().splitlines()]
  assert [entry["score"] for entry in again] == [entry["score"] for entry in journal] and again[1]["cost"] < shared["shared"]


def test_the_parent_of_an_architecture_is_a_nearest_one_before_it():
  space = digits_bench.SPACE
  sample = _sampled.sampled(digits_bench.load(), 40, 1)
  parents = _sampled.parents_of(space, sample)
  assert parents[0] is None and parents[:20] == _sampled.parents_of(space, sample[:20])
  codes = [space.encode(genotype) for genotype in sample]
  for at, parent in enumerate(parents[1:], 1):
    distances = [sum(a != b for a, b in zip(codes[at], codes[before], strict=True)) for before in range(at)]
    assert parent == distances.index(min(distances))


def test_an_evaluator_that_begins_with_the_weights_of_a_parent_is_told_which(tmp_path, monkeypatch):
  asked, few = [], ("--architectures=12", "--seeds=1", "--resamples=10")

  def make(config, options, folder, seed):
    return lambda proposal: asked.append(proposal) or Evaluation(float(len(asked)), 1.0, {})

  monkeypatch.setitem(_evaluator_makers.EVALUATORS._units, "inheriting", make)
  monkeypatch.setattr(_sampled, "FROM_PARENTS", ("inheriting",))
  assert launch(tmp_path, "--evaluators=inheriting", *few) == 0
  ids = [trial_id(proposal) for proposal in asked]
  assert len(asked) == 12 and asked[0].parent is None and all(proposal.parent in ids[:at] for at, proposal in enumerate(asked[1:], 1))
  assert measured(tmp_path)["inheriting"]["cost"] == pytest.approx(1 / np.mean(digits_bench.load().seconds(12)[_rows(12)]))


def _rows(architectures):
  table = digits_bench.load()
  return [table.row(genotype) for genotype in _sampled.sampled(table, architectures, 0)]


def test_trainings_of_two_lengths_share_one_training_of_each_architecture(tmp_path, tiny):
  flags = ("--evaluators=training", "--training=digits_bench_retrain", "--architectures=2", "--budgets=1", "--seeds=1", "--resamples=10")
  assert launch(tmp_path, *flags) == 0
  rows = measured(tmp_path)
  assert list(rows) == ["training, 1 epoch", "training, 2 epochs"]
  assert 0 < rows["training, 1 epoch"]["cost"] < rows["training, 2 epochs"]["cost"]
  assert len(list((tmp_path / "training/seed_0000").rglob("trainings/*"))) == 2


def test_another_table_is_compared_with_its_own_full_training(tmp_path):
  flags = ("--table=synthetic", "--dataset=cifar10", "--epochs=200", "--evaluators=tabular", "--architectures=50", "--seeds=1")
  assert launch(tmp_path, *flags, "--resamples=20") == 0
  table = planted()
  rows = [table.row(genotype) for genotype in _sampled.sampled(table, 50, 0)]
  (row,) = measured(tmp_path).values()
  assert row["name"] == "partial training, 12 epochs" and row["kendall_deviation"] is None
  assert row["kendall"] == pytest.approx(rank_correlation(table.valid(12)[rows], table.valid(200)[rows]).kendall)
  assert row["cost"] == pytest.approx(table.seconds(12)[rows].mean() / table.seconds(200)[rows].mean())


@pytest.mark.parametrize(
  "flags, sentence",
  [
    (("--evaluators=tabula",), "--evaluators is tabula; did you mean 'tabular'?"),
    (("--evaluators=random,random",), "--evaluators is random,random; an evaluator is given twice; give each once."),
    (("--architectures=1",), "--architectures is 1; a rank correlation needs at least 2."),
    (("--architectures=730",), "--architectures is 730; it must be at most 729."),
    (("--budgets=13",), "digits_bench (seed 0): it has no training of 13 epochs; the budget can be 1 or 2"),
    (("--budgets=0,3",), "--budgets is (0, 3); give numbers of epochs above zero."),
    (("--budgets=9", "--epochs=6"), "--budgets is 9; it is longer than a full training, 6 epochs; lower it, or raise --epochs."),
    (("--epochs=40",), "digits_bench (seed 0): it has no training of 40 epochs"),
    (("--dataset=cifar10",), "--dataset is cifar10; the table digits_bench is of digits."),
    (("--table=nowhere.npz", "--dataset=cifar10"), "nowhere.npz does not exist; give the npz of NAS-Bench-201."),
    (("--evaluators=weight_sharing",), "--search is ''; weight sharing takes its supernet and its data from a preset"),
    (("--evaluators=naswot",), "--training is ''; the evaluator naswot takes its networks and data from a preset of dnas train"),
    (("--search=digits_bench",), "--search is digits_bench; it does nothing with --evaluators=tabular,random, so leave it out."),
    (("--hypernetwork.epochs=3",), "--hypernetwork.epochs is 3; it does nothing with --evaluators=tabular,random, so leave it out."),
    (("--evaluators=random", "--budgets=3"), "--budgets is 3; it does nothing with --evaluators=random, so leave it out."),
    (("--seeds=0",), "--seeds is 0; it must be above zero."),
    (("--resamples=0",), "--resamples is 0; it must be above zero."),
  ],
)
def test_bad_input(tmp_path, capsys, flags, sentence):
  assert launch(tmp_path / "w", *flags) == 2
  out, err = capsys.readouterr()
  assert err.startswith(f"error: {sentence}") and err.count("\n") == 1 and not (tmp_path / "w").exists(), err


def test_folders_of_something_else_are_refused(finished, tmp_path, capsys):
  assert launch(finished / "random/seed_0000", *FLAGS) == 2
  assert "holds 'config.json', so it is the folder of a run" in capsys.readouterr().err
  assert launch(finished, *FLAGS, "--epochs=6") == 2
  assert "belongs to a run of another configuration (epochs: 12 -> 6)" in capsys.readouterr().err


def test_the_preset_has_every_evaluator_but_those_that_train_each_network():
  names = set(_presets.load("digits_bench_evaluators", "evaluators").names)
  assert names == {*_evaluator_makers.evaluator_names(), "random"} - {"training", "morphism"}
  assert set(_sampled.BY_EPOCHS) <= set(_evaluator_makers.evaluator_names())
