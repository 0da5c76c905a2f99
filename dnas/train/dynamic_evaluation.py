"""Dynamic evaluation: a language model that goes on learning from the text on which it is tested.

Source: Krause, Kahembwe, Murray and Renals, "Dynamic Evaluation of Neural Sequence Models", ICML 2018, section 4: gradient descent whose
rate of every weight follows from its mean square gradient in training, and decay towards the trained weights. The text is read once, in
short segments. A segment is scored before the weights learn from it, so no word changes the score of itself or of a word before it.

  w  <-  w - learning_rate * g / (sqrt(s) + epsilon) + min(1, decay * sqrt(s) / mean(sqrt(s))) * (w_trained - w)

g is the gradient of a segment's mean loss, and s the mean of the squared gradients on the training text.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.cells import functional, language_model
from dnas.core import devices, tree
from dnas.core.config import check, check_at_most, check_not_negative, check_positive, check_types
from dnas.data import windows
from dnas.nets.models.base import LanguageNetwork
from dnas.train.language import perplexity_of

Tree = Any


@dataclasses.dataclass(frozen=True)
class Config:
  """How the weights learn from the text; the defaults are those published for Penn Treebank.

  Attributes:
    learning_rate: step size, relative to the root mean square gradient of a weight.
    epsilon: what is added to the root mean square gradient.
    decay: share of its distance from the trained weight by which a weight of average gradient returns in every step.
    segment: words that are scored before the weights learn from them.
    statistics_batch_size: columns of the training text that are read side by side for the mean square gradients.
  """

  learning_rate: float = 0.002
  epsilon: float = 0.001
  decay: float = 0.075
  segment: int = 5
  statistics_batch_size: int = 100

  def __post_init__(self):
    check_types(self)
    check_positive(epsilon=self.epsilon, segment=self.segment, statistics_batch_size=self.statistics_batch_size)
    check_at_most(10**6, segment=self.segment, statistics_batch_size=self.statistics_batch_size)
    check_not_negative(learning_rate=self.learning_rate, decay=self.decay)
    check_at_most(1000, learning_rate=self.learning_rate, epsilon=self.epsilon, decay=self.decay)


def check_fits(config: Config, words: int) -> None:
  """Raises FieldError if a training text of so many words is too short for one segment in every column."""
  rows = (words - 1) // config.statistics_batch_size
  hint = f"with statistics_batch_size {config.statistics_batch_size} a column has {rows} words of the training text; lower one of the two"
  check(config.segment <= rows, "segment", config.segment, hint)


class DynamicEvaluation:
  """Scores texts with one trained network, each from the trained weights on."""

  def __init__(self, config: Config, network: LanguageNetwork, weights: Tree, train: np.ndarray):
    """Computes the mean square gradients, segment by segment, over the training text.

    Args:
      config: how the weights learn.
      network: the network; its own weights are not read.
      weights: the trained weights, such as `TrainState.best`.
      train: the training text, int32 [N].

    Raises:
      FieldError: see `check_fits`.
    """
    self._config, self._weights, self._initial_hidden = config, weights, network.initial_hidden
    static, _ = functional.split(network)  # pyright: ignore[reportArgumentType]  # an nnx module, by the protocol
    self._gradient = functools.partial(_gradient, static)
    check_fits(config, len(train))
    squares = self._mean_squares(windows.columns(train, config.statistics_batch_size, config.segment, fill=False))
    self._rates, self._decays = _rates(squares, config.learning_rate, config.epsilon, config.decay)
    self._learn = jax.jit(functools.partial(_learn, self._gradient))

  def _mean_squares(self, columns: windows.Columns) -> Tree:
    length, count = self._config.segment, columns.rows // self._config.segment

    @jax.jit
    def add(sums: Tree, start: jax.Array, hidden: Tree) -> tuple[Tree, Tree]:
      window = windows.window(columns, start, np.int32(length), np.bool_(False), length)
      gradient, (_, hidden) = self._gradient(self._weights, window, hidden)
      return jax.tree.map(lambda total, g: total + jnp.square(g) / count, sums, gradient), hidden

    sums, hidden = tree.zeros_like(self._weights), devices.replicate(self._initial_hidden(columns.tokens.shape[1]))
    for index in range(count):
      sums, hidden = add(sums, np.int32(index * length), hidden)
    return sums

  def losses(self, tokens: np.ndarray) -> np.ndarray:
    """Returns the loss in nats of every word but the first, in the order of the text, float32 [N - 1]."""
    length = self._config.segment
    columns = windows.columns(tokens, 1, length, fill=True)
    weights, hidden, losses = self._weights, devices.replicate(self._initial_hidden(1)), []
    for start in range(0, columns.rows, length):
      count = min(length, columns.rows - start)
      window = windows.window(columns, np.int32(start), np.int32(count), np.bool_(False), length)
      weights, hidden, of_segment = self._learn(weights, self._weights, self._rates, self._decays, window, hidden)
      losses.append(of_segment)
    return np.concatenate([np.asarray(each) for each in losses])[: columns.count]

  def __call__(self, tokens: np.ndarray) -> dict[str, float]:
    """Returns loss (nats per word) and perplexity of a text that is read as one sequence."""
    return perplexity_of(float(self.losses(tokens).mean(dtype=np.float64)))


def _gradient(network: functional.Network, weights: Tree, window: windows.Window, hidden: Tree) -> tuple[Tree, tuple[jax.Array, Tree]]:
  """Returns the gradient of a window's mean loss, the losses [T, B], and the hidden states after the window. Nothing is dropped out."""

  def loss(weights: Tree) -> tuple[jax.Array, tuple[jax.Array, Tree]]:
    variables = functional.Variables(weights, {})
    (logits, after, _), _ = functional.apply(network, variables, window.tokens, hidden, window.length)
    losses = language_model.token_losses(logits, window.targets, window.length)
    return losses.sum() / (window.length * losses.shape[1]), (losses, after)

  return jax.grad(loss, has_aux=True)(weights)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _rates(squares: Tree, learning_rate: float, epsilon: float, decay: float) -> tuple[Tree, Tree]:
  """Returns the learning rate and the decay of every weight."""
  roots = jax.tree.map(jnp.sqrt, squares)
  mean = sum(root.sum() for root in jax.tree.leaves(roots)) / tree.size(roots)
  rates = jax.tree.map(lambda root: learning_rate / (root + epsilon), roots)
  return rates, jax.tree.map(lambda root: jnp.minimum(1, decay * root / mean), roots)


def _learn(
  gradient: Any, weights: Tree, trained: Tree, rates: Tree, decays: Tree, window: windows.Window, hidden: Tree
) -> tuple[Tree, Tree, jax.Array]:
  """Scores a segment, and learns from it: returns the new weights, the hidden states after the segment, and the losses [T]."""
  slopes, (losses, hidden) = gradient(weights, window, hidden)
  weights = jax.tree.map(lambda w, g, rate, decay, goal: w - rate * g + decay * (goal - w), weights, slopes, rates, decays, trained)
  return weights, hidden, losses[:, 0]
