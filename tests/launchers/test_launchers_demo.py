"""The demonstration: one search, trainings of all cells alike, and a report."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import cache_flag

import dnas
from dnas.core.records import SearchResult
from dnas.evaluate import digits_bench
from dnas.evaluate.tabular import report_shares, report_test
from dnas.launchers import demo, search, train
from dnas.launchers.train import Outcome
from dnas.supernet.hypergradients.fixed_weights import FirstOrder


def test_the_report_of_the_demo():
  def report(measure, unit, **values):
    return demo.report({name.replace("_", " "): Outcome(measure, unit, value) for name, value in values.items()})

  text = report("test error", " %", found=5.0, random_0=4.0, random_1=6.0, random_2=8.0)
  assert "test error, each network" in text
  assert "random cells: mean 6.00 %, standard deviation 2.00 %" in text and "better than 2 of 3 random cells" in text
  assert [line.split() for line in text.splitlines() if line.startswith(("  found  ", "  random 0"))] == [
    ["found", "5.00", "%"],
    ["random", "0", "4.00", "%"],
  ]
  assert "better than 0 of 2" in report("test error", " %", found=5.0, random_0=5.0, random_1=1.0)  # a tie is no win
  text = report("test perplexity", "", found=105.0, random_0=104.0, random_1=106.0)
  assert "test perplexity, each network" in text and "better than 1 of 2" in text and "%" not in text
  assert "random cells: mean 105.00, standard deviation 1.41" in text


def test_a_training_is_judged_by_error_or_perplexity():
  assert train.outcome_of({"test/accuracy": 0.975, "test/loss": 0.1}) == ("test error", " %", pytest.approx(2.5))
  assert train.outcome_of({"test/perplexity": 55.7, "test/loss": 4.0}) == Outcome("test perplexity", "", 55.7)


@pytest.mark.parametrize(
  "preset, found_result, other_result, said",
  [
    ("digits_demo", {"test/accuracy": 0.99}, {"test/accuracy": 0.98}, "found       1.00 %"),
    ("text_demo", {"test/perplexity": 99.0}, {"test/perplexity": 101.0}, "found      99.00\n"),
  ],
)
def test_the_demo_searches_once_and_retrains_all_cells_alike(tmp_path, monkeypatch, capsys, preset, found_result, other_result, said):
  searches, trainings = [], []

  def fake_train(command, **_):
    assert command[:5] == [sys.executable, "-m", "dnas", "train", f"--preset={preset}_retrain"]
    flags = dict(flag.lstrip("-").split("=", 1) for flag in command[5:])
    trainings.append(flags)
    folder = pathlib.Path(flags["workdir"])
    folder.mkdir(parents=True)
    result = found_result if flags["genotype"].endswith("search") else other_result
    (folder / "result.json").write_text(json.dumps(result | {"train/loss": 0.1, "test/loss": 0.2, "weights": 1000}))
    return subprocess.CompletedProcess(command, 0, "", "")

  monkeypatch.setattr(search, "run", lambda config, options, given: searches.append((config, options.workdir)) or [None])
  monkeypatch.setattr(demo.subprocess, "run", fake_train)
  assert demo.main(["demo", f"--search={preset}", "--random_cells=2", f"--workdir={tmp_path / 'demo'}"]) == 0
  found = str(tmp_path / "demo" / "search")
  assert searches == [(dnas.load_preset(preset), found)]
  assert sorted(flags["genotype"] for flags in trainings) == sorted([found, "random:0", "random:1"])
  assert {tuple(sorted(set(flags) - {"genotype", "workdir"})) for flags in trainings} == {("compilation_cache", "compilation_cache_gb")}
  assert len({flags["workdir"] for flags in trainings}) == 3
  out = capsys.readouterr().out
  assert said in out and "better than 2 of 2" in out


def test_the_demo_takes_searches_that_have_a_retraining(capsys):
  for name in ("text_demo_retrain", "darts_ptb_retrain", "digit_demo"):
    assert demo.main(["demo", f"--search={name}", "--workdir=never_made"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --search is {name}; ") and said.endswith("t can be digits_bench, digits_demo, text_demo.\n")


def test_a_training_that_fails_ends_the_demo_in_one_sentence(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(search, "run", lambda config, options, given: [None])
  monkeypatch.setattr(demo.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", "error: no luck.\n"))
  assert demo.main(["demo", "--search=digits_demo", f"--workdir={tmp_path / 'demo'}"]) == 2
  said = capsys.readouterr().err
  assert said.startswith("error: the training in ") and "no luck" in said and said.count("\n") == 1


def test_the_demo_on_the_benchmark_ranks_the_found_cell_among_all_and_tests_it_once(tmp_path, monkeypatch, capsys):
  table = digits_bench.load(seed=0)
  accuracies = [report_test(table, genotype, 12) for genotype in table.genotypes]
  best = table.genotypes[int(np.argmax(accuracies))]
  trainings = []
  monkeypatch.setattr(search, "run", lambda config, options, given: [SearchResult(best, 30.0, {})])
  monkeypatch.setattr(train, "run", lambda config, options, given: trainings.append((config, options)))
  assert demo.main(["demo", f"--workdir={tmp_path / 'demo'}"]) == 0
  ((config, options),) = trainings
  assert config == dataclasses.replace(dnas.load_preset("digits_bench_retrain"), genotype=str(tmp_path / "demo" / "search"))
  assert options.workdir == str(tmp_path / "demo" / "found")
  out = capsys.readouterr().out
  share = 100 * np.mean(np.array(accuracies) < max(accuracies))
  assert f"better than {share:.0f} % of all 729 architectures, test accuracy {max(accuracies):.2f} %" in out
  number = int(30.0 / table.seconds(12).mean())
  assert f"random search, {number:>3} cells   better than " in out
  assert demo.main(["demo", "--random_cells=3", f"--workdir={tmp_path / 'other'}"]) == 2
  assert "the table of digits_bench ranks the found cell" in capsys.readouterr().err


@pytest.mark.usefixtures("full_compilation")
def test_a_hypergradient_of_the_wrong_sign_falls_below_random_cells(tmp_path, monkeypatch):
  """The search of GAEA on the benchmark, shorter and with half the cells. A random cell is better than half of all on average."""
  table = digits_bench.load()
  shares = 100 * report_shares(table, 12)

  def found(name):
    changes = {"darts.epochs": 12, "darts.diagnose_every": 0, "supernet.cells": 3}
    configs = [dnas.load_preset("digits_bench_gaea", changes | {"seed": seed}) for seed in range(3)]
    cache = cache_flag().partition("=")[2]
    results = [dnas.run_search(config, tmp_path / f"{name}_{config.seed}", compilation_cache=cache) for config in configs]
    return np.mean([shares[table.row(result.genotype)] for result in results])

  right, estimate = found("right"), FirstOrder.__call__

  def ascends(self, *args):
    found = estimate(self, *args)
    return found._replace(arch=jax.tree.map(jnp.negative, found.arch))

  monkeypatch.setattr(FirstOrder, "__call__", ascends)
  assert found("wrong") < min(35, right - 15)


def test_random_search_is_ranked_by_the_expectation_over_its_draws(monkeypatch):
  table = digits_bench.load(seed=0)
  shares, valid = 100 * report_shares(table, 12), table.valid(12)
  rng, seconds = np.random.default_rng(0), table.seconds(12).mean()
  draws = [rng.choice(len(shares), 5, replace=False) for _ in range(4000)]
  sampled = [shares[drawn[np.argmax(valid[drawn])]] for drawn in draws]
  said = demo.rank(SearchResult(table.genotypes[0], 5.5 * float(seconds), {}))
  expected = float(re.search(r"  5 cells   better than (\d+) % on average", said)[1])
  assert abs(expected - np.mean(sampled)) < 0.5 + 3 * np.std(sampled) / len(sampled) ** 0.5
