"""Checks that the configurations of searches and trainings share."""

from typing import Any

from dnas.cells.registries import CHAIN_SPACES, SPACES, STACKS
from dnas.core.config import check, check_name
from dnas.data import datasets


def is_of_text(space: str) -> bool:
  """Returns whether a registered space is one of recurrent cells. A space of images has a class that stacks its cells."""
  return space in SPACES and space not in STACKS and SPACES[space].cells == ("recurrent",)


def idle_data(config: Any, field: str) -> str:
  """Returns why a setting of the data has no effect here, and a hint; an empty text if it has an effect."""
  when = datasets.unused(config.data, field)
  return f"it does nothing {when}, so leave it out" if when else ""


def check_seed(seed: int) -> None:
  """Raises FieldError for a seed that no random key can take."""
  check(0 <= seed < 2**32, "seed", seed, "it must be at least 0 and below 2^32, as random keys take 32 bits")


def check_space(space: str, of_text: bool, of_cells: bool = False) -> None:
  """Raises FieldError for a space that is unknown, cannot be stacked, or is of the other kind of data."""
  check_name("space", space, [*SPACES, *CHAIN_SPACES])
  if space in CHAIN_SPACES:
    hint = "it is a space of chains, and this preset is for text or for a differentiable search; give a space of cells"
    check(not (of_text or of_cells), "space", space, hint)
    return
  known = [name for name in SPACES if (is_of_text(name) if of_text else name in STACKS)]
  stacked = space in STACKS or is_of_text(space)
  check(stacked, "space", space, "no class stacks its cells; register one for it in dnas.cells.registries.STACKS")
  listed = " or ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else known)
  check(space in known, "space", space, f"this preset is for {'text' if of_text else 'images'}, so give {listed}, or another preset")
