"""Is the search collapsing, and does it decide anything? Figures that a differentiable search writes beside loss and accuracy.

A search that collapses fills its cells with skip connections: they train fastest, so the weights of a supernet make them look best. One
that decides nothing leaves its mixture near the uniform one, and its cells to chance.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import keys, tree
from dnas.core.genotype import Genotype
from dnas.core.space import NONE, CellSpace
from dnas.supernet.discretize import skips_of
from dnas.supernet.relaxations import Arch

UNDECIDED = 0.9
"""Normalized entropy above which a search has decided little."""


def of_mixture(
  space: CellSpace, genotype: Genotype, mixture: Mapping[str, np.ndarray], allowed: Mapping[str, np.ndarray]
) -> dict[str, float]:
  """Returns what a mixture, and the genotype that it stands for, say of the search.

  The weights of an edge are scaled to sum to one, whatever their sum: those of sigmoids, and of edges that have weights of their own.

  Args:
    space: the space.
    genotype: the genotype.
    mixture: cell type to weights of the mixed operations, [edges, operations].
    allowed: cell type to 1 where an operation takes part in the search and 0 where it is ruled out, [edges, operations].

  Returns:
    For every cell type its number of skip connections, 'skips/CELL', and the mean entropy of its edges, 'entropy/CELL', in nats. Over all
    edges of all cells, 'normalized_entropy': the mean of the entropy of an edge over that of uniform weights, log(operations allowed). It
    is 1 where all operations are alike, and 0 where every edge has chosen; an edge with one operation left, or none, has.
  """
  out = {f"skips/{cell}": float(skips_of(genotype[cell])) for cell in space.cells}
  entropies = {cell: _entropies(mixture[cell]) for cell in space.cells}
  out |= {f"entropy/{cell}": float(values.mean()) for cell, values in entropies.items()}
  uniform = {cell: np.log(np.maximum(allowed[cell].sum(-1), 1)) for cell in space.cells}
  shares = [np.where(uniform[cell] > 0, entropies[cell] / np.where(uniform[cell] > 0, uniform[cell], 1), 0) for cell in space.cells]
  return out | {"normalized_entropy": float(np.mean(shares))}


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
  direction = _unit({name: jax.random.normal(keys.derive(key, name), point.shape, point.dtype) for name, point in arch.items()})
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


def undecided(metrics: Mapping[str, float]) -> str:
  """Returns a sentence that says that the search decided little, and what helps, or nothing: its mixture is near the uniform one."""
  share = metrics.get("normalized_entropy", 0.0)  # a search of before version 0.2.0 has none
  if share <= UNDECIDED:
    return ""
  return (
    f"the search decided little: the entropy of its mixture is {100 * share:.1f} % of that of the uniform one, so the cell is near chance; "
    "give it more --darts.epochs, or a higher --darts.arch_learning_rate: at 0.01 Adam moves a logit by about one in 96 steps."
  )


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
