"""Relaxations: maps from architecture parameters to the weights of mixed operations.

A relaxation is a frozen dataclass. It draws the initial parameters of a search. It maps parameters to the weights of one step, and to
noise-free weights for validation and discretization.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import keys
from dnas.core.space import NONE, SKIPS, CellSpace

Arch = Mapping[str, jax.Array]
"""Cell type to its architecture parameters, float32 [edges, operations]; with `EdgeNormalized` also 'CELL edges' to float32 [edges]."""

Mixture = Mapping[str, jax.Array]
"""Cell type to the weights of its mixed operations, [edges, operations]; for a supernet also 'CELL edges' to the edge weights, [edges]."""

OpMask = Mapping[str, jax.Array]
"""Cell type to a mask, float32 [edges, operations]: 1 where an operation still takes part in the search, 0 where it is ruled out."""

EDGES = " edges"
"""Suffix of the keys of edge parameters and edge weights."""


@dataclasses.dataclass(frozen=True)
class Relaxation:
  """A pure, differentiable map from parameters to weights. This base class is the softmax over operations (DARTS, equation 2).

  Other relaxations derive from it and override the methods that differ.
  """

  def init(self, space: CellSpace, key: jax.Array, scale: float) -> Arch:
    """Draws initial parameters from scale * N(0, 1); the scale of DARTS is 0.001."""
    return {cell: scale * jax.random.normal(keys.derive(key, cell), space.arch_shape()) for cell in space.cells}

  def __call__(self, arch: Arch, key: jax.Array, progress: jax.Array) -> Mixture:
    """Maps parameters to the weights of one step.

    Args:
      arch: the parameters.
      key: typed random key, the same in every evaluation of one step.
      progress: the completed fraction of the search, a scalar in [0, 1].
    """
    return self.mean(arch)

  def mean(self, arch: Arch) -> Mixture:
    """Maps parameters to the noise-free weights that validation and discretization use."""
    return {cell: jax.nn.softmax(parameters, -1) for cell, parameters in arch.items()}

  def edges(self, arch: Arch) -> Mapping[str, jax.Array]:
    """Returns the weights of the edges themselves, cell type to [edges]. They are already a factor of the operations' weights."""
    return {cell: jnp.ones(len(parameters)) for cell, parameters in arch.items()}

  def penalty(self, arch: Arch) -> jax.Array:
    """Returns a penalty on the architecture, a scalar, which is added to the loss of the architecture step."""
    return jnp.float32(0)


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

  def __call__(self, arch: Arch, key: jax.Array, progress: jax.Array) -> Mixture:
    """See `Relaxation`."""
    temperature = self.start + (self.end - self.start) * progress
    soft = _gumbel_softmax(arch, key, temperature)
    hard = {cell: jax.nn.one_hot(weights.argmax(-1), weights.shape[-1], dtype=weights.dtype) for cell, weights in soft.items()}
    return {cell: hard[cell] + weights - jax.lax.stop_gradient(weights) for cell, weights in soft.items()}


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

  def __call__(self, arch: Arch, key: jax.Array, progress: jax.Array) -> Mixture:
    """See `Relaxation`."""
    return _gumbel_softmax(arch, key, self.start * (self.end / self.start) ** progress)


@dataclasses.dataclass(frozen=True)
class Dirichlet(Relaxation):
  """Samples of a Dirichlet distribution with concentrations elu(parameters) + 1, with pathwise gradients.

  Source: Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, section 2.2. The paper adds the distance to the symmetric
  distribution to the loss. Here the L2 penalty of the architecture optimizer serves for it, since parameters of 0 are concentrations of 1.

  Attributes:
    softmax: whether validation and discretization use the softmax of the parameters, as in the published code; else the mean.
  """

  softmax: bool = False

  def __call__(self, arch: Arch, key: jax.Array, progress: jax.Array) -> Mixture:
    """See `Relaxation`."""
    return {cell: jax.random.dirichlet(keys.derive(key, cell), _concentration(p)) for cell, p in arch.items()}

  def mean(self, arch: Arch) -> Mixture:
    """Returns the mean of the distribution, or the softmax of its parameters."""
    if self.softmax:
      return super().mean(arch)
    return {cell: _concentration(p) / _concentration(p).sum(-1, keepdims=True) for cell, p in arch.items()}


@dataclasses.dataclass(frozen=True)
class Sigmoid(Relaxation):
  """Gives every operation an independent weight between 0 and 1, which the zero-one loss drives to 0 or 1.

  Source: Chu et al., "Fair DARTS", ECCV 2020, equations 2 and 4.

  Attributes:
    space: the space; the zero-one loss leaves out its operation `none`.
    zero_one: coefficient of the zero-one loss.
  """

  space: CellSpace
  zero_one: float = 10.0

  def mean(self, arch: Arch) -> Mixture:
    """Returns the sigmoids."""
    return {cell: jax.nn.sigmoid(parameters) for cell, parameters in arch.items()}

  def penalty(self, arch: Arch) -> jax.Array:
    """Returns the zero-one loss: -zero_one times the mean of (sigmoid - 1/2)^2."""
    columns = np.array([index for index, name in enumerate(self.space.operations) if name != NONE])
    weights = jnp.concatenate([w[:, columns].ravel() for w in self.mean(arch).values()])
    return -self.zero_one * ((weights - 0.5) ** 2).mean()


@dataclasses.dataclass(frozen=True)
class Simplex(Relaxation):
  """Uses the parameters as weights: they are points of the simplex, and `arch_optimizers.exponentiated_gradient` keeps them there.

  Source: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search" (GAEA), ICLR 2021, section 3.

  Attributes:
    uniform_start: whether all initial weights are equal, as in the published code; else they are the softmax of noise.
  """

  uniform_start: bool = False

  def init(self, space: CellSpace, key: jax.Array, scale: float) -> Arch:
    """Returns the softmax of scale * N(0, 1)."""
    scale = 0.0 if self.uniform_start else scale
    return Relaxation().mean(super().init(space, key, scale))

  def mean(self, arch: Arch) -> Mixture:
    """Returns the parameters."""
    return dict(arch)


@dataclasses.dataclass(frozen=True)
class EdgeNormalized(Relaxation):
  """Multiplies a relaxation of the operations by edge weights, which sum to one over the edges that enter a node.

  Source: Xu et al., "PC-DARTS", ICLR 2020, equation 4.

  Attributes:
    operations: the relaxation of the operations.
    space: the space.
  """

  operations: Relaxation
  space: CellSpace

  def init(self, space: CellSpace, key: jax.Array, scale: float) -> Arch:
    """Draws the parameters of operations and edges."""
    arch = dict(self.operations.init(space, keys.derive(key, "operations"), scale))
    for cell in space.cells:
      noise = scale * jax.random.normal(keys.derive(key, "edges", cell), (len(space.edges),))
      if isinstance(self.operations, Simplex):
        noise = self._edge_weights(0.0 * noise if self.operations.uniform_start else noise)
      arch[cell + EDGES] = noise
    return arch

  def __call__(self, arch: Arch, key: jax.Array, progress: jax.Array) -> Mixture:
    """See `Relaxation`."""
    return self._times_edges(self.operations(self._of_operations(arch), key, progress), arch)

  def mean(self, arch: Arch) -> Mixture:
    """Returns the noise-free weights of the operations times those of their edges."""
    return self._times_edges(self.operations.mean(self._of_operations(arch)), arch)

  def edges(self, arch: Arch) -> Mapping[str, jax.Array]:
    """See `Relaxation`."""
    on_simplex = isinstance(self.operations, Simplex)
    return {cell: arch[cell + EDGES] if on_simplex else self._edge_weights(arch[cell + EDGES]) for cell in self.space.cells}

  def penalty(self, arch: Arch) -> jax.Array:
    """Returns the penalty of the operations' relaxation."""
    return self.operations.penalty(self._of_operations(arch))

  def _of_operations(self, arch: Arch) -> Arch:
    return {cell: arch[cell] for cell in self.space.cells}

  def _times_edges(self, mixture: Mixture, arch: Arch) -> Mixture:
    edges = self.edges(arch)
    return {cell: weights * edges[cell][:, None] for cell, weights in mixture.items()}

  def _edge_weights(self, parameters: jax.Array) -> jax.Array:
    return softmax_by_target(self.space, parameters)


@dataclasses.dataclass(frozen=True)
class SkipDropout(Relaxation):
  """Wraps a relaxation: drops the skip connection of an edge at random in a step, less often as the search goes on.

  Source: Chen et al., "Progressive Differentiable Architecture Search" (P-DARTS), ICCV 2019, section 3.3. The paper drops elements of the
  output of a skip connection. Here the whole skip connection is dropped for one step. Kept ones are scaled by 1 / (1 - probability).

  Attributes:
    inner: the wrapped relaxation.
    space: the space.
    rate: the probability of dropping at the start of the search; it falls linearly to zero.
  """

  inner: Relaxation
  space: CellSpace
  rate: float

  def init(self, space: CellSpace, key: jax.Array, scale: float) -> Arch:
    """See `Relaxation`."""
    return self.inner.init(space, key, scale)

  def __call__(self, arch: Arch, key: jax.Array, progress: jax.Array) -> Mixture:
    """See `Relaxation`."""
    keep = 1 - self.rate * (1 - progress)
    mixture = self.inner(arch, keys.derive(key, "inner"), progress)
    is_skip = np.array([name in SKIPS for name in self.space.operations])
    key, shape = keys.derive(key, "skip_dropout"), (len(self.space.edges), 1)
    factors = {cell: jax.random.bernoulli(keys.derive(key, cell), keep, shape) / keep for cell in mixture}
    return {cell: jnp.where(is_skip[None], factors[cell] * weights, weights) for cell, weights in mixture.items()}

  def mean(self, arch: Arch) -> Mixture:
    """See `Relaxation`."""
    return self.inner.mean(arch)

  def edges(self, arch: Arch) -> Mapping[str, jax.Array]:
    """See `Relaxation`."""
    return self.inner.edges(arch)

  def penalty(self, arch: Arch) -> jax.Array:
    """See `Relaxation`."""
    return self.inner.penalty(arch)


def restrict(mixture: Mixture, op_mask: OpMask) -> Mixture:
  """Sets the weights of ruled-out operations to zero, and scales the other weights of each edge up to the edge's old sum."""
  out = {}
  for cell, weights in mixture.items():
    kept = weights * op_mask[cell]
    sums = kept.sum(-1, keepdims=True)
    alone = op_mask[cell] / jnp.maximum(op_mask[cell].sum(-1, keepdims=True), 1)
    whole = weights.sum(-1, keepdims=True)
    out[cell] = jnp.where(sums > 0, kept * (whole / jnp.where(sums > 0, sums, 1)), alone * whole)
  return out


def with_edges(space: CellSpace, mixture: Mixture, edges: Mapping[str, jax.Array], op_mask: OpMask) -> Mixture:
  """Returns the mixture with edge weights added under 'CELL edges'; they are zero where at most `none` is still allowed."""
  columns = np.array([name != NONE for name in space.operations], np.float32)
  return {**mixture, **{cell + EDGES: weights * ((op_mask[cell] * columns[None]).sum(-1) > 0) for cell, weights in edges.items()}}


def everything(space: CellSpace) -> OpMask:
  """Returns a mask that rules out no operation."""
  return {cell: np.ones(space.arch_shape(), np.float32) for cell in space.cells}


def softmax_by_target(space: CellSpace, values: jax.Array) -> jax.Array:
  """Returns the softmax of `values`, [edges], over the edges that enter each node."""
  same = np.array([[a[1] == b[1] for b in space.edges] for a in space.edges])
  highest = jnp.where(same, values[None], -jnp.inf).max(1)
  exponentials = jnp.exp(values - jax.lax.stop_gradient(highest))
  return exponentials / (same.astype(np.float32) @ exponentials)


def to_numpy(mixture: Mixture) -> dict[str, np.ndarray]:
  """Copies mixture weights to the host."""
  return {cell: np.asarray(weights) for cell, weights in mixture.items()}


def _concentration(parameters: jax.Array) -> jax.Array:
  """Returns elu(parameters) + 1, at least e^-80. The direct formula is zero below -17, which makes all weights of the edge NaN."""
  return jnp.where(parameters >= 0, parameters + 1, jnp.exp(jnp.clip(parameters, -80, 0)))


def _gumbel_softmax(arch: Arch, key: jax.Array, temperature: jax.Array) -> Mixture:
  return {cell: jax.nn.softmax((p + jax.random.gumbel(keys.derive(key, cell), p.shape)) / temperature, -1) for cell, p in arch.items()}
