"""Language modelling: the loss of a window, perplexity of whole texts, and the training of one network.

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
from dnas.compiler.programs import named
from dnas.core import devices, tree
from dnas.core.config import check_at_most, check_not_negative, check_positive, check_types
from dnas.core.errors import InputError
from dnas.data import text, windows
from dnas.nets import costs
from dnas.nets.models.base import LanguageNetwork
from dnas.run.loop import VALID_LOSS, EpochRecord, HistoryRecord, NonFiniteLoss, step_key
from dnas.train import optimizers

Tree = Any
Predict = Callable[[Tree, jax.Array, Tree], tuple[jax.Array, Tree]]
"""Maps (variables of a network, words int32 [T, B], hidden states) to logits [T, B, V] and hidden states after the last word."""

MAX_ROLLBACKS = 10
"""The run ends when one epoch has more rollbacks to the best weights than this."""

ADVICE = "lower the learning rate or clip the gradient, and give another --workdir."
"""Advice for error messages about losses that are not finite."""


def language_loss(
  network: functional.Network, variables: functional.Variables, window: windows.Window, hidden: Tree, context: Any, key: jax.Array
) -> tuple[jax.Array, jax.Array, Tree]:
  """Computes the loss of a window.

  Args:
    network: the static part of a `LanguageNetwork`.
    variables: the model's arrays.
    window: the window of words.
    hidden: hidden states before the window; the first window of a text uses zeros instead. No gradient flows into them.
    context: the network's context, such as the mixture weights of a supernet.
    key: typed random key of the dropout masks.

  Returns:
    The mean loss per word in nats, the penalties on activations, and the hidden states after the window.
  """
  hidden = devices.split(jax.tree.map(lambda leaf: jnp.where(window.first, 0, leaf), hidden))
  tokens, targets = devices.split((window.tokens, window.targets), axis=1)
  (logits, hidden, penalty), _ = functional.apply(network, variables, tokens, hidden, window.length, context, key)
  losses = language_model.token_losses(logits, targets, window.length)
  return losses.sum() / (window.length * losses.shape[1]), penalty, hidden


def perplexity_of(loss: float) -> dict[str, float]:
  """Returns a loss (nats per word) and its perplexity, which is infinite where the exponential overflows."""
  return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}


class Evaluate:
  """Computes loss and perplexity over a whole text. Every word but the first is predicted once; the loss is the mean over these words.

  Attributes:
    sums: compiled function of (variables, text, first row of the window, sum of the losses so far, hidden states). It returns
      the sum of the losses and the hidden states after the window.
  """

  def __init__(self, predict: Predict, initial_hidden: Callable[[int], Tree], config: text.Config):
    """Prepares the programs. `predict` is the network in inference mode; for `initial_hidden` see `LanguageNetwork`."""
    self._initial_hidden, self._length = initial_hidden, config.sequence_length

    @jax.jit
    def sums(network: Tree, columns: windows.Columns, start: jax.Array, total: jax.Array, hidden: Tree) -> tuple[jax.Array, Tree]:
      words, targets, length, _ = windows.window(columns, start, np.int32(self._length), np.bool_(False), self._length)
      logits, hidden = predict(network, words, hidden)
      losses = language_model.token_losses(logits, targets, length)
      return total + (losses * windows.counted(columns, start, self._length)).sum(), hidden

    self.sums = sums

  def columns(self, tokens: np.ndarray, batch_size: int) -> windows.Columns:
    """Puts a text on the device in `batch_size` columns, or in as many as it has words to predict, if these are fewer."""
    return windows.columns(tokens, min(batch_size, len(tokens) - 1), self._length, fill=True)

  def __call__(self, network: Tree, columns: windows.Columns) -> dict[str, float]:
    """Returns loss (nats per word) and perplexity. Every column starts with hidden states of zero."""
    total, hidden = devices.replicate((jnp.float32(0), self._initial_hidden(columns.tokens.shape[1])))
    for start in range(0, columns.rows, self._length):
      total, hidden = self.sums(network, columns, np.int32(start), total, hidden)
    return perplexity_of(float(total) / columns.count)


@dataclasses.dataclass(frozen=True)
class Config:
  """How a language model is trained. The defaults are those of the published retraining on Penn Treebank.

  Attributes:
    epochs: passes over the training text.
    learning_rate: learning rate at the base length of a window; it is proportional to the window's length.
    weight_decay: coefficient of the L2 penalty on all weights.
    gradient_clip: largest global norm of the gradient; 0 does not clip.
    average_from_start: whether weights are averaged from the first step, as in the published finetuning of trained weights.
    patience: averaging of the weights begins when the validation loss exceeds the lowest of the previous epochs, without the last patience
      of these. Training that averages from the start ends then. 0 does neither.
    test_batch_size: columns in the final test; 1 reads the whole text as one sequence, as published.
  """

  epochs: int = 3600
  learning_rate: float = 20.0
  weight_decay: float = 8e-7
  gradient_clip: float = 0.25
  average_from_start: bool = False
  patience: int = 5
  test_batch_size: int = 1

  def __post_init__(self):
    check_types(self)
    check_at_most(10**5, epochs=self.epochs)
    check_positive(epochs=self.epochs, learning_rate=self.learning_rate, test_batch_size=self.test_batch_size)
    check_not_negative(weight_decay=self.weight_decay, gradient_clip=self.gradient_clip, patience=self.patience)


GROWN = {".losses": math.inf}
"""Arrays of the state that are longer in a training of more epochs, and their filling (`Checkpoints.restore`)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """The state of a training.

  Attributes:
    weights: the network's weights.
    averages: running mean of the weights since averaging began, the first of them included; equal to `weights` before that.
    averaged: number of steps in the running mean, int32; 0 before averaging begins.
    opt_state: state of the optimizer.
    hidden: hidden states after the last window.
    best: weights of the epoch with the lowest validation loss; the averages if averaging had begun.
    best_loss: lowest validation loss in nats; infinite before the first epoch ends.
    losses: validation loss of every epoch, infinite for the epochs to come, float32 [epochs].
    key: the run's key as raw data; constant.
  """

  weights: Tree
  averages: Tree
  averaged: jax.Array
  opt_state: Tree
  hidden: Tree
  best: Tree
  best_loss: jax.Array
  losses: jax.Array
  key: jax.Array


class RetrainTask:
  """Trains a language model, from scratch or from trained weights (a `loop.Task`).

  If a loss is not finite, training continues from the best weights so far (a rollback). The epoch's record counts the rollbacks.

  Attributes:
    network: the static part of the network.
  """

  def __init__(
    self,
    config: Config,
    network: LanguageNetwork,
    data_config: text.Config,
    dataset: text.TextDataset,
    seed: int,
    initial: Tree | None = None,
  ):
    """Builds the task.

    Args:
      config: optimizer.
      network: the network, with its initial weights.
      data_config: batches and windows.
      dataset: the text.
      seed: seed of lengths of windows and dropout.
      initial: weights to start from, such as `TrainState.best` of a training that has ended; None for those of the network.

    Raises:
      FieldError: if a column of the text is shorter than a window.
      InputError: if `initial` are no weights of this network.
    """
    self.epochs, self._config, self._data_config = config.epochs, config, data_config
    self._init_key = jax.random.key(seed)
    self._windows = windows.TrainingWindows(dataset.train, data_config, seed)
    self.network, variables = functional.split(network)  # pyright: ignore[reportArgumentType]  # an nnx module, by the protocol
    self._weights = variables.weights if initial is None else _checked(initial, variables.weights)
    self._hidden = network.initial_hidden(data_config.batch_size)
    self._optimizer = optimizers.sgd(momentum=0.0, weight_decay=config.weight_decay, gradient_clip=config.gradient_clip)
    self._step = jax.jit(named("step", functools.partial(train_step, network=self.network, optimizer=self._optimizer)))

    def predict(weights: Tree, tokens: jax.Array, hidden: Tree) -> tuple[jax.Array, Tree]:
      length = np.int32(len(tokens))
      (logits, hidden, _), _ = functional.apply(self.network, functional.Variables(weights, {}), tokens, hidden, length)
      return logits, hidden

    self._evaluate = Evaluate(predict, network.initial_hidden, data_config)
    self._valid = self._evaluate.columns(dataset.valid, data_config.eval_batch_size)

  def costs(self) -> costs.Costs:
    """Returns the costs of one word."""
    return costs.of_word(self.network, functional.Variables(self._weights, {}))

  def init(self) -> TrainState:
    """See `loop.Task`."""
    return TrainState(
      weights=self._weights,
      averages=self._weights,
      averaged=jnp.int32(self._config.average_from_start),
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
    """See `loop.Task`. Raises NonFiniteLoss if the epoch had more than `MAX_ROLLBACKS` rollbacks.

    A validation loss that is not finite causes a rollback too. If there are no best weights yet, `loop.run` ends the run.
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
    """Returns loss (nats per word) and perplexity of the best weights on a text."""
    return self._evaluate(state.best, self._evaluate.columns(tokens, self._config.test_batch_size))

  def stops(self, history: list[HistoryRecord]) -> bool:
    """Returns whether training ends after these epochs: it averages from the start, and the last validation loss is too high."""
    losses = np.array([record["metrics"][VALID_LOSS] for record in history])
    return self._config.average_from_start and self._triggers(losses)

  def _triggers(self, losses: np.ndarray) -> bool:
    """Returns whether the last loss exceeds the lowest previous loss, without the last `patience` of these (Merity et al., algorithm 1)."""
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
  optimizer: tree.Optimizer,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Takes one step of (averaged) stochastic gradient descent.

  Args:
    state: the state before the step.
    window: the window of words.
    key: typed random key of the step.
    learning_rate: learning rate of this step, a scalar.
    network: the static part of the network.
    optimizer: optimizer of the weights, from `optimizers.sgd`.

  Returns:
    The new state, and metrics: 'loss' with penalties, 'words' (length of the window), 'nats' (loss without penalties times the length) and
    'rollbacks'. If the loss or a weight is not finite and there are best weights, the state has these weights and hidden states of zero,
    'rollbacks' is 1, and the other metrics are 0.
  """

  def loss(weights: Tree) -> tuple[jax.Array, tuple[jax.Array, Tree]]:
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


def _checked(initial: Tree, weights: Tree) -> Tree:
  """Returns `initial`. Raises InputError unless its structure and shapes are those of the weights."""
  given, wanted = (jax.tree_util.tree_flatten_with_path(jax.tree.map(jnp.shape, tree))[0] for tree in (initial, weights))
  if given != wanted:
    raise InputError("the weights to start from are of another network; train the one that they belong to, with the same vocabulary.")
  return initial


def _with_best_weights(state: TrainState) -> TrainState:
  """Returns the state after a rollback: best weights, hidden states of zero, and an average that, if it had begun, begins anew."""
  hidden, averaged = jax.tree.map(jnp.zeros_like, state.hidden), jnp.minimum(state.averaged, 1)
  return dataclasses.replace(state, weights=state.best, averages=state.best, averaged=averaged, hidden=hidden)
