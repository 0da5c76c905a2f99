"""Comparisons whose evaluators build networks, and differentiable methods in them, through the launcher on shrunken presets."""

import dataclasses
import itertools
import json
import types

import pytest
from helpers import Killed
from tiny_runs import cache_flag

from dnas.core import config as config_lib
from dnas.evaluate import base, hypernetwork, training, zero_cost
from dnas.evaluate.nasbench201_formats import write_npz
from dnas.evaluate.synthetic_table import planted
from dnas.launchers import _presets, compare, report
from dnas.report import comparison as comparisons
from dnas.tune import executors

DATA = {"data.dataset": "synthetic", "data.data_dir": "", "data.batch_size": 32, "data.crop_padding": 1}
TINY = {
  "digits_demo": DATA | {"supernet.channels": 2, "supernet.cells": 3, "supernet.stem_multiplier": 1},
  "digits_demo_retrain": DATA | {"network.channels": 2, "network.cells": 3, "network.stem_multiplier": 1, "train.epochs": 2},
}
TINY["digits_demo"] |= {"darts.epochs": 1, "darts.diagnose_every": 0}  # a diagnosis compiles for seconds

BENCHMARK = ("--table=digits_bench", "--dataset=digits", "--report_epochs=12")


@pytest.fixture(autouse=True)
def shrunken(monkeypatch):
  load = _presets.load

  def tiny(name, launcher):
    return config_lib.replace(load(name, launcher), TINY.get(name, {}))

  monkeypatch.setattr(_presets, "load", tiny)
  ticks = itertools.count(0, 100)
  for module in (base, zero_cost):  # every evaluation takes 100 seconds
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: next(ticks)))
  evaluate = training.Training.__call__
  monkeypatch.setattr(training.Training, "__call__", lambda self, asked: dataclasses.replace(evaluate(self, asked), cost=100.0))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  path = tmp_path_factory.mktemp("table") / "nb201.npz"
  write_npz(path, {"cifar10": planted()})
  return path


def launch(root, *flags):
  common = ("--space=nasbench201", "--seeds=1", "--pool.workers=1", cache_flag())
  return compare.main(["compare", f"--workdir={root}", *common, *map(str, flags)])


def entries(folder):
  return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def check_resume(root, *flags):
  """Cuts every journal in its second line, as a kill does. The same command ends in the same evaluations, and pays for training once."""
  searches = {path: entries(path.parent) for path in root.glob("nasbench201/*/*/seed_*/journal.jsonl")}
  assert len(searches) == 2 and all(len(journal) > 1 for journal in searches.values())
  for path in searches:
    first, second, *_ = path.read_text().splitlines(keepends=True)
    path.write_text(first + second[:20])
    (path.parent / "result.json").unlink()
  assert launch(root, *flags) == 0
  for path, before in searches.items():
    assert entries(path.parent) == before and (path.parent / "result.json").exists()


def test_asha_over_trainings_of_two_lengths_and_a_retraining_at_the_end(tmp_path):
  flags = ("--methods=asha", "--asha.budgets=1,2", "--asha.eta=2", "--evaluator=training", "--training=digits_demo_retrain")
  assert launch(tmp_path, *flags, "--seconds=400") == 0
  folder = tmp_path / "nasbench201/training/asha/seed_0000"
  journal, result = entries(folder), json.loads((folder / "result.json").read_text())
  assert [entry["budget"] for entry in journal] == [1, 1, 2, 1] and all(0 <= entry["score"] <= 1 for entry in journal)
  assert result["test"] == pytest.approx(100 * json.loads((folder / "retrained/result.json").read_text())["test/accuracy"])
  assert result["incumbents"][-1][2] == result["test"] and {row[2] for row in result["incumbents"]} <= {None, result["test"]}
  assert report.main(["report", f"--workdir={tmp_path}"]) == 0 and (tmp_path / "report/anytime.png").exists()


def test_weight_sharing_trains_one_supernet_for_all_methods_of_a_seed(tmp_path, table):
  flags = ("--methods=random_search,regularized_evolution", "--evaluator=weight_sharing", "--search=digits_demo", f"--table={table}")
  assert launch(tmp_path, *flags, "--seconds=500") == 0
  root = tmp_path / "nasbench201/weight_sharing"
  assert {path.name for path in root.iterdir()} == {"supernet_0000", "random_search", "regularized_evolution"}
  trained = [json.loads(line) for line in (root / "supernet_0000/metrics.jsonl").read_text().splitlines()]
  first, second, *_ = entries(root / "random_search/seed_0000")
  assert first["cost"] >= 100 + trained[-1]["seconds"] > second["cost"] == 100  # the first evaluation pays for the supernet
  (one,) = comparisons.load(tmp_path)
  assert set(one.methods) == {"random_search", "regularized_evolution"} and one.incomplete == ()
  check_resume(tmp_path, *flags, "--seconds=500")


def test_a_hypernetwork_is_trained_once_and_a_kill_costs_no_more_than_an_epoch(tmp_path, monkeypatch):
  flags = ("--methods=random_search,regularized_evolution", "--evaluator=hypernetwork", "--search=digits_demo", *BENCHMARK)
  flags += ("--hypernetwork.epochs=3", "--hypernetwork.width=4", "--hypernetwork.passes=1", "--hypernetwork.decoder_width=4")
  end_epoch, ended = hypernetwork.HypernetworkTask.end_epoch, []

  def killed_in_the_third(self, state, epoch, means):
    ended.append(epoch)
    if len(ended) == 3:
      raise Killed
    return end_epoch(self, state, epoch, means)

  monkeypatch.setattr(hypernetwork.HypernetworkTask, "end_epoch", killed_in_the_third)
  with pytest.raises(Killed):
    launch(tmp_path, *flags, "--seconds=350")
  assert launch(tmp_path, *flags, "--seconds=350") == 0 and ended == [1, 2, 3, 3]
  root = tmp_path / "nasbench201/hypernetwork"
  assert {path.name for path in root.iterdir()} == {"supernet_0000", "random_search", "regularized_evolution"}
  first, second, *_ = entries(root / "random_search/seed_0000")
  assert first["cost"] > second["cost"] == 100 and 0 <= first["score"] <= 1
  config = json.loads((root / "random_search/seed_0000/config.json").read_text())["config"]
  assert config["hypernetwork.epochs"] == 3 and config["hypernetwork.encoder"] == "graph"
  check_resume(tmp_path, *flags, "--seconds=350")


def test_the_supernet_of_a_differentiable_search_serves_all_methods_of_a_seed(tmp_path):
  flags = ("--methods=random_search,regularized_evolution", "--evaluator=supernet", "--search=digits_demo", *BENCHMARK, "--seconds=500")
  assert launch(tmp_path, *flags) == 0
  assert json.loads((tmp_path / "nasbench201/supernet/supernet_0000/result.json").read_text())["genotype"]
  check_resume(tmp_path, *flags)


@pytest.mark.parametrize("evaluator", ["training", *zero_cost.PROXIES])
def test_evaluators_that_build_every_network_resume(tmp_path, table, evaluator):
  flags = ("--methods=random_search,regularized_evolution", f"--evaluator={evaluator}", "--training=digits_demo_retrain")
  flags += (f"--table={table}", "--seconds=200")
  assert launch(tmp_path, *flags) == 0
  check_resume(tmp_path, *flags)


def test_a_differentiable_method_beside_a_strategy(tmp_path, table, capsys):
  flags = ("--evaluator=parameters", "--training=digits_demo_retrain", "--search=digits_demo", f"--table={table}", "--seconds=350")
  methods = "--methods=random_search,gdas"
  assert launch(tmp_path, *flags, methods) == 0
  for method in ("random_search", "gdas"):
    folder = tmp_path / f"nasbench201/parameters/{method}/seed_0000"
    result = json.loads((folder / "result.json").read_text())
    assert 0 < result["test"] < 100 and result["evaluations"] == len(entries(folder)) == (1 if method == "gdas" else 3)
  found = json.loads((folder / "search/result.json").read_text())
  assert found["genotype"] == result["genotype"] and result["seconds"] == found["seconds"]
  assert "search by gdas" in (folder / "log.txt").read_text() and "search by gdas" not in capsys.readouterr().out
  config = json.loads((folder / "config.json").read_text())["config"]
  assert config["gdas.method"] == "gdas" and config["gdas.seed"] == 0 and config["gdas.supernet.channels"] == 2
  before = (folder / "result.json").read_bytes()
  (folder / "result.json").unlink()
  assert launch(tmp_path, *flags, methods) == 0 and (folder / "result.json").read_bytes() == before


@pytest.mark.parametrize(
  "flags, sentence",
  [
    (("--evaluator=training",), "--training is ''; the evaluator training takes its networks and data from a preset of dnas train"),
    (("--evaluator=weight_sharing",), "--search is ''; weight sharing takes its supernet and its data from a preset"),
    (("--evaluator=hypernetwork",), "--search is ''; hypernetwork takes its supernet and its data from a preset"),
    (("--evaluator=hypernetwork", "--hypernetwork.encoder=tree"), "--hypernetwork.encoder is tree; it can be flat, graph."),
    (
      ("--evaluator=hypernetwork", "--hypernetwork.encoder=flat", "--hypernetwork.passes=3"),
      "--hypernetwork.passes is 3; it does nothing with --hypernetwork.encoder=flat, so leave it out.",
    ),
    (("--methods=darts",), "--search is ''; darts is differentiable, and takes its supernet, data and rates from a preset"),
    (("--evaluator=training", "--training=digits_demo"), "--training is digits_demo; did you mean 'digits_demo_retrain'?"),
    (("--evaluator=naswot", "--training=text_demo_retrain"), "--training is text_demo_retrain; it is for text"),
    (("--space=darts_conv",), "--space is darts_conv; a table of results is of nasbench201."),
  ],
)
def test_bad_input(tmp_path, capsys, flags, sentence):
  assert launch(tmp_path / "w", *flags) == 2
  out, err = capsys.readouterr()
  assert err.startswith(f"error: {sentence}") and err.count("\n") == 1 and not (tmp_path / "w").exists(), err


def test_the_configuration_of_a_cell_holds_what_its_result_depends_on():
  config = compare.CompareConfig(methods="tpe", seconds=100.0)
  cell = config.of_cell("tpe", 3)
  assert cell["tpe.startup"] == 10 and cell["seed"] == 3 and "seeds" not in cell and "pool" not in str(cell)
  assert dataclasses.replace(config, seeds=7, pool=executors.Config(workers=1)).of_cell("tpe", 3) == cell
