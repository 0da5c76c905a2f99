"""The comparison and its report, through their launchers, on the planted table."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
import tiny_runs

from dnas.core.errors import InputError
from dnas.evaluate import digits_bench
from dnas.evaluate.nasbench201_formats import write_npz
from dnas.evaluate.synthetic_table import planted
from dnas.evaluate.tabular import report_shares, report_test
from dnas.launchers import _presets, compare, report
from dnas.launchers._evaluators import search_config
from dnas.report import comparison as comparisons
from dnas.search.blackbox import study

TINY = ("--methods=random_search,regularized_evolution", "--seconds=2000", "--seeds=3", "--pool.workers=1", "--compilation_cache=none")
CELL = "nasbench201/tabular/regularized_evolution/seed_0001"


def launch(*flags):
  return compare.main(["compare", *map(str, flags)])


def refusal(capsys, module, name, *flags):
  status = module.main([name, *map(str, flags)])
  out, err = capsys.readouterr()
  assert status == 2 and err.startswith("error: ") and err.count("\n") == 1, (status, out, err)
  return err.removeprefix("error: ").strip()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  root = tmp_path_factory.mktemp("comparison")
  assert launch(f"--workdir={root}", *TINY) == 0
  return root


def contents(root):
  return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.name in ("journal.jsonl", "result.json", "genotype.json")}


def test_every_cell_is_a_run_folder_within_the_budget(finished):
  cells = sorted(path.parent for path in finished.rglob("result.json"))
  assert len(cells) == 6 and str(cells[4].relative_to(finished)) == CELL
  table = planted()
  for cell in cells:
    config = json.loads((cell / "config.json").read_text())["config"]
    assert config["method"] == cell.parent.name and config["seconds"] == 2000.0
    assert ("regularized_evolution.population" in config) == (config["method"] == "regularized_evolution")
    entries = [json.loads(line) for line in (cell / "journal.jsonl").read_text().splitlines()]
    result = json.loads((cell / "result.json").read_text())
    assert result["evaluations"] == len(entries) and sum(entry["cost"] for entry in entries) == pytest.approx(result["seconds"])
    assert 1500 < result["seconds"] <= 2000 and result["valid"] == max(entry["score"] for entry in entries)
    times, scores, test = np.array(result["incumbents"]).T
    assert (np.diff(times) > 0).all() and (np.diff(scores) > 0).all() and test[-1] == result["test"] == table._test[200].item(
      int(np.flatnonzero(table.valid(12) == result["valid"])[0])
    )
    assert "test" not in (cell / "journal.jsonl").read_text()  # a search never saw it


def test_a_killed_comparison_goes_on_to_the_same_bytes(finished, tmp_path):
  root = tmp_path / "broken"
  shutil.copytree(finished, root)
  before = contents(root)
  text = (root / CELL / "journal.jsonl").read_text()
  (root / CELL / "journal.jsonl").write_text(text[: len(text) // 2])  # in the middle of a line
  (root / CELL / "result.json").unlink()
  shutil.rmtree(root / "nasbench201/tabular/random_search/seed_0002")
  assert launch(f"--workdir={root}", *TINY) == 0 and contents(root) == before


def test_a_finished_comparison_that_is_repeated_changes_nothing_and_so_does_its_report(finished, tmp_path):
  root = tmp_path / "again"
  shutil.copytree(finished, root)
  assert launch(f"--workdir={root}", *TINY) == 0  # its page names the folder, which has another name now
  before = tiny_runs.contents(root)
  assert launch(f"--workdir={root}", *TINY) == 0 and tiny_runs.contents(root) == before
  assert report.main(["report", f"--workdir={root}"]) == 0
  before = tiny_runs.contents(root)
  assert report.main(["report", f"--workdir={root}"]) == 0 and tiny_runs.contents(root) == before


@pytest.mark.parametrize("text", ["", "{}", '{"method": "random_sea', "[" * 100_000, '{"seed": "one"}'])
def test_a_damaged_result_is_named_and_not_counted_as_complete(finished, tmp_path, capsys, text):
  root = tmp_path / "damaged"
  shutil.copytree(finished, root)
  (root / CELL / "result.json").write_text(text)
  said = refusal(capsys, compare, "compare", f"--workdir={root}", *TINY)
  assert said.startswith(str(root / CELL / "result.json")) and "delete it and give the same command again" in said
  assert report.main(["report", f"--workdir={root}"]) == 0 and f"{CELL} (cannot be read)" in capsys.readouterr().out
  (root / CELL / "result.json").unlink()
  assert launch(f"--workdir={root}", *TINY) == 0 and contents(root) == contents(finished)


def test_a_journal_that_a_power_cut_left_goes_on(finished, tmp_path):
  root = tmp_path / "cut"
  shutil.copytree(finished, root)
  text = (root / CELL / "journal.jsonl").read_text()
  (root / CELL / "journal.jsonl").write_text(text[:1000] + "\0" * 500 + "\n" + text[1501:])  # a block that was not on disk
  (root / CELL / "result.json").unlink()
  assert launch(f"--workdir={root}", *TINY) == 0 and contents(root) == contents(finished)


def test_more_seeds_and_methods_run_what_is_missing(finished, tmp_path, capsys):
  root = tmp_path / "more"
  shutil.copytree(finished, root)
  before = contents(root)
  assert launch(f"--workdir={root}", *TINY, "--methods=random_search,local_search", "--seeds=4") == 0
  assert capsys.readouterr().out.splitlines()[:4] == [
    "complete: 3 of 8 searches",
    "running 5 searches in nasbench201, judged by tabular: random_search, local_search",
    "random_search is complete",
    "local_search is complete",
  ]
  after = contents(root)
  assert before.items() < after.items() and len(list(root.rglob("result.json"))) == 11


def test_two_processes_come_to_the_same_bytes(finished, tmp_path):
  assert launch(f"--workdir={tmp_path}", *TINY, "--pool.workers=2") == 0
  assert contents(tmp_path) == contents(finished)


def test_the_report(finished, capsys):
  assert report.main(["report", f"--workdir={finished}", "--best_of=2"]) == 0
  out = capsys.readouterr().out
  text = (finished / "report/report.md").read_text()
  assert "| regularized_evolution | 3 " in out and "best of 2" in out and "planted: nothing here is a measurement" in text
  for name in ("anytime", "distribution", "correlation"):
    assert (finished / f"report/{name}.png").stat().st_size > 5000 and (finished / f"report/{name}.svg").exists()
    assert f"({name}.png)" in text
  assert r"\begin{tabular}" in (finished / "report/report.tex").read_text()
  (one,) = comparisons.load(finished)
  tests = [search.test for search in one.methods["random_search"]]
  (row,) = [row for row in comparisons.result_table(one, 2).rows if row[0] == "random_search"]
  assert row[5] == f"{np.mean(tests):.2f}" and row[7] == f"{np.std(tests, ddof=1):.2f}" and row[-1] == "–"


def test_a_report_leaves_out_what_has_not_ended_and_says_so(finished, tmp_path, capsys):
  root = tmp_path / "part"
  shutil.copytree(finished, root)
  (root / CELL / "result.json").unlink()
  (root / "nasbench201/tabular/random_search/seed_0000/result.json").write_text("{")
  assert report.main(["report", f"--workdir={root}"]) == 0
  assert CELL in capsys.readouterr().out
  assert "seed_0000 (cannot be read)" in (root / "report/report.md").read_text()


def test_published_figures_stand_beside_those_of_a_real_table(finished, tmp_path):
  root = tmp_path / "real"
  shutil.copytree(finished, root)
  for path in root.rglob("config.json"):
    path.write_text(path.read_text().replace('"table": "synthetic"', '"table": "nb201.npz"'))
  (one,) = comparisons.load(root)
  published = [row for row in comparisons.result_table(one).rows if "published" in row[0]]
  assert any(row[0].startswith("DARTS, first order") and row[5] == "54.30±0.00" for row in published)


def test_bad_input(tmp_path, capsys):
  where = f"--workdir={tmp_path / 'w'}"
  cases = [
    (("--methods=random_searh",), "--methods is random_searh; did you mean 'random_search'?"),
    (("--methods=reinforce,reinforce",), "--methods is reinforce,reinforce; a method is given twice"),
    (("--space=darts_conv",), "--space is darts_conv"),
    (("--evaluator=table",), "--evaluator is table; did you mean 'tabular'?"),
    (("--dataset=cifar100",), "--dataset is cifar100; the built-in table is for cifar10 only"),
    (("--table=nowhere.npz",), "nowhere.npz does not exist; give the npz of NAS-Bench-201."),
    (("--epochs=13",), "it has no training of 13 epochs; the budget can be 12 or 200."),
    (("--seconds=10", "--pool.workers=1"), "--seconds is 10.0; an evaluation of 12 epochs costs up to "),
    (("--reinforce.learning_rate=1", "--methods=random_search"), "--reinforce.learning_rate is 1.0; it does nothing with"),
    (("--methods=asha", "--asha.budgets=12,x"), "--asha.budgets"),
    (("--methods=asha",), "--methods is asha; it asks for 1 epoch, and planted table (seed 0) has no such training, so change them by"),
    (("--methods=asha", "--asha.budgets=200", "--seconds=300"), "--seconds is 300.0; an evaluation of 200 epochs costs up to "),
    (
      ("--methods=tpe,hyperband", "--evaluator=training", "--space=darts_conv", "--training=digits_demo_retrain"),
      "--methods is hyperband; it asks for 27 epochs, and --training=digits_demo_retrain, with 10 epochs, has no such training",
    ),
  ]
  for flags, sentence in cases:
    assert sentence in refusal(capsys, compare, "compare", where, *flags), flags
  assert not (tmp_path / "w").exists()
  assert refusal(capsys, compare, "compare").startswith("--workdir is empty")
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "config.json").write_text("{}")
  assert "holds 'config.json', so it is the folder of a run" in refusal(capsys, compare, "compare", f"--workdir={tmp_path / 'run'}")
  assert "holds no comparison" in refusal(capsys, report, "report", f"--workdir={tmp_path}")


def test_a_comparison_of_another_budget_is_refused(finished, capsys):
  (finished / CELL / "result.json").rename(finished / "kept.json")
  try:
    message = refusal(capsys, compare, "compare", f"--workdir={finished}", *TINY, "--seconds=3000")
  finally:
    (finished / "kept.json").rename(finished / CELL / "result.json")
  assert "seconds: 2000.0 -> 3000.0" in message


def test_a_table_without_its_columns_or_rows_is_refused(tmp_path, capsys):
  path = tmp_path / "table.npz"
  write_npz(path, {"cifar10": planted()})
  with np.load(path) as file:
    columns = dict(file)
  np.savez(tmp_path / "short.npz", **{name: column if name == "op_names" else column[:-5] for name, column in columns.items()})
  np.savez(tmp_path / "none.npz", **{name: column for name, column in columns.items() if name != "c10_12_val"})
  where = f"--workdir={tmp_path / 'w'}"
  assert "5 of 15625 architectures are missing" in refusal(capsys, compare, "compare", where, f"--table={tmp_path / 'short.npz'}")
  message = refusal(capsys, compare, "compare", where, f"--table={tmp_path / 'none.npz'}")
  assert "12" in message


def test_asha_takes_its_rungs_from_a_flag(tmp_path):
  assert launch(f"--workdir={tmp_path}", "--methods=asha", "--asha.budgets=12,200", "--seconds=20000", "--seeds=1", "--pool.workers=1") == 0
  lines = [json.loads(line) for line in (tmp_path / "nasbench201/tabular/asha/seed_0000/journal.jsonl").read_text().splitlines()]
  assert {line["budget"] for line in lines} == {12, 200}


def test_searches_of_two_budgets_are_not_compared(finished, tmp_path):
  root = tmp_path / "mixed"
  shutil.copytree(finished, root)
  path = root / CELL / "config.json"
  path.write_text(path.read_text().replace('"seconds": 2000.0', '"seconds": 1000.0'))
  with pytest.raises(InputError, match="its seconds is 1000.0 and other runs have 2000.0"):
    comparisons.load(root)
  path.write_text(path.read_text().replace('"seconds": 1000.0, ', "").replace('"seconds": 1000.0,\n', ""))
  with pytest.raises(InputError, match="its seconds is None and other runs have 2000.0|its seconds is 2000.0 and other runs have None"):
    comparisons.load(root)


def test_a_comparison_on_the_benchmark_stays_in_its_space_and_looks_up_one_training_of_each(tmp_path, capsys):
  flags = ("--preset=digits_bench_comparison", "--methods=random_search,asha", "--seeds=4", "--seconds=6", "--pool.workers=1")
  assert compare.main(["compare", *flags, "--compilation_cache=none", f"--workdir={tmp_path}"]) == 0
  for method, seed in itertools.product(("random_search", "asha"), range(4)):
    folder = tmp_path / "nasbench201" / "tabular" / method / f"seed_{seed:04d}"
    table = digits_bench.load(seed % 3)
    entries = study.from_lines((folder / "journal.jsonl").read_text(), table.space, "journal")
    assert entries and all(table.row(proposal.genotype) >= 0 for proposal, _ in entries)
    for proposal, evaluation in entries:
      assert evaluation.score == table.valid(proposal.budget or 12)[table.row(proposal.genotype)]
    if method == "asha":
      promoted = [(proposal, evaluation.cost) for proposal, evaluation in entries if proposal.parent]
      for proposal, cost in promoted:
        assert cost < float(table.seconds(proposal.budget)[table.row(proposal.genotype)])
    result = json.loads((folder / "result.json").read_text())
    found = table.space.parse(result["genotype"])
    assert result["test"] == report_test(table, found, 12)
    assert result["percentile"] == 100 * report_shares(table, 12)[table.row(found)]
  assert any(proposal.parent for proposal, _ in entries)
  assert compare.main(["compare", *flags[:-1], "--dataset=cifar10", f"--workdir={tmp_path / 'other'}"]) == 2
  assert "--dataset is cifar10; the table digits_bench is of digits" in capsys.readouterr().err
  search = ("--preset=digits_bench_comparison", "--methods=darts", "--search=digits_demo", f"--workdir={tmp_path / 'other'}")
  assert compare.main(["compare", *search]) == 2
  assert "which the table lacks; name a preset that leaves them out" in capsys.readouterr().err


def test_a_preset_named_after_the_search_is_a_method_with_its_own_remedies(tmp_path, capsys):
  config = compare.CompareConfig(methods="darts,darts_projection,gaea,gp", search="digits_bench", table="digits_bench", dataset="digits")
  own = _presets.load("digits_bench_darts_projection", "search")
  assert search_config(config, "darts_projection", 4) == dataclasses.replace(own, seed=4)
  assert own.remedies.projection and own.method == "darts" and not search_config(config, "darts", 4).remedies.projection
  assert config.of_cell("darts_projection", 4)["darts_projection.remedies.projection"] is True
  assert search_config(config, "gaea", 4) == dataclasses.replace(_presets.load("digits_bench_gaea", "search"), seed=4)
  plain = search_config(dataclasses.replace(config, methods="gaea", search="digits_bench_darts"), "gaea", 4)  # it has no preset of its own
  assert plain == dataclasses.replace(_presets.load("digits_bench_darts", "search"), method="gaea", seed=4)
  said = refusal(capsys, compare, "compare", f"--workdir={tmp_path / 'w'}", "--search=digits_bench", "--methods=darts_projektion")
  assert said.startswith("--methods is darts_projektion; did you mean 'darts_projection'?") and said.count(" darts,") == 1
  said = refusal(capsys, compare, "compare", f"--workdir={tmp_path / 'w'}", "--search=digits_demo", "--methods=darts_projection")
  assert said.startswith("--methods is darts_projection; it can be asha, ")
