"""The differentiable search on text: hidden states of two texts, learning rates, records and exact resumption."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import Killed, bits, quick_jit, without_seconds
from methods_toy import ToyWorkload

from dnas.cells import functional
from dnas.cells.darts_recurrent import SPACE
from dnas.cells.language_model import Config as NetworkConfig
from dnas.cells.registries import SPACES
from dnas.core import keys
from dnas.data import base, datasets, text
from dnas.run import loop
from dnas.run.checkpoint import Checkpoints
from dnas.search.gradient import diagnostics
from dnas.search.gradient.darts import Config, DartsTask, progress_of
from dnas.search.gradient.image_workload import ImageWorkload
from dnas.search.gradient.language_workload import LanguageWorkload
from dnas.search.gradient.remedies import Remedies
from dnas.supernet import image_supernet, relaxations
from dnas.supernet.hypergradients.finite_difference import FiniteDifference
from dnas.supernet.hypergradients.fixed_weights import FirstOrder
from dnas.train import optimizers

pytestmark = pytest.mark.usefixtures("quick_compilation")
UNITS, BATCH, LENGTH = 6, 8, 6
SMALL = dataclasses.replace(SPACE, num_nodes=3)  # compilation is what takes time here
DATA = text.Config("synthetic_text", tokens=400, batch_size=BATCH, sequence_length=LENGTH, short_probability=0.3, buckets=2)
NETWORK = NetworkConfig(UNITS, dropout_inputs=0.3, dropout_output=0.3, temporal_penalty=30.0)
CONFIG = Config(epochs=2, learning_rate=10.0, final_learning_rate=1.0, momentum=0.0, gradient_clip=0.25, arch_learning_rate=0.05)
VALID_ROWS = 17  # of the validation text: two windows of six words and one of five, over and over


@functools.cache
def dataset():
  full = datasets.text_from_config(DATA)
  return dataclasses.replace(full, valid=full.valid[: BATCH * VALID_ROWS + 3])


@functools.cache
def make_task(hypergradient):
  workload = LanguageWorkload(NETWORK, DATA, SMALL, dataset(), seed=2)
  return DartsTask(CONFIG, workload, hypergradient, jax.random.key(1))


@pytest.fixture(scope="module")
def task():
  return make_task(FirstOrder())


@pytest.fixture(scope="module")
def states(task):
  """The state before every step of two epochs, and what the steps said; the epochs are not ended, since that changes nothing here."""
  state, steps = task.init(), []
  for step in range(task.end_of_epoch(2)):
    after, metrics = task.step(state, step)
    steps.append((state, after, metrics))
    state = after
  return steps


def test_epochs_are_those_of_the_windows(task):
  rows = (DATA.tokens - 1) // BATCH
  ends = [task.end_of_epoch(epoch) for epoch in range(3)]
  assert ends[0] == 0 and rows / LENGTH <= ends[1] <= rows / 3 + 1 and ends[1] != ends[2] - ends[1]
  words = [round(LENGTH * task.workload.learning_rate_factor(step)) for step in range(ends[2])]
  assert sum(words[: ends[1]]) == sum(words[ends[1] :]) == rows and {3, 6} < set(words)  # the last one of an epoch is cut


# Hidden states.


@functools.partial(quick_jit, static_argnums=0)
def hidden_after(network, search, arch, words, length, hidden, key):
  """The hidden states after a window, by the network alone."""
  (mixture,) = relaxations.Relaxation()(arch, key, jnp.float32(0)).values()
  variables = functional.Variables(search.weights, search.stats)
  return functional.apply(network, variables, words, hidden, length, mixture, key)[0][1]


def columns_of(tokens, start, length):
  """Words of the window from row `start` on, by the definition of columns, and any words behind them; [LENGTH, B]."""
  rows = (len(tokens) - 1) // BATCH
  words = np.zeros((LENGTH, BATCH), np.int32)
  words[:length] = np.stack([tokens[rows * column + start :][:length] for column in range(BATCH)], axis=1)
  return words


def test_hidden_states_are_carried_along_each_text(task, states):
  network, first = task.workload.network, task.end_of_epoch(1)
  train_hidden = valid_hidden = np.zeros((BATCH, UNITS), np.float32)
  below = 0
  for step, (before, after, _) in enumerate(states):
    if step == first:
      train_hidden, below = np.zeros_like(train_hidden), 0
    if step % 3 == 0:
      valid_hidden = np.zeros_like(valid_hidden)
    length = round(LENGTH * task.workload.learning_rate_factor(step))
    key = keys.derive(loop.step_key(before.key, step), "masks", "network")
    # The weight step comes after that of the architecture, which sees the architecture before.
    words = columns_of(dataset().train, below, length)
    train_hidden = hidden_after(network, before.search, after.search.arch, words, length, train_hidden, key)
    length_valid = (LENGTH, LENGTH, VALID_ROWS - 2 * LENGTH)[step % 3]
    words = columns_of(dataset().valid, LENGTH * (step % 3), length_valid)
    valid_hidden = hidden_after(network, before.search, before.search.arch, words, length_valid, valid_hidden, key)
    for found, expected in zip(after.carry, (train_hidden, valid_hidden), strict=True):
      np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    train_hidden, valid_hidden = after.carry  # so that rounding does not add up
    below += length
  assert np.abs(train_hidden - valid_hidden).max() > 0.01 and np.abs(train_hidden).max() > 0.01


def test_hidden_states_begin_at_zero_in_the_first_window_of_each_text_alone(task, states):
  first = task.end_of_epoch(1)
  assert first % 3, "the two texts begin anew in different steps"
  for step in (3, first, first + 1):
    before, after, _ = states[step]
    for text_index, begins in enumerate((step == first, step % 3 == 0)):
      carry = [jnp.ones_like(hidden) if index == text_index else hidden for index, hidden in enumerate(before.carry)]
      changed = task.step(dataclasses.replace(before, carry=tuple(carry)), step)[0]
      assert (bits(changed) == bits(after)) == begins, (step, text_index)


# Losses and learning rates.


def test_penalties_count_in_training_alone(states):
  for _, _, metrics in states:
    assert set(metrics) == {"loss", "nats", "words", "valid_loss", "valid_nats", "valid_words"}
    value = {name: float(metric) for name, metric in metrics.items()}
    assert value["valid_loss"] == pytest.approx(value["valid_nats"] / value["valid_words"], rel=1e-6)
    assert value["loss"] > value["nats"] / value["words"] + 1e-4
  assert [int(metrics["valid_words"]) for _, _, metrics in states[:4]] == [6, 6, 5, 6]


def test_the_learning_rate_follows_the_length_and_the_epoch(task, states):
  first = task.end_of_epoch(1)
  for step, (_, after, metrics) in enumerate(states):
    rate = 10.0 if step < first else 5.5  # a cosine from 10 to 1 in two epochs
    expected = rate * float(metrics["words"]) / LENGTH
    assert float(optax.tree.get(after.search.weight_state, "learning_rate")) == pytest.approx(expected, rel=1e-6)
  assert len({float(metrics["words"]) for _, _, metrics in states}) > 2


def test_a_step_moves_the_weights_as_far_as_its_learning_rate_and_clipping_allow(task, states):
  decay = CONFIG.weight_decay
  for before, after, metrics in states[:6]:
    rate = 10.0 * float(metrics["words"]) / LENGTH
    moved = jax.tree.map(lambda new, old, rate=rate: (old - new) / rate - decay * old, after.search.weights, before.search.weights)
    assert float(optax.tree.norm(moved)) == pytest.approx(0.25, rel=1e-3)  # every gradient is longer than that


# Records.


def whole_run(task):
  position = loop.restore(task, None)
  return list(loop.run(task, position)), position


@pytest.fixture(scope="module")
def unbroken(task):
  return whole_run(task)


def test_the_record_of_an_epoch(task, states, unbroken):
  records, position = unbroken
  assert [record["step"] for record in records] == [task.end_of_epoch(1), task.end_of_epoch(2)]
  for record, steps, rate in zip(records, (states[: records[0]["step"]], states[records[0]["step"] :]), (10.0, 5.5), strict=True):
    metrics = record["metrics"]
    named = ["train/loss", "train/perplexity", "valid/loss", "valid/perplexity", "learning_rate", "skips/recurrent", "entropy/recurrent"]
    named.append("normalized_entropy")
    assert list(metrics) == named + (["discretized/loss", "discretized/perplexity", "eigenvalue"] if record is records[-1] else [])
    nats, words = (sum(float(metrics[name]) for _, _, metrics in steps) for name in ("nats", "words"))
    assert metrics["train/loss"] == pytest.approx(nats / words, rel=1e-5) and metrics["learning_rate"] == pytest.approx(rate)
    for split in ("train", "valid"):
      assert metrics[f"{split}/perplexity"] == pytest.approx(math.exp(metrics[f"{split}/loss"]), rel=1e-9)
    mixture = np.array(record["mixture"]["recurrent"])
    assert mixture.shape == (6, 5) and np.allclose(mixture.sum(1), 1, atol=1e-5)
    assert len(SMALL.parse(record["genotype"])["recurrent"].nodes) == 3
  np.testing.assert_allclose(records[-1]["mixture"]["recurrent"], relaxed(position.state.search.arch), rtol=1e-5)
  assert bits(position.state) == bits(states[-1][1])  # an epoch's end changes nothing


def relaxed(arch):
  logits = np.asarray(arch["recurrent"], np.float64)
  return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_validation_predicts_every_word_but_the_first_in_evaluation_mode(task, unbroken):
  records, position = unbroken
  search, tokens = position.state.search, dataset().valid
  mixture = jnp.asarray(relaxed(search.arch), jnp.float32)
  rows = -(-(len(tokens) - 1) // DATA.eval_batch_size)
  places = np.minimum(np.arange(rows + 1)[:, None] + rows * np.arange(DATA.eval_batch_size)[None], len(tokens) - 1)
  hidden = jnp.zeros((DATA.eval_batch_size, UNITS))
  variables = functional.Variables(search.weights, search.stats)
  (logits, _, _), _ = functional.apply(task.workload.network, variables, tokens[places[:-1]], hidden, rows, mixture)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[places[1:]])
  in_order = np.asarray(losses).T.ravel()[: len(tokens) - 1]  # column after column; what fills up the last one is at the end
  assert records[-1]["metrics"]["valid/loss"] == pytest.approx(in_order.mean(), rel=1e-5)


def test_the_result_of_a_search_is_its_last_epoch(task, unbroken):
  records, _ = unbroken
  last, result = progress_of(records[-1], SMALL), task.result(records)
  assert (last.epoch, last.metrics) == (records[-1]["epoch"], records[-1]["metrics"])
  assert result.genotype == last.genotype and result.metrics == last.metrics


# Resumption and compilation.


def test_a_second_order_search_resumes_in_the_middle_of_an_epoch_to_the_same_bits(tmp_path):
  task = make_task(FiniteDifference())
  records, whole = whole_run(task)
  first = task.end_of_epoch(1)
  moments = [1, 3, 8, first + 2, first + 4]  # each as the next step runs, or before the next save

  def kill_at(step, _):
    if moments and step == moments[0]:
      moments.pop(0)
      raise Killed

  position, resumed_at = None, []
  while position is None or position.step < whole.step:
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
      position = loop.restore(task, checkpoints)
      resumed_at.append(position.step)
      try:
        list(loop.run(task, position, checkpoints, save_every_steps=2, on_step=kill_at))
      except Killed:
        pass
  assert first % 2 == 0 and not moments and resumed_at == [0, 0, 2, 6, first, first + 2]
  assert bits(position.state) == bits(whole.state) and without_seconds(position.history) == without_seconds(records)


@pytest.mark.parametrize("hypergradient", [FirstOrder(), FiniteDifference()], ids=["first", "difference"])
def test_nothing_compiles_after_the_first_epoch(hypergradient, compilations):
  task = make_task(hypergradient)
  run = loop.run(task, loop.restore(task, None))
  next(run)
  diagnostics.dominant_eigenvalue(lambda arch: arch, task.init().search.arch, jax.random.key(0))  # compiles small programs once
  sizes = len(task.problem.programs.gradient.program.chains)
  with compilations() as compiled:
    next(run)
  assert compiled == []
  assert len(task.problem.programs.gradient.program.chains) == sizes <= 2 * DATA.buckets


# The other workload.


def test_the_search_on_images_names_its_metrics(monkeypatch):
  space, images = SPACES["darts_conv"], datasets.load("synthetic")
  workload = ImageWorkload(image_supernet.Config(channels=2, cells=1), base.Config(batch_size=32), space, images, seed=0)
  task = DartsTask(Config(epochs=3, learning_rate=0.4, final_learning_rate=0.0), workload, FirstOrder(), jax.random.key(1))
  assert workload.carry == () and [task.end_of_epoch(epoch) for epoch in range(3)] == [0, 8, 16]
  assert all(workload.learning_rate_factor(step) == 1 for step in range(9))
  monkeypatch.setattr(workload, "evaluate", lambda variables, mixture, batch_statistics=False: {"loss": 2.0, "accuracy": 0.25})
  state = task.init()
  means = {"loss": 3.0, "accuracy": 0.5, "valid_loss": 4.0, "valid_accuracy": 0.1}
  assert workload.after_step((), means) == ((), means)
  after, record = task.end_epoch(state, 2, means)
  expected = {"train/loss": 3.0, "train/accuracy": 0.5, "valid/loss": 2.0, "valid/accuracy": 0.25, "learning_rate": pytest.approx(0.3)}
  assert after is state and expected.items() <= record["metrics"].items()
  assert set(record["mixture"]) == {"normal", "reduce"}


class RecordedWorkload(ToyWorkload):
  """Writes down with which statistics it is evaluated."""

  def __init__(self):
    super().__init__()
    self.calls = []

  def evaluate(self, variables, mixture, batch_statistics=False):
    self.calls.append((batch_statistics, np.asarray(mixture["normal"]).max(1).min() == 1))
    return super().evaluate(variables, mixture)


def test_what_running_statistics_do_not_fit_is_evaluated_with_those_of_the_batch():
  toy = RecordedWorkload()
  task = DartsTask(Config(epochs=1, diagnose_every=1), toy, FirstOrder(), jax.random.key(0), remedy=Remedies(projection=True))
  task.end_epoch(task.init(), 1, {"loss": 1.0})
  decisions, (mixture, discretized) = toy.calls[:-2], toy.calls[-2:]
  assert len(decisions) == 4 and all(by_batch for by_batch, _ in decisions)
  assert mixture[0] is True and discretized == (True, True)
  toy.calls.clear()
  task = DartsTask(Config(epochs=2, diagnose_every=1), toy, FirstOrder(), jax.random.key(0), remedy=Remedies(projection=True))
  task.end_epoch(task.init(), 1, {"loss": 1.0})
  assert [by_batch for by_batch, _ in toy.calls] == [False, True]


def test_batch_statistics_are_those_of_training_batches():
  data = base.Config("synthetic", examples=60, batch_size=12)  # the last of three batches of the 30 is filled up
  space = SPACES["nasbench201"]
  workload = ImageWorkload(image_supernet.Config(2, 3, 1), data, space, datasets.from_config(data), seed=0)
  mixture = {"cell": np.full(space.arch_shape(), 0.2, np.float32)}
  weights, stats = workload.initial.weights, jax.tree.map(lambda leaf: leaf + 100, workload.initial.stats)
  found = workload.evaluate(functional.Variables(weights, stats), mixture, batch_statistics=True)
  assert found == workload.evaluate(workload.initial, mixture, batch_statistics=True) != workload.evaluate(workload.initial, mixture)
  wider = dataclasses.replace(data, eval_batch_size=7)
  other = ImageWorkload(image_supernet.Config(2, 3, 1), wider, space, datasets.from_config(data), seed=0)
  assert found == pytest.approx(other.evaluate(other.initial, mixture, batch_statistics=True), rel=1e-5)


@pytest.mark.parametrize(
  ("settings", "gradient"),
  [({}, 0.0), ({"through_clip": False}, 0.5), ({"clipped": False}, 1.0), ({"clipped": False, "through_clip": False}, 1.0)],
)
def test_a_hypergradient_sees_the_clipping_as_it_says(settings, gradient):
  """The derivative of a step of one weight, whose gradient of 2 is clipped to 1, in that gradient."""
  config = Config(gradient_clip=1.0, momentum=0.0, weight_decay=0.0)
  task = DartsTask(config, ToyWorkload(), FiniteDifference(**settings), jax.random.key(0))
  seen = task.problem.unrolled_optimizer
  state = optimizers.with_learning_rate(task.problem.weight_optimizer.init(jnp.zeros(1)), 1.0)
  moved = jax.grad(lambda gradient: -seen.update(gradient, state, jnp.zeros(1))[0].sum())(jnp.full(1, 2.0))
  assert float(moved[0]) == pytest.approx(gradient, abs=1e-6)
  assert (seen is task.problem.weight_optimizer) == (not settings)
