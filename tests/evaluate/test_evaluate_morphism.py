"""Evaluation by morphism: who inherits what, and that a training that was broken off ends in the same bits."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from helpers import Killed, bits

from dnas.cells.nasbench201 import SPACE as CELLS
from dnas.core.chain_space import ChainSpace, Edit
from dnas.core.errors import FieldError, InputError
from dnas.core.records import Proposal
from dnas.core.trials import trial_id
from dnas.data import base, datasets
from dnas.evaluate.morphism import Config, Morphism
from dnas.nets import derived_image
from dnas.train import images

SPACE = ChainSpace("conv_chain", kernels=(1, 3), widths=(1, 2), num_poolings=1)
NETWORK = derived_image.Config(channels=2, cells=3, stem_multiplier=1, auxiliary=False)
DATA = base.Config(dataset="synthetic", train_portion=0.5, batch_size=32)
CONFIG = Config(epochs=1, first_epochs=2, noise=0.0)
PARENT = Proposal(SPACE.smallest())
DEEPER = SPACE.edited(SPACE.edited(SPACE.smallest(), Edit("deeper", 1, ("conv", 3))), Edit("wider", 1, 2))
CHILD = Proposal(DEEPER, parent=trial_id(PARENT))


@pytest.fixture(scope="module")
def dataset():
  return datasets.load("synthetic")


def evaluator(dataset, folder, space=SPACE, config=CONFIG, **changes):
  training = images.Config(epochs=9, auxiliary_weight=0.0, drop_path=0.0)
  return Morphism(config, space, training, NETWORK, dataclasses.replace(DATA, **changes), dataset, 0, folder)


def without_cost(evaluation):
  return evaluation.score, evaluation.metrics


def test_a_child_begins_where_its_parent_ended_and_goes_on_from_disk(dataset, tmp_path, monkeypatch):
  evaluate = evaluator(dataset, tmp_path)
  parent = evaluate(PARENT)
  assert parent.metrics["inherited"] == 0 and parent.metrics["epochs"] == 2 and parent.cost > 0
  child = evaluate(CHILD)
  assert child.metrics["inherited"] == child.metrics["exact"] == child.metrics["epochs"] == 1
  assert child.metrics["start/valid/accuracy"] == parent.score, "the child computes the function of its parent"
  assert without_cost(evaluator(dataset, tmp_path)(CHILD)) == without_cost(child) and evaluate.curve(CHILD) == [child.score]
  end_epoch = images.RetrainTask.end_epoch
  again, longer = evaluator(dataset, tmp_path / "other"), dataclasses.replace(CHILD, budget=2)
  again(PARENT)
  ends = []

  def killed_in_the_second(self, state, epoch, means):
    ends.append(epoch)
    if len(ends) == 2:
      raise Killed
    return end_epoch(self, state, epoch, means)

  monkeypatch.setattr(images.RetrainTask, "end_epoch", killed_in_the_second)
  with pytest.raises(Killed):
    again(longer)
  resumed = evaluator(dataset, tmp_path / "other")(longer)
  assert ends == [1, 2, 2] and without_cost(resumed) == without_cost(evaluate(longer)) and resumed.metrics["epochs"] == 2


def test_momentum_and_statistics_follow(dataset, tmp_path):
  evaluate = evaluator(dataset, tmp_path)
  evaluate(PARENT)
  genotype, before, trained = evaluate._restored(CHILD.parent)
  assert genotype == PARENT.genotype
  task, seed = evaluate._task(DEEPER, 1, "0" * 16)
  found = evaluate._inherited((genotype, before, trained), DEEPER, task, task.init(), seed)
  old, new = optax.tree.get(trained.opt_state, "trace"), found.trained.momentum
  kept = trained.weights["classifier"]["bias"].size
  assert bits(new["classifier"]["bias"]) == bits(old[:kept]) and not np.any(new["layers"][1]["kernel"])  # leaves are sorted by name
  last = trained.stats["layers"][2]["norm"], found.trained.variables.stats["layers"][3]["norm"]
  assert bits(last[0]) == bits(last[1])


def test_without_a_parent_that_is_there_weights_are_new(dataset, tmp_path):
  evaluate = evaluator(dataset, tmp_path)
  for parent in (None, "0" * 16, "../../elsewhere"):
    found = evaluate(Proposal(SPACE.smallest(), budget=1, parent=parent))
    assert found.metrics["inherited"] == 0 and found.metrics["epochs"] == 1


def test_cells_inherit_their_edges(dataset, tmp_path):
  evaluate = evaluator(dataset, tmp_path, CELLS)
  parent = Proposal(CELLS.parse("|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"))
  grown = Proposal(CELLS.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"), parent=trial_id(parent))
  before, after = evaluate(parent), evaluate(grown)
  assert after.metrics["start/valid/accuracy"] == before.score and after.metrics["exact"] == 1


def test_noise_moves_the_start(dataset, tmp_path):
  evaluate = evaluator(dataset, tmp_path, config=dataclasses.replace(CONFIG, noise=3.0))
  parent = evaluate(PARENT)
  assert evaluate(CHILD).metrics["start/valid/loss"] != pytest.approx(parent.metrics["valid/loss"], rel=1e-3)


def test_refusals(dataset, tmp_path):
  with pytest.raises(FieldError, match="data.train_portion is 1.0"):
    evaluator(dataset, tmp_path, train_portion=1.0)
  with pytest.raises(InputError, match="noise is -1.0"):
    Config(noise=-1.0)
  evaluate = evaluator(dataset, tmp_path)
  evaluate(PARENT)
  (tmp_path / trial_id(PARENT) / "proposal.json").write_text("{")
  with pytest.raises(InputError, match="proposal.json"):
    evaluate(CHILD)


def test_a_training_that_fails_has_no_score(dataset, tmp_path):
  found = evaluator(dataset, tmp_path, config=dataclasses.replace(CONFIG, learning_rate=1e30))(PARENT)
  assert np.isnan(found.score) and found.metrics["epochs"] < 2 and jax.numpy.isfinite(found.cost)
