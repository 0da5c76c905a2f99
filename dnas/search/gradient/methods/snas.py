"""SNAS: samples of the concrete distribution; one loss trains weights and architecture."""

import dataclasses
from typing import ClassVar

import jax

from dnas.core.config import check_types
from dnas.core.spaces import DecisionSpace
from dnas.core.tree import Scalar
from dnas.search.gradient.methods.base import METHODS, DifferentiableMethod, check_temperatures
from dnas.supernet.relaxations import Arch, Mixture, OpMask, Relaxation, gumbel_softmax, without_ruled_out


@dataclasses.dataclass(frozen=True)
class Concrete(Relaxation):
  """Samples of the concrete distribution: the softmax of (parameters + Gumbel noise) / temperature.

  Source: Xie et al., "SNAS: Stochastic Neural Architecture Search", ICLR 2019, equation 5.

  Attributes:
    start: temperature at the start of the search.
    end: temperature at the end of the search; its logarithm falls linearly.
  """

  start: float = 1.0
  end: float = 0.03

  def restricted(self, arch: Arch, op_mask: OpMask) -> Arch:
    """See `Relaxation`."""
    return without_ruled_out(arch, op_mask)

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar) -> Mixture:
    """See `Relaxation`."""
    return gumbel_softmax(arch, key, self.start * (self.end / self.start) ** progress)


@METHODS.register("snas")
@dataclasses.dataclass(frozen=True)
class Snas(DifferentiableMethod):
  """Samples of the concrete distribution; one loss trains weights and architecture. Source: Xie et al., "SNAS", ICLR 2019.

  The paper's resource penalty, which defines its three variants, is not implemented.

  Attributes:
    start_temperature: temperature at the beginning of the search.
    end_temperature: temperature at the end of the search; its logarithm falls linearly.
  """

  hypergradient: ClassVar[str] = "single_level"
  start_temperature: float = 1.0
  end_temperature: float = 0.03

  def __post_init__(self):
    check_types(self)
    check_temperatures(start_temperature=self.start_temperature, end_temperature=self.end_temperature)

  def relaxation(self, space: DecisionSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return Concrete(self.start_temperature, self.end_temperature)
