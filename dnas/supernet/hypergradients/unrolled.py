"""K steps of the weight optimizer, exactly, in reverse (Maclaurin et al., 2015; Franceschi et al., 2017)."""

import dataclasses

from dnas.core import tree
from dnas.core.config import check_at_most, check_positive, check_types
from dnas.supernet.hypergradients.base import HYPERGRADIENTS, Estimate, Problem, Tree
from dnas.supernet.weight_step import optimizer_step, pull_back_step


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
      u, bar_weights, bar_state = pull_back_step(problem.optimizer, gradient, opt_state, weights, bar_weights, bar_state)
      through_weights, through_arch = problem.train_hvp(weights, arch, u)
      bar_weights = tree.add_scaled(bar_weights, 1.0, through_weights)
      total = tree.add_scaled(total, 1.0, through_arch)
    return Estimate(total, valid.loss)
