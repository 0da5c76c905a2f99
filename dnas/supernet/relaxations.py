"""Relaxations: from architecture parameters to the weights of mixed operations.

A relaxation is a frozen dataclass. It draws the parameters that a search begins with, turns them into the weights of a step, and says what
they are worth without noise, by which a search is validated and discretized.
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
"""Cell type to the weights of its mixed operations, [edges, operations]; for a supernet also 'CELL edges' to [edges], the edges' own."""

OpMask = Mapping[str, jax.Array]
"""Cell type to a mask, float32 [edges, operations]: 1 where an operation still takes part in the search, 0 where it is out."""

EDGES = " edges"
"""Ends the key of the parameters of the edges themselves."""


@dataclasses.dataclass(frozen=True)
class Relaxation:
  """How discrete choices become weights; pure and differentiable. This one is the softmax over operations (DARTS, equation 2).

  A relaxation of another kind derives from it and says what differs.
  """

  def init(self, space: CellSpace, key: jax.Array, scale: float) -> Arch:
    """Draws initial parameters from scale * N(0, 1); the scale of DARTS is 0.001."""
    return {cell: scale * jax.random.normal(keys.derive(key, cell), space.arch_shape()) for cell in space.cells}

  def __call__(self, arch: Arch, key: jax.Array, progress: jax.Array) -> Mixture:
    """Maps parameters to the weights of one step.

    Args:
      arch: the parameters.
      key: typed random key, the same in every evaluation of one step.
      progress: the complete fraction of the search, a scalar in [0, 1].
    """
    return self.mean(arch)

  def mean(self, arch: Arch) -> Mixture:
    """Maps parameters to the weights by which a search is validated and discretized: there is no noise in them."""
    return {cell: jax.nn.softmax(parameters, -1) for cell, parameters in arch.items()}

  def edges(self, arch: Arch) -> Mapping[str, jax.Array]:
    """Returns the weights of the edges themselves, cell type to [edges]; the weights of their operations contain them as a factor."""
    return {cell: jnp.ones(len(parameters)) for cell, parameters in arch.items()}

  def penalty(self, arch: Arch) -> jax.Array:
    """Returns what is added to the loss whose gradient moves the architecture, a scalar."""
    return jnp.float32(0)


@dataclasses.dataclass(frozen=True)
class GumbelOneHot(Relaxation):
  """One operation an edge, drawn by the Gumbel-max trick; its gradient is that of the Gumbel softmax, straight through.

  Source: Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours" (GDAS), CVPR 2019, equations 3 to 6.

  Attributes:
    start: temperature at the beginning of the search.
    end: temperature at its end; in between it falls along a line.
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
  """Samples of the concrete distribution: the softmax of parameters and Gumbel noise at a temperature.

  Source: Xie et al., "SNAS: Stochastic Neural Architecture Search", ICLR 2019, equation 5.

  Attributes:
    start: temperature at the beginning of the search.
    end: temperature at its end; in between its logarithm falls along a line.
  """

  start: float = 1.0
  end: float = 0.03

  def __call__(self, arch: Arch, key: jax.Array, progress: jax.Array) -> Mixture:
    """See `Relaxation`."""
    return _gumbel_softmax(arch, key, self.start * (self.end / self.start) ** progress)


@dataclasses.dataclass(frozen=True)
class Dirichlet(Relaxation):
  """Samples of a Dirichlet distribution with concentrations elu(parameters) + 1, differentiated along the path.

  Source: Chen et al., "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021, section 2.2. The distance to the symmetric distribution
  that the paper adds to the loss is the L2 penalty of the architecture optimizer, since parameters of 0 are concentrations of 1.

  Attributes:
    softmax: whether a search is validated and discretized by the softmax of the parameters, as in the published code; else by the mean.
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
  """Every operation has a weight of its own between 0 and 1, and the zero-one loss drives it to either.

  Source: Chu et al., "Fair DARTS", ECCV 2020, equations 2 and 4.

  Attributes:
    space: the space; its operation `none` takes no part in the loss.
    zero_one: coefficient of the zero-one loss.
  """

  space: CellSpace
  zero_one: float = 10.0

  def mean(self, arch: Arch) -> Mixture:
    """Returns the sigmoids."""
    return {cell: jax.nn.sigmoid(parameters) for cell, parameters in arch.items()}

  def penalty(self, arch: Arch) -> jax.Array:
    """Returns -c times the mean of (sigmoid - 1/2)^2."""
    columns = np.array([index for index, name in enumerate(self.space.operations) if name != NONE])
    weights = jnp.concatenate([w[:, columns].ravel() for w in self.mean(arch).values()])
    return -self.zero_one * ((weights - 0.5) ** 2).mean()


@dataclasses.dataclass(frozen=True)
class Simplex(Relaxation):
  """The parameters are the weights themselves, points of the simplex; `arch_optimizers.exponentiated_gradient` keeps them there.

  Source: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search" (GAEA), ICLR 2021, section 3.

  Attributes:
    uniform_start: whether all weights are equal at first, as in the published code.
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
  """A relaxation of the operations, times weights of the edges, which sum to one over the edges that enter a node.

  Source: Xu et al., "PC-DARTS", ICLR 2020, equation 4.

  Attributes:
    operations: the relaxation of the operations.
    space: the space.
  """

  operations: Relaxation
  space: CellSpace

  def init(self, space: CellSpace, key: jax.Array, scale: float) -> Arch:
    """Draws the parameters of operations and edges alike."""
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
    """Returns the products, without noise."""
    return self._times_edges(self.operations.mean(self._of_operations(arch)), arch)

  def edges(self, arch: Arch) -> Mapping[str, jax.Array]:
    """See `Relaxation`."""
    on_simplex = isinstance(self.operations, Simplex)
    return {cell: arch[cell + EDGES] if on_simplex else self._edge_weights(arch[cell + EDGES]) for cell in self.space.cells}

  def penalty(self, arch: Arch) -> jax.Array:
    """Returns that of the operations."""
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
  """Another relaxation, in which the skip connection of an edge is left out of a step by chance, less often as the search goes on.

  Source: Chen et al., "Progressive Differentiable Architecture Search" (P-DARTS), ICCV 2019, section 3.3. The paper drops elements of
  what a skip connection returns; here it is dropped whole, for one step.

  Attributes:
    inner: the other relaxation.
    space: the space.
    rate: the probability at the beginning; it falls to zero along a line.
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


def restrict(mixture: Mixture, allowed: OpMask) -> Mixture:
  """Returns the weights with those of operations that are out at zero, the others of their edge scaled up to the old sum."""
  out = {}
  for cell, weights in mixture.items():
    kept = weights * allowed[cell]
    sums = kept.sum(-1, keepdims=True)
    alone = allowed[cell] / jnp.maximum(allowed[cell].sum(-1, keepdims=True), 1)
    whole = weights.sum(-1, keepdims=True)
    out[cell] = jnp.where(sums > 0, kept * (whole / jnp.where(sums > 0, sums, 1)), alone * whole)
  return out


def with_edges(space: CellSpace, mixture: Mixture, edges: Mapping[str, jax.Array], allowed: OpMask) -> Mixture:
  """Returns the weights of the operations with those of the edges, which are zero where nothing but `none` is left."""
  columns = np.array([name != NONE for name in space.operations], np.float32)
  return {**mixture, **{cell + EDGES: weights * ((allowed[cell] * columns[None]).sum(-1) > 0) for cell, weights in edges.items()}}


def everything(space: CellSpace) -> OpMask:
  """Returns the mask of a search that has not ruled out anything."""
  return {cell: np.ones(space.arch_shape(), np.float32) for cell in space.cells}


def softmax_by_target(space: CellSpace, values: jax.Array) -> jax.Array:
  """Returns the softmax of [edges] over the edges that enter each node."""
  same = np.array([[a[1] == b[1] for b in space.edges] for a in space.edges])
  highest = jnp.where(same, values[None], -jnp.inf).max(1)
  exponentials = jnp.exp(values - jax.lax.stop_gradient(highest))
  return exponentials / (same.astype(np.float32) @ exponentials)


def to_numpy(mixture: Mixture) -> dict[str, np.ndarray]:
  """Copies mixture weights to the host."""
  return {cell: np.asarray(weights) for cell, weights in mixture.items()}


def _concentration(parameters: jax.Array) -> jax.Array:
  """Returns elu(parameters) + 1; computed so, it would be zero below -17, and all weights of the edge NaN. It stays above e^-80."""
  return jnp.where(parameters >= 0, parameters + 1, jnp.exp(jnp.clip(parameters, -80, 0)))


def _gumbel_softmax(arch: Arch, key: jax.Array, temperature: jax.Array) -> Mixture:
  return {cell: jax.nn.softmax((p + jax.random.gumbel(keys.derive(key, cell), p.shape)) / temperature, -1) for cell, p in arch.items()}
