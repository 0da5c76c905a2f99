"""Names of spaces and of published genotypes. A file of this package that defines one registers it."""

from collections.abc import Sequence

from dnas.core.genotype import Genotype
from dnas.core.registry import Registry
from dnas.core.space import CellSpace

SPACES: Registry[CellSpace] = Registry("space")
"""Spaces that a search can be run on."""

STACKS: Registry[type] = Registry("stack")
"""Name of an image space to the class that stacks its cells, with the interface of `image_stack.ImageStack`."""

IMAGE_GENOTYPES: Registry[Genotype] = Registry("genotype")
"""Published convolutional cells."""

LANGUAGE_GENOTYPES: Registry[Genotype] = Registry("genotype")
"""Published recurrent cells."""


def published(
  name: str,
  space: CellSpace,
  normal: list[tuple[str, int]],
  reduce: list[tuple[str, int]],
  normal_concat: Sequence[int] | None = None,
  reduce_concat: Sequence[int] | None = None,
) -> Genotype:
  """Registers a convolutional genotype, given as the papers print it: the edges of each cell, node by node.

  Args:
    name: the name by which users ask for it.
    space: the space that it belongs to.
    normal, reduce: (operation, source) pairs.
    normal_concat, reduce_concat: the states that the cell concatenates; all nodes if not given.
  """
  cells = {"normal": (normal, list(normal_concat or space.concat)), "reduce": (reduce, list(reduce_concat or space.concat))}
  genotype = space.validate(space.from_lists(cells, where=name))
  return IMAGE_GENOTYPES.register(name)(genotype)


def published_recurrent(name: str, space: CellSpace, recurrent: list[tuple[str, int]], concat: Sequence[int] | None = None) -> Genotype:
  """Registers a recurrent genotype, given as the papers print it.

  Args:
    name: the name by which users ask for it.
    space: the space that it belongs to.
    recurrent: (activation, source) of every node.
    concat: the states whose mean is the output; all nodes if not given.
  """
  cells = {"recurrent": (recurrent, list(concat or space.concat))}
  genotype = space.validate(space.from_lists(cells, where=name))
  return LANGUAGE_GENOTYPES.register(name)(genotype)
