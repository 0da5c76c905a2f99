"""One step of the weight optimizer, its mixed derivative by a central difference (DARTS, equations 6 to 8)."""

import dataclasses

import jax.numpy as jnp

from dnas.core import tree
from dnas.core.config import check, check_positive, check_types
from dnas.supernet.hypergradients.base import HYPERGRADIENTS, Estimate, Problem, Tree
from dnas.supernet.weight_step import optimizer_step, pull_back_step


@HYPERGRADIENTS.register("finite_difference")
@dataclasses.dataclass(frozen=True)
class FiniteDifference:
  """One step of the weight optimizer, with the mixed second derivative by a central difference. Four gradients.

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
    u, _, _ = pull_back_step(problem.optimizer, gradient, opt_state, weights, valid.weights, tree.zeros_like(opt_state))
    size = tree.norm(u)
    epsilon = jnp.where(size > 0, self.radius / jnp.where(size > 0, size, 1.0), 0.0)
    above = problem.train_at(tree.add_scaled(weights, epsilon, u), arch).arch
    below = problem.train_at(tree.add_scaled(weights, -epsilon, u), arch).arch
    half_inverse = jnp.where(epsilon > 0, 0.5 / jnp.where(epsilon > 0, epsilon, 1.0), 0.0)
    difference = tree.add_scaled(above, -1.0, below)
    return Estimate(tree.add_scaled(valid.arch, half_inverse, difference), valid.loss)
