"""Hypergradients at fixed weights: dw*/da is taken to be zero (DARTS, section 2.3), or is not used at all (SNAS)."""

import dataclasses

from dnas.supernet.hypergradients.base import HYPERGRADIENTS, Estimate, Problem, Tree


@HYPERGRADIENTS.register("single_level")
@dataclasses.dataclass(frozen=True)
class SingleLevel:
  """The gradient of the training loss. The search is then a single-level problem and sees no validation batch. One gradient.

  Source: Xie et al., "SNAS", ICLR 2019, section 2.2.
  """

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """See `Hypergradient`; the loss in the estimate is that of the training batch."""
    train = problem.train_at(weights, arch)
    return Estimate(train.arch, train.loss)


@HYPERGRADIENTS.register("first_order")
@dataclasses.dataclass(frozen=True)
class FirstOrder:
  """The gradient of the validation loss at fixed weights. One gradient."""

  def __call__(self, problem: Problem, weights: Tree, arch: Tree, opt_state: Tree) -> Estimate:
    """See `Hypergradient`."""
    valid = problem.valid_at(weights, arch)
    return Estimate(valid.arch, valid.loss)
