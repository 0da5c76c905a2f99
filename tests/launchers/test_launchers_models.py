"""Human-designed networks through the launchers: --model in a training and in a tuning."""

import json

import pytest
from tiny_runs import DATA, cache_flag, launch, refusal

from dnas.core import memory
from dnas.data.base import Config as DataConfig
from dnas.launchers import _image, tune
from dnas.launchers.train import ImageTrainConfig, command_of
from dnas.nets.models.resnet import ResNet

SMALL = ("--model=pyramidnet", "--pyramidnet.depth=11", "--pyramidnet.alpha=4")
TRAIN = (*DATA, "--data.examples=64", "--train.epochs=1", *SMALL)


def test_a_model_is_trained_and_tested(tmp_path, capsys):
  workdir = tmp_path / "run"
  assert launch("train", *TRAIN, f"--workdir={workdir}") == 0
  out = capsys.readouterr().out
  result, config = (json.loads((workdir / name).read_text()) for name in ("result.json", "config.json"))
  assert result["model"] == "pyramidnet" and "genotype" not in result and 0 <= result["test/accuracy"] <= 1
  assert out.startswith(f"training of pyramidnet: 1 epoch of 2 steps; results in {workdir}\n")
  assert f"\npyramidnet, {result['weights']:,} weights\n" in out
  assert config["config"]["pyramidnet.depth"] == 11 and not {"genotype", "network.cells", "resnet.depth"} & set(config["config"])
  assert not (workdir / "genotype.json").exists() and (workdir / "pictures" / "learning_curves.png").exists()
  before = (workdir / "result.json").read_bytes()
  assert launch("train", *TRAIN, f"--workdir={workdir}") == 0 and (workdir / "result.json").read_bytes() == before


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--model=pyramid"], "--model is pyramid; did you mean 'pyramidnet'? It can be"),
    (["--model=resnet", "--pyramidnet.depth=11"], "--pyramidnet.depth is 11; it does nothing with --model=resnet, so leave it out, or"),
    (["--resnet.depth=8"], "--resnet.depth is 8; it does nothing without --model, so leave it out, or choose --model=resnet."),
    (["--model=resnet", "--genotype=DARTS_V1"], "--genotype is DARTS_V1; it is a setting of networks of cells and does nothing with"),
    (["--model=resnet", "--network.cells=3"], "--network.cells is 3; it is a setting of networks of cells and does nothing with"),
    (["--model=resnet", "--train.drop_path=0.1"], "--train.drop_path is 0.1; it is a setting of networks of cells"),
    (["--model=resnet", "--resnet.depth=9"], "--resnet.depth is 9; "),
    (["--train.milestone_factor=0.5"], "--train.milestone_factor is 0.5; it does nothing without --train.milestones, so leave it out."),
    (["--model=resnet", "--train.schedule=constant", "--train.every_step"], "--train.every_step is True; it does nothing where no rate"),
    (["--train.drop_path=0", "--network.drop_path_by_depth"], "--network.drop_path_by_depth is True; it does nothing without"),
    (["--train.weight_decay=0", "--train.decay_vectors=false"], "--train.decay_vectors is False; it does nothing without"),
    (["--model=pyramidnet", "--pyramidnet.shakedrop=0", "--pyramidnet.shakedrop_gate=image"], "--pyramidnet.shakedrop_gate is image; it"),
  ],
)
def test_what_cannot_be(flags, sentence, tmp_path, capsys):
  assert refusal(capsys, "train", tmp_path / "run", *flags).startswith(sentence) and not (tmp_path / "run").exists()


HUGE = [
  (("--model=pyramidnet", "--pyramidnet.alpha=9000", "--data.dataset=synthetic"), "pyramidnet"),
  (("--model=resnet", "--resnet.channels=10000", "--data.dataset=synthetic"), "resnet"),
  (("--model=wide_resnet", "--wide_resnet.widen_factor=9999", "--data.dataset=synthetic"), "wide_resnet"),
  (("--model=mos_lstm", "--mos_lstm.units=900000", "--data.dataset=synthetic_text"), "mos_lstm"),
  (("--model=awd_lstm", "--awd_lstm.embedding=900000", "--data.dataset=synthetic_text"), "awd_lstm"),
  (("--model=nas_cell", "--nas_cell.units=900000", "--data.dataset=synthetic_text"), "nas_cell"),
]


@pytest.mark.parametrize(("flags", "name"), HUGE)
def test_a_model_that_needs_more_memory_than_there_is_is_not_built(flags, name, tmp_path, capsys):
  said = refusal(capsys, "train", tmp_path / "run", *flags)
  assert said.startswith("by its shapes the run needs ") and "--data.batch_size" in said and not (tmp_path / "run").exists()
  assert said.endswith(f"or the size of the network by the flags --{name}.FIELD, or give --force to try it.")


def test_force_tries_a_model(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(memory, "available", lambda: 1000)
  assert "and there are 1e-06 GB; lower" in refusal(capsys, "train", tmp_path / "run", *TRAIN)
  config = ImageTrainConfig(model="resnet", resnet=ResNet.smallest(), data=DataConfig("synthetic", train_portion=1.0))
  assert _image.train_parts(config, None, force=True).task.epochs == config.train.epochs


def test_the_command_of_a_training_names_the_model():
  config = ImageTrainConfig(model="resnet")
  assert "--model=resnet" in command_of(config, "w") and "genotype" not in command_of(config, "w")


TUNE = ("--training.data.dataset=synthetic", "--training.data.examples=64", "--training.data.batch_size=32", "--training.train.epochs=1")


def test_fields_of_a_model_are_tuned(tmp_path):
  flags = (*TUNE, "--training.model=resnet", "--training.resnet.depth=8", "--training.resnet.channels=4", "--study.trials=1", "--seeds=0")
  flags = (*flags, "--search_space=resnet.channels = int(2, 3)", "--study.sampler=random", cache_flag())
  assert tune.main(["tune", *flags, f"--workdir={tmp_path}"]) == 0
  (trial,) = (tmp_path / "trials").glob("trial_*/result.json")
  config = json.loads(trial.with_name("config.json").read_text())["config"]
  assert config["model"] == "resnet" and config["resnet.channels"] in (2, 3) and json.loads(trial.read_text())["model"] == "resnet"


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--training.model=pyramidnet", "--joint"], "--joint is True; pyramidnet has no architecture to tune, so leave it out."),
    (["--search_space=pyramidnet.alpha = int(3, 9)"], "--search_space is pyramidnet.alpha; it does nothing without --model"),
    (["--training.model=pyramidnet", "--search_space=model = choice(resnet, pyramidnet)"], "--search_space is model; trials would not"),
  ],
)
def test_tunings_that_cannot_be(flags, sentence, tmp_path, capsys):
  assert tune.main(["tune", *TUNE, *flags, f"--workdir={tmp_path / 'run'}"]) == 2
  assert capsys.readouterr().err.startswith(f"error: {sentence}") and not (tmp_path / "run").exists()
