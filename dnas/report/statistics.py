"""Statistics of repeated searches: means with intervals, the best of k and what it costs, anytime curves, rank correlation."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats


class Interval(NamedTuple):
  """A mean and its confidence interval."""

  mean: float
  low: float
  high: float


def interval(values: ArrayLike, level: float = 0.95) -> Interval:
  """Returns the mean of independent values, [n], and Student's interval for it; both ends are nan for a single value."""
  values = np.asarray(values, float)
  mean = float(values.mean())
  if len(values) < 2:
    return Interval(mean, math.nan, math.nan)
  half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
  return Interval(mean, mean - half, mean + half)


def best_of(chosen_by: ArrayLike, reported: ArrayLike, k: int) -> float:
  """Returns the expected reported value of the best of k runs, where the k runs are a uniform random subset of the n.

  The run of rank i, counted from the lowest, is the best of k with probability C(i - 1, k - 1) / C(n, k). The result is exact: no subset
  is sampled. The best of k costs as much as k runs.

  Args:
    chosen_by: the scores that select the best run, [n]; among equal scores, the earlier run ranks lower.
    reported: the values to report, [n]; the value of the selected run counts.
    k: how many runs, at most n.
  """
  reported = np.asarray(reported, float)[np.argsort(np.asarray(chosen_by, float), kind="stable")]
  return float(_probabilities(len(reported), k) @ reported)


def _probabilities(n: int, k: int) -> np.ndarray:
  """Returns, for every rank from the lowest, the probability that it is the best of k runs out of n: [n]."""
  below = np.arange(n, dtype=float)  # number of runs that rank lower
  possible = below >= k - 1
  below = np.where(possible, below, k - 1)
  logs = special.gammaln(below + 1) - special.gammaln(k) - special.gammaln(below - k + 2)
  logs -= special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
  return np.where(possible, np.exp(logs), 0.0)


class Times(NamedTuple):
  """How many times random search a method is worth.

  Attributes:
    ratio: the budget that random search needs to reach the same score, divided by the budget of the method.
    reached: whether random search reaches that score with the recorded evaluations; otherwise the ratio is a lower bound.
  """

  ratio: float
  reached: bool

  def __str__(self) -> str:
    return f"{self.ratio:.1f}" if self.reached else f"more than {self.ratio:.0f}"


def times_random_search(target: float, scores: ArrayLike, seconds_each: float, budget: float) -> Times:
  """Returns the budget at which the expected best score of random search is `target`, relative to the budget of the method.

  The expected best of m evaluations is that of m draws without replacement from all evaluations of random search, pooled over its runs
  (`best_of`). Between whole numbers of evaluations it is interpolated linearly.

  Args:
    target: the mean final score of the method.
    scores: the scores of all evaluations of random search, [n].
    seconds_each: seconds of one evaluation.
    budget: seconds of one search by the method.
  """
  ranked = np.sort(np.asarray(scores, float))

  def expected(m: int) -> float:
    return float(_probabilities(len(ranked), m) @ ranked)

  if expected(len(ranked)) < target:
    return Times(len(ranked) * seconds_each / budget, False)
  low, high = 1, len(ranked)
  if expected(1) >= target:
    return Times(seconds_each / budget, True)
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if expected(middle) < target else (low, middle)
  share = (target - expected(low)) / (expected(high) - expected(low))
  return Times((low + share) * seconds_each / budget, True)


def anytime(curves: Sequence[Sequence[tuple[float, float]]], grid: np.ndarray) -> np.ndarray:
  """Returns the value of every step curve at every time, [curves, times]; nan before its first step.

  Args:
    curves: steps (seconds, value from then on), ascending in seconds.
    grid: times in seconds, [times].
  """
  out = np.full((len(curves), len(grid)), np.nan)
  for row, curve in enumerate(curves):
    seconds, values = np.array(curve, float).T
    steps = np.searchsorted(seconds, grid, side="right") - 1
    out[row] = np.where(steps >= 0, values[np.maximum(steps, 0)], np.nan)
  return out


class RankCorrelation(NamedTuple):
  """Kendall's tau (b) and Spearman's rho; nan where either side is constant."""

  kendall: float
  spearman: float


def rank_correlation(cheap: ArrayLike, full: ArrayLike) -> RankCorrelation:
  """Returns the rank correlation of two evaluations of the same architectures, [n] each, with at least two of them."""
  cheap, full = np.asarray(cheap, float), np.asarray(full, float)
  if len(cheap) < 2 or np.ptp(cheap) == 0 or np.ptp(full) == 0:
    return RankCorrelation(math.nan, math.nan)
  correlations = (stats.kendalltau(cheap, full), stats.spearmanr(cheap, full))
  return RankCorrelation(*(float(one.statistic) for one in correlations))  # pyright: ignore[reportAttributeAccessIssue]  # scipy has no types
