"""Tests of two models by one value per fold, and what such a test can detect."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import integrate, optimize, stats
from scipy.special import chdtr

from orthoray.evaluation.statistics.checks import FLAT, Floats, StatisticInputError, between, two_sided, vector

PAPER_MODE = "paper mode: plain t-test on folds, which share training samples; too often significant"


class FoldTest(NamedTuple):
    """Corrected resampled t-test.

    Attributes:
        mean: of the J differences.
        low: lower end of its confidence interval.
        high: upper end.
        se: sqrt((1/J + n_test/n_train) s²).
        t: mean / se; 0 where the mean is 0, ±inf where only ``se`` is 0.
        df: J - 1.
        p: two-sided; 1 where all differences are 0.
        degenerate: True where all differences are equal; a ``p`` of 0 is then a convention and the interval a point.
    """

    mean: float
    low: float
    high: float
    se: float
    t: float
    df: int
    p: float
    degenerate: bool


class PaperTest(NamedTuple):
    """Mean ± SD over folds and a plain t-test, to compare with papers that report it.

    Attributes:
        mean_a: over the folds of the first model.
        sd_a: sample standard deviation (n - 1).
        mean_b: of the second.
        sd_b: as ``sd_a``.
        difference: ``mean_a - mean_b``.
        t: 0 where the difference is 0, ±inf where only its standard error is 0.
        df: degrees of freedom.
        p: two-sided.
        paired: folds of the same number were compared.
        mode: words to print beside every number of it.
    """

    mean_a: float
    sd_a: float
    mean_b: float
    sd_b: float
    difference: float
    t: float
    df: int
    p: float
    paired: bool
    mode: str


def nadeau_bengio_test(differences: npt.ArrayLike, n_train: float, n_test: float, *, level: float = 0.95) -> FoldTest:
    """Two-sided t-test of the mean difference over folds, its variance corrected for shared training samples.

    t = mean / sqrt((1/J + n_test/n_train) s²) with J - 1 degrees of freedom. Meant for random splits and (repeated)
    cross-validation; it takes in the variation between trainings.

    Args:
        differences: (J,) first model minus second on the same test fold, J >= 2; all repetitions together. Differences
            within 1e-12 of each other count as equal.
        n_train: samples (patients, if these are what is split) of a training set, > 0; a mean if folds differ.
        n_test: of a test fold, > 0.
        level: of the confidence interval, between 0 and 1.

    Raises:
        ValueError: fewer than two differences, NaN, sizes that are not positive, ``level`` outside 0..1.

    Source: Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 2003 (corrected t-test).
    """
    between("level", level)
    values = vector("differences", differences, least=2)
    mean = float(values.mean())
    se = _spread(values) * math.sqrt(1 / len(values) + _ratio(n_train, n_test))
    done = two_sided(mean, se, level, len(values) - 1)
    return FoldTest(mean, done.low, done.high, se, done.statistic, len(values) - 1, done.p, done.degenerate)


def paper_test(values_a: npt.ArrayLike, values_b: npt.ArrayLike, *, paired: bool = False) -> PaperTest:
    """Mean ± SD of two models over folds and Student's two-sided t-test, which takes folds for independent.

    They are not: p-values are too small. Report it only beside a test that is right, as "paper mode".

    Args:
        values_a: (J,) a metric of the first model, J >= 2.
        values_b: of the second; (J,) if paired.
        paired: test the differences (J - 1 degrees of freedom); otherwise two samples of equal variance.

    Raises:
        ValueError: fewer than two folds, NaN, or different numbers of folds if paired.

    Source: Student's t-test; Dietterich, Neural Computation 1998, on why it misleads here.
    """
    a, b = vector("values_a", values_a, least=2), vector("values_b", values_b, least=2)
    if paired and len(a) != len(b):
        raise StatisticInputError(f"{len(a)} and {len(b)} folds cannot be paired; give the same folds of both models.")
    sd_a, sd_b, difference = _spread(a), _spread(b), float(a.mean() - b.mean())
    if paired:
        df, se = len(a) - 1, _spread(a - b) / math.sqrt(len(a))
    else:
        df = len(a) + len(b) - 2
        pooled = ((len(a) - 1) * sd_a**2 + (len(b) - 1) * sd_b**2) / df
        se = math.sqrt(pooled * (1 / len(a) + 1 / len(b)))
    done = two_sided(difference, se, 0.95, df)
    return PaperTest(
        float(a.mean()), sd_a, float(b.mean()), sd_b, difference, done.statistic, df, done.p, paired, PAPER_MODE
    )


def detectable_difference(
    sd: float, folds: int, n_train: float, n_test: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest true difference that `nadeau_bengio_test` finds with the wanted probability.

    The δ at which a noncentral t with J - 1 degrees of freedom and noncentrality δ / (sd sqrt(1/J + n_test/n_train))
    lies beyond the two critical values with probability ``power``. It takes the correction for true, ``sd`` for known.

    Args:
        sd: standard deviation of the differences between folds, >= 0; in the metric's unit.
        folds: J >= 2, all repetitions together.
        n_train: samples of a training set, > 0.
        n_test: of a test fold, > 0.
        alpha: two-sided level of the test, between 0 and 1.
        power: between ``alpha`` and 1.

    Returns:
        δ >= 0, in the unit of ``sd``.

    Raises:
        ValueError: an argument outside its range.

    Source: Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988 (power of t); Nadeau and Bengio 2003
    (variance).
    """
    between("alpha", alpha)
    between("power", power, low=alpha)
    if not 0 <= sd < math.inf:
        raise StatisticInputError(f"sd is {sd}; give a finite standard deviation of at least 0.")
    if folds < 2:
        raise StatisticInputError(f"folds is {folds}; a t-test needs at least 2.")
    scale = sd * math.sqrt(1 / folds + _ratio(n_train, n_test))
    critical = float(stats.t.isf(alpha / 2, folds - 1))
    most = critical
    while _power(most, critical, folds - 1) < power:
        most *= 2
    return scale * float(optimize.brentq(lambda nc: _power(nc, critical, folds - 1) - power, 0.0, most, xtol=1e-10))


def _power(noncentrality: float, critical: float, df: int) -> float:
    """P(|T| > critical) of a noncentral t: the mean over normal z of P(s / sigma < |z + noncentrality| / critical)."""

    def beyond(z: float) -> float:
        return math.exp(-z * z / 2) * float(chdtr(df, df * ((z + noncentrality) / critical) ** 2))

    return float(integrate.quad(beyond, -10, 10, limit=200)[0]) / math.sqrt(2 * math.pi)


def _spread(values: Floats) -> float:
    return 0.0 if float(np.ptp(values)) <= FLAT else float(values.std(ddof=1))


def _ratio(n_train: float, n_test: float) -> float:
    for name, size in (("n_train", n_train), ("n_test", n_test)):
        if not 0 < size < math.inf:
            raise StatisticInputError(f"{name} is {size}; give the number of samples, above 0.")
    return n_test / n_train
