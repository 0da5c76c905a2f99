"""Retraining on text, part by part: perplexity, a step, averages and rollback, each against its definition."""

import dataclasses
import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import bits, quick_jit
from language_tiny import CONFIG, DATA, dataset, make_network, make_task, published_trigger, spoiled

from dnas.cells import functional
from dnas.core import tree
from dnas.core.errors import FieldError
from dnas.data import text
from dnas.run import loop
from dnas.train import language

VOCABULARY = 22


@pytest.fixture(scope="module")
def task():
  return make_task()


def stepped(task, state, first, last):
  for step in range(first, last):
    state, metrics = task.step(state, step)
  return state, metrics


# Perplexity.


def scripted(scores):
  """A network whose logits after a word are a row of `scores`, plus its hidden state, which counts the words that it has read."""

  def predict(network, tokens, hidden):
    read = jnp.cumsum(jnp.ones(tokens.shape), 0) + hidden[None, :, 0]
    logits = scores[tokens] + 0.1 * read[..., None] * jnp.arange(len(scores))[None, None]
    return logits, hidden + len(tokens)

  return predict


def mean_loss(tokens, scores, columns):
  """The definition: each word but the first predicted once, from the words since the beginning of its column."""
  count, total = len(tokens) - 1, 0.0
  rows = math.ceil(count / columns)
  for position in range(count):
    logits = scores[tokens[position]] + 0.1 * (position % rows + 1) * np.arange(len(scores))
    total += np.log(np.exp(logits).sum()) - logits[tokens[position + 1]]
  return total / count


@pytest.mark.parametrize("length, columns", [(2, 1), (2, 4), (8, 1), (23, 1), (50, 4), (53, 4), (57, 10), (9, 60)])
def test_perplexity_counts_every_word_but_the_first_once(length, columns):
  rng = np.random.default_rng(0)
  tokens, scores = rng.integers(0, 5, length).astype(np.int32), rng.normal(size=(5, 5)).astype(np.float32)
  evaluate = language.Evaluate(scripted(jnp.asarray(scores)), lambda batch: jnp.zeros((batch, 1)), text.Config(sequence_length=7))
  result = evaluate((), evaluate.columns(tokens, columns))
  expected = mean_loss(tokens, scores, min(columns, length - 1))
  assert result["loss"] == pytest.approx(expected, rel=1e-5) and result["perplexity"] == pytest.approx(math.exp(expected), rel=1e-4)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def loss_word_by_word(weights, tokens):
  """The mean loss over one sequence, in float64 and one word at a time, by the equations of the cell and nothing of its code."""
  weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), weights)
  cell, embedding = weights["cell"], weights["embedding"]
  hidden, total = np.zeros(embedding.shape[1]), 0.0

  def highway(inputs, weight, state, activation):
    gate, x = np.split(inputs @ weight, 2)
    return state + sigmoid(gate) * (activation(x) - state)

  for word, target in zip(tokens[:-1], tokens[1:], strict=True):
    state = highway(np.concatenate([embedding[word], hidden]), cell["initial"], hidden, np.tanh)
    one = highway(state, cell["nodes"][0], state, np.tanh)
    two = highway(one, cell["nodes"][1], one, lambda x: np.maximum(x, 0))
    hidden = (one + two) / 2
    logits = embedding @ hidden + weights["bias"]
    total += np.log(np.exp(logits).sum()) - logits[target]
  return total / (len(tokens) - 1)


@pytest.fixture(scope="module")
def large(task):
  """A state whose weights are so large that activations bend and hidden states matter."""
  weights = jax.tree.map(lambda leaf: 25 * leaf + 0.01, task.init().weights)
  return dataclasses.replace(task.init(), weights=weights, averages=weights, best=weights)


@pytest.mark.parametrize("length", [2, 3, 10, 11, 12, 203])
def test_the_test_reads_a_text_as_one_sequence(task, large, length):
  tokens = dataset().valid[:length]
  result = task.test(large, tokens)
  expected = loss_word_by_word(large.best, tokens)
  assert result["loss"] == pytest.approx(expected, rel=1e-5) and result["perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)


def test_validation_reads_a_text_in_columns_each_from_a_hidden_state_of_zero(task, large):
  tokens, columns = dataset().valid, DATA.eval_batch_size
  rows = math.ceil((len(tokens) - 1) / columns)
  parts = [tokens[rows * column : rows * (column + 1) + 1] for column in range(columns)]
  assert len(parts[-1]) < rows + 1, "the last column is not full"
  expected = sum(loss_word_by_word(large.weights, part) * (len(part) - 1) for part in parts) / (len(tokens) - 1)
  _, record = task.end_epoch(large, 1, {"nats": 1.0, "words": 1.0, "rollbacks": 0.0})
  assert record["metrics"]["valid/loss"] == pytest.approx(expected, rel=1e-5)
  assert abs(loss_word_by_word(large.weights, tokens) - expected) > 1e-4, "the columns make a difference"


def test_a_model_that_knows_nothing_has_the_perplexity_of_the_vocabulary(task):
  zero = dataclasses.replace(task.init(), best=jax.tree.map(jnp.zeros_like, task.init().best))
  for length in (2, 1200):
    assert task.test(zero, dataset().valid[:length])["perplexity"] == pytest.approx(VOCABULARY, rel=5e-6)


def test_the_test_reads_the_best_weights(task, large):
  assert task.test(dataclasses.replace(large, best=task.init().best), dataset().valid) == task.test(task.init(), dataset().valid)


def test_a_loss_beyond_the_exponential_has_an_infinite_perplexity():
  assert language.perplexity_of(1e4) == {"loss": 1e4, "perplexity": math.inf}
  assert language.perplexity_of(0.0)["perplexity"] == 1


def test_a_text_shorter_than_a_window_is_refused():
  message = "sequence_length is 10; with batch size 8 a column of the training text has 9 words, so lower the sequence length"
  with pytest.raises(FieldError, match=message):
    language.RetrainTask(CONFIG, make_network(), DATA, dataclasses.replace(dataset(), train=dataset().train[:80]), seed=0)


# Steps.


def gradient_of(task, state, step):
  window, key = task._windows(step), loop.step_key(state.key, np.int32(step))

  def loss(weights):
    variables = functional.Variables(weights, {})
    nats, penalty, _ = language.language_loss(task.network, variables, window, state.hidden, None, key)
    return nats + penalty, (nats, penalty)

  return quick_jit(jax.value_and_grad(loss, has_aux=True))(state.weights)


@pytest.mark.parametrize("clips", [False, True])
def test_a_step_clips_then_decays_and_scales_with_the_length(task, large, clips):
  state, step = large if clips else task.init(), 3
  length = task._windows.length(step)
  (total, (nats, penalty)), gradient = gradient_of(task, state, step)
  norm = float(np.sqrt(sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(gradient))))
  assert length != DATA.sequence_length and (norm > 0.25) == clips
  rate, factor = 20.0 * length / DATA.sequence_length, min(1, 0.25 / norm)
  after, metrics = task.step(state, step)
  expected = jax.tree.map(lambda w, g: np.asarray(w) - rate * (factor * np.asarray(g) + 1e-3 * np.asarray(w)), state.weights, gradient)
  for found, wanted in zip(jax.tree.leaves(after.weights), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
  assert float(optax.tree.get(after.opt_state, "learning_rate")) == pytest.approx(rate)
  values = [float(metrics[name]) for name in ("loss", "nats", "words", "rollbacks")]
  assert values == pytest.approx([float(total), float(nats) * length, length, 0], rel=1e-5) and float(penalty) > 0
  assert int(after.averaged) == 0, "nothing is averaged yet"
  for average, weight in zip(jax.tree.leaves(after.averages), jax.tree.leaves(after.weights), strict=True):
    np.testing.assert_allclose(average, weight, rtol=1e-5, atol=1e-7)
  assert bits((after.best, after.best_loss, after.losses, after.key)) == bits((state.best, state.best_loss, state.losses, state.key))


def test_hidden_states_are_carried_and_begin_at_zero_in_every_epoch(task):
  state, _ = stepped(task, task.init(), 0, 2)
  assert float(tree.norm(state.hidden)) > 0
  zero = dataclasses.replace(state, hidden=jnp.zeros_like(state.hidden))
  for epoch in (0, 1, 2):
    first = task.end_of_epoch(epoch)
    assert bits(task.step(state, first)[0]) == bits(task.step(zero, first)[0])
    assert bits(task.step(state, first + 1)[0].weights) != bits(task.step(zero, first + 1)[0].weights)


def test_padding_changes_nothing():
  """Windows of one padded length and of five train alike, but for rounding."""
  one, five = (make_task(data=dataclasses.replace(DATA, buckets=buckets)) for buckets in (1, 5))
  state, shapes = one.init(), set()
  for step in range(8):
    shapes.add(five._windows(step).tokens.shape[0])
    (wide, wide_metrics), (narrow, narrow_metrics) = one.step(state, step), five.step(state, step)
    for name in wide_metrics:
      assert float(wide_metrics[name]) == pytest.approx(float(narrow_metrics[name]), rel=1e-6)
    for a, b in zip(jax.tree.leaves(wide), jax.tree.leaves(narrow), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    state = wide
  assert len(shapes) > 2


# Averages.


def ended(task, state, epoch, valid, monkeypatch):
  """The state after an epoch whose validation loss is as said."""
  monkeypatch.setattr(task, "_evaluate", lambda *_: language.perplexity_of(valid))
  return task.end_epoch(state, epoch, {"nats": 1.0, "words": 1.0, "rollbacks": 0.0})


def epoch_of_trigger(task, losses, monkeypatch):
  state = task.init()
  for epoch, loss in enumerate(losses, start=1):
    state, record = ended(task, state, epoch, loss, monkeypatch)
    assert "averaging" not in record["metrics"]
    if int(state.averaged):
      return epoch
  return None


FALLING = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]


@pytest.mark.parametrize(
  "patience, losses, expected",
  [
    (5, FALLING, None),
    (5, [5, 4, 3, 2, 1, 6], None),  # five epochs before it are too few
    (5, [5, 4, 3, 2, 1, 0.9, 6], 7),  # above the 5, the only one that is old enough
    (5, [5, 4, 3, 2, 1, 0.9, 5], None),
    (5, [5, 4, 3, 2, 1, 1.1, 1.2, 1.3, 1.4, 2.1], 10),  # above the 2, but not above the 1, which is five epochs back
    (5, [5, 4, 3, 2, 1, 1.1, 1.2, 1.3, 1.4, 1.9], None),
    (1, [5, 5.1], None),
    (1, [5, 4, 5.1], 3),
    (0, [1, 2, 3, 4], None),
  ],
)
def test_the_non_monotonic_trigger(patience, losses, expected, monkeypatch):
  task = make_task(dataclasses.replace(CONFIG, epochs=12, patience=patience))
  assert epoch_of_trigger(task, losses, monkeypatch) == expected
  assert patience == 0 or published_trigger(losses, patience) == expected


@pytest.mark.parametrize("patience", [1, 3, 5])
def test_the_trigger_on_random_losses(patience):
  task, rng = make_task(dataclasses.replace(CONFIG, epochs=12, patience=patience)), np.random.default_rng(patience)
  found = set()
  for _ in range(200):
    losses = (5 - 0.1 * np.arange(12) + rng.normal(0, 0.3, 12)).astype(np.float32)
    epochs = [epoch for epoch in range(1, 13) if task._triggers(losses[:epoch])]
    assert (epochs[0] if epochs else None) == published_trigger(losses, patience)
    found.add(epochs[0] if epochs else None)
  assert len(found) > 4 and min(found - {None}) == patience + 2


def test_averages_are_the_mean_of_the_weights_since_the_trigger(task, monkeypatch):
  state, _ = stepped(task, task.init(), 0, 2)
  state, record = ended(task, state, 1, 2.0, monkeypatch)
  assert "averaging" not in record["metrics"] and float(state.best_loss) == 2.0 and bits(state.best) == bits(state.weights)
  state, _ = ended(task, stepped(task, state, 2, 4)[0], 2, 1.5, monkeypatch)
  state, _ = ended(task, stepped(task, state, 4, 6)[0], 3, 2.5, monkeypatch)
  assert int(state.averaged) == 1 and bits(state.averages) == bits(state.weights) and float(state.best_loss) == 1.5
  assert bits(state.best) != bits(state.weights), "the best weights are those of the second epoch"
  seen = [state.weights]
  for step in range(6, 11):
    state, _ = task.step(state, step)
    seen.append(state.weights)
    assert int(state.averaged) == len(seen)
    for average, *weights in zip(jax.tree.leaves(state.averages), *map(jax.tree.leaves, seen), strict=True):
      np.testing.assert_allclose(average, np.mean(weights, 0, np.float64), rtol=1e-5, atol=1e-6)
  state, record = ended(task, state, 4, 1.0, monkeypatch)
  assert record["metrics"]["averaging"] == 1 and bits(state.best) == bits(state.averages) != bits(state.weights)
  assert int(state.averaged) == len(seen)
  np.testing.assert_array_equal(state.losses, np.float32([2.0, 1.5, 2.5, 1.0]))


def test_averaged_weights_are_those_that_are_evaluated(task, large):
  means = {"nats": 1.0, "words": 1.0, "rollbacks": 0.0}
  losses = []
  for averaged in (0, 2):
    state = dataclasses.replace(large, averages=task.init().weights, averaged=jnp.int32(averaged))
    after, record = task.end_epoch(state, 1, means)
    losses.append(record["metrics"]["valid/loss"])
    assert bits(after.best) == bits(state.averages if averaged else state.weights) and float(after.best_loss) == np.float32(losses[-1])
  assert losses == [task.end_epoch(state, 1, means)[1]["metrics"]["valid/loss"] for state in (large, task.init())]
  assert losses[0] != losses[1]


# Rollback.


@pytest.mark.parametrize("averaged", [0, 1, 3])
def test_a_loss_that_is_not_finite_puts_the_best_weights_back(task, averaged):
  state, _ = stepped(task, task.init(), 0, 2)
  best = jax.tree.map(lambda leaf: leaf + 1, state.weights)
  state = dataclasses.replace(state, best=best, best_loss=jnp.float32(2.0), averaged=jnp.int32(averaged))
  after, metrics = task.step(spoiled(state), 2)
  assert {name: float(value) for name, value in metrics.items()} == {"loss": 0, "nats": 0, "words": 0, "rollbacks": 1}
  assert bits(after.weights) == bits(after.averages) == bits(after.best) == bits(best) and not np.any(after.hidden)
  assert int(after.averaged) == min(averaged, 1) and bool(tree.is_finite(after.opt_state))
  again, metrics = task.step(after, 3)
  assert float(metrics["rollbacks"]) == 0 and np.isfinite(metrics["loss"]) and bits(again.weights) != bits(best)
  if averaged:  # the average begins anew, with the best weights
    for average, *weights in zip(*map(jax.tree.leaves, (again.averages, best, again.weights)), strict=True):
      np.testing.assert_allclose(average, np.mean(weights, 0), rtol=1e-5, atol=1e-6)


def test_weights_that_overflow_are_rolled_back_before_their_loss_is_seen(task):
  state = dataclasses.replace(task.init(), best_loss=jnp.float32(2.0))
  window, key = task._windows(0), loop.step_key(state.key, np.int32(0))
  _, metrics = task._step(state, window, key, np.float32(20))
  assert float(metrics["rollbacks"]) == 0
  after, metrics = task._step(state, window, key, np.float32(np.inf))
  assert float(metrics["rollbacks"]) == 1 and bits(after.weights) == bits(state.best)


def test_without_best_weights_a_loss_that_is_not_finite_is_handed_on(task):
  after, metrics = task.step(spoiled(task.init()), 0)
  assert np.isnan(metrics["loss"]) and float(metrics["rollbacks"]) == 0 and not bool(tree.is_finite(after.weights))


MEANS = {"nats": 1.0, "words": 0.5, "rollbacks": 0.0}


def test_rollbacks_are_told_and_too_many_end_the_run(task, caplog, monkeypatch):
  state = dataclasses.replace(task.init(), best_loss=jnp.float32(2.0), losses=jnp.asarray([3.0, 2.0, np.inf, np.inf], jnp.float32))
  steps = task.end_of_epoch(3) - task.end_of_epoch(2)
  monkeypatch.setattr(language, "MAX_ROLLBACKS", 3)
  for rollbacks in (2, 3):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
      _, record = task.end_epoch(state, 3, MEANS | {"rollbacks": rollbacks / steps})
    assert record["metrics"]["rollbacks"] == rollbacks and record["metrics"]["train/loss"] == 2.0
    assert [entry.getMessage() for entry in caplog.records] == [
      f"The loss was not finite {rollbacks} times in epoch 3; each time training went on from the weights of epoch 2, the best so far."
    ]
  with pytest.raises(loop.NonFiniteLoss) as error:
    task.end_epoch(state, 3, MEANS | {"rollbacks": 4 / steps})
  assert str(error.value) == (
    "the loss was not finite 4 times in epoch 3, each time from the weights of epoch 2; lower the learning rate or clip the gradient, "
    "and give another --workdir."
  )


@pytest.mark.parametrize("averaged", [0, 3])
def test_a_validation_loss_that_is_not_finite_is_a_rollback_too(task, large, averaged, caplog):
  """The last step of an epoch can end in weights that are finite and yet so large that no loss is."""
  state = dataclasses.replace(large, best_loss=jnp.float32(2.0), losses=jnp.asarray([2.0, np.inf, np.inf, np.inf], jnp.float32))
  huge = jax.tree.map(lambda leaf: 1e30 * leaf, large.weights)
  state = dataclasses.replace(state, weights=huge, averages=huge, averaged=jnp.int32(averaged))
  with caplog.at_level(logging.WARNING):
    after, record = task.end_epoch(state, 2, MEANS)
  metrics = record["metrics"]
  assert metrics["rollbacks"] == 1
  assert "not finite 1 times in epoch 2; each time training went on from the weights of epoch 1" in caplog.text
  assert bits(after.weights) == bits(after.averages) == bits(large.best) and not np.any(after.hidden)
  assert int(after.averaged) == min(averaged, 1)
  assert metrics["valid/loss"] == pytest.approx(float(after.losses[1])) and all(math.isfinite(value) for value in metrics.values())
  _, record = task.end_epoch(dataclasses.replace(task.init(), weights=huge), 1, MEANS)  # there are no best weights, and the loop raises
  assert not math.isfinite(record["metrics"][loop.VALID_LOSS]) and "rollbacks" not in record["metrics"]
