"""Recurrent layers with a memory, such as those of an LSTM, and stacks of them that read words.

A layer computes the products of all its inputs at once, before the loop over time. The gradient of its recurrent matrix is one product
over all time steps. Sources: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018, section 4 (weight
drop and all other regularization); Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks",
NeurIPS 2016 (one mask per sequence on words, layers and hidden states).

Axes: T time, B batch, V words of the vocabulary, I input features, H units of a layer, G matrices of a cell.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dnas.cells.blocks import on_device
from dnas.cells.language_model import activation_penalties, dropout_mask
from dnas.core import keys

State = tuple[jax.Array, jax.Array]
"""The hidden state and the memory of a layer, [B, H] each."""

EMBEDDING_RANGE = 0.1
"""By default the embedding is drawn from U(-0.1, 0.1)."""


@dataclasses.dataclass(frozen=True)
class Cell:
  """The computation of a recurrent cell in one time step.

  Attributes:
    gates: G, the number of matrices for the input of the cell; the hidden state has as many.
    step: maps the products of the input and those of the hidden state, [B, G H] each, and the memory, [B, H], to the next hidden state
      and the next memory.
    bias: whether the products of the input and of the hidden state have a bias each.
  """

  gates: int
  step: Callable[[jax.Array, jax.Array, jax.Array], State]
  bias: bool

  def matrices(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Returns (rows, columns) of the matrices of layers whose features are `sizes`, those of the words first."""
    return [(rows, self.gates * units) for features, units in itertools.pairwise(sizes) for rows in (features, units)]


def _lstm(inputs: jax.Array, products: jax.Array, memory: jax.Array) -> State:
  read, keep, write, candidate = jnp.split(inputs + products, 4, -1)
  memory = jax.nn.sigmoid(keep) * memory + jax.nn.sigmoid(write) * jnp.tanh(candidate)
  return jax.nn.sigmoid(read) * jnp.tanh(memory), memory


LSTM = Cell(gates=4, step=_lstm, bias=True)
"""The cell of Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, with the forget gate of Gers et al., 2000."""


@dataclasses.dataclass(frozen=True)
class Regularization:
  """Dropouts and penalties of a stack of layers. A mask holds for a whole window.

  Attributes:
    words: probability of dropping a word from the embedding, one mask for all sequences of a batch.
    embedding: probability of dropping a feature of the embedded words, one mask per sequence.
    layers: probability of dropping an output of a layer but the last, one mask per sequence.
    output: probability of dropping an output of the last layer, one mask per sequence.
    weights: probability of dropping an element of a recurrent matrix, one mask for all sequences of a batch.
    hidden: probability of dropping a unit of a hidden state where the next time step reads it, one mask per sequence.
    activation: coefficient of the mean square of the last layer's outputs after dropout.
    temporal: coefficient of the mean square of the difference of consecutive outputs of the last layer.
  """

  words: float
  embedding: float
  layers: float
  output: float
  weights: float = 0.0
  hidden: float = 0.0
  activation: float = 0.0
  temporal: float = 0.0


class RecurrentLayer(nnx.Module):
  """One layer, run over a sequence."""

  def __init__(self, cell: Cell, features_in: int, units: int, init_range: float, rng: np.random.Generator):
    """All weights are drawn from U(-init_range, init_range)."""
    self.cell, self.units = cell, units
    self.inputs = uniform(rng, (features_in, cell.gates * units), init_range)
    self.recurrent = uniform(rng, (units, cell.gates * units), init_range)
    self.biases = uniform(rng, (2, cell.gates * units), init_range) if cell.bias else None

  def __call__(
    self, inputs: jax.Array, state: State, length: jax.Array, weight_mask: jax.Array | None = None, mask: jax.Array | None = None
  ) -> tuple[jax.Array, State]:
    """Runs the layer over a sequence.

    Args:
      inputs: [T, B, I].
      state: the state before the first time step.
      length: number of valid time steps, an integer scalar, at most T. Later steps do not change the state.
      weight_mask: factors of the recurrent matrix, [H, G H], or None.
      mask: factors of the hidden states that time steps read, [B, H], or None. No gradient flows into it.

    Returns:
      The output of every time step, [T, B, H], and the state after `length` steps. Outputs from `length` on are meaningless.
    """
    projected = inputs @ self.inputs[...]
    if self.biases is not None:
      projected = projected + self.biases[...].sum(0)[None, None]
    recurrent = self.recurrent[...] if weight_mask is None else self.recurrent[...] * weight_mask
    return _over_time(self.cell, recurrent, projected, mask, state, length)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _over_time(
  cell: Cell, recurrent: jax.Array, projected: jax.Array, mask: jax.Array | None, state: State, length: jax.Array
) -> tuple[jax.Array, State]:
  return _forward(cell, recurrent, projected, mask, state, length)[0]


def _forward(
  cell: Cell, recurrent: jax.Array, projected: jax.Array, mask: jax.Array | None, state: State, length: jax.Array
) -> tuple[tuple[jax.Array, State], Any]:
  def step(state: State, xs: tuple[jax.Array, jax.Array]) -> tuple[State, Any]:
    projection, time = xs
    product = _masked(state[0], mask) @ recurrent
    new = cell.step(projection, product, state[1])
    return jax.tree.map(lambda a, b: jnp.where(time < length, a, b), new, state), (new[0], state, product)

  last, (outputs, states, products) = jax.lax.scan(step, state, (projected, jnp.arange(len(projected))))
  return (outputs, last), (recurrent, projected, mask, length, states, products)


def _backward(cell: Cell, residuals: Any, cotangents: tuple[jax.Array, State]) -> tuple[Any, ...]:
  """Goes back in time, and recomputes the cell but not its products. The gradient of the matrix is then one product over all steps."""
  recurrent, projected, mask, length, states, products = residuals
  g_outputs, g_last = cotangents

  def step(g_state: State, xs: Any) -> tuple[State, tuple[jax.Array, jax.Array]]:
    projection, product, memory, g_output, time = xs
    g_hidden, g_memory = jax.tree.map(lambda g: jnp.where(time < length, g, 0), g_state)
    _, pull_back = jax.vjp(cell.step, projection, product, memory)
    g_projection, g_product, g_before = pull_back((g_hidden + g_output, g_memory))
    g_new = _masked(g_product @ recurrent.T, mask), g_before
    return jax.tree.map(lambda a, b: a + jnp.where(time < length, 0, b), g_new, g_state), (g_projection, g_product)

  xs = projected, products, states[1], g_outputs, jnp.arange(len(projected))
  g_first, (g_projected, g_products) = jax.lax.scan(step, g_last, xs, reverse=True)
  read = states[0] if mask is None else states[0] * mask[None]
  g_recurrent = read.reshape(-1, read.shape[-1]).T @ g_products.reshape(-1, g_products.shape[-1])
  return g_recurrent, g_projected, None, g_first, None


_over_time.defvjp(_forward, _backward)


def uniform(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> nnx.Param:
  """Returns a weight drawn from U(-bound, bound), on the host."""
  return nnx.Param(on_device(rng.uniform(-bound, bound, shape)))


def _masked(x: jax.Array, mask: jax.Array | None) -> jax.Array:
  return x if mask is None else x * mask


class Encoder(nnx.Module):
  """Embedded words, run through layers with dropout between them."""

  def __init__(
    self,
    cell: Cell,
    vocabulary_size: int,
    sizes: Sequence[int],
    regularization: Regularization,
    rng: np.random.Generator,
    init_range: float | None = None,
  ):
    """Builds the embedding and the layers.

    Args:
      cell: the cell of all layers.
      vocabulary_size: V.
      sizes: features of the embedding, and units of every layer.
      regularization: dropouts in training, and penalties.
      rng: source of the initial weights.
      init_range: all weights are drawn from U(-init_range, init_range). By default it is 0.1 for the embedding, and 1/sqrt(H) for a layer,
        as in PyTorch's LSTM.
    """
    self.regularization = regularization
    self.embedding = uniform(rng, (vocabulary_size, sizes[0]), init_range or EMBEDDING_RANGE)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    self.layers = nnx.List([RecurrentLayer(cell, size_in, size, init_range or size**-0.5, rng) for size_in, size in pairs])

  def initial_hidden(self, batch: int) -> tuple[State, ...]:
    """Returns states of zero, one for every layer."""
    return tuple((jnp.zeros((batch, layer.units)), jnp.zeros((batch, layer.units))) for layer in self.layers)

  def __call__(
    self, tokens: jax.Array, hidden: Sequence[State], length: jax.Array, key: jax.Array | None
  ) -> tuple[jax.Array, tuple[State, ...], jax.Array]:
    """Maps words to the outputs of the last layer.

    Args:
      tokens: words, int32 [T, B].
      hidden: the states before the first word, one for every layer.
      length: number of valid time steps, an integer scalar, at most T.
      key: typed random key of the dropout masks; None disables dropout.

    Returns:
      The outputs after dropout, [T, B, H], the states after `length` steps, and the sum of both penalties, a scalar.
    """
    rates, embedding = self.regularization, self.embedding[...]
    x = embedding[tokens]
    if key is not None and rates.words:
      x = x * dropout_mask(keys.derive(key, "words"), rates.words, (len(embedding), 1))[tokens]
    x = locked_dropout(x, key, "embedding", rates.embedding)
    states, outputs = [], x
    for index, (layer, state) in enumerate(zip(self.layers, hidden, strict=True)):
      weight_mask = mask = None
      if key is not None and rates.weights:
        weight_mask = dropout_mask(keys.derive(key, "weights", index), rates.weights, layer.recurrent.shape)
      if key is not None and rates.hidden:
        mask = dropout_mask(keys.derive(key, "hidden", index), rates.hidden, state[0].shape)
      outputs, state = layer(x, state, length, weight_mask, mask)
      rate = rates.layers if index + 1 < len(self.layers) else rates.output
      x = locked_dropout(outputs, key, f"layer {index}", rate)
      states.append(state)
    return x, tuple(states), activation_penalties(outputs, x, length, rates.activation, rates.temporal)


def locked_dropout(x: jax.Array, key: jax.Array | None, consumer: str, rate: float) -> jax.Array:
  """Multiplies [T, B, H] by one mask per sequence, the same at all times. `consumer` derives its key from `key`; None drops nothing."""
  return x if key is None or not rate else x * dropout_mask(keys.derive(key, consumer), rate, (1, *x.shape[1:]))


class TiedLanguageModel(nnx.Module):
  """Recurrent layers, and a decoder that shares the embedding's weights (a `LanguageNetwork`)."""

  def __init__(self, encoder: Encoder, bias: bool):
    """Builds the decoder. The last layer has as many units as a word has features. `bias` adds a bias for every word, zero at first."""
    self.encoder = encoder
    self.bias = nnx.Param(jnp.zeros(len(encoder.embedding))) if bias else None

  def initial_hidden(self, batch: int) -> tuple[State, ...]:
    """See `LanguageNetwork`."""
    return self.encoder.initial_hidden(batch)

  def __call__(
    self, tokens: jax.Array, hidden: Sequence[State], length: jax.Array, context: Any = None, key: jax.Array | None = None
  ) -> tuple[jax.Array, tuple[State, ...], jax.Array]:
    """See `LanguageNetwork`."""
    outputs, hidden, penalty = self.encoder(tokens, hidden, length, key)
    logits = outputs @ self.encoder.embedding[...].T
    return logits if self.bias is None else logits + self.bias[...][None, None], hidden, penalty
