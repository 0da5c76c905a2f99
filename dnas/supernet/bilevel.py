"""The bilevel step: first the architecture, on validation data, then the weights, on training data.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, algorithm 1.

The host puts a step together from a few compiled programs. Each network-sized program is compiled once, and called as often as the step
needs it: a second-order step evaluates the same gradient five times, and one traced program would compile it five times. Nothing here waits
for the device.
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
from dnas.supernet.hypergradients import Gradients, Hypergradient, Problem
from dnas.supernet.perturbations import Perturbation, Unperturbed
from dnas.supernet.relaxations import Arch, OpMask, Relaxation
from dnas.supernet.weight_step import optimizer_step

Tree = Any


@dataclasses.dataclass(frozen=True)
class Method:
  """A differentiable search method. It is four choices; the fourth, the edge, belongs to the supernet.

  Attributes:
    relax: maps architecture parameters to mixture weights.
    arch_optimizer: optimizer of the architecture parameters.
    hypergradient: estimator of the derivative of the validation loss in the architecture.
    perturbation: chooses the architecture, near the current one, at which the weights are trained.
  """

  relax: Relaxation
  arch_optimizer: optax.GradientTransformation
  hypergradient: Hypergradient
  perturbation: Perturbation = Unperturbed()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SearchState:
  """The arrays that a step changes.

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


class LossInputs(NamedTuple):
  """The arguments of a loss that are neither parameters nor randomness.

  Attributes:
    batch: an array, or a tree of arrays.
    progress: the complete fraction of the search.
    op_mask: the operations that take part; None if all do.
  """

  batch: Tree
  progress: tree.Scalar = 1.0
  op_mask: OpMask | None = None


class LossFunction(Protocol):
  """The loss of a supernet on one batch; pure."""

  def __call__(self, weights: Tree, arch: Arch, stats: Tree, inputs: LossInputs, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    """Returns the loss in nats, and a pair: the batch statistics after the call, and the metrics of the step by name.

    All randomness comes from `key`, that of the relaxation and of dropout masks included.
    """
    ...


class Pass(NamedTuple):
  """What a pass through the network gives: a loss with its gradients, the new batch statistics, and the metrics of the loss function."""

  gradients: Gradients
  stats: Tree
  metrics: Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Programs:
  """The network-sized functions of a step, each compiled once; from `compiled`.

  Attributes:
    gradient: (weights, arch, stats, inputs, key) to a `Pass`.
    arch_gradient: the same with None for the gradient in the weights; half the work in a convolutional supernet.
    hvp: (weights, arch, stats, inputs, key, direction) to the derivative of both gradients along a direction in the weights.
  """

  gradient: Callable[..., Pass]
  arch_gradient: Callable[..., Pass]
  hvp: Callable[..., tuple[Tree, Tree]]


def compiled(loss: LossFunction) -> Programs:
  """Returns the compiled programs of a loss function. Call it once per loss: every call compiles anew."""

  @functools.wraps(loss)
  def whole(weights: Tree, arch: Arch, stats: Tree, inputs: LossInputs, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    weights, arch = devices.replicate((weights, arch))  # and so are their gradients
    return devices.replicate(loss(weights, arch, stats, inputs, key))

  derivatives = Loss(whole, (0, 1))
  return Programs(Gradient(derivatives.gradient((0, 1))), Gradient(derivatives.gradient((1,))), derivatives.hessian_product(along=0))


@dataclasses.dataclass(frozen=True)
class Gradient:
  """Evaluates a loss with its gradients.

  Attributes:
    program: (weights, arch, stats, inputs, key) to the results of the loss function, and its gradient in weights and architecture, or in
      the architecture alone.
  """

  program: Compiled

  def __call__(self, weights: Tree, arch: Arch, stats: Tree, inputs: LossInputs, key: jax.Array) -> Pass:
    """Returns what the pass gives; a gradient that the program does not compute is None."""
    (loss, (stats, metrics)), (*in_weights, in_arch) = self.program(weights, arch, stats, inputs, key)
    return Pass(Gradients(loss, in_weights[0] if in_weights else None, in_arch), stats, metrics)


@dataclasses.dataclass(frozen=True)
class BilevelProblem:
  """The parts of a bilevel step that stay the same for a whole search.

  Attributes:
    programs: from `compiled`.
    method: the search method.
    weight_optimizer: the optimizer of the weights.
    weight_decay: the coefficient of the L2 penalty in that optimizer.
    unrolled_optimizer: the optimizer that the hypergradient differentiates, with the state of the other; `weight_optimizer` if None.
    shared_masks: whether every pass in a step sees the same random masks. Otherwise each pass of the hypergradient draws its
      own, as in the published code for recurrent cells; a finite difference then divides the difference of the masks by its radius.
  """

  programs: Programs
  method: Method
  weight_optimizer: tree.Optimizer
  weight_decay: float
  unrolled_optimizer: tree.Optimizer | None = None
  shared_masks: bool = True

  def step(
    self,
    state: SearchState,
    train_batch: Tree,
    valid_batch: Tree,
    key: jax.Array,
    progress: tree.Scalar = 1.0,
    update_arch: bool = True,
    op_mask: OpMask | None = None,
  ) -> tuple[SearchState, dict[str, Any]]:
    """Takes one step of the architecture and then, on the same training batch, one of the weights.

    Args:
      state: where the search stands; it is not changed.
      train_batch: the training batch of both steps.
      valid_batch: the validation batch of the architecture step.
      key: typed random key of this step.
      progress: the complete fraction of the search. The loss and the perturbation follow it.
      update_arch: whether the architecture takes a step; false while the weights warm up.
      op_mask: the operations that take part; None if all do.

    Returns:
      The new state, and metrics on the device: loss and metrics of the weight step, and, beginning with 'valid_', those of the last
      pass over the validation batch in the architecture step, if there is one. Passes for the hypergradient and for the
      perturbation change neither weights nor batch statistics.
    """
    train, valid = (LossInputs(batch, progress, op_mask) for batch in (train_batch, valid_batch))
    arch, arch_state, metrics = state.arch, state.arch_state, {}
    if update_arch:
      estimate, metrics = self._hypergradient(state, train, valid, key)
      total = tree.add_scaled(estimate, 1.0, _penalty_gradient(self.method.relax, arch))
      arch, arch_state = optimizer_step(self.method.arch_optimizer, total, arch_state, arch)

    def gradient(arch: Arch) -> tuple[jax.Array, Arch]:
      gradients = self.programs.arch_gradient(state.weights, arch, state.stats, train, key).gradients
      return gradients.loss, gradients.arch

    near = self.method.perturbation(arch, keys.derive(key, "perturbation"), progress, gradient)
    last = self.programs.gradient(state.weights, near, state.stats, train, key)
    weights, weight_state = optimizer_step(self.weight_optimizer, last.gradients.weights, state.weight_state, state.weights)
    metrics = {"loss": last.gradients.loss, **last.metrics, **metrics}
    return SearchState(weights, last.stats, arch, weight_state, arch_state), metrics

  def _hypergradient(self, state: SearchState, train: LossInputs, valid: LossInputs, key: jax.Array) -> tuple[Arch, dict[str, Any]]:
    """Returns the hypergradient, and the metrics of its last pass over the validation batch."""
    masks, valid_passes = itertools.count(), []

    def key_of_pass() -> jax.Array:
      return key if self.shared_masks else keys.derive(key, "evaluation", next(masks))

    def on_train(program: Any, weights: Tree, arch: Arch) -> Gradients:
      return program(weights, arch, state.stats, train, key_of_pass()).gradients

    def on_valid(program: Any, weights: Tree, arch: Arch) -> Gradients:
      valid_passes.append(program(weights, arch, state.stats, valid, key_of_pass()))
      return valid_passes[-1].gradients

    programs = self.programs
    problem = Problem(
      train=functools.partial(on_train, programs.gradient),
      valid=functools.partial(on_valid, programs.gradient),
      train_arch=functools.partial(on_train, programs.arch_gradient),
      valid_arch=functools.partial(on_valid, programs.arch_gradient),
      train_hvp=lambda weights, arch, direction: programs.hvp(weights, arch, state.stats, train, key_of_pass(), direction),
      optimizer=self.unrolled_optimizer or self.weight_optimizer,
      weight_decay=self.weight_decay,
    )
    estimate = self.method.hypergradient(problem, state.weights, state.arch, state.weight_state)
    metrics = {"valid_loss": estimate.valid_loss} if valid_passes else {}
    metrics |= {f"valid_{name}": value for one in valid_passes[-1:] for name, value in one.metrics.items()}
    return estimate.arch, metrics


@functools.partial(jax.jit, static_argnums=0)
def _penalty_gradient(relax: Relaxation, arch: Arch) -> Arch:
  return jax.grad(relax.penalty)(arch)
