"""How far predicted probabilities can be taken at their word, and temperature scaling."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize
from scipy.special import expit, log_softmax, logit, softmax

from orthoray.evaluation.statistics.checks import Floats, Ints, StatisticInputError, binary, chances, classes, numbers
from orthoray.evaluation.statistics.reliability import equal_mass

LEAST = 1e-12
"""Probabilities nearer to 0 or 1 than this count as this where their logarithm is taken."""
ROUNDED = 1 + 1e-12
"""A likelihood that falls by less than this factor has not fallen."""
BOUNDS = (0.01, 100.0)
"""Temperatures that are looked at."""


class Temperature(NamedTuple):
    """A fitted temperature.

    Attributes:
        value: logits are divided by it; above 1 = the model was too sure.
        before: mean negative log-likelihood at temperature 1, in nats.
        after: at the fitted one.
        at_bound: True where 0.01 or 100 is as good as any temperature between: the classes are separated perfectly, or
            the scores say nothing. Such a value should not be used.
    """

    value: float
    before: float
    after: float
    at_bound: bool


class Calibration(NamedTuple):
    """Agreement of predicted probabilities with what happened.

    Attributes:
        slope: of logit P(y = 1) = intercept + slope logit(p), fitted without penalty; 1 is right, below 1 is too sure.
            NaN if ``separated``.
        intercept: of the same fit; 0 is right. NaN if ``separated``.
        in_the_large: intercept with the slope held at 1; above 0 = probabilities too low on the whole.
        ece: expected calibration error over bins of equal mass, in [0, 1].
        bins: bins of the ECE; fewer than asked for where many probabilities are equal.
        brier: mean squared difference of probability and label, in [0, 1].
        separated: the classes' probabilities do not overlap (or are all equal), so that no finite fit is best.
    """

    slope: float
    intercept: float
    in_the_large: float
    ece: float
    bins: int
    brier: float
    separated: bool


def temperature(labels: npt.ArrayLike, scores: npt.ArrayLike, *, probabilities: bool = False) -> Temperature:
    """Fit the temperature T that minimises the mean negative log-likelihood of softmax(logits / T).

    Fit on inner (validation) data, never on the samples that are then reported; it does not change any ranking of the
    classes within a sample, and for two classes not the AUROC.

    Args:
        labels: (N,) integers in 0..K-1.
        scores: (N, K) logits, or (N,) logits of class 1 against class 0.
        probabilities: scores are probabilities; their logarithms are scaled, which is the same.

    Raises:
        ValueError: NaN, lengths that differ, labels outside 0..K-1, probabilities that do not sum to 1.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    logits = _logits(scores, probabilities)
    found = classes(labels, len(logits))
    if found.max() >= logits.shape[1]:
        raise StatisticInputError(f"label {found.max()} has no column; scores have {logits.shape[1]} classes.")
    low, high = math.log(BOUNDS[0]), math.log(BOUNDS[1])
    done = optimize.minimize_scalar(
        lambda x: _loss(found, logits / math.exp(x)), bounds=(low, high), method="bounded", options={"xatol": 1e-9}
    )
    before, value, after = _loss(found, logits), math.exp(float(done.x)), float(done.fun)
    for bound in BOUNDS:
        at_bound = _loss(found, logits / bound)
        if at_bound <= after:
            return Temperature(bound, before, at_bound, True)
    return Temperature(value, before, after, False)


def apply_temperature(scores: npt.ArrayLike, value: float, *, probabilities: bool = False) -> Floats:
    """Probabilities at a temperature.

    Args:
        scores: (N, K) or (N,), see `temperature`.
        value: T > 0.
        probabilities: scores are probabilities.

    Returns:
        (N, K) rows that sum to 1; for (N,) scores (N,) probabilities of class 1.

    Raises:
        ValueError: NaN, T not positive, probabilities that do not sum to 1.
    """
    if not 0 < value < math.inf:
        raise StatisticInputError(f"the temperature is {value}; it must be above 0.")
    found = np.asarray(softmax(_logits(scores, probabilities) / value, axis=1), dtype=np.float64)
    return found[:, 1] if np.ndim(scores) == 1 else found


def calibration(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = 15) -> Calibration:
    """Calibration slope and intercept, adaptive ECE and Brier score of a binary prediction.

    For more classes give, one class after the other, ``labels == k`` and its column; or whether the predicted class was
    right, and its probability.

    Args:
        labels: (N,) 0 or 1, both present.
        probabilities: (N,) of class 1.
        bins: of the ECE, of equal mass; at least 1.

    Raises:
        ValueError: NaN, one class, lengths that differ, probabilities outside [0, 1], no bin.

    Source: Cox, Biometrika 1958, and Van Calster et al., BMC Medicine 2019 (slope, intercept, in the large); Nixon et
    al., CVPR workshops 2019 (bins of equal mass); Brier, Monthly Weather Review 1950.
    """
    p = chances(probabilities)
    y = binary(labels, len(p))
    z = np.asarray(logit(np.clip(p, LEAST, 1 - LEAST)), dtype=np.float64)
    separated = _separated(y, z)
    intercept, slope = (math.nan, math.nan) if separated else _recalibrate(y, z)
    number = equal_mass(p, bins)
    gaps = np.bincount(number, weights=y - p)
    return Calibration(
        slope=slope,
        intercept=intercept,
        in_the_large=_shift(y, z),
        ece=float(np.abs(gaps).sum()) / len(p),
        bins=len(gaps),
        brier=float(((p - y) ** 2).mean()),
        separated=separated,
    )


def _logits(scores: npt.ArrayLike, probabilities: bool) -> Floats:
    values = numbers("scores", scores)
    if values.ndim == 1:
        values = np.column_stack([1 - values, values] if probabilities else [np.zeros_like(values), values])
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise StatisticInputError(f"scores must be (N, K) with K >= 2, or (N,), not {np.shape(scores)}.")
    if not np.isfinite(values).all():
        raise StatisticInputError(f"{int((~np.isfinite(values)).sum())} scores are NaN or infinite; mend them first.")
    if not probabilities:
        return values
    if values.min() < 0 or (np.abs(values.sum(axis=1) - 1) > 1e-4).any():
        raise StatisticInputError("rows of probabilities must be at least 0 and sum to 1; or are these logits?")
    return np.log(np.maximum(values, LEAST))


def _loss(labels: Ints, logits: Floats) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()) + 0.0  # no negative zero


def _separated(labels: Ints, z: Floats) -> bool:
    ones, zeros = z[labels == 1], z[labels == 0]
    return bool(zeros.max() <= ones.min() or ones.max() <= zeros.min())


def _recalibrate(labels: Ints, z: Floats) -> tuple[float, float]:
    """Newton's method on standardised logits; each step is halved until the likelihood rises, up to rounding."""
    centre, scale = z.mean(), z.std()
    x = np.column_stack([np.ones_like(z), (z - centre) / scale])
    sign = 2 * labels - 1
    point = np.zeros(2)
    loss = math.inf
    for _ in range(200):
        p = expit(x @ point)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (labels - p))
        length = 1.0
        while (tried := _surprise(sign * (x @ (point + length * step)))) > loss * ROUNDED and length > 1e-9:
            length /= 2
        point, loss = point + length * step, tried
        if np.abs(step).max() < 1e-10:
            break
    return float(point[0] - point[1] * centre / scale), float(point[1] / scale)


def _surprise(margins: Floats) -> float:
    return float(np.logaddexp(0, -margins).sum())


def _shift(labels: Ints, z: Floats) -> float:
    """Intercept with slope 1: where the expected number of positives is the number there is."""
    reach = float(np.abs(z).max()) + math.log(len(z)) + 1
    return float(optimize.brentq(lambda a: float(expit(a + z).sum() - labels.sum()), -reach, reach, xtol=1e-12))
