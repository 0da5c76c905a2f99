"""The bilevel step: first the architecture, on validation data, then the weights, on training data.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, algorithm 1.

A step is put together on the host from a few compiled programs, the network-sized ones compiled once and called wherever they are needed:
a second-order step evaluates the same gradient five times, and traced into one program it would be compiled five times. Nothing here
waits for the device.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import optax

from dnas.core.compilation import network_jit
from dnas.supernet.hypergradients import Gradients, Hypergradient, Problem, optimizer_step
from dnas.supernet.relaxations import Arch, Relaxation

Tree = Any


@dataclasses.dataclass(frozen=True)
class Method:
  """A differentiable search method: four choices, three of them here (the fourth, the edge, is in the supernet).

  Attributes:
    relax: architecture parameters to mixture weights.
    arch_optimizer: optimizer of the architecture parameters.
    hypergradient: estimator of the derivative of the validation loss in the architecture.
  """

  relax: Relaxation
  arch_optimizer: optax.GradientTransformation
  hypergradient: Hypergradient


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SearchState:
  """All that a search changes.

  Attributes:
    weights: weights of the supernet.
    stats: its running batch statistics.
    arch: architecture parameters, cell type to [edges, operations].
    weight_state: state of the weight optimizer.
    arch_state: state of the architecture optimizer.
  """

  weights: Tree
  stats: Tree
  arch: Arch
  weight_state: Tree
  arch_state: Tree


class LossFunction(Protocol):
  """The loss of a supernet on one batch; pure."""

  def __call__(self, weights: Tree, arch: Arch, stats: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    """Returns the loss in nats, and a pair: the batch statistics after the call, and scalar metrics.

    All randomness, that of the relaxation and of masks included, comes from `key`.
    """


class Evaluation(NamedTuple):
  """A loss with its gradients, the batch statistics after the evaluation, and metrics."""

  gradients: Gradients
  stats: Tree
  metrics: Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Programs:
  """The network-sized programs of a step, each compiled once; from `compiled`.

  Attributes:
    gradient: (weights, arch, stats, batch, key) to an `Evaluation`.
    hvp: (weights, arch, stats, batch, key, direction) to the derivative of both gradients along a direction in the weights.
  """

  gradient: Any
  hvp: Any


def compiled(loss: LossFunction) -> Programs:
  """Returns the compiled programs of a loss function. Call it once per loss: every call compiles anew."""

  def gradient(weights: Tree, arch: Arch, stats: Tree, batch: Tree, key: jax.Array) -> Evaluation:
    (value, (new_stats, metrics)), (by_weights, by_arch) = jax.value_and_grad(loss, (0, 1), has_aux=True)(weights, arch, stats, batch, key)
    return Evaluation(Gradients(value, by_weights, by_arch), new_stats, metrics)

  def hvp(weights: Tree, arch: Arch, stats: Tree, batch: Tree, key: jax.Array, direction: Tree) -> tuple[Tree, Tree]:
    def both(weights: Tree) -> tuple[Tree, Tree]:
      return jax.grad(lambda w, a: loss(w, a, stats, batch, key)[0], (0, 1))(weights, arch)

    return jax.jvp(both, (weights,), (direction,))[1]

  return Programs(network_jit(gradient), network_jit(hvp))


def bilevel_step(
  state: SearchState,
  train_batch: Tree,
  valid_batch: Tree,
  key: jax.Array,
  *,
  programs: Programs,
  method: Method,
  weight_optimizer: optax.GradientTransformation,
  weight_decay: float,
) -> tuple[SearchState, dict[str, jax.Array]]:
  """Takes one step of the architecture and then, on the same training batch, one of the weights.

  Args:
    state: where the search stands; it is not changed.
    train_batch: the training batch of both steps.
    valid_batch: the validation batch of the architecture step.
    key: typed random key of this step. Every evaluation in it sees the same masks.
    programs: from `compiled`.
    method: the search method.
    weight_optimizer: the optimizer of the weights.
    weight_decay: the coefficient of the L2 penalty in that optimizer.

  Returns:
    The new state, and metrics on the device: those of the weight step, and 'valid_loss' of the architecture step. Evaluations for the
    hypergradient move neither weights nor batch statistics.
  """
  problem = Problem(
    train=lambda weights, arch: programs.gradient(weights, arch, state.stats, train_batch, key).gradients,
    valid=lambda weights, arch: programs.gradient(weights, arch, state.stats, valid_batch, key).gradients,
    train_hvp=lambda weights, arch, direction: programs.hvp(weights, arch, state.stats, train_batch, key, direction),
    optimizer=weight_optimizer,
    weight_decay=weight_decay,
  )
  estimate = method.hypergradient(problem, state.weights, state.arch, state.weight_state)
  arch, arch_state = optimizer_step(method.arch_optimizer, estimate.arch, state.arch_state, state.arch)
  evaluation = programs.gradient(state.weights, arch, state.stats, train_batch, key)
  weights, weight_state = optimizer_step(weight_optimizer, evaluation.gradients.weights, state.weight_state, state.weights)
  metrics = {"loss": evaluation.gradients.loss, **evaluation.metrics, "valid_loss": estimate.valid_loss}
  return SearchState(weights, evaluation.stats, arch, weight_state, arch_state), metrics
