"""The list of runs: every state, what belongs together, and folders that hold something else."""

import json
import shutil

import pytest
from pages_made import comparison, tuning, write

from dnas.core.errors import InputError
from dnas.report.listing import find
from dnas.run.loop import Stopped
from dnas.run.run_folder import RunFolder

CONFIG = {"darts.epochs": 4}


def told(root):
  return {str(one.folder.relative_to(root)): (one.kind, one.state, one.progress, one.result) for one in find(root)}


def test_a_run_is_running_while_its_folder_is_locked(tmp_path):
  with RunFolder.open(tmp_path / "run", "search", CONFIG) as folder:
    folder.append({"epoch": 1, "step": 3, "seconds": 1.0, "metrics": {"train/loss": 1.0}})
    assert told(tmp_path) == {"run": ("search", "running", "1 of 4 epochs", "")}
  assert told(tmp_path) == {"run": ("search", "interrupted", "1 of 4 epochs", "")}
  with RunFolder.open(tmp_path / "run", "search", CONFIG) as folder:
    folder.write_result({"valid/accuracy": 0.5})
  assert told(tmp_path) == {"run": ("search", "finished", "1 epoch", "validation accuracy 50.00 %")}


def test_a_run_has_failed_until_it_goes_on(tmp_path):
  with pytest.raises(ValueError), RunFolder.open(tmp_path / "run", "train", {"train.epochs": 2}):
    raise ValueError("the loss is nan\nat step 3")
  assert told(tmp_path) == {"run": ("training", "failed", "0 of 2 epochs", "ValueError: the loss is nan")}
  with RunFolder.open(tmp_path / "run", "train", {"train.epochs": 2}):
    assert told(tmp_path)["run"][1] == "running"
  assert told(tmp_path)["run"][1] == "interrupted" and not (tmp_path / "run" / "failure.txt").exists()


@pytest.mark.parametrize("error", [Stopped("asked to"), InputError("wrong"), KeyboardInterrupt()])
def test_who_stops_a_run_does_not_make_it_fail(tmp_path, error):
  with pytest.raises(type(error)), RunFolder.open(tmp_path / "run", "search", CONFIG):
    raise error
  assert told(tmp_path)["run"][1] == "interrupted"


def test_what_belongs_together_is_one_line(tmp_path, write_run, darts):
  comparison(tmp_path / "compared")
  tuning(tmp_path / "deep" / "tuned")
  trial = tmp_path / "deep" / "tuned" / "trials" / "trial_0000"
  trial.mkdir(parents=True)
  shutil.copy(tmp_path / "deep" / "tuned" / "config.json", trial)
  seeds = write_run(darts, epochs=2)
  header = json.loads((seeds / "config.json").read_text())
  write(seeds / "config.json", {**header, "config": {"num_seeds": 2}})
  shutil.copytree(seeds, seeds / "seed_0002")
  (seeds / "result.json").write_text(json.dumps({"valid/accuracy": {"mean": 0.25, "standard_deviation": 0.1}}))
  found = told(tmp_path)
  assert found.pop("run") == ("search of 2 seeds", "finished", "2 epochs", "validation accuracy 25.00 %")
  assert found.pop("deep/tuned") == ("tuning", "finished", "4 trials", "best value 0.95")
  kind, state, progress, result = found.pop("compared")
  assert (kind, state, progress) == ("comparison", "finished", "6 runs") and result.startswith("best mean test accuracy") and not found
  (tmp_path / "compared/nasbench201/tabular/tpe/seed_0001/result.json").unlink()
  assert told(tmp_path)["compared"][1:3] == ("interrupted", "5 of 6 runs")


def test_what_is_no_run_is_left_out(tmp_path):
  for name, text in (("a", "{"), ("b", "[1]"), ("c", '{"model": 1}')):
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(text)
  assert find(tmp_path) == []


@pytest.mark.parametrize("best", [{"values": ["x"]}, {"values": [None]}, {"values": {"a": 1}}])
def test_a_result_that_cannot_be_read_hides_no_other_run(tmp_path, best):
  for name in ("damaged", "whole"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(json.dumps({"launcher": "tune", "config": {}}))
  (tmp_path / "damaged" / "result.json").write_text(json.dumps({"best": best}))
  (tmp_path / "whole" / "result.json").write_text(json.dumps({"best": {"values": [0.5]}}))
  assert [one.result for one in find(tmp_path)] == ["a result that cannot be read", "best value 0.5"]
