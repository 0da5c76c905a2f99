"""The decisions of a space as arrays, for strategies that learn a distribution over them."""

import numpy as np

from dnas.core.errors import InputError
from dnas.core.space import CellSpace


def allowed_values(space: CellSpace) -> np.ndarray:
  """Returns a mask of the values that every decision has, [decisions, most values].

  Raises:
    InputError: if no decision of the space has a second value.
  """
  if max(space.decisions, default=1) < 2:
    raise InputError(f"space '{space.name}' has a single architecture, so there is no policy to learn; give it operations to choose from.")
  return np.arange(max(space.decisions)) < np.asarray(space.decisions)[:, None]
