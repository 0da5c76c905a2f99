"""The LSTM language model with weight drop.

Source: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018: three layers, an embedding that is also
the decoder, and the regularization of section 4. Two biases a layer are counted, as cuDNN has them. The published network has 24,221,600
weights on Penn Treebank (10,000 words).
"""

import dataclasses

import numpy as np

from dnas.core.config import check_at_most, check_fraction, check_not_negative, check_positive, check_types
from dnas.nets.models.base import LANGUAGE_MODELS, LanguageNetwork
from dnas.nets.recurrent_layers import LSTM, Encoder, Regularization, TiedLanguageModel


@LANGUAGE_MODELS.register("awd_lstm")
@dataclasses.dataclass(frozen=True)
class AwdLstm:
  """Settings of the LSTM with weight drop; the defaults are those of the published training on Penn Treebank.

  Attributes:
    embedding: features of a word, and units of the last layer.
    units: units of every other layer.
    layers: number of layers.
    dropout_words: probability of dropping a word from the embedding, one mask for all sequences of a batch.
    dropout_embedding: probability of dropping a feature of the embedded words, one mask per sequence.
    dropout_layers: probability of dropping an output of a layer but the last, one mask per sequence.
    dropout_output: probability of dropping an output of the last layer, one mask per sequence.
    weight_drop: probability of dropping an element of a recurrent matrix, one mask per window.
    activation_penalty: coefficient of the mean square of the last layer's outputs after dropout (activation regularization).
    temporal_penalty: coefficient of the mean square of the difference of consecutive outputs (temporal regularization).
  """

  embedding: int = 400
  units: int = 1150
  layers: int = 3
  dropout_words: float = 0.1
  dropout_embedding: float = 0.4
  dropout_layers: float = 0.25
  dropout_output: float = 0.4
  weight_drop: float = 0.5
  activation_penalty: float = 2.0
  temporal_penalty: float = 1.0

  def __post_init__(self):
    check_types(self)
    check_positive(embedding=self.embedding, units=self.units, layers=self.layers)
    check_at_most(10**6, embedding=self.embedding, units=self.units)
    check_at_most(100, layers=self.layers)
    check_fraction(
      dropout_words=self.dropout_words,
      dropout_embedding=self.dropout_embedding,
      dropout_layers=self.dropout_layers,
      dropout_output=self.dropout_output,
      weight_drop=self.weight_drop,
    )
    check_not_negative(activation_penalty=self.activation_penalty, temporal_penalty=self.temporal_penalty)

  @staticmethod
  def smallest() -> "AwdLstm":
    """See `LanguageModel`."""
    return AwdLstm(embedding=4, units=5)

  def encoder(self, vocabulary_size: int, last_units: int, rng: np.random.Generator) -> Encoder:
    """Returns the embedding and the layers; the last one has `last_units` units."""
    rates = Regularization(
      words=self.dropout_words,
      embedding=self.dropout_embedding,
      layers=self.dropout_layers,
      output=self.dropout_output,
      weights=self.weight_drop,
      activation=self.activation_penalty,
      temporal=self.temporal_penalty,
    )
    return Encoder(LSTM, vocabulary_size, self._sizes(last_units), rates, rng)

  def build(self, vocabulary_size: int, rng: np.random.Generator) -> LanguageNetwork:
    """See `LanguageModel`."""
    return TiedLanguageModel(self.encoder(vocabulary_size, self.embedding, rng), bias=True)

  def matrices(self) -> list[tuple[int, int]]:
    """See `LanguageModel`."""
    return LSTM.matrices(self._sizes(self.embedding))

  def _sizes(self, last_units: int) -> tuple[int, ...]:
    return (self.embedding, *[self.units] * (self.layers - 1), last_units)
