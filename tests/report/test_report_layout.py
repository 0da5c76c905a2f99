"""The layout keeps its distances, crosses no more links than it must, and puts positions where least squares does."""

import numpy as np
import pytest

from dnas.report.layout import Link, layered_layout
from dnas.report.ordering import spread

BOX, LABEL = (0.4, 0.34), (0.8, 0.2)


def crossings(layout):
  """Pairs of links whose routes change their order between two heights where both run."""
  xs = np.linspace(0.0, layout.width, 400)
  heights = []
  for route in layout.routes:
    t = np.linspace(0, 1, 50)[:, None]
    curves = [route[i : i + 4] for i in range(0, len(route) - 1, 3)]
    points = np.concatenate([(1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d for a, b, c, d in curves])
    heights.append(np.interp(xs, points[:, 0], points[:, 1], left=np.nan, right=np.nan))
  count = 0
  for i, one in enumerate(heights):
    for two in heights[i + 1 :]:
      signs = np.sign((one - two)[~np.isnan(one - two)])
      count += int(np.sum(signs[1:] * signs[:-1] < 0))
  return count


@pytest.mark.parametrize("seed", range(5))
def test_spread_is_the_constrained_least_squares_solution(seed):
  rng = np.random.default_rng(seed)
  wanted, distances, weights = rng.normal(size=6), rng.uniform(0.1, 0.5, 5), rng.uniform(0.5, 2.0, 6)
  found = spread(wanted, distances, weights)
  assert np.all(np.diff(found) >= distances - 1e-9)
  best = weights @ np.square(found - wanted)
  for _ in range(300):  # no feasible point nearby is better
    shifted = found + 0.05 * rng.normal(size=6)
    if np.all(np.diff(shifted) >= distances):
      assert weights @ np.square(shifted - wanted) >= best


def test_spread_leaves_positions_that_are_apart():
  np.testing.assert_allclose(spread([0.0, 1.0, 5.0], [0.5, 0.5]), [0.0, 1.0, 5.0])
  np.testing.assert_allclose(spread([1.0, 1.0], [0.5]), [0.75, 1.25])
  np.testing.assert_allclose(spread([2.0], []), [2.0])


def test_links_start_and_end_at_their_boxes():
  links = [Link(0, 2, LABEL), Link(1, 2, LABEL), Link(0, 2, LABEL), Link(0, 3)]
  layout = layered_layout([0, 0, 1, 2], [BOX] * 4, links)
  for link, route in zip(links, layout.routes, strict=True):
    for end, point, side in ((link.source, route[0], 1), (link.target, route[-1], -1)):
      assert point[0] == pytest.approx(layout.centers[end, 0] + side * BOX[0] / 2)
      assert abs(point[1] - layout.centers[end, 1]) <= layout.heights[end] / 2
    assert np.all(np.diff(route[:, 0]) >= -1e-9)
  assert [label is not None for label in layout.labels] == [True, True, True, False]
  assert layout.width > np.max(layout.centers[:, 0]) and layout.height >= np.max(layout.heights)


def test_a_planar_graph_is_drawn_without_crossings():
  tree = [Link(0, 1, LABEL), Link(0, 2, LABEL), Link(1, 3, LABEL), Link(2, 4, LABEL), Link(1, 5, LABEL), Link(2, 6, LABEL), Link(0, 7)]
  assert crossings(layered_layout([0, 1, 1, 2, 2, 2, 2, 3], [BOX] * 8, tree)) == 0


def test_two_boxes_that_read_the_same_two_cross_once():
  links = [Link(source, target, LABEL) for target in (2, 3) for source in (0, 1)]
  assert crossings(layered_layout([0, 0, 1, 1], [BOX] * 4, links)) == 1


def test_a_layout_is_the_same_every_time():
  links = [Link(source, target, LABEL) for target in (2, 3, 4) for source in (0, 1)] + [Link(2, 5, LABEL), Link(0, 5, LABEL)]
  one, two = (layered_layout([0, 0, 1, 1, 1, 2], [BOX] * 6, links) for _ in range(2))
  np.testing.assert_array_equal(one.centers, two.centers)
