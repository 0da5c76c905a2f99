"""Order and height of the places of a layered drawing, column by column.

Crossings of links are made few by sorting every column by the mean position of its neighbours and by swapping (Sugiyama, Tagawa and Toda,
1981), from several starts. Heights then solve a convex problem: links as straight as possible, the order kept, nothing too close.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

PORT = 0.115
"""Inches between two links that touch the same side of a box."""
MARGIN = 0.1
"""Least inches between two places of a column."""

_RESTARTS, _SWEEPS, _ROUNDS, _TOLERANCE = 12, 6, 60, 1e-3


@dataclasses.dataclass(frozen=True)
class Graph:
  """Places in columns, and segments between places of neighbouring columns.

  Attributes:
    column: column of every place [places].
    heights: height of every place, in inches [places].
    segments: (left place, right place) of every segment [segments, 2].
    weights: weight of the straightness of each segment [segments].
  """

  column: np.ndarray
  heights: np.ndarray
  segments: np.ndarray
  weights: np.ndarray


Order = list[list[int]]
"""The places of every column, from the top."""


def best_order(graph: Graph) -> tuple[Order, np.ndarray]:
  """Returns the order of the places and their heights [places], inches that grow downwards.

  Of the orders tried the best has the fewest crossings, then the straightest links, then the fewest larger numbers above smaller ones.
  """
  rng = np.random.default_rng(0)
  start = [[int(place) for place in np.flatnonzero(graph.column == column)] for column in range(max(graph.column) + 1)]
  best, tried = None, set()
  for restart in range(_RESTARTS):
    order = [[int(place) for place in rng.permutation(column)] if restart else list(column) for column in start]
    crossings = _untangle(graph, order)
    if str(order) in tried or (best and crossings > best[0][0]):
      continue
    tried.add(str(order))
    y, bend = _straighten(graph, order)
    quality = crossings, round(bend, 2), sum(a > b for column in order for i, a in enumerate(column) for b in column[i + 1 :])
    if best is None or quality < best[0]:
      best = quality, order, y
  assert best is not None  # the first order is always kept
  return best[1:]


def port_offsets(graph: Graph, order: Order) -> np.ndarray:
  """Returns where segments touch their places, in inches from the centres [segments, 2]: each side of a box spreads its links in order."""
  rank = {place: i for column in order for i, place in enumerate(column)}
  offsets = np.zeros(graph.segments.shape)
  for end, other in ((0, 1), (1, 0)):
    touching: dict[int, list[int]] = {}
    for index in sorted(range(len(offsets)), key=lambda i: rank[graph.segments[i, other]]):
      touching.setdefault(graph.segments[index, end], []).append(index)
    for indices in touching.values():
      offsets[indices, end] = PORT * (np.arange(len(indices)) - (len(indices) - 1) / 2)
  return offsets


def spread(wanted: ArrayLike, distances: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
  """Returns the positions nearest to `wanted`, by weighted squares, of which each is at least its distance above the one before.

  It is isotonic regression by pooling of adjacent violators.

  Args:
    wanted: positions [n] in the order that they keep.
    distances: least distance between neighbours [n - 1].
    weights: weight of each wanted position [n]; equal if not given.
  """
  shift = np.concatenate([[0.0], np.cumsum(distances)])
  pools: list[list[float]] = []
  for value, weight in zip(np.asarray(wanted) - shift, np.ones(len(shift)) if weights is None else np.asarray(weights), strict=True):
    pools.append([value, weight, 1])
    while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
      value, weight, count = pools.pop()
      pool = pools[-1]
      pool[0] = (pool[0] * pool[1] + value * weight) / (pool[1] + weight)
      pool[1:] = [pool[1] + weight, pool[2] + count]
  return np.repeat([pool[0] for pool in pools], [int(pool[2]) for pool in pools]) + shift


def _untangle(graph: Graph, order: Order) -> int:
  """Reorders the columns in place and returns how many pairs of segments cross."""
  before: list[list[int]] = [[] for _ in graph.column]
  after: list[list[int]] = [[] for _ in graph.column]
  for u, v in graph.segments.tolist():
    after[u].append(v)
    before[v].append(u)
  rank = [0] * len(graph.column)

  def renumber(column: int) -> None:
    for i, place in enumerate(order[column]):
      rank[place] = i

  def crossings(places: list[int]) -> int:
    """Pairs that cross on both sides of the places, if they stand in this order."""
    count = 0
    for sides in (before, after):
      ends = [end for place in places for end in sorted(rank[other] for other in sides[place])]
      count += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return count

  def sort(column: int, sides: list[list[int]]) -> None:
    def mean(place: int) -> float:
      return sum(rank[other] for other in sides[place]) / len(sides[place]) if sides[place] else rank[place]

    order[column].sort(key=mean)
    renumber(column)

  def swap(column: int) -> None:
    places = order[column]
    for i in range(len(places) - 1):
      swapped = [places[i + 1], places[i]]
      if crossings(swapped) < crossings(places[i : i + 2]):
        places[i : i + 2] = swapped
    renumber(column)

  for column in range(len(order)):
    renumber(column)
  for _ in range(_SWEEPS):
    for column in range(1, len(order)):
      sort(column, before)
    for column in reversed(range(len(order) - 1)):
      sort(column, after)
    for column in range(len(order)):
      swap(column)
  return sum(crossings(column) for column in order) // 2


def _straighten(graph: Graph, order: Order) -> tuple[np.ndarray, float]:
  """Returns the height of every place [places] that makes links straightest, and the weighted sum of squared climbs that is left.

  That sum is convex and the constraints couple only places of one column, so minimizing it exactly, one column after the other, converges
  to its minimum.
  """
  offsets, (left, right), weights = port_offsets(graph, order), graph.segments.T, graph.weights
  lift = offsets[:, 1] - offsets[:, 0]
  y = np.zeros(len(graph.column))
  distances = [(graph.heights[column][1:] + graph.heights[column][:-1]) / 2 + MARGIN for column in order]
  total = np.full(len(y), 1e-9)  # a box without links stays where its neighbours leave it
  np.add.at(total, graph.segments.ravel(), np.repeat(weights, 2))
  for column, distance in zip(order, distances, strict=True):
    y[column] = np.concatenate([[0.0], np.cumsum(distance)]) - np.sum(distance) / 2
  for _ in range(_ROUNDS):
    last = y.copy()
    for column in [*range(1, len(order)), *reversed(range(len(order) - 1))]:
      wanted = 1e-9 * y
      np.add.at(wanted, left, weights * (y[right] + lift))
      np.add.at(wanted, right, weights * (y[left] - lift))
      y[order[column]] = spread((wanted / total)[order[column]], distances[column], total[order[column]])
    if np.max(np.abs(y - last)) < _TOLERANCE:
      break
  return y, float(weights @ np.square(y[right] - y[left] + lift))
