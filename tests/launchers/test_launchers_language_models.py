"""Human-designed language models through the launcher: training, finetuning, dynamic evaluation."""

import json
import shutil

import pytest
from tiny_runs import TEXT_DATA, launch, refusal

from dnas.data import base
from dnas.train.dynamic_evaluation import DynamicEvaluation

MODEL = ("--model=awd_lstm", "--awd_lstm.embedding=4", "--awd_lstm.units=5", "--awd_lstm.layers=2")
TRAIN = (*MODEL, "--data.dataset=synthetic_text", *TEXT_DATA, "--train.epochs=2", "--train.learning_rate=5")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("trained") / "run"
  flags = ("--dynamic_evaluation", "--dynamic.statistics_batch_size=4")
  order, make, open_test = [], DynamicEvaluation.__init__, base.open_test
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(DynamicEvaluation, "__init__", lambda *args: order.append("statistics") or make(*args))
    patch.setattr(base, "open_test", lambda *args: order.append("test") or open_test(*args))
    assert launch("train", *TRAIN, *flags, f"--workdir={workdir}") == 0
  assert order == ["statistics", "test"]
  return workdir


def result_of(workdir):
  return json.loads((workdir / "result.json").read_text())


def test_a_model_is_trained_and_dynamic_evaluation_stands_beside_the_test(trained):
  result, config = result_of(trained), json.loads((trained / "config.json").read_text())["config"]
  assert result["model"] == "awd_lstm" and "genotype" not in result and result["test/perplexity"] > 1
  assert result["test/dynamic_perplexity"] > 1 and result["test/dynamic_perplexity"] != result["test/perplexity"]
  assert config["awd_lstm.units"] == 5 and not {"mos_lstm.units", "network.units", "genotype"} & set(config)


def test_finetuning_starts_from_the_best_weights(trained, tmp_path):
  flags = (*TRAIN, f"--start_from={trained}", "--train.average_from_start", "--train.learning_rate=1e-9")
  assert launch("train", *flags, f"--workdir={tmp_path / 'run'}") == 0
  best = result_of(trained)["best/valid_perplexity"]
  assert result_of(tmp_path / "run")["best/valid_perplexity"] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--dynamic.segment=3"], "--dynamic.segment is 3; it does nothing without --dynamic_evaluation, so leave it out."),
    (["--start_from=/nowhere"], "--start_from is /nowhere; run folder '/nowhere' does not exist; give the folder that"),
    (["--dynamic_evaluation", "--dynamic.segment=1000"], "--dynamic.segment is 1000; with statistics_batch_size 100 a column has 3 words"),
    (["--dynamic_evaluation", "--test=false"], "--dynamic_evaluation is True; it does nothing without a test, so leave it out."),
    (["--network.units=3"], "--network.units is 3; it is a setting of networks of cells and does nothing with --model=awd_lstm"),
    (["--mos_lstm.units=3"], "--mos_lstm.units is 3; it does nothing with --model=awd_lstm, so leave it out, or choose --model=mos_lstm."),
  ],
)
def test_what_cannot_be(flags, sentence, tmp_path, capsys):
  assert refusal(capsys, "train", tmp_path / "run", *TRAIN, *flags).startswith(sentence) and not (tmp_path / "run").exists()


def test_a_training_that_has_begun_does_without_the_folder_that_it_started_from(trained, tmp_path):
  flags = ("train", *TRAIN, f"--start_from={tmp_path / 'copy'}", f"--workdir={tmp_path / 'run'}")
  shutil.copytree(trained, tmp_path / "copy")
  assert launch(*flags) == 0
  before = (tmp_path / "run" / "result.json").read_bytes()
  shutil.rmtree(tmp_path / "copy")
  assert launch(*flags) == 0 and (tmp_path / "run" / "result.json").read_bytes() == before


def test_weights_of_another_size_are_refused(trained, tmp_path, capsys):
  said = refusal(capsys, "train", tmp_path / "run", *TRAIN, "--awd_lstm.units=6", f"--start_from={trained}")
  assert said.startswith(f"--start_from is {trained}; its weights are of a network with other settings")


def test_weights_of_another_network_are_refused(trained, tmp_path, capsys):
  other = ("--model=nas_cell", "--nas_cell.units=4", "--data.dataset=synthetic_text", *TEXT_DATA)
  said = refusal(capsys, "train", tmp_path / "run", *other, f"--start_from={trained}")
  assert said.startswith(f"--start_from is {trained}; it is a training of another network or text; give this training the same.")
