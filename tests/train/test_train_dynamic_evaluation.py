"""Dynamic evaluation: the rule of its paper, and that no word is seen before it is scored."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import bits, quick_jit
from language_tiny import dataset
from scipy.special import logsumexp

from dnas.cells.functional import Variables, apply, split
from dnas.core import keys
from dnas.core.errors import FieldError
from dnas.data import text
from dnas.nets.models import LANGUAGE_MODELS
from dnas.train import language
from dnas.train.dynamic_evaluation import Config, DynamicEvaluation

CONFIG = Config(learning_rate=0.05, epsilon=0.01, decay=0.4, segment=3, statistics_batch_size=4)
TRAIN = slice(0, 50)


@functools.cache
def trained():
  """A network of two layers, and weights so large that hidden states matter."""
  settings = LANGUAGE_MODELS["awd_lstm"](embedding=5, units=6, layers=2)
  module = settings.build(len(dataset().vocabulary), keys.generator(0, "weights"))
  weights = jax.tree.map(lambda leaf: np.random.default_rng(3).normal(0, 0.5, leaf.shape).astype(np.float32), split(module)[1].weights)
  return module, weights


@functools.cache
def evaluation(config=CONFIG):
  return DynamicEvaluation(config, *trained(), dataset().train[TRAIN])


def text_of(length=20):
  return np.array(dataset().valid[100 : 100 + length])


# The rule.


@functools.cache
def gradient_of_segment():
  """The gradient of the mean loss of a segment, its losses, and the hidden states after it."""
  network, _ = split(trained()[0])

  def loss(weights, words, hidden):
    (logits, hidden, _), _ = apply(network, Variables(weights, {}), words[:-1], hidden, np.int32(len(words) - 1))
    picked = jnp.take_along_axis(logits, words[1:, :, None], -1)[..., 0]
    losses = jax.nn.logsumexp(logits, -1) - picked
    return losses.mean(), (losses, hidden)

  return quick_jit(jax.grad(loss, has_aux=True))


def by_hand(config, train, tokens):
  """The losses of all words but the first, by the equations of the paper, in float64 but for the gradients."""
  module, trained_weights = trained()
  gradient, length, batch = gradient_of_segment(), config.segment, config.statistics_batch_size
  rows = (len(train) - 1) // batch
  hidden, squares = module.initial_hidden(batch), []
  for start in range(0, rows - rows % length, length):
    words = np.stack([train[rows * column + start : rows * column + start + length + 1] for column in range(batch)], 1)
    g, (_, hidden) = gradient(trained_weights, words, hidden)
    squares.append([np.square(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(g)])
  roots = [np.sqrt(np.mean(leaves, 0)) for leaves in zip(*squares, strict=True)]
  mean = np.concatenate([np.ravel(root) for root in roots]).mean()
  goal = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(trained_weights)]
  weights, structure, losses, hidden = goal, jax.tree.structure(trained_weights), [], module.initial_hidden(1)
  for start in range(0, len(tokens) - 1, length):
    words = tokens[start : start + length + 1, None]
    g, (of_segment, hidden) = gradient(structure.unflatten([leaf.astype(np.float32) for leaf in weights]), words, hidden)
    losses.extend(np.asarray(of_segment)[:, 0])
    weights = [
      w - config.learning_rate * np.asarray(slope) / (root + config.epsilon) + np.minimum(1, config.decay * root / mean) * (w0 - w)
      for w, slope, root, w0 in zip(weights, jax.tree.leaves(g), roots, goal, strict=True)
    ]
  return np.array(losses)


@pytest.mark.parametrize("length", [2, 20, 22])
def test_losses_are_those_of_the_paper(length):
  losses = evaluation().losses(text_of(length))
  assert losses.shape == (length - 1,)
  np.testing.assert_allclose(losses, by_hand(CONFIG, dataset().train[TRAIN], text_of(length)), rtol=2e-3, atol=1e-4)


def test_it_goes_on_learning_and_leaves_the_trained_weights_alone():
  """Without learning it is the plain evaluation; on a text that repeats itself learning helps, and the next text starts anew."""
  module, weights = trained()
  before, tokens = bits(weights), np.resize(text_of(6), 120)
  network, _ = split(module)

  def predict(weights, words, hidden):
    return apply(network, Variables(weights, {}), words, hidden, np.int32(len(words)))[0][:2]

  plain = language.Evaluate(predict, module.initial_hidden, text.Config(sequence_length=10))
  expected = plain(weights, plain.columns(tokens, 1))
  still = evaluation(dataclasses.replace(CONFIG, learning_rate=0.0))
  assert still(tokens)["loss"] == pytest.approx(expected["loss"], rel=1e-5)
  assert evaluation()(tokens)["perplexity"] < 0.8 * expected["perplexity"]
  assert bits(weights) == before and bits(evaluation().losses(tokens)) == bits(evaluation().losses(tokens))


# Causality.


@pytest.mark.parametrize("position", range(1, 12))
def test_no_word_changes_the_scores_before_it_or_its_own(position):
  """The scores of all words that could stand at a position are those of one distribution: they sum to one."""
  before, after, own = [], [], []
  for word in range(len(dataset().vocabulary)):
    tokens = text_of()
    tokens[position] = word
    losses = evaluation().losses(tokens)  # losses[i] is the score of word i + 1
    before.append(losses[: position - 1].tobytes())
    own.append(-losses[position - 1])
    after.append(losses[position:].tobytes())
  assert len(set(before)) == 1 and len(set(after)) == len(after)
  assert logsumexp(own) == pytest.approx(0, abs=1e-5) and np.ptp(own) > 0.1


# Settings.


def test_bad_settings_are_refused():
  for field, value in (("segment", 0), ("statistics_batch_size", 0), ("epsilon", 0.0), ("learning_rate", -1.0), ("decay", float("nan"))):
    with pytest.raises(FieldError, match=f"^{field} is {value}; it must be"):
      Config(**{field: value})
  message = "^segment is 3; with statistics_batch_size 40 a column has 1 words of the training text; lower one of the two"
  with pytest.raises(FieldError, match=message):
    evaluation(dataclasses.replace(CONFIG, statistics_batch_size=40))


def test_the_defaults_are_the_published_ones():
  assert dataclasses.astuple(Config()) == (0.002, 0.001, 0.075, 5, 100)
