"""Hypergradients: the derivative of the validation loss with respect to the architecture, through the training of the weights.

The bilevel problem (Liu, Simonyan and Yang, "DARTS", ICLR 2019, equations 3 and 4) is to minimize L_val(w*(a), a) over the architecture a,
where w*(a) minimizes L_train(w, a). The estimators differ in their approximation of dw*/da.

An estimator is a frozen dataclass, called as `hypergradient(problem, weights, arch, opt_state)`. It sees the losses only through the
functions of `Problem`, which run whole networks and which the caller compiles once. The estimator itself does linear algebra only. It
returns a gradient and changes nothing. "Step" means the actual step of the weight optimizer, with momentum, decay and clipping, unless a
setting says otherwise.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from dnas.core import tree
from dnas.core.registry import Registry, is_settings

Tree = Any


class Gradients(NamedTuple):
  """A loss and its gradients in both groups of variables."""

  loss: jax.Array
  weights: Tree
  arch: Tree


@dataclasses.dataclass(frozen=True)
class Problem:
  """A bilevel problem on one training batch and one validation batch, with the same random masks in every pass.

  Attributes:
    train: maps (weights, arch) to the gradients of L_train.
    valid: maps (weights, arch) to the gradients of L_val.
    train_hvp: maps (weights, arch, direction in the weights) to the derivative of both gradients of L_train in that direction, a pair
      (weights, arch): the products with the Hessian and with the mixed second derivative.
    optimizer: the weight optimizer; its state is an argument of the hypergradient.
    weight_decay: coefficient of the L2 penalty that the optimizer adds to L_train, for the implicit estimators.
    train_arch: `train` for the gradient in the architecture only (`Gradients.weights` may be None); `train` if not given.
    valid_arch: `valid` for the gradient in the architecture only; `valid` if not given.
  """

  train: Callable[[Tree, Tree], Gradients]
  valid: Callable[[Tree, Tree], Gradients]
  train_hvp: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]
  optimizer: tree.Optimizer
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
  """A hypergradient, and the validation loss at the weights where it was computed."""

  arch: Tree
  valid_loss: jax.Array


class Hypergradient(Protocol):
  """An estimator of the hypergradient; a frozen dataclass whose fields are its settings."""

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """Returns the derivative of the validation loss with respect to `arch`, and the loss. A pure function of its arguments."""
    ...


HYPERGRADIENTS: Registry[type] = Registry("hypergradient", is_settings("an estimator", "__call__"))
