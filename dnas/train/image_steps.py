"""One step of the training of an image network: loss, optimizer, state."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dnas.cells import functional
from dnas.compiler.functions import Compiled
from dnas.core import devices, tree
from dnas.train import optimizers, transfer
from dnas.train.metrics import correct, cross_entropy

Tree = Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """The state of a training: weights, running batch statistics, optimizer state, and the run's key as raw data, which is constant."""

  weights: Tree
  stats: Tree
  opt_state: Tree
  key: jax.Array


class Rates(NamedTuple):
  """Scalar hyperparameters of a step. They are arguments of the compiled step, so trainings with other values share one program.

  Attributes:
    learning_rate: learning rate of this step.
    drop_path: probability to drop an edge in this step.
    momentum: see `images.Config`.
    weight_decay: see `images.Config`.
    gradient_clip: see `images.Config`.
    auxiliary_weight: see `images.Config`.
    label_smoothing: see `images.Config`.
  """

  learning_rate: jax.Array
  drop_path: jax.Array
  momentum: jax.Array
  weight_decay: jax.Array
  gradient_clip: jax.Array
  auxiliary_weight: jax.Array
  label_smoothing: jax.Array


class Parts(NamedTuple):
  """The parts of the optimizer. They decide its compiled program; the values of the hyperparameters do not.

  Attributes:
    momentum: whether there is momentum.
    gradient_clip: whether gradients are clipped.
    nesterov: whether the momentum is Nesterov's.
    decay_vectors: whether the L2 penalty takes all weights; else kernels alone.
  """

  momentum: bool
  gradient_clip: bool
  nesterov: bool
  decay_vectors: bool


def optimizer(parts: Parts, rates: Rates) -> tree.Flattened:
  """Returns the optimizer with these parts and rates."""
  return optimizers.sgd(
    momentum=rates.momentum if parts.momentum else 0.0,
    weight_decay=rates.weight_decay,
    gradient_clip=rates.gradient_clip if parts.gradient_clip else 0.0,
    nesterov=parts.nesterov,
  )


def training_loss(
  weights: Tree,
  stats: Tree,
  batch: tuple[jax.Array, jax.Array],
  key: jax.Array,
  rates: Rates,
  *,
  network: functional.Network,
  drops: bool,
  auxiliary: bool,
  smooths: bool = False,
  class_weights: tuple[float, ...] | None = None,
  trained: frozenset[str] | None = None,
) -> tuple[jax.Array, tuple[Tree, dict[str, jax.Array]]]:
  """Computes the training loss.

  Args:
    weights: the network's weights.
    stats: the network's running batch statistics.
    batch: images float32 [B, H, W, C] and labels [B].
    key: typed random key of the step.
    rates: hyperparameters of the step.
    network: the static part of the network.
    drops: whether edges are dropped.
    auxiliary: whether the network has an auxiliary head.
    smooths: whether labels are smoothed.
    class_weights: weight of each class in the losses; None weights all classes equally.
    trained: paths of the weights that are trained, where the others are frozen; None trains all, and with it the batch statistics.

  Returns:
    The loss including that of the auxiliary head, in nats; the new batch statistics; and a dictionary of loss (main head) and accuracy.
  """
  images, labels = batch
  variables = functional.Variables(devices.replicate(weights), stats)  # so the gradient is replicated too
  if trained is not None:
    variables = functional.Variables(transfer.held(variables.weights, trained), stats)
    (logits, side), _ = functional.apply(network, variables, images, train=False)
    auxiliary = False
  else:
    drop_path = rates.drop_path if drops else None
    (logits, side), stats = functional.apply(network, variables, images, train=True, key=key, drop_path=drop_path)
  smoothing = rates.label_smoothing if smooths else None
  main = total = cross_entropy(logits, labels, class_weights, smoothing).mean()
  if auxiliary:
    total = total + rates.auxiliary_weight * cross_entropy(side, labels, class_weights, smoothing).mean()
  return devices.replicate((total, (stats, {"loss": main, "accuracy": correct(logits, labels).mean()})))


def train_step(
  state: TrainState,
  batch: tuple[jax.Array, jax.Array],
  key: jax.Array,
  rates: Rates,
  *,
  gradient: Compiled,
  parts: Parts,
  trained: frozenset[str] | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Takes one step of the optimizer.

  Args:
    state: the state before the step.
    batch: images float32 [B, H, W, C] and labels [B].
    key: typed random key of the step.
    rates: hyperparameters of the step.
    gradient: gradient of `training_loss` with respect to the weights.
    parts: parts of the optimizer; the values of its hyperparameters come from `rates`.
    trained: see `training_loss`; a frozen weight has no penalty.

  Returns:
    The new state, and loss (without the auxiliary loss) and accuracy on the batch.
  """
  (_, (stats, metrics)), (by_weights,) = gradient(state.weights, state.stats, batch, key, rates)
  weights = tree.ravel(state.weights)
  plain = parts.decay_vectors and trained is None
  decayed = weights if plain else tree.ravel(_penalized(state.weights, parts.decay_vectors, trained))
  moved, opt_state = _moved(parts, tree.ravel(by_weights), state.opt_state, weights, decayed, rates)
  return TrainState(tree.unravel(moved, state.weights), stats, opt_state, state.key), metrics


@functools.partial(jax.jit, static_argnums=0)
def _moved(
  parts: Parts, gradient: jax.Array, opt_state: Tree, weights: jax.Array, decayed: jax.Array, rates: Rates
) -> tuple[jax.Array, Tree]:
  """Returns the weights, flattened to a vector, and the optimizer state after a step. `decayed` are the weights with a penalty, else 0."""
  opt_state = optimizers.with_learning_rate(opt_state, rates.learning_rate)
  updates, opt_state = optimizer(parts, rates).inner.update(gradient, opt_state, decayed)
  return devices.replicate((optax.apply_updates(weights, updates), opt_state))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _penalized(weights: Tree, vectors: bool, trained: frozenset[str] | None) -> Tree:
  """Returns the weights with zeros in the place of frozen ones and, without `vectors`, of biases and of the scales of normalizations."""

  def kept(path: tuple[Any, ...], x: jax.Array) -> jax.Array:
    idle = not vectors and path[-1].key in ("scale", "bias")
    frozen = trained is not None and jax.tree_util.keystr(path) not in trained
    return jnp.zeros_like(x) if idle or frozen else x

  return jax.tree_util.tree_map_with_path(kept, weights)
