"""Sharpening: a penalty on the entropy of the mixture, which makes a search decide before its mixture is discretized.

A mixture that stays undecided is not the discrete network that comes out of it: the discretization gap. The penalty rises during the
search. So the search explores first and decides later.

Source: Tian et al., "Discretization-aware Architecture Search", 2020, for an entropy in the loss whose coefficient rises.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from dnas.core.tree import Scalar
from dnas.supernet.relaxations import Arch, Mixture, OpMask, Relaxation, noise_free


@dataclasses.dataclass(frozen=True)
class Sharpening:
  """A penalty on the entropy of the noise-free mixture.

  The penalty is weight * progress * entropy. The entropy is the mean over all edges, in nats, of that of the operations of an edge. It does
  not depend on the weights of the network, so its derivative is exact, whatever estimates the hypergradient of the loss.

  Attributes:
    weight: the coefficient at the end of the search.
  """

  weight: float

  def entropy(self, relax: Relaxation, arch: Arch, op_mask: OpMask | None = None) -> jax.Array:
    """Returns the mean entropy of the edges, a scalar. Ruled-out operations have no part in it.

    Args:
      relax: the relaxation.
      arch: the architecture parameters.
      op_mask: masks of the operations, 1 if allowed and 0 if ruled out; None allows all.
    """
    mixture: Mixture = relax.mean(arch) if op_mask is None else noise_free(relax, arch, op_mask)
    rows = [_entropies(jnp.asarray(weights)) for weights in mixture.values()]
    return jnp.concatenate(rows).mean()

  @functools.partial(jax.jit, static_argnums=(0, 1))
  def gradient(self, relax: Relaxation, arch: Arch, progress: Scalar, op_mask: OpMask | None) -> Arch:
    """Returns the derivative of the penalty in the architecture parameters."""
    gradient = jax.grad(lambda arch: self.entropy(relax, arch, op_mask))(arch)
    return jax.tree.map(lambda x: self.weight * progress * x, gradient)


def _entropies(weights: jax.Array) -> jax.Array:
  """Returns the entropy of every row in nats, [edges], of the shares of its weights, which are not negative, [edges, operations]."""
  sums = weights.sum(-1, keepdims=True)
  shares = weights / jnp.where(sums > 0, sums, 1)
  positive = shares > jnp.finfo(shares.dtype).tiny
  return -jnp.where(positive, shares * jnp.log(jnp.where(positive, shares, 1)), 0).sum(-1)
