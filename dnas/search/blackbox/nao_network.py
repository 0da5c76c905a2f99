"""The networks of NAO, trained together: an encoder of architectures, a predictor of their scores and a decoder.

Source: Luo, Tian, Qin, Chen and Liu, "Neural Architecture Optimization", NeurIPS 2018, section 3. Each jitted function is compiled once per
set of shapes: B architectures of D decisions, each with up to K values; H hidden units; N training steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

Weights = dict[str, jax.Array]
"""Arrays by name. `tokens` [D, K, H] embed the decisions. `encoder` and `decoder` [2H, 4H] with biases [4H] are the LSTMs. `start` [H] is
the decoder's first input; `heads` [D, 2H, K] and `offsets` [D, K] are its softmax layers. `predictor` [H, H], `predictor_bias` [H], `score`
[H] and `score_bias` [] are the predictor."""

_LARGEST_GRADIENT = 5.0


def initial(rng: np.random.Generator, num_decisions: int, num_values: int, hidden: int) -> Weights:
  """Draws weights. Matrices are uniform in +-sqrt(3 / inputs), so their variance is 1 / inputs; biases are zero."""
  d, k, h = num_decisions, num_values, hidden
  matrices = {"tokens": ((d, k, h), 1), "start": ((h,), 1), "encoder": ((2 * h, 4 * h), 2 * h), "decoder": ((2 * h, 4 * h), 2 * h)}
  matrices |= {"heads": ((d, 2 * h, k), 2 * h), "predictor": ((h, h), h), "score": ((h,), h)}
  biases = {"encoder_bias": (4 * h,), "decoder_bias": (4 * h,), "offsets": (d, k), "predictor_bias": (h,), "score_bias": ()}
  weights = {name: rng.uniform(-1, 1, shape) * (3 / inputs) ** 0.5 for name, (shape, inputs) in matrices.items()}
  weights |= {name: np.zeros(shape) for name, shape in biases.items()}
  return {name: jnp.asarray(value, jnp.float32) for name, value in weights.items()}


def encode(weights: Weights, decisions_BD: jax.Array) -> jax.Array:
  """Returns the latent of every architecture, [B, D, H]: the hidden states of an LSTM over its decisions, each scaled to length 1."""
  tokens_DBH = _tokens(weights, decisions_BD)
  zeros = jnp.zeros_like(tokens_DBH[0])

  def read(carry: tuple[jax.Array, jax.Array], x_BH: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    carry = _lstm(weights["encoder"], weights["encoder_bias"], *carry, x_BH)
    return carry, carry[0]

  states_DBH = jax.lax.scan(read, (zeros, zeros), tokens_DBH)[1]
  lengths = jnp.sqrt(jnp.sum(states_DBH**2, -1, keepdims=True) + 1e-12)
  return jnp.swapaxes(states_DBH / lengths, 0, 1)


def predict(weights: Weights, latent_BDH: jax.Array) -> jax.Array:
  """Returns predicted scores in (0, 1), [B]: a network with one hidden layer on the mean of a latent's D states."""
  hidden = jax.nn.relu(latent_BDH.mean(1) @ weights["predictor"] + weights["predictor_bias"][None])
  return jax.nn.sigmoid(hidden @ weights["score"] + weights["score_bias"])


def _decode(weights: Weights, allowed_DK: jax.Array, latent_BDH: jax.Array, teacher_BD: jax.Array | None) -> tuple[jax.Array, jax.Array]:
  """Returns log-probabilities, [D, B, K], and the likeliest decisions, [D, B].

  The decoder is an LSTM that starts in the latent's last state and attends to all of the latent's states. Its next input is the teacher's
  decision, or, without a teacher, the likeliest one.
  """
  num_decisions = latent_BDH.shape[1]
  teacher_DB = jnp.zeros((num_decisions, latent_BDH.shape[0]), jnp.int32) if teacher_BD is None else teacher_BD.T
  start = jnp.broadcast_to(weights["start"][None], latent_BDH[:, 0].shape)

  def write(carry: tuple[jax.Array, ...], xs: tuple[jax.Array, ...]) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, jax.Array]]:
    token_KH, head, offset, allowed_K, given_B = xs
    hidden, memory = _lstm(weights["decoder"], weights["decoder_bias"], *carry)
    attention = jax.nn.softmax(jnp.einsum("bh,bdh->bd", hidden, latent_BDH))
    seen = jnp.concatenate([hidden, jnp.einsum("bd,bdh->bh", attention, latent_BDH)], -1)
    log_p = jax.nn.log_softmax(jnp.where(allowed_K[None], seen @ head + offset[None], -1e30))
    likeliest = log_p.argmax(-1)
    return (hidden, memory, token_KH[likeliest if teacher_BD is None else given_B]), (log_p, likeliest)

  begin = latent_BDH[:, -1], jnp.zeros_like(start), start
  return jax.lax.scan(write, begin, (weights["tokens"], weights["heads"], weights["offsets"], allowed_DK, teacher_DB))[1]


def loss(weights: Weights, allowed_DK: jax.Array, decisions_BD: jax.Array, scores_B: jax.Array, trade_off: jax.Array) -> jax.Array:
  """Returns the mean over B of trade_off * (squared error of the score) - (1 - trade_off) * log p(decisions | latent); eq. 3."""
  latent = encode(weights, decisions_BD)
  log_p_DBK, _ = _decode(weights, allowed_DK, latent, decisions_BD)
  reconstruction = -jnp.take_along_axis(log_p_DBK, decisions_BD.T[..., None], -1)[..., 0].sum(0)
  return jnp.mean(trade_off * (predict(weights, latent) - scores_B) ** 2 + (1 - trade_off) * reconstruction)


@jax.jit
def train(
  weights: Weights, allowed_DK: jax.Array, decisions_NBD: jax.Array, scores_NB: jax.Array, trade_off: jax.Array, learning_rate: jax.Array
) -> tuple[Weights, jax.Array]:
  """Takes N steps of Adam on the loss, one per batch. Returns the new weights and the losses, [N]."""
  optimizer = optax.chain(optax.clip_by_global_norm(_LARGEST_GRADIENT), optax.adam(learning_rate))

  def step(carry: tuple[Weights, optax.OptState], batch: tuple[jax.Array, jax.Array]) -> tuple[tuple[Weights, optax.OptState], jax.Array]:
    weights, state = carry
    value, gradient = jax.value_and_grad(loss)(weights, allowed_DK, *batch, trade_off)
    updates, state = optimizer.update(gradient, state)
    return (optax.apply_updates(weights, updates), state), value  # pyright: ignore[reportReturnType]  # of the tree of `weights`

  (weights, _), losses = jax.lax.scan(step, (weights, optimizer.init(weights)), (decisions_NBD, scores_NB))
  return weights, losses


@jax.jit
def improved(weights: Weights, allowed_DK: jax.Array, decisions_BD: jax.Array, length: jax.Array) -> jax.Array:
  """Moves every latent by `length` along the gradient of its predicted score, and returns the decoded decisions, [B, D]; eq. 4.

  A decision is -1 where its log-probabilities are nan.
  """
  latent = encode(weights, decisions_BD)
  gradient = jax.grad(lambda latent: predict(weights, latent).sum())(latent)
  norm = jnp.sqrt(jnp.sum(gradient**2, (1, 2), keepdims=True))
  log_p_DBK, decisions_DB = _decode(weights, allowed_DK, latent + length * gradient / jnp.maximum(norm, 1e-12), None)
  return jnp.where(jnp.isnan(log_p_DBK).any(-1), -1, decisions_DB).T


@jax.jit
def reconstructed(weights: Weights, allowed_DK: jax.Array, decisions_BD: jax.Array) -> jax.Array:
  """Encodes and decodes architectures. Returns decisions, [B, D], which equal the given ones after a good training."""
  return _decode(weights, allowed_DK, encode(weights, decisions_BD), None)[1].T


def _tokens(weights: Weights, decisions_BD: jax.Array) -> jax.Array:
  """Returns the embedded decisions, [D, B, H]."""
  return jax.vmap(lambda token_KH, value_B: token_KH[value_B])(weights["tokens"], decisions_BD.T)


def _lstm(kernel: jax.Array, bias: jax.Array, hidden: jax.Array, memory: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the LSTM's hidden state and memory after an input, [B, H] each."""
  into, forget, out, new = jnp.split(jnp.concatenate([x, hidden], -1) @ kernel + bias[None], 4, -1)
  memory = jax.nn.sigmoid(forget + 1) * memory + jax.nn.sigmoid(into) * jnp.tanh(new)  # + 1: the forget gate starts open
  return jax.nn.sigmoid(out) * jnp.tanh(memory), memory
