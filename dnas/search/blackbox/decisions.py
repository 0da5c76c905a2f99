"""The decisions of a space as arrays, for strategies that learn a distribution over them."""

import numpy as np

from dnas.core.errors import InputError
from dnas.core.spaces import DecisionSpace, Space


def of_decisions(space: Space) -> DecisionSpace:
  """Returns a space whose architectures are tuples of decisions. Raises InputError for a space of another kind."""
  if not isinstance(space, DecisionSpace):
    hint = "take random_search, regularized_evolution, local_search or hill_climbing"
    raise InputError(f"space '{space.name}' has no fixed number of decisions, and this strategy learns over decisions; {hint}.")
  return space


def allowed_values(space: DecisionSpace) -> np.ndarray:
  """Returns the mask of the values that each decision has, bool [decisions, largest number of values].

  Raises:
    InputError: if every decision of the space has a single value.
  """
  if max(space.decisions, default=1) < 2:
    raise InputError(f"space '{space.name}' has a single architecture, so there is no policy to learn; give the space more operations.")
  return np.arange(max(space.decisions)) < np.asarray(space.decisions)[:, None]
