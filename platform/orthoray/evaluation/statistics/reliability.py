"""Reliability curves: what happened in bins of equal mass, with Wilson's intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from orthoray.evaluation.statistics.checks import Floats, Ints, StatisticInputError, between, binary, chances, vector


class ReliabilityCurve(NamedTuple):
    """B bins in order of their probabilities; all arrays are (B,).

    Attributes:
        predicted: mean probability in the bin.
        observed: share of class 1 in the bin.
        low: lower end of Wilson's interval of ``observed``.
        high: upper end.
        samples: how many are in the bin; they sum to N.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    samples: Ints


def reliability_curve(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = 10, level: float = 0.95
) -> ReliabilityCurve:
    """Observed share against predicted probability.

    The intervals take samples for independent; with several per patient they are too narrow.

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) of class 1.
        bins: of equal mass, at least 1; fewer come out where many probabilities are equal, which share a bin.
        level: of the intervals, between 0 and 1.

    Raises:
        ValueError: NaN, one class, lengths that differ, probabilities outside [0, 1], no bin.
    """
    p = chances(probabilities)
    y = binary(labels, len(p))
    number = equal_mass(p, bins)
    samples = np.bincount(number)
    ones = np.bincount(number, weights=y)
    low, high = wilson(ones, samples, level=level)
    return ReliabilityCurve(np.bincount(number, weights=p) / samples, ones / samples, low, high, samples)


def wilson(successes: npt.ArrayLike, trials: npt.ArrayLike, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of a proportion.

    Args:
        successes: (B,) in 0..trials.
        trials: (B,) at least 1.
        level: of confidence, between 0 and 1.

    Returns:
        (B,) lower and (B,) upper ends, in [0, 1].

    Raises:
        ValueError: NaN, no trial, or more successes than trials.

    Source: Wilson, JASA 1927; without continuity correction (method 3 of Newcombe, Statistics in Medicine 1998).
    """
    between("level", level)
    k, n = vector("successes", successes), vector("trials", trials)
    if len(k) != len(n) or (n < 1).any() or (k < 0).any() or (k > n).any():
        raise StatisticInputError("successes must lie in 0..trials, trials be at least 1, one of each per proportion.")
    z2 = float(stats.norm.isf((1 - level) / 2)) ** 2
    centre = (k + z2 / 2) / (n + z2)
    reach = np.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
    low = np.where(k == 0, 0.0, np.maximum(centre - reach, 0.0))
    return low, np.where(k == n, 1.0, np.minimum(centre + reach, 1.0))


def equal_mass(probabilities: Floats, bins: int) -> Ints:
    """(N,) number of each sample's bin, 0..B-1 with B <= ``bins``; equal probabilities share a bin."""
    if bins < 1:
        raise StatisticInputError(f"bins is {bins}; give at least 1.")
    ordered = np.sort(probabilities)
    cuts = ordered[np.arange(1, bins) * len(ordered) // bins]
    number = np.searchsorted(cuts, probabilities, side="right")
    return np.unique(number, return_inverse=True)[1].astype(np.int64)
