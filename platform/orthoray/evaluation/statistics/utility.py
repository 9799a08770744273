"""Decision curves: what acting on a prediction is worth at each threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orthoray.evaluation.statistics.checks import Floats, StatisticInputError, binary, chances, vector


class DecisionCurve(NamedTuple):
    """Net benefit per patient, in true positives; all arrays are (T,).

    Attributes:
        thresholds: probabilities from which on one treats, as given.
        model: treat those whose probability reaches the threshold.
        treat_all: treat everybody.
        treat_none: 0.
    """

    thresholds: Floats
    model: Floats
    treat_all: Floats
    treat_none: Floats


def decision_curve(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, thresholds: npt.ArrayLike | None = None
) -> DecisionCurve:
    """Net benefit of a model, of treating all and of treating none.

    At threshold t: TP / N - FP / N · t / (1 - t). Needs calibrated probabilities of samples with the prevalence of use.

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) of class 1.
        thresholds: (T,) in [0, 1); None = 0.01, 0.02, …, 0.99.

    Raises:
        ValueError: NaN, one class, lengths that differ, probabilities outside [0, 1], thresholds outside [0, 1).

    Source: Vickers and Elkin, Medical Decision Making 2006.
    """
    p = chances(probabilities)
    y = binary(labels, len(p))
    at = np.arange(1, 100) / 100 if thresholds is None else vector("thresholds", thresholds).copy()
    if at.min() < 0 or at.max() >= 1:
        raise StatisticInputError(f"thresholds reach from {at.min():g} to {at.max():g}; they must lie in [0, 1).")
    ones, zeros = np.sort(p[y == 1]), np.sort(p[y == 0])
    weight = at / (1 - at)
    treated = len(ones) - np.searchsorted(ones, at, side="left")
    wrongly = len(zeros) - np.searchsorted(zeros, at, side="left")
    model = (treated - weight * wrongly) / len(p)
    return DecisionCurve(at, model, (len(ones) - weight * len(zeros)) / len(p), np.zeros(len(at)))
