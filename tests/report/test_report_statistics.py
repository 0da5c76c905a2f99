"""Statistics of searches, against closed forms and enumeration."""

import itertools
import math

import numpy as np
import pytest

from dnas.report.statistics import (
  anytime,
  best_of,
  interval,
  percentile_interval,
  rank_correlation,
  resample_counts,
  resampled_correlations,
  times_random_search,
  top_precision,
)


def test_the_interval_of_a_mean():
  mean, low, high = interval([1.0, 2.0, 3.0, 4.0, 5.0])
  half = 2.776445 * math.sqrt(2.5 / 5)  # Student's quantile with 4 degrees of freedom
  assert (mean, low, high) == (3.0, pytest.approx(3 - half, rel=1e-6), pytest.approx(3 + half, rel=1e-6))
  assert np.isnan(interval([2.0])[1:]).all() and interval([2.0]).mean == 2.0


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_the_best_of_k_by_enumeration(k):
  rng = np.random.default_rng(0)
  valid, test = rng.normal(size=6), rng.normal(size=6)
  sets = [max(chosen, key=lambda i: valid[i]) for chosen in itertools.combinations(range(6), k)]
  assert best_of(valid, test, k) == pytest.approx(np.mean([test[i] for i in sets]), rel=1e-12)


def test_the_best_of_many_does_not_overflow():
  values = np.arange(50_000.0)
  assert best_of(values, values, 50_000) == pytest.approx(49_999)
  assert best_of(values, values, 100) == pytest.approx(100 * 50_001 / 101 - 1, rel=1e-6)  # the expected maximum of a lottery


def test_how_many_times_random_search():
  scores = np.arange(1.0, 101.0)  # the expected maximum of m of them is 101 m / (m + 1)
  times = times_random_search(101 * 4 / 5, scores, seconds_each=10.0, budget=20.0)
  assert times.reached and times.ratio == pytest.approx(4 * 10 / 20) and str(times) == "2.0"
  between = times_random_search((101 * 4 / 5 + 101 * 5 / 6) / 2, scores, 10.0, 20.0)
  assert between.ratio == pytest.approx(4.5 * 10 / 20)
  assert times_random_search(10.0, scores, 10.0, 20.0) == (0.5, True)  # a single one is better
  never = times_random_search(100.5, scores, 10.0, 20.0)
  assert never == (50.0, False) and str(never) == "more than 50"


def test_anytime_curves_are_steps():
  curves = [[(1.0, 5.0), (3.0, 7.0)], [(2.0, 1.0)]]
  values = anytime(curves, np.array([0.5, 1.0, 2.9, 3.0, 10.0]))
  np.testing.assert_array_equal(values, [[np.nan, 5, 5, 7, 7], [np.nan, np.nan, 1, 1, 1]])


def test_rank_correlation():
  assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]) == (pytest.approx(1), pytest.approx(1))
  kendall, spearman = rank_correlation([1, 2, 3, 4], [1, 3, 2, 4])
  assert (kendall, spearman) == (pytest.approx(4 / 6), pytest.approx(0.8))
  assert all(map(math.isnan, rank_correlation([1, 1], [1, 2]))) and all(map(math.isnan, rank_correlation([1], [2])))


def test_resampled_correlations_are_those_of_scipy_over_each_resample():
  rng = np.random.default_rng(1)
  cheap, full = rng.integers(6, size=14).astype(float), rng.normal(size=14)
  cheap[3], cheap[5] = -np.inf, np.nan  # both failed, and are equally bad
  counts = resample_counts(14, 5, rng)
  assert (counts.sum(1) == 14).all() and counts.max() > 1
  kendall, spearman = resampled_correlations(cheap, full, np.vstack([np.ones(14), counts]))
  for row, times in enumerate([np.ones(14), *counts]):
    chosen = np.repeat(np.arange(14), times.astype(int))
    wanted = rank_correlation(np.where(np.isfinite(cheap), cheap, -9)[chosen], full[chosen])
    assert (kendall[row], spearman[row]) == (pytest.approx(wanted.kendall), pytest.approx(wanted.spearman))
  assert np.isnan(resampled_correlations(np.ones(4), np.arange(4.0), np.ones((2, 4)))).all()


def test_an_interval_of_percentiles():
  assert percentile_interval(0.5, np.arange(101.0), level=0.9) == (0.5, pytest.approx(5), pytest.approx(95))
  assert percentile_interval(0.5, np.array([np.nan, 1.0])) == (0.5, 1.0, 1.0)
  assert np.isnan(percentile_interval(0.5, np.array([np.nan]))[1:]).all()


def test_the_precision_in_the_top_tenth_is_an_expectation_over_equal_scores():
  full = np.arange(20.0)
  assert top_precision(full, full) == 1.0 and top_precision(-full, full) == 0.0
  assert top_precision(np.ones(20), full) == pytest.approx(0.1)  # at random
  cheap = np.where(full >= 16, 1.0, 0.0)  # four are equally good, and two of them are the best
  orders = [set(pair) for pair in itertools.combinations(range(16, 20), 2)]
  assert top_precision(cheap, full) == pytest.approx(np.mean([len(pair & {18, 19}) / 2 for pair in orders]))
  assert top_precision(full[:11], full[:11]) == 1.0  # a tenth of 11, rounded up, is two
