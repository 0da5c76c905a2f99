"""Points with several objectives, all to be minimized: which are on the front, and the hypervolume.

Source: Zitzler and Thiele, "Multiobjective Evolutionary Algorithms: A Comparative Case Study and the Strength Pareto Approach", IEEE
Transactions on Evolutionary Computation 1999.
"""

import numpy as np
from numpy.typing import ArrayLike


def front(points: ArrayLike) -> np.ndarray:
  """Returns the numbers of the points, [n, objectives], that no other point dominates, ascending; of equal points the first.

  A point dominates another if it is smaller or equal in every objective, and smaller in one. A point with a value that is no number counts
  as infinite there.
  """
  points = _numbers(points)
  kept: list[int] = []
  for number in np.lexsort(points.T[::-1]).tolist():  # a point that dominates another comes before it
    if not (points[kept] <= points[number]).all(1).any():
      kept.append(number)
  return np.array(sorted(kept), int)


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
  """Returns the area that points, [n, 2], dominate up to a reference point, [2]. It is exact: a sum of rectangles over the front.

  Points that do not dominate the reference point add nothing.
  """
  points, reference = _numbers(points), np.asarray(reference, float)
  points = points[(points < reference).all(1)]
  ordered = points[front(points)]
  ordered = ordered[np.argsort(ordered[:, 0])]  # along the front the second objective falls
  heights = np.append(reference[1], ordered[:-1, 1]) - ordered[:, 1] if len(ordered) else np.zeros(0)
  return float(((reference[0] - ordered[:, 0]) * heights).sum())


def hypervolumes(points: ArrayLike, reference: ArrayLike) -> np.ndarray:
  """Returns the hypervolume of the first 1, 2, ... n of the points, [n, 2], up to a reference point, [2]: [n]."""
  points, out, kept = _numbers(points), list[float](), np.zeros((0, 2))
  for point in points:
    if not (kept <= point).all(1).any():
      kept = np.vstack([kept[~(point <= kept).all(1)], point])
      out.append(hypervolume(kept, reference))
    else:
      out.append(out[-1])
  return np.array(out)


def _numbers(points: ArrayLike) -> np.ndarray:
  points = np.asarray(points, float)
  points = points if points.size else points.reshape(0, points.shape[-1] if points.ndim > 1 else 2)
  return np.where(np.isnan(points), np.inf, points)
