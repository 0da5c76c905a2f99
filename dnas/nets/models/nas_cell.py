"""The language model around the recurrent cell that architecture search by reinforcement learning found.

Source: Zoph and Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017, section 4.2 and appendix: two layers, an embedding
that is also the decoder, no biases. The sizes are not published. 740 units give 24,923,200 weights on Penn Treebank (10,000 words), and
1152 units 53,987,328: the published models of 25 and 54 million weights. The authors tuned the rates of the variational dropout (Gal and
Ghahramani, NeurIPS 2016) and the range of the initial weights, and did not publish them. The default rates are those of the variational
recurrent highway network (Zilly et al., ICML 2017), with the rate of the hidden states between the layers too. With half the default range
the states are so small that the first hundreds of steps learn nothing.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core.config import check_at_most, check_fraction, check_positive, check_types
from dnas.nets.models.base import LANGUAGE_MODELS
from dnas.nets.recurrent_layers import Cell, Encoder, Regularization, State, TiedLanguageModel


def _step(inputs: jax.Array, products: jax.Array, memory: jax.Array) -> State:
  """Returns the next hidden state and memory. A tree of three levels combines eight pairs of products; its left half holds the memory."""
  x, m = jnp.split(inputs, 8, -1), jnp.split(products, 8, -1)
  sigmoid, tanh = jax.nn.sigmoid, jnp.tanh
  first = tanh(sigmoid(x[0] + m[0]) * jax.nn.relu(x[1] + m[1]))
  second = tanh(sigmoid(x[2] + m[2]) + jax.nn.relu(x[3] * m[3]))
  third = tanh(tanh(x[4] + m[4]) * sigmoid(x[5] + m[5]))
  fourth = sigmoid(tanh(x[6] + m[6]) + sigmoid(x[7] + m[7]))
  memory = tanh(first + memory) * second
  return tanh(memory * tanh(third + fourth)), memory


CELL = Cell(gates=8, step=_step, bias=False)


@LANGUAGE_MODELS.register("nas_cell")
@dataclasses.dataclass(frozen=True)
class NasCell:
  """Settings of the network of NAS cells; the defaults are those of the model of 25 million weights.

  Attributes:
    units: features of a word, and units of every layer.
    layers: number of layers.
    dropout_words: probability of dropping a word from the embedding, one mask for all sequences of a batch.
    dropout_embedding: probability of dropping a feature of the embedded words, one mask per sequence.
    dropout_layers: probability of dropping an output of a layer but the last, one mask per sequence.
    dropout_hidden: probability of dropping a unit of a hidden state where the next time step reads it, one mask per sequence.
    dropout_output: probability of dropping an output of the last layer, one mask per sequence.
    init_range: all weights are drawn from U(-init_range, init_range).
  """

  units: int = 740
  layers: int = 2
  dropout_words: float = 0.25
  dropout_embedding: float = 0.75
  dropout_layers: float = 0.25
  dropout_hidden: float = 0.25
  dropout_output: float = 0.75
  init_range: float = 0.1

  def __post_init__(self):
    check_types(self)
    check_positive(units=self.units, layers=self.layers, init_range=self.init_range)
    check_at_most(10**6, units=self.units)
    check_at_most(100, layers=self.layers)
    check_fraction(
      dropout_words=self.dropout_words,
      dropout_embedding=self.dropout_embedding,
      dropout_layers=self.dropout_layers,
      dropout_hidden=self.dropout_hidden,
      dropout_output=self.dropout_output,
    )

  @staticmethod
  def smallest() -> "NasCell":
    """See `LanguageModel`."""
    return NasCell(units=8, init_range=1.5)

  def build(self, vocabulary_size: int, rng: np.random.Generator) -> TiedLanguageModel:
    """See `LanguageModel`."""
    rates = Regularization(
      words=self.dropout_words,
      embedding=self.dropout_embedding,
      layers=self.dropout_layers,
      output=self.dropout_output,
      hidden=self.dropout_hidden,
    )
    return TiedLanguageModel(Encoder(CELL, vocabulary_size, self._sizes(), rates, rng, self.init_range), bias=False)

  def matrices(self) -> list[tuple[int, int]]:
    """See `LanguageModel`."""
    return CELL.matrices(self._sizes())

  def _sizes(self) -> tuple[int, ...]:
    return (self.units,) * (self.layers + 1)
