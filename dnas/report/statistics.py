"""Statistics of repeated searches: means with intervals, the best of k and what it costs, anytime curves, rank correlation, resampling."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy  # it imports its parts when they are first used, and scipy.stats takes as long as JAX
from numpy.typing import ArrayLike


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
  half = float(scipy.stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
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
  logs = scipy.special.gammaln(below + 1) - scipy.special.gammaln(k) - scipy.special.gammaln(below - k + 2)
  logs -= scipy.special.gammaln(n + 1) - scipy.special.gammaln(k + 1) - scipy.special.gammaln(n - k + 1)
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
  correlations = (scipy.stats.kendalltau(cheap, full), scipy.stats.spearmanr(cheap, full))
  return RankCorrelation(*(float(one.statistic) for one in correlations))  # pyright: ignore[reportAttributeAccessIssue]  # scipy has no types


def ranks(scores: ArrayLike) -> np.ndarray:
  """Returns the ranks of scores along the last axis, 1 for the lowest. Equal scores share their mean rank. What is no number is lowest."""
  scores = np.asarray(scores, float)
  return np.asarray(scipy.stats.rankdata(np.where(np.isnan(scores), -np.inf, scores), axis=-1), float)


def resampled_correlations(cheap: ArrayLike, full: ArrayLike, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns Kendall's tau (b) and Spearman's rho, [resamples] each, over resamples of the architectures that two evaluations share.

  Both follow from the signs s_ij and t_ij of the differences between two architectures, as Daniels showed (Biometrika, 1944). Tau is the
  correlation of these signs. Rho is that of their sums over j, since the sums are ranks, but for a shift and a factor.

  Args:
    cheap: scores, [n].
    full: scores of the same architectures, [n].
    counts: how often a resample holds each architecture, [resamples, n].
  """
  signs = [np.sign(one[:, None] - one) for one in (ranks(cheap), ranks(full))]
  sums = [counts @ one.T for one in signs]

  def of_pairs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (counts @ (one * other) * counts).sum(1)

  def of_sums(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (counts * one * other).sum(1)

  return _correlation(of_pairs, *signs), _correlation(of_sums, *sums)


def _correlation(product: Callable[[np.ndarray, np.ndarray], np.ndarray], one: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Returns the correlation by an inner product; nan where one side is zero."""
  size = np.sqrt(product(one, one) * product(other, other))
  return np.divide(product(one, other), size, out=np.full_like(size, np.nan), where=size > 0)


def resample_counts(n: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
  """Returns how often each of n things is in a bootstrap resample of n, [resamples, n]."""
  return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)


def percentile_interval(value: float, resampled: np.ndarray, level: float = 0.95) -> Interval:
  """Returns a value with its bootstrap interval, from percentiles of the resampled values, [resamples]; nan if none of them is a number."""
  known = resampled[np.isfinite(resampled)]
  low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if len(known) else (math.nan, math.nan)
  return Interval(value, float(low), float(high))


def top_precision(cheap: ArrayLike, full: ArrayLike, share: float = 0.1) -> float:
  """Returns what share of the best architectures by a cheap evaluation is among the best by the full one.

  The best are `share` of all, rounded up. Where equal scores straddle the border, the result is the expectation over their random order.

  Args:
    cheap: scores, [n].
    full: scores of the same architectures, [n].
    share: share of the architectures that count as best.
  """
  chances = [_chances_of_best(ranks(one), math.ceil(share * np.size(one))) for one in (cheap, full)]
  return float((chances[0] * chances[1]).sum() / chances[0].sum())


def _chances_of_best(ranked: np.ndarray, k: int) -> np.ndarray:
  """Returns the chance of each to be among the best k, [n], if equal ranks are in random order."""
  above = (ranked[None] > ranked[:, None]).sum(1)
  equal = (ranked[None] == ranked[:, None]).sum(1)
  return np.clip((k - above) / equal, 0, 1)
