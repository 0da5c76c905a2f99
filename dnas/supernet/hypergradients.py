"""Hypergradients: the derivative of the validation loss in the architecture, through the training of the weights.

The bilevel problem (Liu, Simonyan and Yang, "DARTS", ICLR 2019, equations 3 and 4) is to minimize L_val(w*(a), a) over the architecture a,
where w*(a) minimizes L_train(w, a). The estimators differ in their approximation of dw*/da:

  single_level       not used: the result is the gradient of the training loss (SNAS).
  first_order        zero: w is held fixed (DARTS, section 2.3).
  finite_difference  one step of the weight optimizer, its mixed derivative by a central difference (DARTS, equations 6 to 8).
  unrolled           K steps of the weight optimizer, exactly, in reverse (Maclaurin et al., 2015; Franceschi et al., 2017).
  implicit_cg        the implicit function theorem, its linear system by conjugate gradients (Pedregosa, 2016; Rajeswaran et al., 2019).
  implicit_neumann   the implicit function theorem, with a truncated Neumann series (Lorraine, Vicol and Duvenaud, 2020).

An estimator is a frozen dataclass, called as `hypergradient(problem, weights, arch, opt_state)`. It sees the losses only through the
functions of `Problem`, which evaluate whole networks and which the caller compiles once. The estimator itself does linear algebra only. It
returns a gradient and changes nothing. "Step" means the actual step of the weight optimizer, with momentum, decay and clipping, unless a
setting says otherwise.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from dnas.core import tree
from dnas.core.config import check, check_at_most, check_not_negative, check_positive, check_types
from dnas.core.registry import Registry

Tree = Any


class Gradients(NamedTuple):
  """A loss and its gradients in both groups of variables."""

  loss: jax.Array
  weights: Tree
  arch: Tree


@dataclasses.dataclass(frozen=True)
class Problem:
  """A bilevel problem on one training batch and one validation batch, with the same random masks in every evaluation.

  Attributes:
    train: maps (weights, arch) to the gradients of L_train.
    valid: maps (weights, arch) to the gradients of L_val.
    train_hvp: maps (weights, arch, direction in the weights) to the derivative of both gradients of L_train in that direction, a pair
      (weights, arch): the products with the Hessian and with the mixed second derivative.
    optimizer: the weight optimizer; its state is an argument of the hypergradient.
    weight_decay: coefficient of the L2 penalty that the optimizer adds to L_train, for the implicit estimators.
    train_arch: `train` for the gradient in the architecture only (`Gradients.weights` may be None); `train` if not given.
    valid_arch: the same for `valid`.
  """

  train: Callable[[Tree, Tree], Gradients]
  valid: Callable[[Tree, Tree], Gradients]
  train_hvp: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]
  optimizer: optax.GradientTransformation
  weight_decay: float = 0.0
  train_arch: Callable[[Tree, Tree], Gradients] | None = None
  valid_arch: Callable[[Tree, Tree], Gradients] | None = None

  def train_at(self, weights: Tree, arch: Tree) -> Gradients:
    """Returns L_train and its gradient in the architecture."""
    return (self.train_arch or self.train)(weights, arch)

  def valid_at(self, weights: Tree, arch: Tree) -> Gradients:
    """Returns L_val and its gradient in the architecture."""
    return (self.valid_arch or self.valid)(weights, arch)


class Estimate(NamedTuple):
  """A hypergradient, and the validation loss at the weights where it was evaluated."""

  arch: Tree
  valid_loss: jax.Array


class Hypergradient(Protocol):
  """An estimator of the hypergradient; a frozen dataclass whose fields are its settings."""

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """Returns the derivative of the validation loss in `arch`, and the loss. It must be a pure function of its arguments."""


HYPERGRADIENTS: Registry[type] = Registry("hypergradient")


@HYPERGRADIENTS.register("single_level")
@dataclasses.dataclass(frozen=True)
class SingleLevel:
  """The gradient of the training loss. The search is then a single-level problem and sees no validation batch. One evaluation.

  Source: Xie et al., "SNAS", ICLR 2019, section 2.2.
  """

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """See `Hypergradient`; the loss in the estimate is that of the training batch."""
    train = problem.train_at(weights, arch)
    return Estimate(train.arch, train.loss)


@HYPERGRADIENTS.register("first_order")
@dataclasses.dataclass(frozen=True)
class FirstOrder:
  """The gradient of the validation loss at fixed weights. One evaluation."""

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """See `Hypergradient`."""
    valid = problem.valid_at(weights, arch)
    return Estimate(valid.arch, valid.loss)


@HYPERGRADIENTS.register("finite_difference")
@dataclasses.dataclass(frozen=True)
class FiniteDifference:
  """One step of the weight optimizer, with the mixed second derivative by a central difference. Four evaluations.

  Attributes:
    radius: length of the perturbation of the weights, 0.01 in DARTS (its footnote 2).
    clipped: whether the unrolled step is clipped like the actual step; the published code on images does not clip it.
    through_clip: whether the clipping factor is differentiated; the published code treats it as a constant.
  """

  radius: float = 0.01
  clipped: bool = True
  through_clip: bool = True

  def __post_init__(self):
    check_types(self)
    check_positive(radius=self.radius)
    fits = 1e-6 <= self.radius <= 1e6
    check(fits, "radius", self.radius, "it must be at least 1e-06, below which the difference is one of rounding, and at most 1e+06")

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """See `Hypergradient`."""
    gradient = problem.train(weights, arch).weights
    ahead, _ = optimizer_step(problem.optimizer, gradient, opt_state, weights)
    valid = problem.valid(ahead, arch)
    # The step depends on the architecture through its gradient; u is dL_val/d(gradient), which is -lr * dL_val/dw without clipping.
    u, _, _ = _pull_back_step(problem.optimizer, gradient, opt_state, weights, valid.weights, tree.zeros_like(opt_state))
    size = tree.norm(u)
    epsilon = jnp.where(size > 0, self.radius / jnp.where(size > 0, size, 1.0), 0.0)
    above = problem.train_at(tree.add_scaled(weights, epsilon, u), arch).arch
    below = problem.train_at(tree.add_scaled(weights, -epsilon, u), arch).arch
    half_inverse = jnp.where(epsilon > 0, 0.5 / jnp.where(epsilon > 0, epsilon, 1.0), 0.0)
    difference = tree.add_scaled(above, -1.0, below)
    return Estimate(tree.add_scaled(valid.arch, half_inverse, difference), valid.loss)


@HYPERGRADIENTS.register("unrolled")
@dataclasses.dataclass(frozen=True)
class Unrolled:
  """K steps of the weight optimizer on the same batch, differentiated exactly in reverse. K + 1 gradients and K Hessian products.

  Attributes:
    steps: K, the number of unrolled steps of the weight optimizer.
    clipped: whether the unrolled steps are clipped like the actual step.
    through_clip: whether the clipping factor is differentiated; else it is a constant.
  """

  steps: int = 1
  clipped: bool = True
  through_clip: bool = True

  def __post_init__(self):
    check_types(self)
    check_positive(steps=self.steps)
    check_at_most(1000, steps=self.steps)

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """See `Hypergradient`."""
    trajectory = []
    for _ in range(self.steps):
      gradient = problem.train(weights, arch).weights
      trajectory.append((weights, gradient, opt_state))
      weights, opt_state = optimizer_step(problem.optimizer, gradient, opt_state, weights)
    valid = problem.valid(weights, arch)
    total, bar_weights, bar_state = valid.arch, valid.weights, tree.zeros_like(opt_state)
    for weights, gradient, opt_state in reversed(trajectory):
      u, bar_weights, bar_state = _pull_back_step(problem.optimizer, gradient, opt_state, weights, bar_weights, bar_state)
      through_weights, through_arch = problem.train_hvp(weights, arch, u)
      bar_weights = tree.add_scaled(bar_weights, 1.0, through_weights)
      total = tree.add_scaled(total, 1.0, through_arch)
    return Estimate(total, valid.loss)


@HYPERGRADIENTS.register("implicit_cg")
@dataclasses.dataclass(frozen=True)
class ImplicitConjugateGradient:
  """The implicit function theorem at the current weights; solves (H + damping I) v = dL_val/dw by conjugate gradients.

  Attributes:
    iterations: conjugate-gradient iterations, one Hessian product each.
    damping: added to the diagonal of the Hessian, in addition to the weight decay of the optimizer.
  """

  iterations: int = 10
  damping: float = 0.0

  def __post_init__(self):
    check_types(self)
    check_positive(iterations=self.iterations)
    check_at_most(1000, iterations=self.iterations)
    check_not_negative(damping=self.damping)
    check_at_most(1e6, damping=self.damping)

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """See `Hypergradient`."""
    valid = problem.valid(weights, arch)
    shift = problem.weight_decay + self.damping
    solution, residual, direction = tree.zeros_like(weights), valid.weights, valid.weights
    for _ in range(self.iterations):
      product = tree.add_scaled(problem.train_hvp(weights, arch, direction)[0], shift, direction)
      solution, residual, direction = _conjugate_gradient_update(solution, residual, direction, product)
    return Estimate(tree.add_scaled(valid.arch, -1.0, problem.train_hvp(weights, arch, solution)[1]), valid.loss)


@HYPERGRADIENTS.register("implicit_neumann")
@dataclasses.dataclass(frozen=True)
class ImplicitNeumann:
  """The implicit function theorem at the current weights; takes scale * sum over k < terms of (I - scale H)^k for the inverse Hessian.

  Attributes:
    terms: number of terms; one term replaces the inverse Hessian by the scale.
    scale: step of the series, which converges below 2 / (largest eigenvalue of H); the learning rate is the usual choice.
  """

  terms: int = 5
  scale: float = 0.025

  def __post_init__(self):
    check_types(self)
    check_positive(terms=self.terms, scale=self.scale)
    check_at_most(1e6, scale=self.scale)
    check_at_most(1000, terms=self.terms)

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """See `Hypergradient`."""
    valid = problem.valid(weights, arch)
    term = total = valid.weights
    for _ in range(self.terms - 1):
      product = tree.add_scaled(problem.train_hvp(weights, arch, term)[0], problem.weight_decay, term)
      term = tree.add_scaled(term, -self.scale, product)
      total = tree.add_scaled(total, 1.0, term)
    mixed = problem.train_hvp(weights, arch, total)[1]
    return Estimate(tree.add_scaled(valid.arch, -self.scale, mixed), valid.loss)


def optimizer_step(optimizer: optax.GradientTransformation, gradient: Tree, opt_state: Tree, parameters: Tree) -> tuple[Tree, Tree]:
  """Returns the parameters and the optimizer state after one step."""
  inner, to, back = _seen_by(optimizer)
  after, opt_state = _step(inner, to(gradient), opt_state, to(parameters))
  return back(after, parameters), opt_state


def _seen_by(optimizer: optax.GradientTransformation) -> tuple[optax.GradientTransformation, Callable[..., Any], Callable[..., Any]]:
  """Returns the inner optimizer, the map of a tree to its input, and the inverse (input, like). The maps are separate programs."""
  if isinstance(optimizer, tree.Flattened):
    return optimizer.inner, tree.ravel, tree.unravel
  return optimizer, lambda x: x, lambda x, like: x


@functools.partial(jax.jit, static_argnums=0)
def _step(optimizer: optax.GradientTransformation, gradient: Tree, opt_state: Tree, parameters: Tree) -> tuple[Tree, Tree]:
  updates, opt_state = optimizer.update(gradient, opt_state, parameters)
  return optax.apply_updates(parameters, updates), opt_state


def _pull_back_step(
  optimizer: optax.GradientTransformation, gradient: Tree, opt_state: Tree, weights: Tree, bar_weights: Tree, bar_state: Tree
) -> tuple[Tree, Tree, Tree]:
  """Applies the transposed derivative of one optimizer step.

  Args:
    optimizer: the optimizer.
    gradient, opt_state, weights: the inputs of the step.
    bar_weights, bar_state: derivatives of the loss in the weights and the state after the step.

  Returns:
    The derivatives of the loss in the gradient, in the weights (the direct effect alone, such as weight decay), and in the state before
    the step. Integers in the state, such as step counts, have derivative zero.
  """
  inner, to, back = _seen_by(optimizer)
  bars = _pulled_back(inner, to(gradient), opt_state, to(weights), to(bar_weights), bar_state)
  return back(bars[0], gradient), back(bars[1], weights), bars[2]


@functools.partial(jax.jit, static_argnums=0)
def _pulled_back(
  optimizer: optax.GradientTransformation, gradient: Tree, opt_state: Tree, weights: Tree, bar_weights: Tree, bar_state: Tree
) -> tuple[Tree, Tree, Tree]:
  leaves, treedef = jax.tree.flatten(opt_state)
  is_float = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

  def step(gradient: Tree, weights: Tree, floats: list[jax.Array]) -> tuple[Tree, list[jax.Array]]:
    remaining = iter(floats)
    state = treedef.unflatten([next(remaining) if real else leaf for leaf, real in zip(leaves, is_float, strict=True)])
    weights, state = _step(optimizer, gradient, state, weights)
    return weights, [leaf for leaf, real in zip(jax.tree.leaves(state), is_float, strict=True) if real]

  floats = [leaf for leaf, real in zip(leaves, is_float, strict=True) if real]
  bar_floats = [leaf for leaf, real in zip(jax.tree.leaves(bar_state), is_float, strict=True) if real]
  _, pull_back = jax.vjp(step, gradient, weights, floats)
  bar_gradient, bar_weights, bar_floats = pull_back((bar_weights, bar_floats))
  remaining = iter(bar_floats)
  bar_state = treedef.unflatten([next(remaining) if real else jnp.zeros_like(leaf) for leaf, real in zip(leaves, is_float, strict=True)])
  return bar_gradient, bar_weights, bar_state


@jax.jit
def _conjugate_gradient_update(solution: Tree, residual: Tree, direction: Tree, product: Tree) -> tuple[Tree, Tree, Tree]:
  """Takes one iteration (Hestenes and Stiefel, 1952). At zero residual or curvature <= 0 it only sets the direction to the residual."""
  squared, curvature = tree.dot(residual, residual), tree.dot(direction, product)
  go = (squared > 0) & (curvature > 0)
  length = jnp.where(go, squared / jnp.where(go, curvature, 1.0), 0.0)
  solution = tree.add_scaled(solution, length, direction)
  residual = tree.add_scaled(residual, -length, product)
  ratio = jnp.where(go, tree.dot(residual, residual) / jnp.where(go, squared, 1.0), 0.0)
  return solution, residual, tree.add_scaled(residual, ratio, direction)
