"""Several seeds at once through the launcher: folders, resumption, and what is printed."""

import json
import math

import pytest
from tiny_runs import TEXT_SEARCH, TEXT_TRAIN, history, launch, lines, refusal

from dnas.report.runs import load_run
from dnas.run.console import Display
from dnas.search.gradient.language_workload import LanguageWorkload

FLAGS = (*TEXT_SEARCH, "--num_seeds=2", "--seed=5", "--save_every_steps=2")
NAMES = "seed_0005", "seed_0006"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
  folder = tmp_path_factory.mktemp("seeds") / "run"
  assert launch("search", *FLAGS, f"--workdir={folder}") == 0
  return folder


def test_every_seed_has_the_folder_of_a_search(searched):
  for name in NAMES:
    metrics, result, files = history(searched / name)
    assert [line["epoch"] for line in metrics] == [1, 2]
    assert {"genotype.json", "architecture.jsonl"} <= files.keys() and result["genotype"] == json.loads(files["genotype.json"])
    assert load_run(searched / name).config["seed"] == int(name[-4:])
    assert (searched / name / "pictures").is_dir() and list((searched / name / "tensorboard").iterdir())
    assert (searched / name / "vocabulary.txt").exists()
  assert history(searched / NAMES[0])[0] != history(searched / NAMES[1])[0]


def test_the_run_holds_means_and_deviations(searched):
  result = json.loads((searched / "result.json").read_text())
  each = [json.loads((searched / name / "result.json").read_text())["valid/perplexity"] for name in NAMES]
  assert result["seeds"] == [5, 6]
  assert result["valid/perplexity"]["mean"] == pytest.approx(sum(each) / 2)
  assert result["valid/perplexity"]["standard_deviation"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
  assert lines(searched / "metrics.jsonl")[-1]["valid/perplexity"] == pytest.approx(sum(each) / 2)


def test_a_validation_loss_that_is_not_finite_in_one_of_them_ends_the_run(tmp_path, monkeypatch, capsys):
  whole, calls = LanguageWorkload.evaluate, []

  def evaluate(self, *args, **settings):
    calls.append(args)
    return whole(self, *args, **settings) | ({"loss": math.inf} if len(calls) == 2 else {})

  monkeypatch.setattr(LanguageWorkload, "evaluate", evaluate)
  assert launch("search", *FLAGS, "--save_every_steps=0", f"--workdir={tmp_path / 'run'}") == 1
  err = capsys.readouterr().err
  assert err.startswith("error: the validation loss of epoch 1 is inf; no checkpoint was saved before: lower the learning rate")
  assert err.count("\n") == 1 and not list((tmp_path / "run").rglob("genotype.json"))


def test_a_search_that_was_killed_goes_on(searched, tmp_path, monkeypatch, capsys):
  class Killed(BaseException):
    pass

  whole = Display.step

  def step(self, number, loss):
    if number == 7:
      raise Killed
    whole(self, number, loss)

  monkeypatch.setattr(Display, "step", step)
  with pytest.raises(Killed):
    launch("search", *FLAGS, f"--workdir={tmp_path / 'run'}")
  monkeypatch.undo()
  assert launch("search", *FLAGS, f"--workdir={tmp_path / 'run'}") == 0
  out = capsys.readouterr().out
  assert "resumed after step" in out and "seed 5:" in out and f"--genotype={tmp_path / 'run'}/seed_0006 " in out
  assert "valid/perplexity over 2 seeds" in out
  for name in NAMES:
    assert history(tmp_path / "run" / name) == history(searched / name)


def test_refusals(searched, tmp_path, capsys):
  assert "--num_seeds is 0" in refusal(capsys, "search", tmp_path, *TEXT_SEARCH, "--num_seeds=0")
  assert "2^32" in refusal(capsys, "search", tmp_path, *TEXT_SEARCH, "--num_seeds=2", f"--seed={2**32 - 1}")
  assert f"{searched}/seed_0005" in refusal(capsys, "train", tmp_path, *TEXT_TRAIN, f"--genotype={searched}")
  assert "num_seeds" in refusal(capsys, "search", searched / NAMES[0], *TEXT_SEARCH, "--seed=5")
