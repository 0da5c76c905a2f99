"""FairDARTS: a sigmoid for every operation, driven to 0 or 1."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core.config import check_at_most, check_not_negative, check_types
from dnas.core.space import NONE
from dnas.core.spaces import DecisionSpace
from dnas.search.gradient.methods.base import METHODS, DifferentiableMethod
from dnas.supernet.relaxations import Arch, Mixture, OpMask, Relaxation, without_ruled_out


@dataclasses.dataclass(frozen=True)
class Sigmoid(Relaxation):
  """Gives every operation an independent weight between 0 and 1, which the zero-one loss drives to 0 or 1.

  Source: Chu et al., "Fair DARTS", ECCV 2020, equations 2 and 4.

  Attributes:
    space: the space; the zero-one loss leaves out its operation `none`.
    zero_one: coefficient of the zero-one loss.
  """

  space: DecisionSpace
  zero_one: float = 10.0

  def restricted(self, arch: Arch, op_mask: OpMask) -> Arch:
    """See `Relaxation`."""
    return without_ruled_out(arch, op_mask)

  def mean(self, arch: Arch) -> Mixture:
    """Returns the sigmoids."""
    return {cell: jax.nn.sigmoid(parameters) for cell, parameters in arch.items()}

  def penalty(self, arch: Arch) -> jax.Array:
    """Returns the zero-one loss: -zero_one times the mean of (sigmoid - 1/2)^2."""

    def columns(cell: str) -> np.ndarray:
      return np.array([index for index, name in enumerate(self.space.columns_of(cell)) if name != NONE])

    weights = jnp.concatenate([w[:, columns(cell)].ravel() for cell, w in self.mean(arch).items()])
    return -self.zero_one * ((weights - 0.5) ** 2).mean()


@METHODS.register("fair_darts")
@dataclasses.dataclass(frozen=True)
class FairDarts(DifferentiableMethod):
  """A sigmoid for every operation, driven to 0 or 1. Source: Chu et al., "Fair DARTS", ECCV 2020.

  The paper removes edges whose sigmoids are below a threshold. Here every node keeps as many edges as the space defines.

  Attributes:
    zero_one: coefficient of the zero-one loss.
  """

  zero_one: float = 10.0

  def __post_init__(self):
    check_types(self)
    check_not_negative(zero_one=self.zero_one)
    check_at_most(1e6, zero_one=self.zero_one)

  def relaxation(self, space: DecisionSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return Sigmoid(space, self.zero_one)
