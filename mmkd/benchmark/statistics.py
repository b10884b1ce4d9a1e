"""Means over seeds, medians over rounds, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median, stdev

from scipy.special import stdtrit
from scipy.stats import quantile_test

CONFIDENCE = 0.95


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    r"""Mean, and half of the 95 % confidence interval of Student's t.

    .. math:: t_{0.975, n - 1} \, s / \sqrt{n}

    with s the standard deviation of the sample. It takes the values for independent and normal.

    Args:
        values (sequence of float): One a seed, at least one.

    Returns:
        tuple[float, float | None]: None where there is one value alone.
    """
    count = len(values)
    if count < 2:
        return mean(values), None
    quantile = stdtrit(count - 1, (1 + CONFIDENCE) / 2)
    return mean(values), float(quantile) * stdev(values) / count**0.5


def paired_differences(
    values: Mapping[int, float], control: Mapping[int, float]
) -> dict[int, float]:
    """What each seed gains over the control with the same seed, for the seeds that both have.

    Args:
        values (mapping): Seed to value.
        control (mapping): Seed to value of the control.
    """
    return {seed: values[seed] - control[seed] for seed in values if seed in control}


#: Of fewer values not even the smallest and the largest surely enclose the median.
MIN_ROUNDS = 6


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, and the ends of its 95 % confidence interval.

    The ends are values of the sample, by the binomial distribution of how many lie below the
    median (Conover, *Practical Nonparametric Statistics*, section 3.2): nothing is assumed but that
    values are independent and of one distribution.

    Args:
        values (sequence of float): At least ``MIN_ROUNDS``.
    """
    interval = quantile_test(values, p=0.5).confidence_interval(CONFIDENCE)
    return median(values), float(interval.low), float(interval.high)
