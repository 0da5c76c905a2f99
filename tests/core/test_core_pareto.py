"""Fronts and hypervolumes, against brute force."""

import itertools
import math

import numpy as np
import pytest

from dnas.core.pareto import front, hypervolume, hypervolumes


def dominates(one, other):
  return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_a_front_is_what_nothing_dominates(objectives):
  for seed in range(40):
    points = np.random.default_rng(seed).integers(0, 6, size=(seed, objectives)).tolist()
    wanted = [
      number
      for number, point in enumerate(points)
      if not any(dominates(other, point) for other in points) and point not in points[:number]  # of equal points the first
    ]
    assert front(np.reshape(points, (seed, objectives))).tolist() == wanted


def test_what_is_no_number_dominates_nothing():
  assert front([(math.nan, 1.0), (0.0, 2.0), (0.0, math.nan), (1.0, math.nan)]).tolist() == [0, 1]
  assert front([(math.nan, math.nan), (1.0, 1.0)]).tolist() == [1]


def by_counting(points, reference):
  """The area as a number of unit squares: a square counts if a point is at or below its lower corner."""
  squares = itertools.product(range(reference[0]), range(reference[1]))
  return sum(any(x <= a and y <= b for x, y in points) for a, b in squares)


def test_a_hypervolume_is_the_area_that_is_dominated():
  for seed in range(60):
    rng = np.random.default_rng(seed)
    points, reference = rng.integers(0, 12, size=(rng.integers(0, 9), 2)), rng.integers(1, 11, size=2)  # some beyond the reference
    assert hypervolume(points.reshape(-1, 2), reference) == by_counting(points.tolist(), reference.tolist())
  assert hypervolume([(-0.25, 0.5)], (0.0, 1.0)) == 0.125 and hypervolume([(0.0, 0.0)], (0.0, 1.0)) == 0.0
  assert hypervolume([(math.nan, 0.0), (-math.inf, math.nan)], (1.0, 1.0)) == 0.0


def test_hypervolumes_are_those_of_the_first_points():
  for seed in range(20):
    points = np.random.default_rng(seed).normal(size=(30, 2)).round(1)
    points[seed] = math.nan
    found = hypervolumes(points, (1.0, 0.5))
    assert found.tolist() == [hypervolume(points[: number + 1], (1.0, 0.5)) for number in range(30)]
    assert (np.diff(found) >= 0).all()
