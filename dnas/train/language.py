"""Language modelling: the loss of a window, perplexity over whole texts, and the retraining of one architecture.

Sources: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018 (the non-monotonically triggered averaged
SGD, algorithm 1); Liu, Simonyan and Yang, "DARTS", ICLR 2019, section A.2.2 (the recipe).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from dnas.cells import functional, language_model
from dnas.core import devices, keys, tree
from dnas.core.config import check_at_most, check_not_negative, check_positive, check_types
from dnas.core.genotype import Genotype
from dnas.data import text, windows
from dnas.nets.derived_language import derived_language_model
from dnas.run.loop import EpochRecord, NonFiniteLoss, step_key
from dnas.train import optimizers

Tree = Any
Predict = Callable[[Tree, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""(what a network needs, words int32 [T, B], hidden states [B, H]) to logits [T, B, V] and the hidden states after the last word."""

MAX_ROLLBACKS = 10
"""So many returns to the best weights within one epoch end the run."""

ADVICE = "lower the learning rate or clip the gradient, and give another --workdir."
"""What helps where losses are not finite."""


def language_loss(
  network: functional.Network, variables: functional.Variables, window: windows.Window, hidden: jax.Array, context: Any, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Computes the loss of a window.

  Args:
    network: the static part of a `language_model.LanguageModel`.
    variables: its arrays.
    window: the words.
    hidden: the hidden states before them, [B, H]; not used by the first window of a text. No gradient flows into them.
    context: for the edges of the cell.
    key: typed random key of the dropout masks.

  Returns:
    The mean loss of a word in nats, the penalties on activations, and the hidden states after the window.
  """
  hidden = devices.split(jnp.where(window.first, 0, hidden))
  tokens, targets = devices.split((window.tokens, window.targets), axis=1)
  (logits, hidden, penalty), _ = functional.apply(network, variables, tokens, hidden, window.length, context, key)
  losses = language_model.token_losses(logits, targets, window.length)
  return losses.sum() / (window.length * losses.shape[1]), penalty, hidden


def perplexity_of(loss: float) -> dict[str, float]:
  """Returns a loss in nats a word with its perplexity, infinite where the exponential overflows."""
  return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}


class Evaluate:
  """Computes loss and perplexity over a whole text: every word but the first is predicted once, and the mean is over so many."""

  def __init__(self, predict: Predict, units: int, config: text.Config):
    """Makes an evaluation of networks with so many units, in evaluation mode."""
    self._units, self._length = units, config.sequence_length

    @jax.jit
    def sums(network: Tree, columns: windows.Columns, start: jax.Array, total: jax.Array, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
      words, targets, length, _ = windows.window(columns, start, np.int32(self._length), np.bool_(False), self._length)
      logits, hidden = predict(network, words, hidden)
      losses = language_model.token_losses(logits, targets, length)
      return total + (losses * windows.counted(columns, start, self._length)).sum(), hidden

    self._sums = sums

  def columns(self, tokens: np.ndarray, batch_size: int) -> windows.Columns:
    """Lays a text out on the device, in so many columns, or as many as it has words to predict."""
    return windows.columns(tokens, min(batch_size, len(tokens) - 1), self._length, fill=True)

  def __call__(self, network: Tree, columns: windows.Columns) -> dict[str, float]:
    """Returns loss (nats a word) and perplexity; a column begins with hidden states of zero."""
    total, hidden = devices.replicate((jnp.float32(0), jnp.zeros((columns.tokens.shape[1], self._units))))
    for start in range(0, columns.rows, self._length):
      total, hidden = self._sums(network, columns, np.int32(start), total, hidden)
    return perplexity_of(float(total) / columns.count)


@dataclasses.dataclass(frozen=True)
class Config:
  """How the language model of one architecture is trained; the defaults are those of the published retraining on Penn Treebank.

  Attributes:
    epochs: passes over the training text.
    learning_rate: learning rate at the base length of a window; it is scaled with the length.
    weight_decay: coefficient of the L2 penalty on all weights.
    gradient_clip: largest global norm of the gradient; 0 does not clip.
    patience: averaging of the weights begins when the validation loss is above the best of the epochs before, but for the last so many of
      them; 0 never begins.
    test_batch_size: columns in the test at the end; 1 reads the whole text as one sequence, as published.
  """

  epochs: int = 3600
  learning_rate: float = 20.0
  weight_decay: float = 8e-7
  gradient_clip: float = 0.25
  patience: int = 5
  test_batch_size: int = 1

  def __post_init__(self):
    check_types(self)
    check_at_most(10**5, epochs=self.epochs)
    check_positive(epochs=self.epochs, learning_rate=self.learning_rate, test_batch_size=self.test_batch_size)
    check_not_negative(weight_decay=self.weight_decay, gradient_clip=self.gradient_clip, patience=self.patience)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that training changes.

  Attributes:
    weights: of the network.
    averages: their running mean since averaging began; equal to the weights before.
    averaged: how many steps are in that mean, int32; 0 before it begins.
    opt_state: state of the optimizer.
    hidden: hidden states after the last window, [B, H].
    best: the weights, averaged if so, of the epoch with the lowest validation loss.
    best_loss: that loss in nats, infinite before the first epoch has come to its end.
    losses: validation loss of every complete epoch, infinite for those to come, float32 [epochs].
    key: the run's key as raw data, which stays.
  """

  weights: Tree
  averages: Tree
  averaged: jax.Array
  opt_state: Tree
  hidden: jax.Array
  best: Tree
  best_loss: jax.Array
  losses: jax.Array
  key: jax.Array


class RetrainTask:
  """Trains the language model of a genotype from scratch (a `loop.Task`).

  A loss that is not finite puts the best weights so far back in place, and training goes on from there; the epoch's record counts it.

  Attributes:
    network: the static part of the network.
  """

  def __init__(
    self,
    config: Config,
    network_config: language_model.Config,
    data_config: text.Config,
    dataset: text.TextDataset,
    genotype: Genotype,
    seed: int,
  ):
    """Builds the task.

    Args:
      config: optimizer.
      network_config: size and regularization of the network.
      data_config: batches and windows.
      dataset: the text.
      genotype: the architecture, valid in its space.
      seed: of initial weights, lengths of windows and dropout.
    """
    self.epochs, self._config, self._data_config = config.epochs, config, data_config
    self._init_key = jax.random.key(seed)
    self._windows = windows.TrainingWindows(dataset.train, data_config, seed)
    module = derived_language_model(network_config, genotype, len(dataset.vocabulary), keys.generator(seed, "weights"))
    self.network, initial = functional.split(module)
    self._weights = initial.weights
    self._hidden = jnp.zeros((data_config.batch_size, network_config.units))
    self._optimizer = optimizers.sgd(momentum=0.0, weight_decay=config.weight_decay, gradient_clip=config.gradient_clip)
    self._step = jax.jit(functools.partial(train_step, network=self.network, optimizer=self._optimizer))

    def predict(weights: Tree, tokens: jax.Array, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
      length = np.int32(len(tokens))
      (logits, hidden, _), _ = functional.apply(self.network, functional.Variables(weights, {}), tokens, hidden, length)
      return logits, hidden

    self._evaluate = Evaluate(predict, network_config.units, data_config)
    self._valid = self._evaluate.columns(dataset.valid, data_config.eval_batch_size)

  def init(self) -> TrainState:
    """See `loop.Task`."""
    return TrainState(
      weights=self._weights,
      averages=self._weights,
      averaged=jnp.int32(0),
      opt_state=self._optimizer.init(self._weights),
      hidden=self._hidden,
      best=self._weights,
      best_loss=jnp.float32(jnp.inf),
      losses=jnp.full(self.epochs, jnp.inf, jnp.float32),
      key=jax.random.key_data(self._init_key),
    )

  def end_of_epoch(self, epoch: int) -> int:
    """See `loop.Task`."""
    return self._windows.end_of_epoch(epoch)

  def step(self, state: TrainState, step: int) -> tuple[TrainState, Mapping[str, jax.Array]]:
    """See `loop.Task`."""
    rate = self._config.learning_rate * self._windows.length(step) / self._data_config.sequence_length
    return self._step(state, self._windows(step), step_key(state.key, np.int32(step)), np.float32(rate))

  def end_epoch(self, state: TrainState, epoch: int, means: Mapping[str, float]) -> tuple[TrainState, EpochRecord]:
    """See `loop.Task`. Raises NonFiniteLoss if the epoch returned to the best weights too often.

    A validation loss that is not finite returns to them too, and where there are none it ends the run, as `loop.run` says.
    """
    steps = self.end_of_epoch(epoch) - self.end_of_epoch(epoch - 1)
    rollbacks = round(means["rollbacks"] * steps)
    averaging = int(state.averaged) > 0
    current = state.averages if averaging else state.weights
    valid = self._evaluate(current, self._valid)
    if not math.isfinite(valid["loss"]) and math.isfinite(float(state.best_loss)):
      state, current, rollbacks = _with_best_weights(state), state.best, rollbacks + 1
      valid = self._evaluate(current, self._valid)
    metrics = {f"train/{name}": value for name, value in perplexity_of(means["nats"] / max(means["words"], 1e-9)).items()}
    metrics |= {f"valid/{name}": value for name, value in valid.items()}
    metrics["learning_rate"] = self._config.learning_rate
    if averaging:
      metrics["averaging"] = 1.0
    if rollbacks:
      metrics["rollbacks"] = float(rollbacks)
      self._say_rollbacks(epoch, rollbacks, state)
    losses = np.asarray(state.losses).copy()
    losses[epoch - 1] = valid["loss"]
    if valid["loss"] < float(state.best_loss):
      state = dataclasses.replace(state, best=current, best_loss=jnp.float32(valid["loss"]))
    if not averaging and self._triggers(losses[:epoch]):
      state = dataclasses.replace(state, averages=state.weights, averaged=jnp.int32(1))
    return dataclasses.replace(state, losses=jnp.asarray(losses)), {"metrics": metrics}

  def test(self, state: TrainState, tokens: np.ndarray) -> dict[str, float]:
    """Returns loss and perplexity of the best weights on a text."""
    return self._evaluate(state.best, self._evaluate.columns(tokens, self._config.test_batch_size))

  def _triggers(self, losses: np.ndarray) -> bool:
    """Whether the last loss is above the best of those before, but for the `patience` next to it (Merity et al., algorithm 1)."""
    before = losses[: -1 - self._config.patience] if self._config.patience else losses[:0]
    return len(before) > 0 and losses[-1] > before.min()

  def _say_rollbacks(self, epoch: int, rollbacks: int, state: TrainState) -> None:
    best = 1 + int(np.asarray(state.losses).argmin())
    if rollbacks > MAX_ROLLBACKS:
      raise NonFiniteLoss(
        f"the loss was not finite {rollbacks} times in epoch {epoch}, each time from the weights of epoch {best}; {ADVICE}"
      )
    logging.warning(
      "The loss was not finite %d times in epoch %d; each time training went on from the weights of epoch %d, the best so far.",
      rollbacks, epoch, best,
    )  # fmt: skip


def train_step(
  state: TrainState,
  window: windows.Window,
  key: jax.Array,
  learning_rate: jax.Array,
  *,
  network: functional.Network,
  optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Takes one step of (averaged) stochastic gradient descent.

  Args:
    state: where training stands.
    window: the words.
    key: typed random key of the step.
    learning_rate: of this step, a scalar.
    network: the static part of the network.
    optimizer: of the weights, from `optimizers.sgd`.

  Returns:
    The new state, and the loss with penalties, the loss without them times the length ('nats') and the length ('words'). Where the loss is
    not finite and there are best weights, the state is theirs with hidden states of zero, 'rollbacks' is 1, and the others are 0.
  """

  def loss(weights: Tree) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    variables = functional.Variables(weights, {})
    loss, penalty, hidden = language_loss(network, variables, window, state.hidden, None, key)
    return loss + penalty, (loss, hidden)

  (total, (nats, hidden)), gradient = jax.value_and_grad(loss, has_aux=True)(state.weights)
  updates, opt_state = optimizer.update(gradient, optimizers.with_learning_rate(state.opt_state, learning_rate), state.weights)
  weights = optax.apply_updates(state.weights, updates)
  averaged = jnp.where(state.averaged > 0, state.averaged + 1, 0)
  averages = optax.incremental_update(weights, state.averages, 1 / jnp.maximum(averaged, 1))
  finite = jnp.isfinite(total) & tree.is_finite(weights)
  words = window.length.astype(jnp.float32)
  metrics = {"loss": total, "nats": nats * words, "words": words, "rollbacks": jnp.float32(0)}
  new = dataclasses.replace(state, weights=weights, averages=averages, averaged=averaged, opt_state=opt_state, hidden=hidden)
  keep = finite | ~jnp.isfinite(state.best_loss)
  rolled_back = jax.tree.map(jnp.zeros_like, metrics) | {"rollbacks": jnp.float32(1)}
  return devices.replicate(jax.tree.map(lambda a, b: jnp.where(keep, a, b), (new, metrics), (_with_best_weights(new), rolled_back)))


def _with_best_weights(state: TrainState) -> TrainState:
  """Returns the state to go on from when a loss was not finite; an average that has begun begins anew."""
  hidden, averaged = jnp.zeros_like(state.hidden), jnp.minimum(state.averaged, 1)
  return dataclasses.replace(state, weights=state.best, averages=state.best, averaged=averaged, hidden=hidden)
