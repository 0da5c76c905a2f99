"""Is the search collapsing? Figures that a differentiable search writes beside loss and accuracy.

A search that collapses fills its cells with skip connections: they train fastest, so the weights of a supernet make them look best.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import tree
from dnas.core.genotype import Genotype
from dnas.core.space import NONE, CellSpace
from dnas.supernet.discretize import skips_of
from dnas.supernet.relaxations import Arch


def of_genotype(space: CellSpace, genotype: Genotype, mixture: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Returns for every cell type its number of skip connections, 'skips/CELL', and the entropy of its mixture, 'entropy/CELL', in nats.

  The entropy is the mean over edges of that of an edge's weights, scaled to sum to one: log(operations) for equal ones, 0 for a choice.
  """
  out = {f"skips/{cell}": float(skips_of(genotype[cell])) for cell in space.cells}
  return out | {f"entropy/{cell}": float(_entropies(mixture[cell]).mean()) for cell in space.cells}


def dominant_eigenvalue(gradient: Callable[[Arch], Arch], arch: Arch, key: jax.Array, iterations: int = 10, radius: float = 0.05) -> float:
  """Returns the size of the largest eigenvalue, in magnitude, of the Hessian of a loss in the architecture.

  Power iteration on central differences of the gradient, so that no program is compiled beside the one that the search has. Source of the
  measure: Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020, section 4.

  Args:
    gradient: of the loss in the architecture, at fixed weights, batch and masks.
    arch: where the Hessian is taken.
    key: typed random key of the first direction.
    iterations: steps of the iteration, two gradients each.
    radius: length of the difference, in architecture parameters.
  """
  keys = dict(zip(arch, jax.random.split(key, len(arch)), strict=True))
  direction = _unit({name: jax.random.normal(keys[name], point.shape, point.dtype) for name, point in arch.items()})
  value = jnp.float32(0)
  for _ in range(iterations):
    above, below = (gradient(tree.add_scaled(arch, sign * radius, direction)) for sign in (1, -1))
    difference = tree.add_scaled(above, -1.0, below)
    value = tree.dot(difference, direction) / (2 * radius)
    direction = _unit(difference)
  return abs(float(value))


def collapse(space: CellSpace, genotype: Genotype) -> str:
  """Returns a sentence that says which cell has collapsed, or nothing: more than half of its edges are skip connections, or `none`."""
  for cell in space.cells:
    operations = [edge.operation for node in genotype[cell].nodes for edge in node]
    for count, what in ((skips_of(genotype[cell]), "skip connections"), (operations.count(NONE), f"'{NONE}'")):
      if 2 * count > len(operations):
        return f"the search has collapsed: {count} of {len(operations)} edges of the {cell} cell are {what}; see --remedies in --help."
  return ""


def _entropies(weights: np.ndarray) -> np.ndarray:
  """Returns the entropy of the weights of every edge, [edges], of [edges, operations]."""
  weights = weights.astype(np.float64)  # so that no share is above one by rounding, and no entropy below zero
  sums = weights.sum(-1, keepdims=True)
  shares = np.where(sums > 0, weights / np.where(sums > 0, sums, 1), 0)
  return (shares * np.log(1 / np.where(shares > 0, shares, 1))).sum(-1)


@jax.jit
def _unit(direction: Arch) -> Arch:
  size = tree.norm(direction)
  return jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1), direction)
