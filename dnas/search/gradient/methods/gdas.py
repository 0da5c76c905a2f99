"""GDAS: one operation per edge, drawn anew at every step."""

import dataclasses

import jax

from dnas.core.config import check_types
from dnas.core.spaces import DecisionSpace
from dnas.core.tree import Scalar
from dnas.search.gradient.methods.base import METHODS, DifferentiableMethod, check_temperatures
from dnas.supernet.edges import EdgeOptions
from dnas.supernet.relaxations import Arch, Mixture, OpMask, Relaxation, gumbel_softmax, without_ruled_out


@dataclasses.dataclass(frozen=True)
class GumbelOneHot(Relaxation):
  """One operation per edge, drawn by the Gumbel-max trick, with the straight-through gradient of the Gumbel softmax.

  Source: Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours" (GDAS), CVPR 2019, equations 3 to 6.

  Attributes:
    start: temperature at the start of the search.
    end: temperature at the end of the search; it falls linearly.
  """

  start: float = 10.0
  end: float = 0.1

  def restricted(self, arch: Arch, op_mask: OpMask) -> Arch:
    """See `Relaxation`."""
    return without_ruled_out(arch, op_mask)

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar) -> Mixture:
    """See `Relaxation`."""
    temperature = self.start + (self.end - self.start) * progress
    soft = gumbel_softmax(arch, key, temperature)
    hard = {cell: jax.nn.one_hot(weights.argmax(-1), weights.shape[-1], dtype=weights.dtype) for cell, weights in soft.items()}
    return {cell: hard[cell] + weights - jax.lax.stop_gradient(weights) for cell, weights in soft.items()}


@METHODS.register("gdas")
@dataclasses.dataclass(frozen=True)
class Gdas(DifferentiableMethod):
  """One operation per edge, drawn anew at every step. Source: Dong and Yang, "GDAS", CVPR 2019.

  Attributes:
    start_temperature: temperature of the Gumbel softmax at the beginning of the search.
    end_temperature: temperature at the end of the search; it falls linearly.
    ones_for_undrawn: whether the gradient in the weight of an undrawn operation treats the output of the operation as ones. The published
      code does so, since it does not compute this output.
  """

  start_temperature: float = 10.0
  end_temperature: float = 0.1
  ones_for_undrawn: bool = False

  def __post_init__(self):
    check_types(self)
    check_temperatures(start_temperature=self.start_temperature, end_temperature=self.end_temperature)

  def relaxation(self, space: DecisionSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return GumbelOneHot(self.start_temperature, self.end_temperature)

  @property
  def edges(self) -> EdgeOptions:
    """See `DifferentiableMethod`."""
    return EdgeOptions(ones_for_undrawn=self.ones_for_undrawn)
