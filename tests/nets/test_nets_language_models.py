"""Human-designed language models: published sizes, and each against a loop in NumPy, one word after the other, with and without dropout.

Axes: T time, B batch, V words.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit
from scipy.special import expit as sigmoid
from scipy.special import log_softmax, logsumexp

from dnas.cells.functional import Variables, apply, split
from dnas.cells.language_model import dropout_mask, token_losses
from dnas.core import keys, tree
from dnas.core.errors import FieldError
from dnas.nets.models import LANGUAGE_MODELS

T, B, V = 6, 3, 7
KEY = jax.random.key(3)
run = quick_jit(apply, static_argnums=0)


def fields_of(name, *beginnings):
  return [field for field in LANGUAGE_MODELS[name].__dataclass_fields__ if field.startswith(beginnings)]


@functools.cache
def built(name, **fields):
  """A network whose weights are so large that activations bend, its states before a text, and its settings."""
  settings = dataclasses.replace(LANGUAGE_MODELS[name].smallest(), **fields)
  network, variables = split(module := settings.build(V, np.random.default_rng(0)))
  rng = np.random.default_rng(1)
  weights = jax.tree.map(lambda leaf: rng.normal(0, 0.6, leaf.shape).astype(np.float32), variables.weights)
  hidden = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), module.initial_hidden(B))
  return network, Variables(weights, {}), hidden, settings


def words(seed=0):
  return np.random.default_rng(seed).integers(0, V, (T, B)).astype(np.int32)


# Sizes.


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_the_matrices_are_those_of_the_network(name):
  _, variables, _, settings = built(name)
  shapes = [leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(variables.weights) if "bias" not in str(path)]
  assert sorted([*settings.matrices(), (V, settings.matrices()[0][0])]) == sorted(shapes)


@pytest.mark.parametrize(
  "name, fields, weights",
  [
    ("awd_lstm", {}, 24_221_600),
    ("mos_lstm", {}, 21_500_620),
    ("nas_cell", {}, 24_923_200),
    ("nas_cell", {"units": 1152}, 53_987_328),
  ],
)
def test_published_sizes(name, fields, weights):
  module = LANGUAGE_MODELS[name](**fields).build(10_000, np.random.default_rng(0))
  assert tree.size(split(module)[1].weights) == weights


def test_the_parts_of_the_published_mixture():
  _, variables = split(LANGUAGE_MODELS["mos_lstm"]().build(10_000, np.random.default_rng(0)))
  weights = variables.weights
  assert [tree.size(weights["encoder"]["layers"][layer]) for layer in range(3)] == [4_769_280, 7_380_480, 3_923_360]
  assert tree.size(weights["latent"]) == 2_608_200 and tree.size(weights["prior"]) == 9_300


def test_states_begin_at_zero():
  for name in LANGUAGE_MODELS:
    hidden = LANGUAGE_MODELS[name].smallest().build(V, np.random.default_rng(0)).initial_hidden(B)
    assert all(leaf.shape[0] == B and not leaf.any() for leaf in jax.tree.leaves(hidden))
    assert jax.tree.structure(hidden) == jax.tree.structure(built(name)[2])


# The loop in NumPy.


def lstm(x, h, c, layer, recurrent):
  read, keep, write, candidate = np.split(x @ layer["inputs"] + h @ recurrent + layer["biases"][0] + layer["biases"][1], 4, -1)
  c = sigmoid(keep) * c + sigmoid(write) * np.tanh(candidate)
  return sigmoid(read) * np.tanh(c), c


def nas_cell(x, h, c, layer, recurrent):
  x, m = np.split(x @ layer["inputs"], 8, -1), np.split(h @ recurrent, 8, -1)
  a0, a2, a5, a7 = (sigmoid(x[i] + m[i]) for i in (0, 2, 5, 7))
  a1, a3 = np.maximum(x[1] + m[1], 0), np.maximum(x[3] * m[3], 0)
  a4, a6 = np.tanh(x[4] + m[4]), np.tanh(x[6] + m[6])
  b0, b1, b2, b3 = np.tanh(a0 * a1), np.tanh(a2 + a3), np.tanh(a4 * a5), sigmoid(a6 + a7)
  c = np.tanh(b0 + c) * b1
  return np.tanh(c * np.tanh(b2 + b3)), c


def decoded(weights, output, latent_mask):
  """The logits of a time step, or of a mixture the logarithms of its probabilities."""
  embedding = weights["encoder"]["embedding"]
  if "prior" not in weights:
    return output @ embedding.T + weights.get("bias", 0)
  latent = np.tanh(output @ weights["latent"]["kernel"] + weights["latent"]["bias"]) * latent_mask
  prior, total = np.exp(log_softmax(output @ weights["prior"], -1)), 0.0
  for k, vector in enumerate(np.split(latent, prior.shape[1], -1)):
    total = total + prior[:, k : k + 1] * np.exp(log_softmax(vector @ embedding.T + weights["bias"], -1))
  return np.log(total)


def mask_of(key, rate, shape, *consumer):
  return np.ones(shape) if key is None else np.asarray(dropout_mask(keys.derive(key, *consumer), rate, shape), np.float64)


def by_hand(name, variables, hidden, settings, tokens, length, key):
  """Logits of `length` steps, the states after them, and the penalties. Every mask is drawn once and holds for all steps."""
  weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables.weights)
  layers, embedding = weights["encoder"]["layers"], weights["encoder"]["embedding"]
  hidden = [[np.asarray(leaf, np.float64) for leaf in state] for state in hidden]
  step = nas_cell if name == "nas_cell" else lstm
  on_words = mask_of(key, settings.dropout_words, (V, 1), "words")
  on_embedded = mask_of(key, settings.dropout_embedding, (1, B, embedding.shape[1]), "embedding")[0]
  rates = [settings.dropout_layers] * (settings.layers - 1) + [settings.dropout_output]
  masks, on_weights, on_hidden = [], [], []
  for layer, (rate, state) in enumerate(zip(rates, hidden, strict=True)):
    masks.append(mask_of(key, rate, (1, *state[0].shape), f"layer {layer}")[0])
    on_weights.append(mask_of(key, getattr(settings, "weight_drop", 0), layers[layer]["recurrent"].shape, "weights", layer))
    on_hidden.append(mask_of(key, getattr(settings, "dropout_hidden", 0), state[0].shape, "hidden", layer))
  softmaxes = getattr(settings, "softmaxes", 1)
  on_latent = mask_of(key, getattr(settings, "dropout_latent", 0), (1, B, softmaxes * embedding.shape[1]), "latent")[0]
  logits, raw, dropped = [], [], []
  for row in tokens[:length]:
    x = embedding[row] * on_words[row] * on_embedded
    for layer, state in enumerate(hidden):
      h, c = step(x, state[0] * on_hidden[layer], state[1], layers[layer], layers[layer]["recurrent"] * on_weights[layer])
      hidden[layer], x = [h, c], h * masks[layer]
    raw.append(h)
    dropped.append(x)
    logits.append(decoded(weights, x, on_latent))
  penalty = getattr(settings, "activation_penalty", 0) * np.mean(np.square(dropped))
  penalty += getattr(settings, "temporal_penalty", 0) * np.mean(np.square(np.diff(raw, axis=0)))
  return np.array(logits), hidden, penalty


def check(name, length, key, **fields):
  network, variables, hidden, settings = built(name, **fields)
  (logits, after, penalty), _ = run(network, variables, words(), hidden, np.int32(length), None, key)
  expected, expected_after, expected_penalty = by_hand(name, variables, hidden, settings, words(), length, key)
  np.testing.assert_allclose(np.asarray(logits)[:length], expected, rtol=2e-4, atol=2e-5)
  for found, wanted in zip(jax.tree.leaves(after), jax.tree.leaves(expected_after), strict=True):
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)
  assert float(penalty) == pytest.approx(expected_penalty, rel=1e-4) and (penalty > 0) == (name != "nas_cell")
  return np.asarray(logits), np.asarray(after[0][0])


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
@pytest.mark.parametrize("length", [T, 4])
def test_the_network_is_the_loop(name, length):
  check(name, length, None)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_every_mask_is_drawn_once_and_holds_at_every_time_step(name):
  """The loop of the weight drop, too, has one masked matrix for all steps; another key is another mask."""
  (one, _), (again, _), (other, _) = (check(name, T, key) for key in (KEY, KEY, jax.random.key(4)))
  assert (one == again).all() and (one != other).any()


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_every_dropout_drops(name):
  rates = fields_of(name, "dropout", "weight_drop")
  none = dict.fromkeys(rates, 0.0)
  plain, _ = check(name, T, KEY, **none)
  without_key, _ = check(name, T, None)
  np.testing.assert_allclose(plain, without_key, rtol=1e-5, atol=1e-6)
  for rate in rates:
    dropped, _ = check(name, T, KEY, **(none | {rate: 0.5}))
    assert np.abs(dropped - plain).max() > 1e-3, rate


def test_weight_drop_masks_single_weights_of_one_matrix_for_all_sequences():
  """Two sequences of the same words stay equal, as they would not with a mask each; and units keep some of their weights."""
  only = dict.fromkeys(fields_of("awd_lstm", "dropout"), 0.0)
  network, variables, hidden, settings = built("awd_lstm", **only)
  same = np.repeat(words()[:, :1], B, 1)
  hidden = jax.tree.map(lambda leaf: np.repeat(leaf[:1], B, 0), hidden)
  (logits, *_), _ = run(network, variables, same, hidden, np.int32(T), None, KEY)
  np.testing.assert_allclose(logits, np.broadcast_to(np.asarray(logits)[:, :1], logits.shape), rtol=1e-5, atol=1e-6)
  mask = mask_of(KEY, settings.weight_drop, (5, 20), "weights", 0)
  assert set(np.unique(mask)) == {0.0, 2.0} and (0 < mask.mean(0)).any() and np.ptp(mask.mean(1)) > 0


# Gradients.


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_gradients_agree_with_differences(name, x64):
  """The gradient of a layer is written by hand. In the direction of a random change it is the slope of the loss."""
  network, variables, hidden, _ = built(name)
  targets, rng = words(1), np.random.default_rng(5)

  def loss(weights, hidden):
    (logits, after, penalty), _ = apply(network, Variables(weights, {}), words(), hidden, np.int32(4), None, KEY)
    return token_losses(logits, targets, 4).sum() + penalty + sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(after))

  arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), (variables.weights, hidden))
  value_and_gradient = quick_jit(jax.value_and_grad(loss, (0, 1)))
  _, gradient = value_and_gradient(*arguments)
  leaves, structure = jax.tree.flatten(arguments)
  for index, slopes in enumerate(jax.tree.leaves(gradient)):
    change = rng.normal(0, 1e-5, slopes.shape)
    moved = ([*leaves[:index], leaves[index] + sign * change, *leaves[index + 1 :]] for sign in (1, -1))
    up, down = (value_and_gradient(*structure.unflatten(each))[0] for each in moved)
    assert float(up - down) / 2 == pytest.approx(float(np.vdot(change, np.asarray(slopes))), rel=1e-4, abs=1e-10)


# Mixtures of softmaxes.


def test_a_mixture_sums_to_one_and_is_no_softmax_of_low_rank():
  network, variables, hidden, settings = built("mos_lstm")
  big = Variables(jax.tree.map(lambda leaf: 20 * leaf, variables.weights), {})
  for each, key in ((variables, None), (variables, KEY), (big, KEY)):
    (logits, *_), _ = run(network, each, words(), hidden, np.int32(T), None, key)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logsumexp(np.asarray(logits), -1), 0, atol=1e-5)
  (logits, *_), _ = run(network, variables, words(), hidden, np.int32(T), None, None)
  assert np.linalg.matrix_rank(np.asarray(logits, np.float64).reshape(-1, V), 1e-4) > settings.embedding + 1


def test_with_one_softmax_it_is_the_plain_model():
  network, variables, hidden, settings = built("mos_lstm", softmaxes=1)
  encoder, _ = split(settings.build(V, np.random.default_rng(0)).encoder)
  targets = words(1)

  def losses(weights, plain):
    (logits, *_), _ = apply(network, Variables(weights, {}), words(), hidden, np.int32(T))
    if plain:
      (outputs, *_), _ = apply(encoder, Variables(weights["encoder"], {}), words(), hidden, np.int32(T), None)
      latent = jnp.tanh(outputs @ weights["latent"]["kernel"] + weights["latent"]["bias"][None, None])
      logits = latent @ weights["encoder"]["embedding"].T + weights["bias"][None, None]
    return token_losses(logits, targets, T).sum()

  one, plain = (quick_jit(jax.value_and_grad(losses), static_argnums=1)(variables.weights, plain) for plain in (False, True))
  assert float(one[0]) == pytest.approx(float(plain[0]), rel=1e-5)
  for a, b in zip(jax.tree.leaves(one[1]), jax.tree.leaves(plain[1]), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_softmaxes_of_a_window_are_never_in_memory_together():
  steps, sequences, vocabulary, softmaxes = 32, 4, 500, 64
  settings = LANGUAGE_MODELS["mos_lstm"](embedding=4, units=4, last_units=4, softmaxes=softmaxes)
  network, variables = split(module := settings.build(vocabulary, np.random.default_rng(0)))
  tokens = np.zeros((steps, sequences), np.int32)

  def loss(weights, hidden):
    (logits, *_), _ = apply(network, Variables(weights, {}), tokens, hidden, np.int32(steps), None, KEY)
    return token_losses(logits, tokens, steps).sum()

  memory = jax.jit(jax.grad(loss)).lower(variables.weights, module.initial_hidden(sequences)).compile().memory_analysis()
  assert memory.temp_size_in_bytes < 4 * steps * sequences * vocabulary * softmaxes / 4


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_bad_settings_are_refused(name):
  fields = list(LANGUAGE_MODELS[name].__dataclass_fields__)
  rates, scales = fields_of(name, "dropout", "weight_drop"), fields_of(name, "activation", "temporal", "init_range")
  for field in fields:
    values = (-0.1, 1.0, float("nan")) if field in rates else (-1.0, float("inf")) if field in scales else (0, -1, 1.5, 10**7)
    for value in values:
      with pytest.raises(FieldError, match=f"^{field} is {value}; it must be"):
        LANGUAGE_MODELS[name](**{field: value})


def test_initial_weights():
  """Those of layers are as in PyTorch's LSTM; the NAS cell has the range of all its weights as a setting."""
  for name, bounds in (("awd_lstm", (0.1, 1150**-0.5, 20**-0.5)), ("nas_cell", (0.07, 0.07, 0.07))):
    fields = {"embedding": 20} if name == "awd_lstm" else {"units": 40, "init_range": 0.07}
    module = LANGUAGE_MODELS[name](**fields).build(400, np.random.default_rng(0))
    weights = [module.encoder.embedding, module.encoder.layers[0].recurrent, module.encoder.layers[-1].inputs]
    for weight, bound in zip(weights, bounds, strict=True):
      values = np.asarray(weight[...])
      assert 0.98 * bound < np.abs(values).max() <= 1.0001 * bound and values.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
