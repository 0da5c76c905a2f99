"""The bilevel step: first the architecture, on validation data, then the weights, on training data.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, algorithm 1.

A step is put together on the host from a few compiled programs, the network-sized ones compiled once and called wherever they are needed:
a second-order step evaluates the same gradient five times, and traced into one program it would be compiled five times. Nothing here
waits for the device.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import optax

from dnas.compiler.functions import Compiled, Loss
from dnas.core import devices, keys, tree
from dnas.supernet.hypergradients import Gradients, Hypergradient, Problem, optimizer_step
from dnas.supernet.perturbations import Perturbation, Unperturbed
from dnas.supernet.relaxations import Arch, Relaxation

Tree = Any


@dataclasses.dataclass(frozen=True)
class Method:
  """A differentiable search method: four choices, three of them here (the fourth, the edge, is in the supernet).

  Attributes:
    relax: architecture parameters to mixture weights.
    arch_optimizer: optimizer of the architecture parameters.
    hypergradient: estimator of the derivative of the validation loss in the architecture.
    perturbation: at which architecture near the current one the weights are trained.
  """

  relax: Relaxation
  arch_optimizer: optax.GradientTransformation
  hypergradient: Hypergradient
  perturbation: Perturbation = Unperturbed()


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
    """Returns the loss in nats, and a pair: the batch statistics after the call, and by name whatever else is to come out of the step.

    All randomness, that of the relaxation and of masks included, comes from `key`.
    """


class Evaluation(NamedTuple):
  """A loss with its gradients, the batch statistics after the evaluation, and what else the loss function returned."""

  gradients: Gradients
  stats: Tree
  metrics: Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Programs:
  """The network-sized functions of a step, each compiled once; from `compiled`.

  Attributes:
    gradient: (weights, arch, stats, batch, key) to an `Evaluation`.
    arch_gradient: the same without the gradient in the weights, which is None: half the work in a convolutional supernet.
    hvp: (weights, arch, stats, batch, key, direction) to the derivative of both gradients along a direction in the weights.
  """

  gradient: Callable[..., Evaluation]
  arch_gradient: Callable[..., Evaluation]
  hvp: Callable[..., tuple[Tree, Tree]]


def compiled(loss: LossFunction) -> Programs:
  """Returns the compiled programs of a loss function. Call it once per loss: every call compiles anew."""

  @functools.wraps(loss)
  def whole(weights: Tree, arch: Arch, stats: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    weights, arch = devices.replicate((weights, arch))  # and so are their gradients
    return devices.replicate(loss(weights, arch, stats, batch, key))

  derivatives = Loss(whole, (0, 1))
  return Programs(Gradient(derivatives.gradient((0, 1))), Gradient(derivatives.gradient((1,))), derivatives.hessian_product(along=0))


@dataclasses.dataclass(frozen=True)
class Gradient:
  """Evaluates a loss with its gradients.

  Attributes:
    program: (weights, arch, stats, batch, key) to the loss, what else it returns, and the gradient in weights and architecture, or in the
      architecture alone.
  """

  program: Compiled

  def __call__(self, weights: Tree, arch: Arch, stats: Tree, batch: Tree, key: jax.Array) -> Evaluation:
    """Returns the evaluation; a gradient that the program does not compute is None."""
    (loss, (stats, metrics)), (*in_weights, in_arch) = self.program(weights, arch, stats, batch, key)
    return Evaluation(Gradients(loss, in_weights[0] if in_weights else None, in_arch), stats, metrics)


def bilevel_step(
  state: SearchState,
  train_batch: Tree,
  valid_batch: Tree,
  key: jax.Array,
  *,
  programs: Programs,
  method: Method,
  weight_optimizer: optax.GradientTransformation,
  unrolled_optimizer: optax.GradientTransformation | None = None,
  weight_decay: float,
  shared_masks: bool = True,
  move_arch: bool = True,
  progress: float = 1.0,
) -> tuple[SearchState, dict[str, Any]]:
  """Takes one step of the architecture and then, on the same training batch, one of the weights.

  Args:
    state: where the search stands; it is not changed.
    train_batch: the training batch of both steps.
    valid_batch: the validation batch of the architecture step.
    key: typed random key of this step.
    programs: from `compiled`.
    method: the search method.
    weight_optimizer: the optimizer of the weights.
    unrolled_optimizer: what the hypergradient takes for it, with the same state; the same if not given.
    weight_decay: the coefficient of the L2 penalty in that optimizer.
    shared_masks: whether every evaluation in the step sees the same random masks. Otherwise each evaluation of the hypergradient draws its
      own, as in the published code for recurrent cells; a finite difference then divides the difference of the masks by its radius.
    move_arch: whether the architecture takes a step; false while weights warm up.
    progress: the complete fraction of the search, which the perturbation follows.

  Returns:
    The new state, and on the device: loss and metrics of the weight step, and, beginning with 'valid_', those of the validation batch in
    the architecture step, if there is one that evaluates it. Evaluations for the hypergradient and for the perturbation move neither
    weights nor batch statistics.
  """
  arch, arch_state, metrics = state.arch, state.arch_state, {}
  if move_arch:
    unrolled = unrolled_optimizer or weight_optimizer
    estimate, metrics = _hypergradient(state, train_batch, valid_batch, key, programs, method, unrolled, weight_decay, shared_masks)
    total = tree.add_scaled(estimate, 1.0, _penalty_gradient(method.relax, arch))
    arch, arch_state = optimizer_step(method.arch_optimizer, total, arch_state, arch)
  near = method.perturbation(
    arch,
    keys.derive(key, "perturbation"),
    progress,
    lambda arch: programs.arch_gradient(state.weights, arch, state.stats, train_batch, key).gradients[::2],
  )
  evaluation = programs.gradient(state.weights, near, state.stats, train_batch, key)
  weights, weight_state = optimizer_step(weight_optimizer, evaluation.gradients.weights, state.weight_state, state.weights)
  metrics = {"loss": evaluation.gradients.loss, **evaluation.metrics, **metrics}
  return SearchState(weights, evaluation.stats, arch, weight_state, arch_state), metrics


def _hypergradient(
  state: SearchState,
  train_batch: Tree,
  valid_batch: Tree,
  key: jax.Array,
  programs: Programs,
  method: Method,
  weight_optimizer: optax.GradientTransformation,
  weight_decay: float,
  shared_masks: bool,
) -> tuple[Arch, dict[str, Any]]:
  """Returns the hypergradient, and the metrics of its last evaluation of the validation batch."""
  masks, valid_evaluations = itertools.count(), []

  def key_of_evaluation() -> jax.Array:
    return key if shared_masks else keys.derive(key, "evaluation", next(masks))

  def train(program: Any, weights: Tree, arch: Arch) -> Gradients:
    return program(weights, arch, state.stats, train_batch, key_of_evaluation()).gradients

  def valid(program: Any, weights: Tree, arch: Arch) -> Gradients:
    valid_evaluations.append(program(weights, arch, state.stats, valid_batch, key_of_evaluation()))
    return valid_evaluations[-1].gradients

  problem = Problem(
    train=functools.partial(train, programs.gradient),
    valid=functools.partial(valid, programs.gradient),
    train_arch=functools.partial(train, programs.arch_gradient),
    valid_arch=functools.partial(valid, programs.arch_gradient),
    train_hvp=lambda weights, arch, direction: programs.hvp(weights, arch, state.stats, train_batch, key_of_evaluation(), direction),
    optimizer=weight_optimizer,
    weight_decay=weight_decay,
  )
  estimate = method.hypergradient(problem, state.weights, state.arch, state.weight_state)
  metrics = {"valid_loss": estimate.valid_loss} if valid_evaluations else {}
  metrics |= {f"valid_{name}": value for evaluation in valid_evaluations[-1:] for name, value in evaluation.metrics.items()}
  return estimate.arch, metrics


@functools.partial(jax.jit, static_argnums=0)
def _penalty_gradient(relax: Relaxation, arch: Arch) -> Arch:
  return jax.grad(relax.penalty)(arch)
