"""Random keys and generators: each consumer of randomness gets its own.

A key either serves one consumer to draw numbers, or serves to derive other keys, never both. Keys derived from one key differ in their
path: the consumer's name, then the number of a step, an epoch or a cell. `jax.random.split` is not used on such a key, since its i-th key
equals the key derived with the number i.
"""

# What users give can have another type than the annotated one.
# pyright: reportUnnecessaryIsInstance=false

import zlib

import jax
import numpy as np

from dnas.core.errors import InputError, shown

_NAMES = 1 << 31
"""Hashes of names are at least this number, so they never equal the number of a step, an epoch or a cell."""


def derive(key: jax.Array, *path: str | int | jax.Array) -> jax.Array:
  """Returns the typed random key of a consumer.

  Args:
    key: the typed random key from which the consumer's key is derived.
    *path: the consumer's name, and numbers below 2^31 that distinguish consumers with that name; a number may be traced.
  """
  for part in path:
    key = jax.random.fold_in(key, np.uint32(_hash(part)) if isinstance(part, str) else part)
  return key


def generator(seed: int, consumer: str, number: int = 0) -> np.random.Generator:
  """Returns the NumPy generator of a consumer on the host, such as the initial weights of a run.

  Args:
    seed: seed of the run.
    consumer: name of the consumer.
    number: distinguishes consumers with the same name, for instance a step.

  Raises:
    InputError: if the seed is not a whole number, or is below zero.
  """
  if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
    raise InputError(f"seed is {shown(seed)}; it must be a whole number, zero or more.")
  return np.random.default_rng((_hash(consumer), seed, number))


def _hash(name: str) -> int:
  return zlib.crc32(name.encode()) | _NAMES
