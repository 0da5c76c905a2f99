"""The LSTM language model whose output is a mixture of softmaxes.

Source: Yang, Dai, Salakhutdinov and Cohen, "Breaking the Softmax Bottleneck: A High-Rank RNN Language Model", ICLR 2018, sections 2.3 and
3.1. The layers and their regularization are those of the LSTM with weight drop. The output o of the last layer gives K latent vectors h_k.
Every latent vector gives a softmax over the words, with the embedding e and the bias b. The distribution of the next word v is the mean of
the K softmaxes with the weights pi:

  p(v) = sum over k of pi_k softmax_v(e h_k + b)      h_k = tanh(W_k o + c_k)      pi = softmax(U o)

The published network has 21,500,620 weights on Penn Treebank (10,000 words).

Axes: T time, B batch, V words of the vocabulary, E features of a word, H units of the last layer, K softmaxes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.blocks import Linear, uniform
from dnas.core.config import check_at_most, check_fraction, check_positive
from dnas.nets.models.awd_lstm import AwdLstm
from dnas.nets.models.base import LANGUAGE_MODELS, LanguageNetwork
from dnas.nets.recurrent_layers import LSTM, Encoder, State, locked_dropout


class MixtureLanguageModel(nnx.Module):
  """Recurrent layers, and a decoder of several softmaxes that share the embedding's weights (a `LanguageNetwork`)."""

  def __init__(self, encoder: Encoder, units: int, softmaxes: int, dropout_latent: float, rng: np.random.Generator):
    """Builds the decoder.

    Args:
      encoder: the embedding and the layers.
      units: H.
      softmaxes: K.
      dropout_latent: probability of dropping a feature of the latent vectors in training, one mask per sequence.
      rng: source of the initial weights.
    """
    self.encoder, self.softmaxes, self.dropout_latent = encoder, softmaxes, dropout_latent
    words, features = encoder.embedding.shape
    self.latent = Linear(units, softmaxes * features, rng)
    self.prior = uniform(rng, (units, softmaxes), units)
    self.bias = nnx.Param(jnp.zeros(words))

  def initial_hidden(self, batch: int) -> tuple[State, ...]:
    """See `LanguageNetwork`."""
    return self.encoder.initial_hidden(batch)

  def __call__(
    self, tokens: jax.Array, hidden: Sequence[State], length: jax.Array, context: Any = None, key: jax.Array | None = None
  ) -> tuple[jax.Array, tuple[State, ...], jax.Array]:
    """See `LanguageNetwork`. The logits are logarithms of probabilities: their exponentials sum to one over the words."""
    outputs, hidden, penalty = self.encoder(tokens, hidden, length, key)
    latent = locked_dropout(jnp.tanh(self.latent(outputs)), key, "latent", self.dropout_latent)
    latent = latent.reshape(*tokens.shape, self.softmaxes, -1)
    log_prior = jax.nn.log_softmax(outputs @ self.prior[...])
    embedding, bias = self.encoder.embedding[...], self.bias[...]

    # The K softmaxes of a whole window would fill the memory. So time steps run one by one, and the gradient recomputes them.
    @jax.checkpoint
    def mixed(of_step: tuple[jax.Array, jax.Array]) -> jax.Array:
      latent, log_prior = of_step
      log_softmaxes = jax.nn.log_softmax(latent @ embedding.T + bias[None, None])
      return jax.nn.logsumexp(log_softmaxes + log_prior[..., None], 1)

    return jax.lax.map(mixed, (latent, log_prior)), hidden, penalty


@LANGUAGE_MODELS.register("mos_lstm")
@dataclasses.dataclass(frozen=True)
class MosLstm(AwdLstm):
  """Settings of the LSTM with a mixture of softmaxes; the defaults are those of the published training on Penn Treebank.

  Attributes:
    embedding: features of a word.
    units: units of every layer but the last.
    last_units: units of the last layer.
    softmaxes: number of softmaxes that are mixed.
    dropout_latent: probability of dropping a feature of the latent vectors of the softmaxes, one mask per sequence.
  """

  embedding: int = 280
  units: int = 960
  last_units: int = 620
  softmaxes: int = 15
  dropout_layers: float = 0.225
  dropout_latent: float = 0.29

  def __post_init__(self):
    super().__post_init__()
    check_positive(last_units=self.last_units, softmaxes=self.softmaxes)
    check_at_most(10**6, last_units=self.last_units)
    check_at_most(1000, softmaxes=self.softmaxes)
    check_fraction(dropout_latent=self.dropout_latent)

  @staticmethod
  def smallest() -> "MosLstm":
    """See `LanguageModel`."""
    return MosLstm(embedding=4, units=5, last_units=3, softmaxes=4)

  def build(self, vocabulary_size: int, rng: np.random.Generator) -> LanguageNetwork:
    """See `LanguageModel`."""
    encoder = self.encoder(vocabulary_size, self.last_units, rng)
    return MixtureLanguageModel(encoder, self.last_units, self.softmaxes, self.dropout_latent, rng)

  def matrices(self) -> list[tuple[int, int]]:
    """See `LanguageModel`."""
    latent, prior = self.softmaxes * self.embedding, self.softmaxes
    return [*LSTM.matrices(self._sizes(self.last_units)), (self.last_units, latent), (self.last_units, prior)]
