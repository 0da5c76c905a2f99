"""A recurrent language model around one cell: embedding, cell, tied decoder, and the regularization of AWD-LSTM.

Sources: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018 (dropouts, activation and temporal
regularization); Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", NeurIPS 2016 (one mask
per sequence); Press and Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017 (tied weights).

Axes: T time, B batch, H units, V words of the vocabulary.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.darts_recurrent import IncomingEdges, Masks, RecurrentCell, uniform
from dnas.cells.precision import PRECISIONS, product
from dnas.core import keys
from dnas.core.config import check_at_most, check_fraction, check_name, check_not_negative, check_positive, check_types


@dataclasses.dataclass(frozen=True)
class Config:
  """Size and regularization of a language model; the defaults are those of the published search on Penn Treebank.

  Attributes:
    units: features of a word and units of the cell.
    dropout_words: probability of dropping a word from the embedding, one mask for all sequences of a batch.
    dropout_embedding: probability of dropping a feature of the embedded words, one mask per sequence.
    dropout_inputs: probability of dropping an input of the cell, one mask per sequence.
    dropout_hidden: probability of dropping a unit of the cell's states, one mask per sequence, the same for all states.
    dropout_output: probability of dropping an output of the cell, one mask per sequence.
    activation_penalty: coefficient of the mean square of the cell's outputs after dropout (activation regularization).
    temporal_penalty: coefficient of the mean square of the difference of consecutive outputs (temporal regularization).
    precision: type of the factors of matrix products: float32 or bfloat16; weights and states are float32.
  """

  units: int = 300
  dropout_words: float = 0.0
  dropout_embedding: float = 0.2
  dropout_inputs: float = 0.75
  dropout_hidden: float = 0.25
  dropout_output: float = 0.75
  activation_penalty: float = 0.0
  temporal_penalty: float = 1e-3
  precision: str = "float32"

  def __post_init__(self):
    check_types(self)
    check_positive(units=self.units)
    check_at_most(10**6, units=self.units)
    check_name("precision", self.precision, PRECISIONS)
    check_fraction(
      dropout_words=self.dropout_words,
      dropout_embedding=self.dropout_embedding,
      dropout_inputs=self.dropout_inputs,
      dropout_hidden=self.dropout_hidden,
      dropout_output=self.dropout_output,
    )
    check_not_negative(activation_penalty=self.activation_penalty, temporal_penalty=self.temporal_penalty)


class LanguageModel(nnx.Module):
  """An embedding, a recurrent cell, and a decoder that shares the embedding's weights."""

  def __init__(
    self,
    config: Config,
    edges: IncomingEdges,
    num_nodes: int,
    concat: tuple[int, ...],
    vocabulary_size: int,
    norm: bool,
    rng: np.random.Generator,
  ):
    """Builds the model; see `RecurrentCell` for `edges`, `num_nodes`, `concat` and `norm`."""
    self.config = config
    self.embedding = uniform(rng, (vocabulary_size, config.units))
    self.bias = nnx.Param(jnp.zeros(vocabulary_size))
    self.cell = RecurrentCell(edges, num_nodes, concat, config.units, config.units, norm, rng, config.precision)

  def initial_hidden(self, batch: int) -> jax.Array:
    """Returns the hidden state at the beginning of a text, zeros [B, H]."""
    return jnp.zeros((batch, self.config.units))

  def __call__(
    self, tokens: jax.Array, hidden: jax.Array, length: jax.Array, context: Any = None, key: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Predicts the next word at every time step.

    Args:
      tokens: words, int32 [T, B].
      hidden: the hidden state before the first word, [B, H].
      length: number of valid time steps, an integer scalar, at most T.
      context: argument of the cell's edges.
      key: typed random key of the dropout masks; None disables dropout.

    Returns:
      Logits [T, B, V], the hidden state after `length` steps [B, H], and the sum of both penalties, a scalar.
    """
    config, batch = self.config, tokens.shape[1]
    embedding, masks, output_mask = self.embedding[...], None, None
    words = embedding[tokens]
    if key is not None:
      words = words * dropout_mask(keys.derive(key, "words"), config.dropout_words, (len(embedding), 1))[tokens]
      words = words * dropout_mask(keys.derive(key, "embedding"), config.dropout_embedding, (1, batch, config.units))
      shape = (batch, config.units)
      masks = Masks(
        dropout_mask(keys.derive(key, "inputs"), config.dropout_inputs, shape),
        dropout_mask(keys.derive(key, "hidden"), config.dropout_hidden, shape),
      )
      output_mask = dropout_mask(keys.derive(key, "output"), config.dropout_output, (1, *shape))
    outputs, hidden = self.cell(words, hidden, length, masks, context)
    dropped = outputs if output_mask is None else outputs * output_mask
    logits = product(dropped, embedding.T, config.precision) + self.bias[...][None, None]
    penalty = activation_penalties(outputs, dropped, length, config.activation_penalty, config.temporal_penalty)
    return logits, hidden, penalty


def activation_penalties(outputs: jax.Array, dropped: jax.Array, length: jax.Array, activation: float, temporal: float) -> jax.Array:
  """Returns the sum of activation and temporal regularization, a scalar (Merity et al., 2018, section 4.6).

  Args:
    outputs: of the last layer, [T, B, H].
    dropped: the outputs after dropout, [T, B, H].
    length: number of valid time steps, an integer scalar.
    activation: coefficient of the mean square of `dropped`.
    temporal: coefficient of the mean square of the difference of consecutive `outputs`.
  """
  size, times = outputs[0].size, jnp.arange(len(outputs))[:, None, None]
  total = jnp.float32(0)
  if activation:
    squares = jnp.where(times < length, jnp.square(dropped), 0)
    total += activation * squares.sum() / (length * size)
  if temporal:
    squares = jnp.where(times[1:] < length, jnp.square(outputs[1:] - outputs[:-1]), 0)
    total += temporal * squares.sum() / (jnp.maximum(length - 1, 1) * size)
  return total


def dropout_mask(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
  """Returns 0 with probability `rate` and 1 / (1 - rate) otherwise."""
  if not rate:
    return jnp.ones(shape)
  return jax.random.bernoulli(key, 1 - rate, shape) / (1 - rate)


def token_losses(logits: jax.Array, targets: jax.Array, length: jax.Array) -> jax.Array:
  """Returns the cross-entropy of every word in nats, [T, B], zero from time `length` on.

  Args:
    logits: [T, B, V].
    targets: int32 [T, B].
    length: number of valid time steps.
  """
  picked = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
  losses = jax.nn.logsumexp(logits, -1) - picked
  return jnp.where(jnp.arange(len(logits))[:, None] < length, losses, 0)
