"""The ends of a bootstrap interval: percentiles, or bias-corrected and accelerated ones (Efron, JASA 1987)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from orthoray.evaluation.statistics.checks import Floats, StatisticInputError
from orthoray.evaluation.statistics.resampling import Cohort


class Spread(NamedTuple):
    """Bias z0 and acceleration of a bootstrap distribution; both 0: the percentile method."""

    bias: float
    acceleration: float

    def ends(self, values: Floats, level: float) -> tuple[float, float]:
        """Lower and upper end of the interval."""
        shifted = self.bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
        stretch = 1 - self.acceleration * shifted
        reach = np.where(stretch > 0, shifted / np.where(stretch > 0, stretch, 1), np.sign(shifted) * np.inf)
        low, high = np.quantile(values, ndtr(self.bias + reach))
        return float(low), float(high)

    def p(self, values: Floats) -> float:
        """Twice the smaller of the two tails beyond 0, each put through the inverse of what `ends` does to it."""
        tails = [(int((side <= 0).sum()) + 1) / (len(values) + 1) for side in (values, -values)]
        return min(1.0, 2 * min(self._level(tails[0]), 1 - self._level(1 - tails[1])))

    def _level(self, share: float) -> float:
        if self == PERCENTILE:
            return share
        shifted = float(ndtri(share)) - self.bias
        stretch = 1 + self.acceleration * shifted
        return float(ndtr(shifted / stretch - self.bias)) if stretch > 0 else float(shifted > 0)


PERCENTILE = Spread(0.0, 0.0)


def spread_of(value: float, values: Floats, without: Floats, cohort: Cohort) -> Spread:
    """Bias and acceleration from the values without each patient (Efron 1987).

    The acceleration of several strata: Davison and Hinkley 1997, section 5.3.2.
    """
    if not np.isfinite(without).all():
        raise StatisticInputError(
            "without one of the patients the metric is not defined, so method='bca' is not; use method='percentile'."
        )
    below = float((values < value).mean() + 0.5 * (values == value).mean())
    edge = 0.5 / len(values)
    parts = [
        (len(members) - 1) / len(members) * (without[members].mean() - without[members]) for members in cohort.strata
    ]
    influence = np.concatenate(parts)
    squares = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    return Spread(float(ndtri(np.clip(below, edge, 1 - edge))), acceleration)
