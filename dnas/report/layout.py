"""Layered drawing of a directed graph: where boxes, labels and curved links go.

Boxes stand in columns from left to right and every label has a place of its own in a column between two columns of boxes. A link that
spans several columns gets an empty place in each of them, so it bows around the boxes and labels there. Nothing overlaps by construction:
places in a column are kept apart, and a link bends between columns, or within one where there is room.

Lengths are inches; x grows to the right and y grows downwards.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from dnas.report.ordering import PORT, Graph, Order, best_order, port_offsets

_GAP = 0.3
"""Least horizontal distance between two columns; links bend there."""
_CLEARANCE = 0.06
"""Least vertical distance between a link and a place that it passes."""
_STIFFNESS = (1.0, 3.0, 40.0)
"""Weight of a segment of which none, one or both ends are in the middle of a link."""


@dataclasses.dataclass(frozen=True)
class Link:
  """An arrow from box `source` to box `target`.

  Attributes:
    source: index of the box where it starts, in a column before that of `target`.
    target: index of the box where it ends.
    label: (width, height) of its label, or None.
  """

  source: int
  target: int
  label: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
  """Coordinates of a drawing.

  Attributes:
    centers: centre of every box [boxes, 2].
    heights: height of every box [boxes]; a box with many links grows.
    labels: centre of the label of every link, or None.
    routes: cubic Bezier vertices of every link [3 * curves + 1, 2], from the right side of its source to the left side of its target.
    width: of the drawing.
    height: of the drawing.
  """

  centers: np.ndarray
  heights: np.ndarray
  labels: list[tuple[float, float] | None]
  routes: list[np.ndarray]
  width: float
  height: float


def layered_layout(columns: Sequence[int], sizes: Sequence[tuple[float, float]], links: Sequence[Link]) -> Layout:
  """Lays out a graph.

  Args:
    columns: column of every box, from 0.
    sizes: (width, least height) of every box.
    links: the arrows; several may join the same two boxes.
  """
  graph, widths, chains = _places(columns, sizes, links)
  order, y = best_order(graph)
  if order[0][0] > order[0][-1]:
    order, y = [column[::-1] for column in order], -y
  y = y - np.min(y - graph.heights / 2)
  half = np.array([np.max(widths[column]) / 2 for column in order])
  offsets = port_offsets(graph, order)
  heights = y[graph.segments] + offsets
  climb = np.zeros(len(order) - 1)
  np.maximum.at(climb, graph.column[graph.segments[:, 0]], np.abs(heights[:, 1] - heights[:, 0]))
  x = np.cumsum(np.concatenate([[half[0]], half[:-1] + np.maximum(_GAP, 0.35 * climb) + half[1:]]))[graph.column]
  room, across = _room(graph, order, y), half[graph.column]
  routes, labels, first = [], [], 0
  for chain in chains:
    last = first + len(chain) - 2
    levels = np.array([heights[first, 0], *y[chain[1:-1]], heights[last, 1]])
    routes.append(_route(x[chain], levels, widths[chain] / 2, across[chain], room[chain]))
    label = [place for place in chain[1:-1] if widths[place]]
    labels.append((float(x[label[0]]), float(y[label[0]])) if label else None)
    first = last + 1
  boxes = np.arange(len(columns))
  return Layout(
    np.stack([x[boxes], y[boxes]], 1), graph.heights[boxes], labels, routes, float(np.max(x + across)), float(np.max(y + graph.heights / 2))
  )


def _places(
  columns: Sequence[int], sizes: Sequence[tuple[float, float]], links: Sequence[Link]
) -> tuple[Graph, np.ndarray, list[list[int]]]:
  """Makes the places and returns their graph, their widths [places], and the places of every link.

  Boxes come first, in even columns. A label stands in the odd column before its target. A link has an empty place wherever it passes.
  """
  leaving = np.bincount([link.source for link in links], minlength=len(columns))
  ports = np.maximum(leaving, np.bincount([link.target for link in links], minlength=len(columns)))
  heights = [max(height, PORT * (count + 0.6)) for (_, height), count in zip(sizes, ports, strict=True)]
  widths, column, chains, segments, weights = [width for width, _ in sizes], [2 * i for i in columns], [], [], []
  for link in links:
    chain = [link.source]
    for between in range(2 * columns[link.source] + 1, 2 * columns[link.target]):
      width, height = link.label if link.label and between == 2 * columns[link.target] - 1 else (0.0, 0.0)
      chain.append(len(column))
      column.append(between)
      widths.append(width)
      heights.append(height)
    chain.append(link.target)
    chains.append(chain)
    segments += zip(chain, chain[1:], strict=False)
    weights += [_STIFFNESS[(i > 0) + (i < len(chain) - 2)] for i in range(len(chain) - 1)]
  return Graph(np.array(column), np.array(heights), np.array(segments), np.array(weights)), np.array(widths), chains


def _room(graph: Graph, order: Order, y: np.ndarray) -> np.ndarray:
  """Returns the free height above and below every place [places, 2]; infinite at the ends of a column."""
  room = np.full((len(y), 2), np.inf)
  for column in order:
    free = np.diff(y[column]) - (graph.heights[column][1:] + graph.heights[column][:-1]) / 2
    room[column[1:], 0] = room[column[:-1], 1] = free
  return room


def _route(x: np.ndarray, y: np.ndarray, half_widths: np.ndarray, across: np.ndarray, room: np.ndarray) -> np.ndarray:
  """Returns the Bezier vertices of a link through its places.

  A link is level at boxes and labels. Elsewhere it may climb, but not into the places above and below: it runs straight across the
  column unless there is room for the whole climb on the side that it comes from or goes to.

  Args:
    x: centres of the columns [n].
    y: heights of the link there [n].
    half_widths: half the width of the box or label, 0 at an empty place [n].
    across: half the width of the column [n].
    room: free height above and below the places [n, 2].
  """
  climbs = np.diff(y)
  knots = [(x[0] + half_widths[0], y[0], 0.0), (x[0] + across[0], y[0], 0.0)]
  for i in range(1, len(x) - 1):
    slope, reach = 0.0, (across[i], across[i])
    if not half_widths[i]:
      if not across[i]:
        continue
      slope = _slope(climbs[i - 1 : i + 1] / np.diff(x[i - 1 : i + 2]), max(0.0, np.min(room[i]) - _CLEARANCE) / across[i])
      arriving, leaving = room[i, int(climbs[i - 1] < 0)], room[i, int(climbs[i] > 0)]
      reach = (across[i] * (arriving < abs(climbs[i - 1]) + _CLEARANCE), across[i] * (leaving < abs(climbs[i]) + _CLEARANCE))
    knots += [(x[i] - reach[0], y[i] - slope * reach[0], slope), (x[i] + reach[1], y[i] + slope * reach[1], slope)]
  knots += [(x[-1] - across[-1], y[-1], 0.0), (x[-1] - half_widths[-1], y[-1], 0.0)]
  vertices = [knots[0][:2]]
  for (x0, y0, slope0), (x1, y1, slope1) in zip(knots, knots[1:], strict=False):
    handle = 0.42 * (x1 - x0)
    if handle > 1e-9:
      vertices += [(x0 + handle, y0 + handle * slope0), (x1 - handle, y1 - handle * slope1), (x1, y1)]
  return np.array(vertices)


def _slope(chords: np.ndarray, steepest: float) -> float:
  """Returns the slope between two chords [2]: level at a turn, else as the gentler one, and never above `steepest`."""
  if chords[0] * chords[1] <= 0:
    return 0.0
  return float(np.sign(chords[0]) * min(abs(chords[0]), abs(chords[1]), steepest))
