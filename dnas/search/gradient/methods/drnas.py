"""DrNAS: weights drawn from a Dirichlet distribution."""

import dataclasses

import jax
import jax.numpy as jnp

from dnas.core import keys
from dnas.core.config import check_positive, check_types
from dnas.core.spaces import DecisionSpace
from dnas.core.tree import Scalar
from dnas.search.gradient.methods.base import METHODS, DifferentiableMethod
from dnas.supernet.relaxations import Arch, Mixture, Relaxation


@dataclasses.dataclass(frozen=True)
class Dirichlet(Relaxation):
  """Samples of a Dirichlet distribution with concentrations elu(parameters) + 1, with pathwise gradients.

  Source: Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, section 2.2. The paper adds the distance to the symmetric
  distribution to the loss. Here the L2 penalty of the architecture optimizer serves for it, since parameters of 0 are concentrations of 1.

  Attributes:
    softmax: whether validation and discretization use the softmax of the parameters, as in the published code; else the mean.
  """

  softmax: bool = False

  def __call__(self, arch: Arch, key: jax.Array, progress: Scalar) -> Mixture:
    """See `Relaxation`."""
    return {cell: jax.random.dirichlet(keys.derive(key, cell), _concentration(p)) for cell, p in arch.items()}

  def mean(self, arch: Arch) -> Mixture:
    """Returns the mean of the distribution, or the softmax of its parameters."""
    if self.softmax:
      return super().mean(arch)
    return {cell: _concentration(p) / _concentration(p).sum(-1, keepdims=True) for cell, p in arch.items()}


@METHODS.register("drnas")
@dataclasses.dataclass(frozen=True)
class DrNas(DifferentiableMethod):
  """Weights drawn from a Dirichlet distribution. Source: Chen et al., "DrNAS", ICLR 2021.

  Attributes:
    partial_channels: K; the operations of an edge see one K-th of the channels; 1 is all of them, as on NAS-Bench-201.
    softmax: whether the search is validated and discretized with the softmax of the parameters, as in the published code; else with the
      mean of the distribution.
  """

  partial_channels: int = 1  # type: ignore[misc]
  softmax: bool = False

  def __post_init__(self):
    check_types(self)
    check_positive(partial_channels=self.partial_channels)

  def relaxation(self, space: DecisionSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    return Dirichlet(self.softmax)


def _concentration(parameters: jax.Array) -> jax.Array:
  """Returns elu(parameters) + 1, at least e^-80. The direct formula is zero below -17, which makes all weights of the edge NaN."""
  return jnp.where(parameters >= 0, parameters + 1, jnp.exp(jnp.clip(parameters, -80, 0)))
