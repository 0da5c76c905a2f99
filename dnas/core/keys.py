"""Random keys and generators: one scheme by which each consumer of randomness gets its own.

A key is drawn from by one consumer, or others are derived from it, never both. What is derived from one key differs in its path: the
consumer's name, and below a name the number of a step, an epoch or a cell. `jax.random.split` is not used beside it, since its i-th key is
that of the number i.
"""

import zlib

import jax
import numpy as np

from dnas.core.errors import InputError, shown

_NAMES = 1 << 31
"""Names are hashed to numbers from here on, and so are no step, epoch or index."""


def derive(key: jax.Array, *path: str | int | jax.Array) -> jax.Array:
  """Returns the typed random key of a consumer.

  Args:
    key: typed random key of all that the path is part of.
    *path: a name, and numbers below 2^31 that tell apart what bears it; a number may be traced.
  """
  for part in path:
    key = jax.random.fold_in(key, np.uint32(_hash(part)) if isinstance(part, str) else part)
  return key


def generator(seed: int, consumer: str, number: int = 0) -> np.random.Generator:
  """Returns NumPy's generator of a consumer on the host, such as the initial weights of a run.

  Args:
    seed: of the run.
    consumer: what draws from it.
    number: tells apart what bears one name, such as a step.

  Raises:
    InputError: for a seed that is no whole number, or is below zero.
  """
  if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
    raise InputError(f"seed is {shown(seed)}; it must be a whole number, zero or more.")
  return np.random.default_rng((_hash(consumer), seed, number))


def _hash(name: str) -> int:
  return zlib.crc32(name.encode()) | _NAMES
