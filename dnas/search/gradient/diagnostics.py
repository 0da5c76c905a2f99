"""Diagnoses of a differentiable search: metrics that show whether it collapses, and whether it decides anything.

A search that collapses fills its cells with skip connections. Skip connections train fastest, so their weights grow largest. A search that
decides nothing leaves its mixture near uniform. Chance then chooses its cells.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dnas.core import keys, tree
from dnas.core.choice_space import SKIPS, ChoiceSpace
from dnas.core.space import NONE
from dnas.core.spaces import DecisionSpace
from dnas.supernet.discretize import of_cells, skips
from dnas.supernet.relaxations import Arch

UNDECIDED = 0.9
"""A search with a higher normalized entropy has decided little."""


def of_mixture(
  space: DecisionSpace, genotype: Any, mixture: Mapping[str, np.ndarray], op_mask: Mapping[str, np.ndarray]
) -> dict[str, float]:
  """Returns the diagnoses of a mixture and its genotype.

  The weights of every edge are first scaled to sum to one, since sigmoids and weights multiplied by edge weights have other sums.

  Args:
    space: the search space.
    genotype: the genotype of the mixture.
    mixture: weights of the mixed operations by cell type, [edges, operations].
    op_mask: masks of the operations by cell type, 1 if allowed and 0 if ruled out, [edges, operations].

  Returns:
    'skips/CELL': the number of skip connections in the cell type CELL; 'skips/choices' that of all choices together.
    'entropy/CELL': the mean entropy of the edges of CELL, in nats; 'entropy/choices' is that of all choices.
    'normalized_entropy': the entropy of an edge divided by log(number of allowed operations), averaged over all edges of all cells. It is
    1 if all operations have the same weight, and 0 if every edge has chosen one operation. An edge with at most one allowed operation
    counts as 0.
  """
  out = {f"skips/{cell}": float(count) for cell, count in skips(space, genotype).items()}
  entropies = {cell: _entropies(mixture[cell]) for cell in space.arch_shapes}
  of_group = {"choices": np.concatenate(list(entropies.values()))} if isinstance(space, ChoiceSpace) else entropies
  out |= {f"entropy/{cell}": float(values.mean()) for cell, values in of_group.items()}
  uniform = {cell: np.log(np.maximum(op_mask[cell].sum(-1), 1)) for cell in space.arch_shapes}
  shares = [np.where(uniform[cell] > 0, entropies[cell] / np.where(uniform[cell] > 0, uniform[cell], 1), 0) for cell in entropies]
  return out | {"normalized_entropy": float(np.mean(shares))}


def dominant_eigenvalue(gradient: Callable[[Arch], Arch], arch: Arch, key: jax.Array, iterations: int = 10, radius: float = 0.05) -> float:
  """Returns the largest absolute eigenvalue of the Hessian of a loss with respect to the architecture parameters.

  Power iteration takes its Hessian products from central differences of the gradient, so it needs no compiled program beyond those of the
  search. Source of the measure: Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020, section 4.

  Args:
    gradient: gradient of the loss with respect to the architecture, at fixed weights, batch and masks.
    arch: the architecture parameters at which the Hessian is taken.
    key: typed random key of the first direction.
    iterations: number of power iterations; each takes two gradients.
    radius: half the distance between the two points of the central difference.
  """
  direction = _unit({name: jax.random.normal(keys.derive(key, name), point.shape, point.dtype) for name, point in arch.items()})
  value = jnp.float32(0)
  for _ in range(iterations):
    above, below = (gradient(tree.add_scaled(arch, sign * radius, direction)) for sign in (1, -1))
    difference = tree.add_scaled(above, -1.0, below)
    value = tree.dot(difference, direction) / (2 * radius)
    direction = _unit(difference)
  return abs(float(value))


def collapse(space: DecisionSpace, genotype: Any) -> str:
  """Returns a sentence on the first collapsed cell, or "" if none has collapsed.

  A cell has collapsed if more than half of its edges are skip connections, or more than half are `none`. Choices have collapsed if more
  than half of the active ones that have a skip keep it.
  """
  if isinstance(space, ChoiceSpace):
    count, could = skips(space, genotype)["choices"], sum(not set(SKIPS).isdisjoint(space[name].options) for name, _ in genotype.choices)
    return f"the search has collapsed: {count} of {could} choices are skips; see the remedies." if 2 * count > could > 1 else ""
  for cell in of_cells(space).cells:
    operations = [edge.operation for node in genotype[cell].nodes for edge in node]
    for count, what in ((skips(space, genotype)[cell], "skip connections"), (operations.count(NONE), f"'{NONE}'")):
      if 2 * count > len(operations):
        return f"the search has collapsed: {count} of {len(operations)} edges of the {cell} cell are {what}; see the flags of remedies."
  return ""


def undecided(metrics: Mapping[str, float]) -> str:
  """Returns a sentence of advice if the normalized entropy is above `UNDECIDED`, else ""."""
  share = metrics.get("normalized_entropy", 0.0)  # searches before version 0.2.0 lack it
  if share <= UNDECIDED:
    return ""
  return (
    f"the search decided little: the entropy of its mixture is {100 * share:.1f} % of that of the uniform one, so what it found is near "
    "chance; give it more darts.epochs, or a higher darts.arch_learning_rate: at 0.01 Adam moves a logit by about one in 96 steps."
  )


def _entropies(weights: np.ndarray) -> np.ndarray:
  """Returns the entropy of every edge in nats, [edges], from weights [edges, operations]."""
  weights = weights.astype(np.float64)  # in float32, rounding could raise a share above one and make an entropy negative
  sums = weights.sum(-1, keepdims=True)
  shares = np.where(sums > 0, weights / np.where(sums > 0, sums, 1), 0)
  return (shares * np.log(1 / np.where(shares > 0, shares, 1))).sum(-1)


@jax.jit
def _unit(direction: Arch) -> Arch:
  size = tree.norm(direction)
  return jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1), direction)
