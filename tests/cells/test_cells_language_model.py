"""The language model around the recurrent cell: dropout, penalties, the tied decoder, and that it does not see what is to come.

Axes: T time, B batch, H units, V words.
"""


import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import quick_jit

from dnas.cells.darts_recurrent import SPACE
from dnas.cells.functional import Variables, apply, split
from dnas.cells.language_model import Config, dropout_mask, token_losses
from dnas.cells.registries import LANGUAGE_GENOTYPES
from dnas.core.errors import FieldError
from dnas.nets.derived_language import derived_language_model
from dnas.supernet.language_supernet import language_supernet

T, B, H, V = 5, 3, 6, 6
KEY, OTHER = jax.random.key(3), jax.random.key(1)
RATES = ("dropout_words", "dropout_embedding", "dropout_inputs", "dropout_hidden", "dropout_output")
NO_DROPOUT = dict.fromkeys(RATES, 0.0)
HALF = dict.fromkeys(RATES, 0.5)
CELL = LANGUAGE_GENOTYPES["DARTS_V2"]
run = quick_jit(apply, static_argnums=0)


def config_of(**fields: float) -> Config:
  return Config(units=H, **{**NO_DROPOUT, "temporal_penalty": 0.0, **fields})


def words(seed: int, batch: int = B) -> np.ndarray:
  return np.random.default_rng(seed).integers(0, V, (T, batch)).astype(np.int32)


def larger(variables: Variables) -> Variables:
  """Weights of such a size that the activations bend."""
  rng = np.random.default_rng(2)
  return Variables(jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), variables.weights), {})


def derived(config: Config):
  network, variables = split(derived_language_model(config, CELL, V, np.random.default_rng(0)))
  return network, larger(variables)


ZERO = np.zeros((B, H), np.float32)


# Dropout, seen by a cell that keeps what it is given and returns its inputs.


class Recorder(nnx.Module):
  """Stands where the cell stands."""

  def __init__(self):
    self.inputs, self.masks = None, None

  def __call__(self, inputs, hidden, length, masks, context):
    self.inputs, self.masks = nnx.data(inputs), nnx.data(masks)
    return inputs, hidden


EMBEDDING = (np.eye(V, H) + 1).astype(np.float32)
TO_OUTPUTS = np.linalg.inv(EMBEDDING.T)


def recorded(config: Config, tokens: np.ndarray, key: jax.Array | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """Returns what the cell is given, its outputs after dropout, and its masks."""
  model = derived_language_model(config, CELL, V, np.random.default_rng(0))
  model.embedding.set_value(jnp.asarray(EMBEDDING))
  model.cell = Recorder()
  logits, _, _ = model(jnp.asarray(tokens), jnp.zeros((tokens.shape[1], H)), np.int32(T), key=key)
  masks = model.cell.masks
  return np.asarray(model.cell.inputs), np.asarray(logits) @ TO_OUTPUTS, masks and [np.asarray(mask) for mask in masks]


def check_mask(mask: np.ndarray, rate: float):
  """Every element is dropped or scaled up, in about the right number."""
  kept = 1 / (1 - rate)
  assert np.isclose(mask, 0, atol=1e-4).any() and np.isclose(mask, kept, rtol=1e-4).any()
  assert (np.isclose(mask, 0, atol=1e-4) | np.isclose(mask, kept, rtol=1e-4)).all()
  assert mask.mean() == pytest.approx(1, abs=5 * np.sqrt(rate / (1 - rate) / mask.size))


BATCH = 500


@pytest.mark.parametrize("rate", [0.2, 0.75])
@pytest.mark.parametrize("name", ["dropout_embedding", "dropout_output"])
def test_one_mask_a_sequence_on_what_goes_in_and_comes_out(name, rate):
  tokens = words(0, BATCH)
  inputs, outputs, _ = recorded(config_of(**{name: rate}), tokens, KEY)
  mask = inputs / EMBEDDING[tokens] if name == "dropout_embedding" else outputs / EMBEDDING[tokens]
  check_mask(mask[0], rate)
  np.testing.assert_allclose(mask, np.broadcast_to(mask[0], mask.shape), atol=1e-4)  # the same at all times
  assert len(np.unique(np.round(mask[0]), axis=0)) > 20  # other sequences, other masks
  assert (mask[0].max(0) > 1).all() and (mask[0].min(0) < 1e-4).all()
  if name == "dropout_output":
    np.testing.assert_allclose(inputs, EMBEDDING[tokens])


@pytest.mark.parametrize("rate", [0.2, 0.75])
@pytest.mark.parametrize("place, name", [(0, "dropout_inputs"), (1, "dropout_hidden")])
def test_one_mask_a_sequence_for_the_cell(place, name, rate):
  """The cell multiplies with them at every time step, as the loop of its own tests does."""
  tokens = words(0, BATCH)
  inputs, outputs, masks = recorded(config_of(**{name: rate}), tokens, KEY)
  np.testing.assert_allclose(inputs, EMBEDDING[tokens])
  np.testing.assert_allclose(outputs, EMBEDDING[tokens], rtol=1e-4)
  assert [mask.shape for mask in masks] == [(BATCH, H)] * 2
  check_mask(masks[place], rate)
  assert len(np.unique(masks[place], axis=0)) > 20 and (masks[1 - place] == 1).all()


def test_a_dropped_word_is_dropped_whole_and_everywhere():
  tokens = np.resize(np.arange(V, dtype=np.int32), (T, B))
  seen = set()
  for seed in range(8):
    inputs, _, masks = recorded(config_of(dropout_words=0.5), tokens, jax.random.key(seed))
    factors = np.array([inputs[tokens == word][0, 0] / EMBEDDING[word, 0] for word in range(V)])
    assert np.isin(factors, [0, 2]).all() and all((mask == 1).all() for mask in masks)
    np.testing.assert_array_equal(inputs, factors[tokens][..., None] * EMBEDDING[tokens])
    seen.add(tuple(factors))
  assert len(seen) > 4


def test_masks_follow_from_the_key_alone():
  config, tokens = config_of(**HALF), words(0)
  first, again, other = (recorded(config, tokens, key) for key in (KEY, KEY, OTHER))
  for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
    np.testing.assert_array_equal(one, two)
  assert all((one != two).any() for one, two in zip(jax.tree.leaves(first[2]), jax.tree.leaves(other[2]), strict=True))
  *_, same = recorded(config, words(1), KEY)  # other words, the same masks
  assert all((one == two).all() for one, two in zip(first[2], same, strict=True))
  assert (first[2][0] != first[2][1]).any()


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.75])
def test_dropout_keeps_the_expectation(rate):
  mask = np.asarray(dropout_mask(KEY, rate, (300, 300)))
  assert mask.dtype == np.float32 and np.unique(mask).tolist() == [0, np.float32(1 / (1 - rate))]
  assert (mask == 0).mean() == pytest.approx(rate, abs=0.01) and mask.mean() == pytest.approx(1, abs=0.02)


def test_no_key_or_no_rate_drops_nothing():
  network, variables = derived(config_of())
  tokens = words(0)
  with_key, without = (run(network, variables, tokens, ZERO, T, None, key)[0] for key in (KEY, None))
  for one, two in zip(with_key, without, strict=True):
    np.testing.assert_array_equal(one, two)
  network, variables = derived(config_of(**HALF))
  np.testing.assert_array_equal(run(network, variables, tokens, ZERO, T, None, None)[0][0], without[0])
  assert (run(network, variables, tokens, ZERO, T, None, KEY)[0][0] != without[0]).any()
  assert recorded(config_of(**HALF), tokens, None)[2] is None


# Penalties.


@pytest.mark.parametrize("length", [1, 2, T - 1, T])
def test_penalties_are_mean_squares(length):
  """With an embedding of unit vectors and no bias the logits are the outputs after dropout."""
  tokens = words(3)

  def of(**fields):
    network, variables = derived(config_of(**{**HALF, **fields}))
    weights = {**variables.weights, "embedding": np.eye(V, H, dtype=np.float32), "bias": np.zeros(V, np.float32)}
    logits, _, penalty = run(network, Variables(weights, {}), tokens, ZERO, length, None, KEY)[0]
    return np.asarray(logits, np.float64), penalty

  dropped, nothing = of()
  outputs, _ = of(dropout_output=0.0)
  np.testing.assert_allclose(dropped, np.where(dropped == 0, 0, 2 * outputs), rtol=1e-6)
  assert (dropped == 0).any() and nothing == 0 and nothing.dtype == jnp.float32
  activation = np.square(dropped[:length]).mean()
  temporal = np.square(outputs[1:length] - outputs[: length - 1]).mean() if length > 1 else 0
  assert activation > 1e-2 and (temporal > 1e-2 or length == 1)
  np.testing.assert_allclose(of(activation_penalty=3.0)[1], 3 * activation, rtol=1e-5)
  np.testing.assert_allclose(of(activation_penalty=3.0, temporal_penalty=2.0)[1], 3 * activation + 2 * temporal, rtol=1e-5)


# Losses and gradients.


def test_token_losses_are_the_negative_log_softmax():
  rng = np.random.default_rng(0)
  logits, targets = rng.normal(0, 30, (T, B, V)).astype(np.float32), words(4)
  exact = logits.astype(np.float64)
  log_softmax = exact - exact.max(-1, keepdims=True) - np.log(np.exp(exact - exact.max(-1, keepdims=True)).sum(-1, keepdims=True))
  for length in (T, 3, 1):
    losses = np.asarray(token_losses(logits, targets, length))
    for t in range(T):
      for b in range(B):
        assert losses[t, b] == pytest.approx(-log_softmax[t, b, targets[t, b]] if t < length else 0, rel=1e-5, abs=1e-5)
    assert losses[0].all()
  assert np.isfinite(token_losses(jnp.full((1, 1, 2), 1e30).at[0, 0, 0].set(-1e30), jnp.zeros((1, 1), int), 1)).all()


def loss(network, weights, rest, key_seed, length):
  tokens, targets, mixture = rest
  key = None if key_seed is None else jax.random.key(key_seed)
  (logits, hidden, penalty), _ = apply(network, Variables(weights, {}), tokens, ZERO, length, mixture, key)
  return token_losses(logits, targets, length).sum() + penalty, logits


gradient_of = quick_jit(jax.grad(loss, 1, has_aux=True), static_argnums=(0, 3))
FULL = dict(activation_penalty=2.0, temporal_penalty=1.0)


def test_gradients_are_finite_and_padding_has_no_part():
  network, variables = derived(config_of(**HALF, **FULL))
  before = words(0)
  after = before.copy()
  after[2:] = (after[2:] + 1) % V
  for length in (2, 1):
    one, _ = gradient_of(network, variables.weights, (before, words(1), None), 0, length)
    two, _ = gradient_of(network, variables.weights, (after, (words(1) + (np.arange(T) >= 2)[:, None]) % V, None), 0, length)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
      assert np.isfinite(x).all() and np.asarray(x).any()
      np.testing.assert_array_equal(x, y)


def test_the_embedding_has_gradients_from_both_its_ends():
  """Its gradient is that of an embedding and of a decoder that are apart; a word that never goes in has the decoder's alone."""
  model = derived_language_model(config_of(), CELL, V, np.random.default_rng(0))
  cell = split(model.cell)[0]
  network, variables = split(model)
  weights = larger(variables).weights
  tokens, targets = words(0) % (V - 1), words(1)
  gradient, _ = gradient_of(network, weights, (tokens, targets, None), None, T)

  def apart(encoder, decoder):
    (outputs, _), _ = apply(cell, Variables(weights["cell"], {}), encoder[tokens], ZERO, T, None, None)
    logits = outputs @ decoder.T + weights["bias"][None, None]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1).sum()

  encoder, decoder = quick_jit(jax.grad(apart, (0, 1)))(weights["embedding"], weights["embedding"])
  np.testing.assert_allclose(gradient["embedding"], encoder + decoder, rtol=1e-4, atol=1e-5)
  assert np.linalg.norm(encoder) > 0.1 and np.linalg.norm(decoder) > 0.1
  assert not np.asarray(encoder[V - 1]).any() and np.abs(np.asarray(decoder[V - 1])).max() > 1e-2
  assert "decoder" not in weights and set(weights) == {"embedding", "bias", "cell"}


# Causality.


def supernet(config: Config):
  network, variables = split(language_supernet(config, SPACE, V, np.random.default_rng(0)))
  return network, larger(variables)


MIXTURE = np.random.default_rng(5).dirichlet(np.ones(5), 36).astype(np.float32)
MODELS = {"supernet-eval": (supernet, MIXTURE, None), "supernet-train": (supernet, MIXTURE, KEY)}
MODELS |= {"derived-eval": (derived, None, None), "derived-train": (derived, None, KEY)}


@pytest.fixture(scope="module", params=MODELS)
def predict(request):
  """A function of words, hidden states and length to (logits, hidden states), and whether sequences of a batch are apart."""
  build, mixture, key = MODELS[request.param]
  network, variables = build(config_of(**{**HALF, "dropout_words": 0.2}))

  def call(tokens, hidden=ZERO, length=T):
    logits, hidden, _ = run(network, variables, tokens, hidden, np.int32(length), mixture, key)[0]
    return np.asarray(logits), np.asarray(hidden)

  return call, build is derived


@pytest.mark.parametrize("time", range(T))
def test_no_output_depends_on_a_later_word(predict, time):
  call, _ = predict
  logits, hidden = call(words(0))
  for shift in range(1, V):  # any other word in its place, in every sequence
    other = words(0)
    other[time] = (other[time] + shift) % V
    changed, last = call(other)
    np.testing.assert_array_equal(changed[:time], logits[:time])
    assert time == 0 or np.abs(logits[:time]).max() > 0
    if (changed[time:] != logits[time:]).any() and (last != hidden).any():
      break
  else:
    pytest.fail("the words have no part in what follows them")


def test_padding_is_not_seen(predict):
  call, _ = predict
  logits, hidden = call(words(0), length=2)
  other = words(0)
  other[2:] = (other[2:] + 1) % V
  changed, last = call(other, length=2)
  np.testing.assert_array_equal(changed[:2], logits[:2])
  np.testing.assert_array_equal(last, hidden)
  whole, _ = call(words(0))
  np.testing.assert_array_equal(whole[:2], logits[:2])


def test_sequences_of_a_batch_are_apart_but_for_batch_statistics(predict):
  call, apart = predict
  logits, hidden = call(words(0))
  for shift in range(1, V):
    other = words(0)
    other[:, 1] = (other[:, 1] + shift) % V
    changed, last = call(other)
    if apart:
      np.testing.assert_array_equal(changed[:, ::2], logits[:, ::2])
      np.testing.assert_array_equal(last[::2], hidden[::2])
    if (changed[:, 1] != logits[:, 1]).any():
      break
  assert (changed[:, 1] != logits[:, 1]).any() and ((changed[:, 0] != logits[:, 0]).any() or apart)


def test_hidden_states_carry_on(predict):
  """Two windows in a row are one, where no masks are drawn anew."""
  call, _ = predict
  tokens = words(0)
  logits, hidden = call(tokens)
  first, between = call(np.concatenate([tokens[:2], tokens[:3]]), length=2)
  second, last = call(np.concatenate([tokens[2:], tokens[:2]]), between, length=T - 2)
  np.testing.assert_allclose(np.concatenate([first[:2], second[: T - 2]]), logits, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(last, hidden, rtol=1e-5, atol=1e-5)


# Configuration.


def test_the_defaults_are_the_published_search():
  config = Config()
  assert (config.units, config.dropout_words, config.activation_penalty, config.temporal_penalty) == (300, 0, 0, 1e-3)
  assert [getattr(config, name) for name in RATES[1:]] == [0.2, 0.75, 0.25, 0.75]


@pytest.mark.parametrize("field", [*RATES, "units", "activation_penalty", "temporal_penalty"])
def test_bad_settings_are_refused(field):
  for value in (-1, float("nan")) + ((1.0, 1.5) if field in RATES else (0,) if field == "units" else ()):
    with pytest.raises(FieldError, match=f"{field} is {value}"):
      Config(**{field: value})


def test_initial_weights():
  model = derived_language_model(config_of(), CELL, 400, np.random.default_rng(0))
  embedding = np.asarray(model.embedding[...])
  assert embedding.shape == (400, H) and np.abs(embedding).max() <= 0.04 and embedding.std() == pytest.approx(0.04 / np.sqrt(3), rel=0.05)
  assert model.bias[...].shape == (400,) and not model.bias[...].any()
