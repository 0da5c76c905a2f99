"""Comparisons by network morphism, and trainings of chains, through the launchers on shrunken presets."""

import dataclasses
import json

import pytest
from helpers import Killed
from tiny_runs import cache_flag

import dnas
from dnas.cells.registries import CHAIN_SPACES
from dnas.core import config as config_lib
from dnas.evaluate import morphism
from dnas.launchers import _presets, compare, train
from dnas.report import comparison as comparisons
from dnas.train import images

SMALL = dataclasses.replace(CHAIN_SPACES["conv_chain"], kernels=(1, 3), widths=(1, 2), num_poolings=1, sampled_convolutions=1)
TINY = {"data.dataset": "synthetic", "data.data_dir": "", "data.batch_size": 32, "data.crop_padding": 1}
TINY |= {"network.channels": 2, "network.cells": 3, "network.stem_multiplier": 1, "train.epochs": 1}
METHODS = "random_search,regularized_evolution,hill_climbing"
FLAGS = ("--evaluator=morphism", "--training=digits_demo_retrain", "--morphism.epochs=1", "--morphism.first_epochs=1")
FLAGS += ("--regularized_evolution.population=2", "--regularized_evolution.tournament=2", "--regularized_evolution.inherit")
FLAGS += ("--hill_climbing.neighbours=2", "--hill_climbing.morphisms=2")


@pytest.fixture(autouse=True)
def shrunken(monkeypatch):
  load = _presets.load
  monkeypatch.setattr(
    _presets, "load", lambda name, launcher: config_lib.replace(load(name, launcher), TINY if name == "digits_demo_retrain" else {})
  )
  monkeypatch.setitem(CHAIN_SPACES._units, "conv_chain", SMALL)
  evaluate = morphism.Morphism.__call__
  monkeypatch.setattr(morphism.Morphism, "__call__", lambda self, asked: dataclasses.replace(evaluate(self, asked), cost=100.0))


def launch(root, *flags):
  common = ("--space=conv_chain", "--seeds=1", "--pool.workers=1", "--seconds=350", cache_flag())
  return compare.main(["compare", f"--workdir={root}", *common, *map(str, flags)])


def test_every_strategy_is_compared_and_goes_on_after_a_kill(tmp_path, monkeypatch):
  end_epoch, ends = images.RetrainTask.end_epoch, []

  def killed(self, state, epoch, means):
    ends.append(epoch)
    if len(ends) in (3, 6, 7):
      raise Killed
    return end_epoch(self, state, epoch, means)

  monkeypatch.setattr(images.RetrainTask, "end_epoch", killed)
  for _ in range(3):
    with pytest.raises(Killed):
      launch(tmp_path / "killed", f"--methods={METHODS}", *FLAGS)
  assert launch(tmp_path / "killed", f"--methods={METHODS}", *FLAGS) == 0
  assert launch(tmp_path / "whole", f"--methods={METHODS}", *FLAGS) == 0
  for method in METHODS.split(","):
    folders = [tmp_path / root / f"conv_chain/morphism/{method}/seed_0000" for root in ("killed", "whole")]
    journals = [(folder / "journal.jsonl").read_text() for folder in folders]
    lines = [json.loads(line) for line in journals[0].splitlines()]
    inherited = [line["metrics"]["inherited"] for line in lines]
    assert journals[0] == journals[1] and len(lines) == 3
    assert inherited == {"random_search": [0, 0, 0], "regularized_evolution": [0, 0, 1], "hill_climbing": [0, 1, 1]}[method]
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert results[0]["test"] == results[1]["test"] and SMALL.parse(results[0]["notation"]) == SMALL.parse(results[0]["genotype"])
  (one,) = comparisons.load(tmp_path / "killed")
  assert set(one.methods) == set(METHODS.split(",")) and one.incomplete == ()
  config = json.loads((folders[0] / "config.json").read_text())["config"]
  assert config["morphism.epochs"] == 1 and config["hill_climbing.neighbours"] == 2


def test_cells_of_a_table_are_compared_too(tmp_path):
  table = ("--table=digits_bench", "--dataset=digits", "--report_epochs=12", "--space=nasbench201")
  assert launch(tmp_path, "--methods=hill_climbing", *FLAGS[:4], *FLAGS[7:], *table, "--seconds=250") == 0
  folder = tmp_path / "nasbench201/morphism/hill_climbing/seed_0000"
  lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
  assert [line["metrics"]["inherited"] for line in lines] == [0, 1] and json.loads((folder / "result.json").read_text())["test"] > 50


def test_a_chain_is_trained_and_read_back(tmp_path, capsys):
  text = "|conv_3x3_x1|sep_conv_3x3_x1+1|max_pool_2x2|conv_1x1_x2|"
  flags = ["--preset=digits_demo_retrain", "--space=conv_chain", f"--workdir={tmp_path}", cache_flag()]
  assert train.main(["train", *flags, f"--genotype={text}"]) == 0
  result = json.loads((tmp_path / "result.json").read_text())
  assert result["notation"] == text and (tmp_path / "pictures/genotype.png").exists()
  assert "network: 2 channels in a layer of width 1, " in capsys.readouterr().out
  assert not any(name.startswith("network.cells") for name in json.loads((tmp_path / "config.json").read_text())["config"])
  assert dnas.load_run(tmp_path).network is not None


@pytest.mark.parametrize(
  "flags, sentence",
  [
    (("--methods=hill_climbing", "--evaluator=naswot", FLAGS[1]), "--evaluator is naswot; hill_climbing passes weights on;"),
    (
      ("--methods=regularized_evolution", "--evaluator=training", "--training=digits_demo_retrain", "--regularized_evolution.inherit"),
      "--evaluator is training; regularized_evolution passes weights on; give morphism.",
    ),
    (("--methods=tpe", *FLAGS[:2]), "space 'conv_chain' has no fixed number of decisions, and this strategy learns over decisions;"),
    (("--methods=darts", "--search=digits_demo", *FLAGS[:2]), "--space is conv_chain; it is a space of chains,"),
    (("--methods=random_search", "--evaluator=weight_sharing", "--search=digits_demo"), "--space is conv_chain; it is "),
    (("--methods=random_search", "--evaluator=morphism"), "--training is ''; the evaluator morphism takes its networks and data from"),
    (("--methods=random_search", "--evaluator=training", "--morphism.epochs=3"), "--morphism.epochs is 3; it does nothing with"),
  ],
)
def test_bad_input(tmp_path, capsys, flags, sentence):
  assert launch(tmp_path / "w", *flags) == 2
  out, err = capsys.readouterr()
  assert err.startswith(f"error: {sentence}") and err.count("\n") == 1 and not (tmp_path / "w").exists(), err


@pytest.mark.parametrize(
  "flags, sentence",
  [
    (("--network.cells=6",), "--network.cells is 6; it does nothing in the space conv_chain, so leave it out."),
    (("--train.drop_path=0.3",), "--train.drop_path is 0.3; it does nothing in the space conv_chain, so leave it out."),
    (("--genotype=|conv_3x3_x1|",), "--genotype: it has 0 poolings; give 1, with a convolution before and after each."),
    (("--network.auxiliary",), "--network.auxiliary is True; the networks of space 'conv_chain' have no auxiliary head; set it to false."),
  ],
)
def test_a_training_of_a_chain_refuses(tmp_path, capsys, flags, sentence):
  own = () if flags[0].startswith("--genotype") else ("--genotype=random:0",)
  assert train.main(["train", "--preset=digits_demo_retrain", "--space=conv_chain", f"--workdir={tmp_path / 'w'}", *own, *flags]) == 2
  assert capsys.readouterr().err.startswith(f"error: {sentence}")
