"""The area under the ROC curve and its variance, also where patients have several samples.

DeLong, DeLong and Clarke-Pearson, Biometrics 1988, by midranks (Sun and Xu, IEEE Signal Processing Letters 2014); the
structural components are summed within patients (Obuchowski, Biometrics 1997): the same where each has one sample.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from orthoray.evaluation.statistics.checks import (
    Floats,
    Ints,
    StatisticInputError,
    between,
    binary,
    groups,
    matrix,
    vector,
)


class AurocInterval(NamedTuple):
    """Area under the ROC curve.

    Attributes:
        value: in [0, 1].
        low: lower end of the interval, cut at 0.
        high: upper end, cut at 1.
        se: standard error; 0 where all structural components are equal, as for perfect ranking: the interval is then a
            point that says nothing about other patients.
    """

    value: float
    low: float
    high: float
    se: float


def delong_covariance(
    labels: npt.ArrayLike, scores: npt.ArrayLike, patients: npt.ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Areas of M models on the same samples, and the covariance of these areas.

    With V10 the share of the n negatives that a positive outranks and V01 the share of the m positives that outrank a
    negative, a and b their sums within patients after the area was taken off, and I, I10, I01 the numbers of all
    patients, of those with positives and of those with negatives:

        cov = I10/(I10-1) Σ a a' / m² + I01/(I01-1) Σ b b' / n² + I/(I-1) Σ (a b' + b a') / (m n)

    Args:
        labels: (N,) 0 or 1, at least two samples (with ``patients``: samples of two patients) of each class.
        scores: (M, N), higher for class 1; any scale, ties count one half.
        patients: (N,) names; None = every sample is a patient of its own.

    Returns:
        (M,) areas and (M, M) covariance.

    Raises:
        ValueError: NaN, lengths that differ, labels other than 0 and 1, or too few samples or patients of a class.

    Source: Obuchowski 1997; DeLong et al. 1988 where every patient has one sample.
    """
    values = matrix("scores", scores)
    found = binary(labels, values.shape[1])
    return covariance(*pairs_won(found, values), found, people_of(found, patients))


def delong_variance(labels: npt.ArrayLike, scores: npt.ArrayLike, patients: npt.ArrayLike | None = None) -> float:
    """Variance of the area under the ROC curve; (N,) arguments and errors as those of `auroc_interval`."""
    variance = delong_covariance(labels, vector("scores", scores)[None], patients)[1]
    return max(float(variance[0, 0]), 0.0)


def auroc_interval(
    labels: npt.ArrayLike, scores: npt.ArrayLike, patients: npt.ArrayLike | None = None, *, level: float = 0.95
) -> AurocInterval:
    """Area under the ROC curve with the normal interval of DeLong's (with patients: Obuchowski's) variance.

    Args:
        labels: (N,) 0 or 1, at least two samples (with ``patients``: samples of two patients) of each class.
        scores: (N,), higher for class 1; ties count one half.
        patients: (N,) names; None = every sample is a patient of its own.
        level: of confidence, between 0 and 1.

    Raises:
        ValueError: as `delong_covariance`; ``level`` outside 0..1.
    """
    between("level", level)
    areas, variance = delong_covariance(labels, vector("scores", scores)[None], patients)
    value, se = float(areas[0]), math.sqrt(max(float(variance[0, 0]), 0.0))
    reach = float(stats.norm.isf((1 - level) / 2)) * se
    return AurocInterval(value, max(0.0, value - reach), min(1.0, value + reach), se)


def people_of(labels: Ints, patients: npt.ArrayLike | None) -> Ints:
    """(N,) patients by number; refuses fewer than two of a class, whose variance cannot be estimated."""
    codes = np.arange(len(labels)) if patients is None else groups("patients", patients, len(labels))[0]
    for k in (0, 1):
        if len(np.unique(codes[labels == k])) < 2:
            raise StatisticInputError(
                f"only one sample or patient is of class {k}; for a variance give at least two of each class."
            )
    return codes


def pairs_won(labels: Ints, scores: Floats) -> tuple[Floats, Floats]:
    """(M, m) negatives below each positive and (M, n) positives above each negative, ties one half; exact."""
    positive = labels == 1
    ranks = stats.rankdata(scores, axis=1)
    won = ranks[:, positive] - stats.rankdata(scores[:, positive], axis=1)
    below = ranks[:, ~positive] - stats.rankdata(scores[:, ~positive], axis=1)
    return won, float(positive.sum()) - below


def covariance(won: Floats, above: Floats, labels: Ints, codes: Ints) -> tuple[Floats, Floats]:
    """Mean and covariance of M counts of `pairs_won`, or of differences of such counts."""
    m, n = won.shape[1], above.shape[1]
    areas = won.sum(axis=1) / (m * n)
    people = int(codes.max()) + 1
    a = _summed(won / n - areas[:, None], codes[labels == 1], people)
    b = _summed(above / m - areas[:, None], codes[labels == 0], people)
    cross = _correction(codes) * (a @ b.T) / (m * n)
    own = _correction(codes[labels == 1]) * (a @ a.T) / m**2 + _correction(codes[labels == 0]) * (b @ b.T) / n**2
    return areas, own + cross + cross.T


def _summed(values: Floats, codes: Ints, people: int) -> Floats:
    return np.stack([np.bincount(codes, weights=row, minlength=people) for row in values])


def _correction(codes: Ints) -> float:
    people = len(np.unique(codes))
    return people / (people - 1)
