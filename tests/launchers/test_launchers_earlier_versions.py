"""Folders that earlier versions wrote: they are read, and runs in them go on.

Version 0.1.0 wrote those of `earlier_versions/0.1.0`, by the flags here, and was stopped there after the first epoch, but for
the comparison, which has come to its end.
"""

import json
import logging
import pathlib
import shutil

import pytest
from tiny_runs import TEXT_SEARCH, TRAIN, cache_flag, lines, refusal, saved_steps

from dnas.launchers import compare, report, search, train
from dnas.report.runs import load_run

FOLDERS = pathlib.Path(__file__).with_name("earlier_versions") / "0.1.0"
CELL = "nasbench201/tabular/random_search/seed_0000"


def copied(name, tmp_path):
  return shutil.copytree(FOLDERS / name, tmp_path / name)


@pytest.mark.parametrize(
  "launcher, name, flags",
  [
    (train, "train", (*TRAIN, "--train.epochs=2", "--genotype=DARTS_V2")),
    (search, "text_search", (*TEXT_SEARCH, "--darts.diagnose_every=5")),
  ],
  ids=["train", "text_search"],
)
def test_a_run_of_an_earlier_version_goes_on(launcher, name, flags, tmp_path, capsys, caplog):
  folder = copied(name, tmp_path)
  before, steps = lines(folder / "metrics.jsonl"), saved_steps(folder)
  with caplog.at_level(logging.WARNING):
    assert launcher.main([name, cache_flag(), f"--workdir={folder}", *flags]) == 0
  assert f"resumed after step {steps[-1]} of" in capsys.readouterr().out
  assert any("dnas: 0.1.0 -> " in record.getMessage() for record in caplog.records), "other software is worth a warning"
  after = lines(folder / "metrics.jsonl")
  assert after[:1] == before and [line["epoch"] for line in after] == [1, 2]
  assert json.loads((folder / "result.json").read_text())
  assert launcher is train or after[-1]["eigenvalue"] > 0, "the last epoch has a diagnosis"


COMPARE = ("--methods=random_search", "--seconds=400", "--seeds=1", "--pool.workers=1")


def test_a_comparison_of_an_earlier_version_is_complete_and_reported(tmp_path, capsys):
  folder = copied("compare", tmp_path)
  before = (folder / CELL / "journal.jsonl").read_text()
  assert compare.main(["compare", cache_flag(), f"--workdir={folder}", *COMPARE]) == 0
  assert "complete: 1 of 1 search" in capsys.readouterr().out
  assert report.main(["report", f"--workdir={folder}"]) == 0
  out = capsys.readouterr().out
  assert "| random_search" in out and f" {before.count(chr(10))} " in out


def test_a_search_whose_strategy_draws_otherwise_now_is_refused(tmp_path, capsys, caplog):
  folder = copied("compare", tmp_path)
  (folder / CELL / "result.json").unlink()  # it was killed
  assert compare.main(["compare", cache_flag(), f"--workdir={folder}", *COMPARE]) == 2
  assert "line 1: it holds" in capsys.readouterr().err and any("0.1.0 -> " in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("name", ["train", "text_search"])
def test_a_run_of_an_earlier_version_is_read(name):
  run = load_run(FOLDERS / name)
  assert run.versions["dnas"] == "0.1.0" and len(run.metrics) == 1 and len(run.genotypes) == (name == "text_search")


def test_a_field_that_is_gone_is_named(tmp_path, capsys):
  folder = copied("train", tmp_path)
  file = folder / "config.json"
  text = file.read_text().replace('"train.momentum"', '"train.impetus": 0.5, "train.momentum"')
  file.write_text(text)
  said = refusal(capsys, "train", folder, *TRAIN, "--train.epochs=2", "--genotype=DARTS_V2")
  assert "train.impetus, which was 0.5, is gone" in said and "another --workdir" in said
