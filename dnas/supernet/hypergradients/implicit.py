"""The implicit function theorem at the current weights, with two approximations of the inverse Hessian.

  implicit_cg        conjugate gradients (Pedregosa, 2016; Rajeswaran et al., 2019).
  implicit_neumann   a truncated Neumann series (Lorraine, Vicol and Duvenaud, 2020).
"""

import dataclasses

import jax
import jax.numpy as jnp

from dnas.core import tree
from dnas.core.config import check_at_most, check_not_negative, check_positive, check_types
from dnas.supernet.hypergradients.base import HYPERGRADIENTS, Estimate, Problem, Tree


@HYPERGRADIENTS.register("implicit_cg")
@dataclasses.dataclass(frozen=True)
class ImplicitConjugateGradient:
  """The implicit function theorem at the current weights; solves (H + damping I) v = dL_val/dw by conjugate gradients.

  Attributes:
    iterations: conjugate-gradient iterations, one Hessian product each.
    damping: number added to the diagonal of the Hessian, beside the weight decay of the optimizer.
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
    scale: step size of the series, usually the learning rate. The series converges if it is below 2 / (largest eigenvalue of the Hessian).
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
