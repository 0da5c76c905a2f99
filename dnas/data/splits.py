"""Divisions of labelled examples in two parts: pure functions of the labels, by name.

Both parts keep the order of the data set, and their sizes are the same for all divisions.
"""

from collections.abc import Callable

import numpy as np

from dnas.core import keys
from dnas.core.registry import Registry, is_function

Division = Callable[[np.ndarray, int, int], np.ndarray]
"""(labels [N], size of the first part, seed) to bool [N], which examples are in the first part."""

SPLITS: Registry[Division] = Registry("split", is_function("a function of labels, the size of the first part, and a seed"))
"""Name to division; to add one, register it here."""


@SPLITS.register("contiguous")
def contiguous(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
  """Puts the first `count` examples in the first part, as the published DARTS code does; the seed has no effect."""
  return np.arange(len(labels)) < count


@SPLITS.register("shuffled")
def shuffled(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
  """Draws the first part uniformly, whatever the labels are."""
  chosen = np.zeros(len(labels), bool)
  chosen[keys.generator(seed, "split").permutation(len(labels))[:count]] = True
  return chosen


@SPLITS.register("stratified")
def stratified(labels: np.ndarray, count: int, seed: int, consumer: str = "split") -> np.ndarray:
  """Draws the first part uniformly within every class, and gives each class the share that it has in all.

  Shares are made whole by the method of the largest remainder: each is rounded down, and the examples that are left over go to the classes
  with the largest fractions, the first ones where fractions are equal. So every class is within one example of its share. Divisions with
  other names of their `consumer` are drawn independently.
  """
  rng, chosen = keys.generator(seed, consumer), np.zeros(len(labels), bool)
  classes, sizes = np.unique(labels, return_counts=True)
  shares, fractions = np.divmod(sizes * count, len(labels))
  shares[np.argsort(-fractions, kind="stable")[: count - shares.sum()]] += 1
  for label, share in zip(classes, shares, strict=True):
    chosen[rng.permutation(np.flatnonzero(labels == label))[:share]] = True
  return chosen
