"""Names of spaces and of published genotypes. A file of this package that defines one registers it."""

from collections.abc import Sequence
from typing import Protocol

from dnas.core.errors import FieldError, InputError, shown
from dnas.core.genotype import Genotype
from dnas.core.registry import Registry
from dnas.core.space import CellSpace


def _check_space(name: str, space: CellSpace) -> None:
  if not isinstance(space, CellSpace) or name != space.name:
    raise InputError(f"space '{name}' is {shown(getattr(space, 'name', space))}; register a CellSpace under its own name.")


SPACES: Registry[CellSpace] = Registry("space", _check_space)
"""Spaces that a search can be run on."""


class Stack(Protocol):
  """The macro architecture of a space of images; `image_stack.ImageStack` says how it is built and called."""

  @staticmethod
  def check_space(space: CellSpace) -> None:
    """Raises FieldError for a field of a space whose cells it cannot stack."""


def _check_stack(name: str, stack: type[Stack]) -> None:
  try:
    stack.check_space(SPACES[name])
  except FieldError as e:
    raise InputError(f"space '{name}' does not fit {stack.__name__}: {e}") from None


STACKS: Registry[type[Stack]] = Registry("stack", _check_stack)
"""Name of an image space, registered before, to the class that stacks its cells."""

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
