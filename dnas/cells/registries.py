"""Registries of spaces, stacks and published genotypes. The file that defines a space, a stack or a genotype also registers it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from dnas.core.chain_space import ChainSpace
from dnas.core.errors import FieldError, InputError, shown, unknown_name
from dnas.core.genotype import Genotype
from dnas.core.registry import Registry
from dnas.core.space import CellSpace


def _check_space(name: str, space: CellSpace) -> None:
  if not isinstance(space, CellSpace) or name != space.name:
    raise InputError(f"space '{name}' is {shown(getattr(space, 'name', space))}; register a CellSpace under its own name.")


SPACES: Registry[CellSpace] = Registry("space", _check_space)
"""Spaces of cells."""


def _check_chain_space(name: str, space: ChainSpace) -> None:
  if not isinstance(space, ChainSpace) or name != space.name or name in SPACES:
    raise InputError(f"space '{name}' is {shown(getattr(space, 'name', space))}; register a ChainSpace under its own name.")


CHAIN_SPACES: Registry[ChainSpace] = Registry("space", _check_chain_space)
"""Spaces of chains of convolutions."""


def any_space(name: str) -> CellSpace | ChainSpace:
  """Returns the space of cells or of chains with a name. Raises InputError if there is none."""
  if name in CHAIN_SPACES:
    return CHAIN_SPACES[name]
  if name not in SPACES:
    raise unknown_name("space", name, [*SPACES, *CHAIN_SPACES])
  return SPACES[name]


AUXILIARY_SIDES = {"small": (29, 32), "imagenet": (193, 256)}
"""Stem to the least and the largest side of the images on which the published auxiliary heads fit."""


class Auxiliary(NamedTuple):
  """Where the auxiliary head of a stack stands.

  Attributes:
    cell: position of the cell whose output the head reads.
    size: rows and columns of the kernel of the last convolution: 2 if the cell returns 8x8 pixels, 4 if it returns 16x16.
    stride: stride of the pooling.
    images: least and largest side of the images on which the head fits.
    normalized: whether a batch normalization follows the last convolution of the head.
  """

  cell: int
  size: int
  stride: int = 3
  images: tuple[int, int] = AUXILIARY_SIDES["small"]
  normalized: bool = True


class Stack(Protocol):
  """The macro architecture of an image space. See `image_stack.ImageStack` for its constructor and call.

  Attributes:
    num_inputs: number of preceding cells whose outputs a cell reads.
    widths: channels of the output of each cell.
    auxiliary: the place of the auxiliary head; None if the networks of this stack have no such head.
  """

  num_inputs: int
  widths: tuple[int, ...]
  auxiliary: Auxiliary | None

  def __init__(self, wirings: Mapping[str, Any], make_edges: Callable[..., Any], *size: Any, affine: bool, rng: np.random.Generator): ...

  def __call__(self, images: jax.Array, contexts: Callable[[int, str], Sequence[Any]], train: bool) -> list[jax.Array]:
    """See `image_stack.ImageStack`."""
    ...

  @staticmethod
  def check_space(space: CellSpace) -> None:
    """Raises FieldError if the cells of a space cannot be stacked; the error names the field of the space."""


def _check_stack(name: str, stack: type[Stack]) -> None:
  if not isinstance(stack, type) or not callable(getattr(stack, "check_space", None)):
    raise InputError(f"the stack of space '{name}' is {shown(stack)}; register a class with the method 'check_space'.")
  try:
    stack.check_space(SPACES[name])
  except FieldError as e:
    raise InputError(f"space '{name}' does not fit {stack.__name__}: {e}") from None


STACKS: Registry[type[Stack]] = Registry("stack", _check_stack)
"""Maps the name of an image space to the class that stacks its cells. The space must be registered first."""


def _check_genotype(name: str, genotype: Genotype) -> None:
  if not isinstance(genotype, Genotype):
    raise InputError(f"genotype '{name}' is {shown(genotype)}; register a Genotype, such as SPACES[NAME].parse(TEXT) gives.")


IMAGE_GENOTYPES: Registry[Genotype] = Registry("genotype", _check_genotype)
"""Published convolutional cells."""

FORMER_NAMES = {"NASNet": "NASNet_in_DARTS", "AmoebaNet": "AmoebaNet_in_DARTS"}
"""Maps former names of published cells to the present ones. Older runs recorded the former names, and can still be resumed."""

LANGUAGE_GENOTYPES: Registry[Genotype] = Registry("genotype", _check_genotype)
"""Published recurrent cells."""


def published(
  name: str,
  space: CellSpace,
  normal: list[tuple[str, int]],
  reduce: list[tuple[str, int]],
  normal_concat: Sequence[int] | None = None,
  reduce_concat: Sequence[int] | None = None,
) -> Genotype:
  """Registers and returns a convolutional genotype in the notation of the papers: the edges of each cell, node by node.

  Args:
    name: the name by which users select it.
    space: the space of the genotype.
    normal, reduce: the edges of each cell, (operation, source) pairs.
    normal_concat, reduce_concat: the states that each cell concatenates; by default those of the space.
  """
  cells = {"normal": (normal, list(normal_concat or space.concat)), "reduce": (reduce, list(reduce_concat or space.concat))}
  genotype = space.validate(space.from_lists(cells, where=name))
  return IMAGE_GENOTYPES.register(name, stacklevel=2)(genotype)


def published_recurrent(name: str, space: CellSpace, recurrent: list[tuple[str, int]], concat: Sequence[int] | None = None) -> Genotype:
  """Registers and returns a recurrent genotype in the notation of the papers.

  Args:
    name: the name by which users select it.
    space: the space of the genotype.
    recurrent: the (activation, source) pair of every node.
    concat: the states whose mean is the output of the cell; by default those of the space.
  """
  cells = {"recurrent": (recurrent, list(concat or space.concat))}
  genotype = space.validate(space.from_lists(cells, where=name))
  return LANGUAGE_GENOTYPES.register(name, stacklevel=2)(genotype)
