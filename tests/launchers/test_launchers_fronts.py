"""Comparisons with several objectives and their report, through their launchers, on tables."""

import json
import os
import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest

from dnas.core import pareto
from dnas.evaluate import digits_bench, nasbench201_formats
from dnas.evaluate.synthetic_table import planted
from dnas.evaluate.tabular import all_genotypes, report_test
from dnas.launchers import _comparison_settings, _objectives, compare, report, train
from dnas.launchers._network_trials import NetworkTrialsConfig
from dnas.report import comparison as comparisons
from dnas.report import fronts

METHODS = "--methods=random_search,regularized_evolution,nsga2"
OURS = ("--preset=digits_bench_comparison", "--seeds=2", "--seconds=15", "--pool.workers=1", "--compilation_cache=none")
TINY = (*OURS, METHODS, "--objectives=accuracy,multiply_adds,weights", "--nsga2.population=5")
CELL = "nasbench201/tabular/nsga2/seed_0001"
SENTENCE = "regularized_evolution has one objective and searches for accuracy, not for costs; what it evaluates enters the front too.\n"
DATA = pathlib.Path(os.environ.get("DNAS_DATA_DIR", "")) / "nb201"


def launch(*flags):
  return compare.main(["compare", *map(str, flags)])


def refusal(capsys, *flags):
  status = launch(*flags)
  out, err = capsys.readouterr()
  assert status == 2 and err.startswith("error: ") and err.count("\n") == 1, (status, out, err)
  return err.removeprefix("error: ").strip()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  root = tmp_path_factory.mktemp("fronts")
  assert launch(f"--workdir={root}", *TINY) == 0
  return root


def contents(root):
  return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.name in ("journal.jsonl", "result.json", "genotype.json")}


def lines(cell):
  return [json.loads(line) for line in (cell / "journal.jsonl").read_text().splitlines()]


def test_a_result_has_the_front_of_its_search_with_test_accuracy(finished):
  cells = sorted(path.parent for path in finished.rglob("result.json"))
  assert len(cells) == 6
  for cell in cells:
    table, journal = digits_bench.load(int(cell.name[-1])), lines(cell)
    points = np.array([(-line["score"], line["metrics"]["multiply_adds"], line["metrics"]["weights"]) for line in journal])
    front = json.loads((cell / "result.json").read_text())["front"]
    wanted = {tuple(point) for point in points if not any((other <= point).all() and (other < point).any() for other in points)}
    assert {(-one["score"], *(one["costs"][name] for name in ("multiply_adds", "weights"))) for one in front} == wanted
    assert len(front) == len(wanted)
    for one in front:
      genotype = table.space.parse(one["notation"])
      row = table.row(genotype)
      assert one["test"] == report_test(table, genotype, 12) and one["score"] == table.valid(12)[row]
      assert one["costs"] == {name: table.costs[name][row] for name in ("multiply_adds", "weights")}


def test_a_killed_comparison_goes_on_to_the_same_bytes_and_a_strategy_of_one_objective_says_so(finished, tmp_path, capsys):
  root = tmp_path / "broken"
  shutil.copytree(finished, root)
  before = contents(root)
  for cell in root.glob("nasbench201/tabular/*/seed_0001"):
    text = (cell / "journal.jsonl").read_text()
    (cell / "journal.jsonl").write_text(text[: len(text) // 2])  # in the middle of a line
    (cell / "result.json").unlink()
  shutil.rmtree(root / "nasbench201/tabular/nsga2/seed_0000")
  assert launch(f"--workdir={root}", *TINY) == 0 and contents(root) == before
  assert capsys.readouterr().out.count(SENTENCE) == 1
  assert "objectives: accuracy,multiply_adds,weights -> accuracy,weights" in refusal(
    capsys, f"--workdir={root}", *TINY, "--objectives=accuracy,weights"
  )


def test_hypervolumes_are_shares_of_the_rectangle_of_all_evaluations(finished):
  (one,) = comparisons.load(finished)
  assert one.costs == ("multiply_adds", "weights")
  every = [line for cell in finished.rglob("journal.jsonl") for line in lines(cell.parent)]
  scores, costs = (np.array(column) for column in zip(*((line["score"], line["metrics"]["weights"]) for line in every), strict=True))
  assert fronts.bounds(one, "weights") == (scores.min(), costs.max(), scores.max(), costs.min())
  whole = (scores.max() - scores.min()) * (costs.max() - costs.min())
  volumes = fronts.hypervolumes(one, "weights")
  for seed, found in enumerate(volumes["nsga2"]):
    journal = lines(finished / f"nasbench201/tabular/nsga2/seed_{seed:04d}")
    points = [(-line["score"], line["metrics"]["weights"]) for line in journal]
    assert len(found) == len(points)
    assert found[-1] == pytest.approx(pareto.hypervolume(points, (-scores.min(), costs.max())) / whole) and 0 < found[-1] <= 1
  (row,) = [row for row in fronts.hypervolume_table(one).rows if row[0] == "nsga2"]
  assert row[5] == f"{np.mean([found[-1] for found in volumes['nsga2']]):.4f}"


def test_the_report_has_the_front_and_the_command_that_retrains_each_network(finished, capsys):
  assert report.main(["report", f"--workdir={finished}"]) == 0
  out = capsys.readouterr().out
  text = (finished / "report/report.md").read_text()
  for name in ("front", "hypervolume"):
    assert (finished / f"report/{name}.png").stat().st_size > 5000 and f"({name}.png)" in text
  (one,) = comparisons.load(finished)
  found = fronts.networks(one, "multiply_adds")
  costs, scores = ([network.costs["multiply_adds"] for network, _ in found], [network.score for network, _ in found])
  assert costs == sorted(set(costs)) and scores == sorted(set(scores)) and len(found) > 2
  every = [line for cell in finished.rglob("journal.jsonl") for line in lines(cell.parent)]
  for line in every:
    cost = line["metrics"]["multiply_adds"]
    assert any(network.score >= line["score"] and network.costs["multiply_adds"] <= cost for network, _ in found)
  commands = [line for line in text.split("## Fronts")[1].splitlines() if " train --preset=" in line]
  assert [*dict.fromkeys(commands)] == [line for line in out.splitlines() if " train --preset=" in line]
  assert len(set(commands)) >= len(found)
  for (network, methods), command in zip(found, commands, strict=False):
    flags = [word for word in shlex.split(command) if word.startswith("--")]
    config, options, _ = train.LAUNCHER.parse(["train", *flags])
    assert digits_bench.SPACE.notation(train.genotype_of(config)) == network.notation
    assert config.train.epochs == 12 and re.fullmatch(rf"{re.escape(str(finished))}/retrained/[0-9a-f]{{8}}", options.workdir)
    assert methods and set(methods) <= set(one.methods)
    assert f"{network.test:.2f}" in text and network.notation.replace("|", "\\|") in text
  assert "lowest and the highest values of all evaluations of the comparison" in text


def test_what_is_attained_is_the_score_of_a_search_within_a_cost():
  rng = np.random.default_rng(0)
  searches = [np.stack([-rng.integers(0, 50, 12), rng.integers(1, 9, 12)], axis=1).astype(float) for _ in range(9)]
  searches[4][3:5] = np.nan
  grid = np.arange(0.5, 10)
  quartiles = fronts.attained(searches, grid)
  for place, cost in enumerate(grid):
    best = sorted(max((-score for score, price in search if price <= cost), default=-np.inf) for search in searches)
    for row, rank in enumerate((2, 4, 6)):
      assert quartiles[row, place] == best[rank] or (best[rank] == -np.inf and np.isnan(quartiles[row, place]))


def test_an_older_comparison_has_no_front_and_goes_on(tmp_path, capsys):
  flags = (*OURS, "--methods=random_search")
  assert launch(f"--workdir={tmp_path}", *flags, "--seeds=1") == 0
  path = tmp_path / "nasbench201/tabular/random_search/seed_0000/config.json"
  text = json.loads(path.read_text())
  for name in ("objectives", "latencies"):  # as a version without objectives wrote it
    del text["config"][name]
  path.write_text(json.dumps(text))
  assert launch(f"--workdir={tmp_path}", *flags) == 0 and "complete: 1 of 2 searches" in capsys.readouterr().out
  assert report.main(["report", f"--workdir={tmp_path}"]) == 0
  assert "| random_search | 2 " in capsys.readouterr().out and not (tmp_path / "report/front.png").exists()


def test_costs_that_no_table_knows_are_counted(tmp_path, capsys):
  flags = ("--preset=digits_bench_comparison", "--evaluator=parameters", "--training=digits_bench_retrain", "--seeds=1", "--pool.workers=1")
  methods = ("--methods=regularized_evolution", "--regularized_evolution.limit_of=multiply_adds", "--regularized_evolution.limit=60000")
  budget = ("--regularized_evolution.population=3", "--regularized_evolution.tournament=2", "--seconds=3", "--compilation_cache=none")
  assert launch(f"--workdir={tmp_path}", *flags, *methods, *budget, "--objectives=accuracy,weights") == 0
  cell, table = tmp_path / "nasbench201/parameters/regularized_evolution/seed_0000", digits_bench.load(0)
  for line in lines(cell):
    row = table.row(table.space.parse(line["genotype"]))
    assert [line["metrics"][name] for name in table.costs] == [table.costs[name][row] for name in table.costs]
  result = json.loads((cell / "result.json").read_text())
  assert table.costs["multiply_adds"][table.row(table.space.parse(result["genotype"]))] == result["costs"]["multiply_adds"] <= 60_000
  assert 1 <= len(result["front"]) and all(one["costs"]["weights"] <= 20_112 for one in result["front"])
  tight = (*methods[:2], "--regularized_evolution.limit=1", "--seconds=1", "--compilation_cache=none")
  assert launch(f"--workdir={tmp_path / 'tight'}", *flags, *tight) == 0
  said = "warning: regularized_evolution evaluated no network within its limit, 1 multiply_adds; the least was "
  assert said in capsys.readouterr().out


def test_without_a_training_the_data_of_the_table_retrain():
  table = {"table": "digits_bench", "dataset": "digits", "training": "", "space": "nasbench201"}
  for evaluator in ("tabular", "weight_sharing"):
    assert " train --preset=digits_bench_retrain " in _objectives.retraining(table | {"evaluator": evaluator}, "|none~0|", "w")
  other = {"table": "nb.npz", "dataset": "imagenet16_120", "evaluator": "weight_sharing"}
  assert not _objectives.retraining(table | other, "|none~0|", "w")


def test_a_limited_evolution_finds_a_network_within_the_limit(tmp_path, capsys):
  limits = ("--methods=regularized_evolution", "--regularized_evolution.limit_of=multiply_adds", "--regularized_evolution.limit=40000")
  assert launch(f"--workdir={tmp_path}", *OURS, *limits) == 0 and "one objective" not in capsys.readouterr().out
  for cell in tmp_path.glob("*/*/*/seed_*"):
    table, found = digits_bench.load(0), json.loads((cell / "result.json").read_text())
    assert table.costs["multiply_adds"][table.row(table.space.parse(found["genotype"]))] <= 40_000
    assert found["valid"] == max(line["score"] for line in lines(cell) if line["metrics"]["multiply_adds"] <= 40_000)
    assert json.loads((cell / "config.json").read_text())["config"]["regularized_evolution.limit"] == 40_000


def test_refused(tmp_path, capsys):
  np.savez(tmp_path / "short.npz", phone=np.ones(3))
  np.savez(tmp_path / "good.npz", phone=np.ones(729))
  evolution, training = (*OURS, "--methods=regularized_evolution"), ("--evaluator=naswot", "--training=digits_bench_retrain")
  limit, limit_of = "--regularized_evolution.limit", "--regularized_evolution.limit_of"
  phone = "--objectives=accuracy,latency/phone"
  cases = [
    (("--objectives=weights",), "--objectives is weights; give accuracy, then costs, with commas between them."),
    (("--objectives=accuracy,",), "--objectives is accuracy,; give accuracy, then costs"),
    (("--objectives=accuracy,weights,weights",), "--objectives is accuracy,weights,weights; an objective is given twice"),
    (
      (*OURS, "--objectives=accuracy,flops"),
      "--objectives is accuracy,flops; the evaluator tabular gives accuracy, weights, multiply_adds, so it cannot be flops.",
    ),
    ((*OURS, phone), "weights, multiply_adds, and a latency with --latencies=FILE.npz, so it cannot be latency/phone."),
    ((*OURS, phone, "--latencies=nowhere.npz"), "nowhere.npz does not exist; give an npz with a column of latencies for every device."),
    ((*OURS, phone, f"--latencies={tmp_path}/short.npz"), "digits_bench (seed 0): latency/phone has shape (3,); give one number for each"),
    ((*OURS, f"--latencies={tmp_path}/good.npz"), "it does nothing without an objective or a limit of latency/COLUMN, so leave it out."),
    (("--objectives=accuracy,weights",), "the evaluator tabular gives accuracy, so it cannot be weights."),
    ((*training, "--objectives=accuracy,latency/x"), "the evaluator naswot gives accuracy, weights, multiply_adds, activation_bytes, so"),
    ((*training, f"--latencies={tmp_path}/good.npz"), "it does nothing with --evaluator=naswot, so leave it out."),
    ((*evolution, f"{limit}=5"), f"{limit} is 5.0; it does nothing without --regularized_evolution.limit_of, so leave it out."),
    ((*evolution, f"{limit_of}=weights"), f"{limit} is 0.0; give the most weights that a network may have."),
    ((*evolution, f"{limit_of}=flops", f"{limit}=5"), f"{limit_of} is flops; the evaluator tabular gives accuracy, weights, mul"),
    ((*evolution, f"{limit_of}=weights", f"{limit}=5"), f"{limit} is 5.0; weights of the table are 1,296 to 20,112, so it leaves nothing."),
    ((*evolution, f"{limit_of}=weights", f"{limit}=30000"), "weights of the table are 1,296 to 20,112, so it does nothing."),
  ]
  for flags, sentence in cases:
    assert sentence in refusal(capsys, f"--workdir={tmp_path / 'w'}", *flags), flags
  assert not (tmp_path / "w").exists()
  assert NetworkTrialsConfig().idle(limit[2:]) == "it does nothing without --regularized_evolution.limit_of, so leave it out"


def test_alike_costs_and_damaged_files_make_a_report(tmp_path, capsys):
  np.savez(tmp_path / "same.npz", phone=np.ones(729))
  root = tmp_path / "w"
  phone = ("--objectives=accuracy, latency/phone", f"--latencies={tmp_path / 'same.npz'}")
  assert launch(*OURS, "--methods=random_search", *phone, f"--workdir={root}") == 0
  assert report.main(["report", f"--workdir={root}"]) == 0 and "| random_search | 2 " in capsys.readouterr().out
  path = root / "nasbench201/tabular/random_search/seed_0001/result.json"
  good = json.loads(path.read_text())
  assert good["costs"] == {"latency/phone": 1.0}
  for front in ([], [{**good["front"][0], "costs": {}}], [{**good["front"][0], "costs": [1]}]):
    path.write_text(json.dumps(good | {"front": front}))
    assert report.main(["report", f"--workdir={root}"]) == 0
    assert "left out, as they have not ended: nasbench201/tabular/random_search/seed_0001 (cannot be read)" in capsys.readouterr().out
  path.unlink()
  np.savez(tmp_path / "same.npz", phone=2 * np.ones(729))
  _comparison_settings.read_latencies.cache_clear()  # as in a new process
  assert "latencies.digest" in refusal(capsys, *OURS, "--methods=random_search", *phone, f"--workdir={root}")


def test_latencies_of_ones_own_are_an_objective(tmp_path):
  path = tmp_path / "latencies.npz"
  np.savez(path, phone=np.linspace(1, 9, 729), laptop=np.ones(729))
  flags = (*OURS, "--methods=nsga2", "--seeds=1", "--objectives=accuracy,latency/phone", f"--latencies={path}")
  assert launch(*flags, f"--workdir={tmp_path / 'w'}") == 0
  order = all_genotypes(digits_bench.SPACE)
  for line in lines(tmp_path / "w/nasbench201/tabular/nsga2/seed_0000"):
    row = order.index(digits_bench.SPACE.parse(line["genotype"]))
    assert line["metrics"]["latency/phone"] == np.linspace(1, 9, 729)[row] and "latency/laptop" not in line["metrics"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the real table is read where DNAS_DATA_DIR names the folder of nb201/nb201.npz")
def test_on_the_real_table_nsga2_has_the_largest_hypervolume(tmp_path):
  flags = ("--preset=nasbench201_tabular", f"--table={DATA / 'nb201.npz'}", METHODS, "--seeds=12", "--pool.workers=1")
  assert launch(*flags, "--objectives=accuracy,multiply_adds", "--compilation_cache=none", f"--workdir={tmp_path}") == 0
  (one,) = comparisons.load(tmp_path)
  means = {name: np.mean([found[-1] for found in own]) for name, own in fronts.hypervolumes(one, "multiply_adds").items()}
  assert max(means, key=lambda name: means[name]) == "nsga2" and min(means.values()) > 0.93


def test_costs_of_a_file_are_read_for_the_networks_that_they_are_of(tmp_path):
  costs = {"weights": np.arange(15_625), "multiply_adds": np.arange(15_625)[::-1]}
  path, table = tmp_path / "table.npz", planted().with_costs(costs)
  nasbench201_formats.write_npz(path, {"cifar10": table, "cifar100": planted()})
  read = nasbench201_formats.read_npz(path, "cifar10")
  assert {name: column.tolist() for name, column in read.costs.items()} == {name: column.tolist() for name, column in costs.items()}
  assert not nasbench201_formats.read_npz(path, "cifar100").costs
