"""Evaluators that build networks: training from rung to rung, shared weights, zero-cost proxies."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits

from dnas.cells import functional
from dnas.cells.nasbench201 import SPACE, from_string
from dnas.cells.rectifier import recorded, relu
from dnas.core import keys
from dnas.core.errors import FieldError, InputError
from dnas.core.records import Proposal
from dnas.core.trials import trial_id
from dnas.data import base, datasets
from dnas.evaluate.base import TrainedOnce
from dnas.evaluate.training import Training
from dnas.evaluate.weight_sharing import Config, SharedWeightsTask
from dnas.evaluate.zero_cost import PROXIES, ZeroCost
from dnas.nets import derived_image
from dnas.run import loop
from dnas.supernet import image_supernet
from dnas.supernet.discretize import one_hot
from dnas.train import images

NETWORK = derived_image.Config(channels=2, cells=3, stem_multiplier=1, auxiliary=False)
DATA = base.Config(dataset="synthetic", train_portion=0.5, batch_size=32)
CELL = from_string("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|")
BUILD = functools.partial(derived_image.DerivedImageNetwork, NETWORK, CELL)
OTHER = from_string("|skip_connect~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|")
NOTHING = from_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")


@pytest.fixture(scope="module")
def dataset():
  return datasets.load("synthetic")


# Training.


def training(dataset, folder, **changes):
  config = images.Config(epochs=3, learning_rate=0.1, auxiliary_weight=0.0, drop_path=0.0)
  return Training(config, NETWORK, dataclasses.replace(DATA, **changes), dataset, 0, folder)


def test_a_training_goes_on_from_rung_to_rung_and_trains_no_epoch_twice(dataset, tmp_path, monkeypatch):
  steps, take = [], images.RetrainTask.step

  def counted(self, state, step):
    steps.append(step)
    return take(self, state, step)

  monkeypatch.setattr(images.RetrainTask, "step", counted)
  evaluate = training(dataset, tmp_path / "rungs")
  first = evaluate(Proposal(CELL, 1))
  per_epoch = len(steps)
  again = evaluate(Proposal(CELL, 1))
  assert (first.score, first.metrics) == (again.score, again.metrics) and len(steps) == per_epoch
  longer = evaluate(Proposal(CELL, 3, trial_id(Proposal(CELL, 1))))
  assert steps == list(range(3 * per_epoch)) and longer.cost > 0 and longer.metrics["epochs"] == 3
  assert evaluate(Proposal(CELL, 1)).score == first.score and len(steps) == 3 * per_epoch
  whole = training(dataset, tmp_path / "whole")(Proposal(CELL))
  assert whole.score == longer.score and whole.metrics == longer.metrics
  assert 0 <= first.score <= 1 and evaluate.folder_of(CELL) != evaluate.folder_of(OTHER)


def test_trainings_that_differ_in_their_rates_share_one_program(dataset):
  def program(**changes):
    config = dataclasses.replace(images.Config(epochs=3, drop_path=0.1), **changes)
    task = images.RetrainTask(config, BUILD, DATA, dataset, 0)
    state = task.init()
    key = loop.step_key(state.key, np.int32(0))
    return jax.jit(task._step).lower(state, task._pipeline.shuffled(0, key), key, task.rates(0)).as_text()

  others = {"learning_rate": 0.3, "weight_decay": 0.1, "momentum": 0.5, "gradient_clip": 1.0, "drop_path": 0.4, "epochs": 7}
  assert program() == program(**others, schedule="linear") != program(nesterov=True)


def test_nothing_compiles_after_the_first_epoch_of_a_training(dataset, compilations):
  task = images.RetrainTask(images.Config(epochs=2, drop_path=0.0), BUILD, DATA, dataset, 0)
  run = loop.run(task, loop.restore(task, None))
  next(run)
  with compilations() as compiled:
    next(run)
  assert compiled == []


@pytest.mark.parametrize("portion", [0.5, 1.0])
def test_latency_is_measured_with_a_validation_set_and_without(dataset, portion, monkeypatch):
  data = dataclasses.replace(DATA, train_portion=portion)
  task = images.RetrainTask(images.Config(epochs=1, drop_path=0.0), BUILD, data, dataset, 0)
  clock, seen, evaluate = iter(range(100)), [], task.evaluate
  monkeypatch.setattr(images.time, "perf_counter", lambda: next(clock))
  monkeypatch.setattr(task, "evaluate", lambda state, split: seen.append(len(split)) or evaluate(state, split))
  state = task.init()
  examples = len(dataset.train) // 2 if portion < 1 else DATA.eval_batch_size
  assert task.latency(state) == 1e3 / (examples / DATA.eval_batch_size) and seen == [examples] * 6


def test_a_training_refuses_what_it_cannot_do(dataset, tmp_path):
  with pytest.raises(InputError, match="the budget of a proposal is 4 epochs and a full training has 3"):
    training(dataset, tmp_path)(Proposal(CELL, 4))
  with pytest.raises(FieldError, match="data.train_portion is 1.0"):
    training(dataset, tmp_path, train_portion=1.0)


# Shared weights.


@pytest.fixture(scope="module")
def shared(dataset):
  config = Config(epochs=1, learning_rate=0.1, statistics_batches=3)
  task = SharedWeightsTask(config, image_supernet.Config(channels=2, cells=3, stem_multiplier=1), DATA, SPACE, dataset, seed=0)
  position = loop.restore(task, None)
  (record,) = loop.run(task, position)
  assert np.isfinite(record["metrics"]["train/loss"])
  return task, position.state


def test_evaluation_never_touches_the_shared_weights_and_gives_the_same_number_twice(shared):
  task, state = shared
  before = bits((state.weights, state.stats, task.initial))
  evaluate = TrainedOnce(task, state.weights, seconds=100.0)
  first, second = evaluate(Proposal(CELL)), evaluate(Proposal(OTHER))
  again = evaluate(Proposal(CELL))
  assert bits((state.weights, state.stats, task.initial)) == before
  assert again.score == first.score and again.metrics == first.metrics and first.metrics != second.metrics
  assert first.cost > 100 > second.cost > 0


def test_batch_statistics_are_those_of_the_path_alone(shared):
  task, state = shared
  path = one_hot(SPACE, CELL)
  stats = task.statistics_of(state.weights, path)
  stem = []
  for index in range(3):
    batch = task._pipeline.drawn(keys.derive(jax.random.key(0), "statistics", index))[0]
    kernel = state.weights["stack"]["stem"]["kernel"]
    out = jax.lax.conv_general_dilated(batch, kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC"))
    stem.append(np.asarray(out.mean((0, 1, 2)), np.float64))
  weights = np.array([0.9**2, 0.9, 1.0])
  expected = (weights[:, None] * np.array(stem)).sum(0) / weights.sum()
  np.testing.assert_allclose(stats["stack"]["stem_norm"]["mean"][0], expected, rtol=1e-3, atol=1e-5)
  other = task.statistics_of(state.weights, one_hot(SPACE, OTHER))
  assert bits(other) != bits(stats)


def test_a_step_trains_the_path_that_it_drew(shared):
  task, _ = shared
  state = task.init()
  after, _ = task.step(state, 0)
  path = SPACE.sample(keys.generator(0, "paths", 0))
  chosen = one_hot(SPACE, path)["cell"]
  for source in range(3):
    others = state.weights["stack"]["stages"][0][0]["outgoing"][source]["operations"]["others"]
    moved = after.weights["stack"]["stages"][0][0]["outgoing"][source]["operations"]["others"]
    rows = [row for row, (origin, _) in enumerate(SPACE.edges) if origin == source]
    for name in ("nor_conv_1x1", "nor_conv_3x3"):
      decay = 1 - 0.1 * 3e-4  # of weights without gradient
      for edge, row in enumerate(rows):
        only_decayed = np.allclose(moved[name]["kernel"][edge], decay * others[name]["kernel"][edge], rtol=1e-6, atol=1e-9)
        if not chosen[row, SPACE.operations.index(name)]:
          assert only_decayed, (source, name, edge)


# Zero-cost proxies.


@pytest.mark.parametrize("name", list(PROXIES))
def test_every_proxy_gives_a_number_that_repeats(name, dataset):
  evaluate = ZeroCost(name, NETWORK, DATA, dataset, seed=0)
  first, again = evaluate(Proposal(CELL)), evaluate(Proposal(CELL))
  assert first.score == again.score and np.isfinite(first.score) and first.cost > 0
  assert evaluate(Proposal(OTHER)).score != first.score


class Chain:
  """Two dense layers with a rectifier between them, in place of a network."""

  def __init__(self, monkeypatch):
    rng = np.random.default_rng(0)
    self.weights = {"a": rng.normal(size=(12, 5)).astype(np.float32), "b": rng.normal(size=(5, 3)).astype(np.float32)}
    monkeypatch.setattr(functional, "apply", self.apply)

  def apply(self, network, variables, x, train):
    hidden = relu((x.reshape(len(x), -1) @ variables.weights["a"])[None, :, None, None])[0, :, 0, 0]
    return (hidden @ variables.weights["b"], None), {}


def test_proxies_against_their_formulas(monkeypatch):
  chain = Chain(monkeypatch)
  variables = functional.Variables(chain.weights, {})
  x = np.random.default_rng(1).normal(size=(6, 2, 2, 3)).astype(np.float32)
  a, b = (np.abs(chain.weights[name].astype(np.float64)) for name in "ab")
  assert PROXIES["parameters"](None, variables, x) == 75
  assert PROXIES["synflow"](None, variables, x) == pytest.approx(np.log(2 * (np.ones(12) @ a @ b).sum()), rel=1e-5)  # R is of degree 2
  on = (x.reshape(6, -1) @ chain.weights["a"] > 0).astype(float)
  agreement = np.array([[(p == q).sum() for q in on] for p in on])
  assert PROXIES["naswot"](None, variables, x) == pytest.approx(np.linalg.slogdet(agreement)[1], rel=1e-5)
  jacobian = np.stack([chain.weights["a"] @ (row * chain.weights["b"].sum(1)) for row in on])
  values = np.maximum(np.linalg.eigvalsh(np.corrcoef(jacobian)), 0) + 1e-5
  assert PROXIES["jacob_cov"](None, variables, x) == pytest.approx(-(np.log(values) + 1 / values).sum(), rel=0.05)


def test_rectifiers_are_recorded_within_the_block_alone():
  with recorded() as outputs:
    relu(jnp.asarray([-1.0, 2.0]))
  relu(jnp.asarray([3.0]))
  assert [output.tolist() for output in outputs] == [[0.0, 2.0]]


def test_a_network_without_a_path_has_no_correlation(dataset):
  assert ZeroCost("jacob_cov", NETWORK, DATA, dataset, seed=0)(Proposal(NOTHING)).score == -np.inf


def test_a_proxy_refuses_an_auxiliary_head(dataset):
  with pytest.raises(FieldError, match="network.auxiliary is True"):
    ZeroCost("naswot", dataclasses.replace(NETWORK, auxiliary=True), DATA, dataset, seed=0)
  with pytest.raises(FieldError, match=r"^data.batch_size is 1; proxies compare the examples of a batch, so give at least 2\.$"):
    ZeroCost("jacob_cov", NETWORK, dataclasses.replace(DATA, batch_size=1), dataset, seed=0)
