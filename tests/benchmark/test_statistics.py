"""Intervals against a slow evaluation of their definition."""

import math

import numpy as np
import pytest

from mmkd.benchmark.statistics import (
    MIN_ROUNDS,
    mean_interval,
    median_interval,
    paired_differences,
)


def t_quantile(freedom):
    """Where the density of Student's t, summed up step by step from 0, has reached 0.475."""
    x = np.linspace(0, 50, 2_000_001)
    log_norm = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    density = math.exp(log_norm) / math.sqrt(freedom * math.pi)
    density = density * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)]) * (x[1] - x[0])
    return x[np.searchsorted(mass, 0.475)]


@pytest.mark.parametrize('values', [[48.0, 51.0], [1.0, 2.0, 4.0, 4.5, 9.0], list(range(30))])
def test_the_interval_is_that_of_students_t(values):
    count = len(values)
    center = sum(values) / count
    variance = sum((value - center) ** 2 for value in values) / (count - 1)
    expected = t_quantile(count - 1) * math.sqrt(variance / count)
    found, half = mean_interval(values)
    assert found == pytest.approx(center)
    assert half == pytest.approx(expected, rel=1e-4)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    samples = np.random.default_rng(0).normal(70.0, 2.0, (2000, 5))
    hits = [abs(center - 70) < half for center, half in map(mean_interval, samples.tolist())]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)


def test_one_value_has_no_interval():
    assert mean_interval([3.0]) == (3.0, None)


def test_differences_are_of_the_same_seed_and_of_seeds_that_both_have():
    found = paired_differences({0: 50.0, 1: 61.0, 3: 9.0}, {1: 60.0, 0: 48.0, 2: 7.0})
    assert found == {0: 2.0, 1: 1.0}
    # Seeds that are far apart do not widen the interval of a gain.
    assert mean_interval(list(found.values()))[1] < mean_interval([50.0, 61.0])[1]


@pytest.mark.parametrize('count', [6, 10, 21])
def test_an_interval_of_the_median_is_the_tightest_pair_of_ranks_that_misses_it_rarely_enough(
    count,
):
    values = np.random.default_rng(0).permutation(count).astype(float).tolist()
    # Below the median lie as many values as tosses of a coin show heads.
    tails = np.cumsum([math.comb(count, heads) for heads in range(count + 1)]) / 2**count
    rank = np.flatnonzero(tails <= 0.025)[-1]
    assert median_interval(values) == ((count - 1) / 2, rank, count - 1 - rank)


def test_the_least_number_of_rounds_has_an_interval_and_one_less_has_none():
    assert not math.isnan(median_interval(range(MIN_ROUNDS))[1])
    assert math.isnan(median_interval(range(MIN_ROUNDS - 1))[1])
