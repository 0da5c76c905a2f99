"""The bilevel step: first the architecture, on validation data, then the weights, on training data.

Source: Liu, Simonyan and Yang, "DARTS", ICLR 2019, algorithm 1.

The host puts a step together from a few compiled programs. Each network-sized program is compiled once, and called wherever the step needs
it. A second-order step computes gradients five times; one traced program for the whole step would compile them five times. Nothing here
reads a result, so an accelerator never waits.
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
from dnas.supernet.limits import Limit
from dnas.supernet.perturbations import Perturbation, Unperturbed
from dnas.supernet.relaxations import Arch, OpMask, Relaxation
from dnas.supernet.sharpening import Sharpening
from dnas.supernet.weight_step import optimizer_step

Tree = Any


@dataclasses.dataclass(frozen=True)
class Method:
  """The choices of a search method that the bilevel step needs. One more choice, the edge, is part of the supernet.

  Attributes:
    relax: relaxation, which maps architecture parameters to mixture weights.
    arch_optimizer: optimizer of the architecture parameters.
    hypergradient: estimator of the derivative of the validation loss with respect to the architecture parameters.
    perturbation: a remedy against collapse; it moves the architecture parameters in the weight step.
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
    stats: running batch statistics of the supernet.
    arch: architecture parameters, cell type to [edges, operations].
    weight_state: state of the weight optimizer.
    arch_state: state of the architecture optimizer.
    multiplier: the multiplier of the limit, a scalar; None without a limit.
  """

  weights: Tree
  stats: Tree
  arch: Arch
  weight_state: Tree
  arch_state: Tree
  multiplier: jax.Array | None = None


class LossInputs(NamedTuple):
  """The arguments of a loss that are neither parameters nor randomness.

  Attributes:
    batch: an array, or a tree of arrays.
    progress: the complete fraction of the search.
    op_mask: masks of the operations, 1 if allowed and 0 if ruled out; None allows all.
  """

  batch: Tree
  progress: tree.Scalar = 1.0
  op_mask: OpMask | None = None


class LossFunction(Protocol):
  """The loss of a supernet on one batch, a pure function."""

  def __call__(self, weights: Tree, arch: Arch, stats: Tree, inputs: LossInputs, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    """Returns the loss in nats, and a pair: the batch statistics after the call, and the metrics of the step by name.

    All randomness comes from `key`, also that of the relaxation and of dropout masks.
    """
    ...


class Pass(NamedTuple):
  """The results of one pass through the network: a loss with its gradients, new batch statistics, and the metrics of the loss function."""

  gradients: Gradients
  stats: Tree
  metrics: Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Programs:
  """The network-sized functions of a step, each compiled once; from `compiled`.

  Attributes:
    gradient: (weights, arch, stats, inputs, key) to a `Pass`.
    arch_gradient: the same arguments to a `Pass` without the gradient in the weights; half the work in a convolutional supernet.
    hvp: (weights, arch, stats, inputs, key, direction) to a Hessian product: the derivatives of the gradients in the weights and in the
      architecture along `direction`, a direction of the weights.
  """

  gradient: Callable[..., Pass]
  arch_gradient: Callable[..., Pass]
  hvp: Callable[..., tuple[Tree, Tree]]


def compiled(loss: LossFunction) -> Programs:
  """Returns the compiled programs of a loss function. Call it once per loss: every call compiles anew."""

  @functools.wraps(loss)
  def whole(weights: Tree, arch: Arch, stats: Tree, inputs: LossInputs, key: jax.Array) -> tuple[jax.Array, tuple[Tree, Mapping]]:
    weights, arch = devices.replicate((weights, arch))  # so that their gradients are replicated, too
    return devices.replicate(loss(weights, arch, stats, inputs, key))

  derivatives = Loss(whole, (0, 1))
  return Programs(Gradient(derivatives.gradient((0, 1))), Gradient(derivatives.gradient((1,))), derivatives.hessian_product(along=0))


@dataclasses.dataclass(frozen=True)
class Gradient:
  """Evaluates a loss with its gradients.

  Attributes:
    program: (weights, arch, stats, inputs, key) to a pair: the results of the loss function, and the gradients of the loss. The gradients
      are those in weights and architecture, or that in the architecture alone.
  """

  program: Compiled

  def __call__(self, weights: Tree, arch: Arch, stats: Tree, inputs: LossInputs, key: jax.Array) -> Pass:
    """Returns the results of the pass. The gradient in the weights is None if the program does not compute it."""
    (loss, (stats, metrics)), (*in_weights, in_arch) = self.program(weights, arch, stats, inputs, key)
    return Pass(Gradients(loss, in_weights[0] if in_weights else None, in_arch), stats, metrics)


@dataclasses.dataclass(frozen=True)
class BilevelProblem:
  """The parts of a bilevel step that stay the same for a whole search.

  Attributes:
    programs: the compiled programs of the loss, from `compiled`.
    method: the search method.
    weight_optimizer: the optimizer of the weights.
    weight_decay: the coefficient of the L2 penalty in `weight_optimizer`.
    unrolled_optimizer: the optimizer whose step the hypergradient differentiates; None for `weight_optimizer`. Its state is that of
      `weight_optimizer`.
    shared_masks: whether every pass of a step draws the same random masks. Otherwise each pass of the hypergradient draws new masks, as in
      the published code for recurrent cells. A finite difference then also contains the effect of new masks, divided by its radius.
    limit: the limit on the expected cost; None for none.
    sharpening: the penalty on the entropy of the mixture; None for none.
  """

  programs: Programs
  method: Method
  weight_optimizer: tree.Optimizer
  weight_decay: float
  unrolled_optimizer: tree.Optimizer | None = None
  shared_masks: bool = True
  limit: Limit | None = None
  sharpening: Sharpening | None = None

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
    """Takes one step of the architecture, and then one step of the weights. Both steps use the same training batch.

    Args:
      state: the state of the search before the step.
      train_batch: the training batch of both steps.
      valid_batch: the validation batch of the architecture step.
      key: typed random key of this step.
      progress: the complete fraction of the search. The loss and the perturbation depend on it.
      update_arch: whether the architecture takes a step; false while the weights warm up.
      op_mask: masks of the operations, 1 if allowed and 0 if ruled out; None allows all.

    Returns:
      The new state, and metrics on the device. The metrics are the loss and the outputs of the weight step. If the architecture step passes
      over the validation batch, the results of its last such pass are added, with names that begin with 'valid_'. Passes for the
      hypergradient and for the perturbation change neither weights nor batch statistics.
    """
    train, valid = (LossInputs(batch, progress, op_mask) for batch in (train_batch, valid_batch))
    arch, arch_state, multiplier, metrics = state.arch, state.arch_state, state.multiplier, {}
    if update_arch:
      relax = self.method.relax
      estimate, metrics = self._hypergradient(state, train, valid, key)
      total = tree.add_scaled(estimate, 1.0, _penalty_gradient(relax, arch))
      if self.limit is not None and multiplier is not None:
        total = tree.add_scaled(total, 1.0, self.limit.gradient(relax, arch, multiplier, op_mask))
      if self.sharpening is not None:
        total = tree.add_scaled(total, 1.0, self.sharpening.gradient(relax, arch, progress, op_mask))
      arch, arch_state = optimizer_step(self.method.arch_optimizer, total, arch_state, arch)
      if self.limit is not None and multiplier is not None:
        multiplier = self.limit.moved(relax, arch, multiplier, op_mask)

    def gradient(arch: Arch) -> tuple[jax.Array, Arch]:
      gradients = self.programs.arch_gradient(state.weights, arch, state.stats, train, key).gradients
      return gradients.loss, gradients.arch

    near = self.method.perturbation(arch, keys.derive(key, "perturbation"), progress, gradient)
    last = self.programs.gradient(state.weights, near, state.stats, train, key)
    weights, weight_state = optimizer_step(self.weight_optimizer, last.gradients.weights, state.weight_state, state.weights)
    metrics = {"loss": last.gradients.loss, **last.metrics, **metrics}
    return SearchState(weights, last.stats, arch, weight_state, arch_state, multiplier), metrics

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
