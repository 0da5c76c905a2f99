"""A limit on the expected cost of the relaxed architecture, by a Lagrange multiplier.

The architecture minimizes the validation loss plus multiplier * excess, where excess is expected cost / scale - 1. The second part does not
depend on the weights. So its derivative in the architecture is exact, whatever estimates the hypergradient of the loss. With a target the
scale is the target. The multiplier rises by gradient ascent while the expected cost is above the target, and falls while it is below.

Ascent alone swings around the target. So the multiplier that acts is the one to which `AHEAD` more steps at the present excess would lead.
This adds a quadratic penalty, as in the method of multipliers.

Sources: Platt and Barr, "Constrained Differential Optimization", NIPS 1987, equations 6 and 8 (ascent, and damping by a quadratic penalty);
Cai, Zhu and Han, "ProxylessNAS", ICLR 2019, section 3.3, and Wu et al., "FBNet", CVPR 2019, section 3.2 (expected cost).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from dnas.core.genotype import Genotype
from dnas.supernet.operation_costs import OperationCosts
from dnas.supernet.relaxations import Arch, Mixture, OpMask, Relaxation, everything, noise_free

AHEAD = 100
"""Number of steps by which the acting multiplier is ahead of the one in the state."""


@dataclasses.dataclass(frozen=True, eq=False)
class Limit:
  """The penalty of an expected cost.

  Attributes:
    costs: the costs of the operations.
    scale: the target, or what the expected cost is divided by where there is none; in the unit of the costs.
    start: the multiplier at the start, in nats.
    rate: step size of the multiplier, in nats; 0 keeps it at its start.
    least: lower bound of the multiplier: 0 for an inequality, minus infinity for an equality.
  """

  costs: OperationCosts
  scale: float
  start: float
  rate: float
  least: float = 0.0

  def excess(self, relax: Relaxation, arch: Arch, op_mask: OpMask | None = None) -> jax.Array:
    """Returns expected cost / scale - 1 of the noise-free mixture, a scalar.

    Args:
      relax: the relaxation.
      arch: the architecture parameters.
      op_mask: masks of the operations, 1 if allowed and 0 if ruled out; None allows all.
    """
    mask = everything(self.costs.space) if op_mask is None else op_mask
    return self.costs.expected(noise_free(relax, arch, mask)) / self.scale - 1

  @functools.partial(jax.jit, static_argnums=(0, 1))
  def gradient(self, relax: Relaxation, arch: Arch, multiplier: jax.Array, op_mask: OpMask | None) -> Arch:
    """Returns the derivative of the penalty in the architecture parameters: the acting multiplier times the derivative of the excess."""
    excess, pull = jax.vjp(lambda arch: self.excess(relax, arch, op_mask), arch)
    return pull(self._after(AHEAD, multiplier, excess))[0]

  @functools.partial(jax.jit, static_argnums=(0, 1))
  def moved(self, relax: Relaxation, arch: Arch, multiplier: jax.Array, op_mask: OpMask | None) -> jax.Array:
    """Returns the multiplier after a step of gradient ascent; `arch` are the parameters after their own step."""
    return self._after(1, multiplier, self.excess(relax, arch, op_mask))

  def _after(self, steps: int, multiplier: jax.Array, excess: jax.Array) -> jax.Array:
    return jnp.maximum(multiplier + steps * self.rate * excess, self.least)

  def metrics(self, mixture: Mixture, genotype: Genotype, multiplier: jax.Array | None) -> dict[str, float]:
    """Returns the expected cost of a mixture, the cost of its discrete network, and the multiplier, as 'cost/NAME'."""
    values = {"expected": self.costs.expected(mixture), "discrete": self.costs.of(genotype), "multiplier": multiplier}
    return {f"cost/{name}": float(value) for name, value in values.items() if value is not None}
