"""GAEA: mixture weights on the simplex, moved by exponentiated gradient."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from dnas.core.config import check, check_positive, check_types
from dnas.core.spaces import DecisionSpace
from dnas.search.gradient.methods.base import METHODS, ArchRates, DifferentiableMethod
from dnas.search.gradient.methods.pc_darts import EdgeNormalized, softmax_by_target, with_edges_of
from dnas.supernet.relaxations import EDGES, Arch, Mixture, Relaxation


@dataclasses.dataclass(frozen=True)
class Simplex(Relaxation):
  """Uses the parameters as weights: they are points of the simplex, and `exponentiated_gradient` keeps them there.

  Source: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search" (GAEA), ICLR 2021, section 3.

  Attributes:
    uniform_start: whether all initial weights are equal, as in the published code; else they are the softmax of noise.
  """

  uniform_start: bool = False

  def init(self, space: DecisionSpace, key: jax.Array, scale: float) -> Arch:
    """Returns the softmax of scale * N(0, 1)."""
    scale = 0.0 if self.uniform_start else scale
    return {cell: jax.nn.softmax(noise, -1) for cell, noise in super().init(space, key, scale).items()}

  def mean(self, arch: Arch) -> Mixture:
    """Returns the parameters."""
    return dict(arch)


@dataclasses.dataclass(frozen=True)
class EdgesOnSimplex(EdgeNormalized):
  """Uses the parameters of edges as weights, too: those of the edges that enter a node are a point of a simplex."""

  operations: Simplex

  def init(self, space: DecisionSpace, key: jax.Array, scale: float) -> Arch:
    """Draws the parameters of operations and edges, and takes the softmax over the edges that enter a node."""
    arch = super().init(space, key, 0.0 if self.operations.uniform_start else scale)
    return {name: softmax_by_target(space, values) if name.endswith(EDGES) else values for name, values in arch.items()}

  def edges(self, arch: Arch) -> Mapping[str, jax.Array]:
    """Returns the parameters of the edges."""
    return {cell: arch[cell + EDGES] for cell in self.space.cells}


def exponentiated_gradient(learning_rate: float, space: DecisionSpace, smallest: float = 0.0) -> optax.GradientTransformation:
  """Returns the exponentiated gradient optimizer: p becomes p exp(-lr g), normalized, so that the parameters stay on their simplices.

  One simplex is a row of [edges, operations], or the edges that enter one node. The update uses logarithms, since the plain form overflows.
  Source: Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture Search", ICLR 2021, algorithm 1.

  Args:
    learning_rate: the learning rate.
    space: the space, for its edges.
    smallest: smaller weights are raised to this value before a second normalization; 0.00001 in the published code, 0 leaves it out.
  """

  def step(name: str, gradient: jax.Array, point: jax.Array) -> jax.Array:
    logits = jnp.log(jnp.maximum(point, jnp.finfo(point.dtype).tiny)) - learning_rate * gradient
    normalized = functools.partial(softmax_by_target, space) if name.endswith(EDGES) else functools.partial(jax.nn.softmax, axis=-1)
    after = normalized(logits)
    return (normalized(jnp.log(jnp.maximum(after, smallest))) if smallest else after) - point

  def update(gradients: Arch, arch: Arch) -> Arch:
    return {name: step(name, gradient, arch[name]) for name, gradient in gradients.items()}

  return optax.stateless(update)  # pyright: ignore[reportArgumentType]


@METHODS.register("gaea")
@dataclasses.dataclass(frozen=True)
class Gaea(DifferentiableMethod):
  """Mixture weights on the simplex, moved by exponentiated gradient. Source: Li et al., "GAEA", ICLR 2021.

  `darts.arch_learning_rate` is the rate of the exponentiated gradient, 0.1 in the paper. The other architecture rates are not used.

  Attributes:
    partial_channels: K; the operations of an edge see one K-th of the channels; 4 with edge_weights is GAEA PC-DARTS.
    edge_weights: whether edges have weights on simplices of their own, as in PC-DARTS.
    uniform_start: whether all weights are equal at first, as in the published code.
    smallest: lower bound of the weights, 0.00001 in the published code; 0 sets no bound.
  """

  partial_channels: int = 1  # type: ignore[misc]
  edge_weights: bool = False
  uniform_start: bool = False
  smallest: float = 0.0

  def __post_init__(self):
    check_types(self)
    check_positive(partial_channels=self.partial_channels)
    check(0 <= self.smallest <= 0.01, "smallest", self.smallest, "it must be at least 0 and at most 0.01, far below an equal share")

  def relaxation(self, space: DecisionSpace) -> Relaxation:
    """See `DifferentiableMethod`."""
    simplex = Simplex(self.uniform_start)
    return EdgesOnSimplex(simplex, with_edges_of(space)) if self.edge_weights else simplex

  def arch_optimizer(self, rates: ArchRates, space: DecisionSpace) -> optax.GradientTransformation:
    """See `DifferentiableMethod`."""
    return exponentiated_gradient(rates.arch_learning_rate, space, self.smallest)
