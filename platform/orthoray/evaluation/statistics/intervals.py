"""Bootstrap intervals of a metric, and of the difference of two models, over patients."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from orthoray.errors import nearest
from orthoray.evaluation.statistics.bca import PERCENTILE, Spread, spread_of
from orthoray.evaluation.statistics.checks import Floats, StatisticInputError, between
from orthoray.evaluation.statistics.resampling import (
    Cohort,
    Metric,
    draws,
    evaluator,
    folds_of,
    left_out,
    on_all,
    sample_of,
)
from orthoray.evaluation.statistics.weighted import WEIGHTED, Evaluate, is_weighted

Method = Literal["percentile", "bca"]


class Draws(NamedTuple):
    """A metric on all samples, and on each draw of patients.

    Attributes:
        value: of all samples.
        values: (R,), NaN where undefined.
    """

    value: float
    values: Floats


class BootstrapInterval(NamedTuple):
    """A metric and its bootstrap interval.

    Attributes:
        value: of all samples.
        low: lower end of the interval.
        high: upper end.
        se: standard deviation over the resamples.
        resamples: as asked for, the undefined ones among them.
        undefined: resamples on which the metric is not defined (one class, say); the interval is of the others.
    """

    value: float
    low: float
    high: float
    se: float
    resamples: int
    undefined: int


class BootstrapDifference(NamedTuple):
    """A metric's difference between two models on the same patients, and its bootstrap interval.

    Attributes:
        value_a: of the first model on all samples.
        value_b: of the second.
        difference: ``value_a - value_b``.
        low: lower end of the interval of the difference.
        high: upper end.
        se: standard deviation of the difference over the resamples.
        p: two-sided: twice the share of differences on the other side of 0, itself and one more counted in, at most 1.
        resamples: as asked for, the undefined ones among them.
        undefined: resamples on which either model's metric is not defined; the interval is of the others.
    """

    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    se: float
    p: float
    resamples: int
    undefined: int


def cluster_bootstrap(
    metric: Metric | str,
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    folds: npt.ArrayLike | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    stratify: bool = True,
    method: Method = "percentile",
) -> BootstrapInterval:
    """Interval of a metric over patients drawn with replacement, all samples of a patient together.

    Args:
        metric: a name of `WEIGHTED` (fast), or a function (labels, scores) → value of the drawn samples; a draw on
            which it gives NaN or raises ValueError or InputError is counted as undefined.
        labels: (N,).
        scores: (N,) or (N, K), finite.
        patients: (N,) names; at least two patients.
        folds: (N,) names of the fits that the scores are from (fold and seed, say): scores of different fits are not
            compared with each other, the metric is its mean over the folds. A draw is of patients all the same.
        resamples: number of draws, at least 2.
        level: of confidence, between 0 and 1.
        seed: of the draws; the same patients, strata and seed give the same draws, whatever the order of the samples.
        stratify: draw patients among those with the same largest label, so that each draw has as many patients of each
            kind as there are. A stratum of one patient is in every draw and adds nothing to the width.
        method: ``"percentile"``, or ``"bca"`` (bias-corrected and accelerated), which needs the metric to be defined
            when any one patient is left out.

    Raises:
        ValueError: NaN, lengths that differ, one patient, an option that is not known, a metric that is undefined on
            all samples or on nearly every draw; labels or scores that a named metric is not made for.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8; Efron, JASA 1987 (BCa).
    """
    _options(resamples, level, method, metric)
    (drawn,), (evaluate,), cohort = _drawn(metric, labels, [scores], patients, folds, resamples, seed, stratify)
    if method == "percentile":
        return interval_of(drawn, level)
    without = np.concatenate([evaluate(chunk) for chunk in left_out(cohort)])
    return _interval(drawn, level, spread_of(drawn.value, _defined(drawn.values), without, cohort))


def bootstrap_draws(
    metric: Metric | str,
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    folds: npt.ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
    stratify: bool = True,
) -> Draws:
    """What `cluster_bootstrap` draws, for `interval_of` and, of two models on the same samples, for `difference_of`.

    Arguments and errors are those of `cluster_bootstrap`.
    """
    _options(resamples, 0.5, "percentile", metric)
    return _drawn(metric, labels, [scores], patients, folds, resamples, seed, stratify)[0][0]


def interval_of(drawn: Draws, level: float = 0.95) -> BootstrapInterval:
    """The percentile interval of what was drawn."""
    return _interval(drawn, between("level", level), PERCENTILE)


def difference_of(a: Draws, b: Draws, level: float = 0.95, inflation: float = 1.0) -> BootstrapDifference:
    """The percentile interval and p-value of the difference of two models on the same draws of the same patients.

    Args:
        a: of the first model.
        b: of the second.
        level: of confidence, between 0 and 1.
        inflation: of the variance, at least 1: draws are moved away from the difference by its square root. For
            cross-validation see `cross_validation_inflation`.

    Raises:
        ValueError: different numbers of draws, a metric that hardly a draw defines, ``inflation`` below 1.
    """
    if not inflation >= 1:
        raise StatisticInputError(f"inflation is {inflation}; a variance is multiplied by at least 1.")
    if len(a.values) != len(b.values):
        raise StatisticInputError(f"{len(a.values)} and {len(b.values)} draws are not the same draws; use one seed.")
    return _difference(a, b, between("level", level), PERCENTILE, math.sqrt(inflation))


def cross_validation_inflation(folds: int) -> float:
    """What the variance of a difference between cross-validated models is to be multiplied by: 1 + k / (k - 1).

    Draws of patients leave the trained models as they are. In cross-validation the patient who is tested by a model has
    trained those that test the others, so that without any true difference the variance is about twice as large, and
    an uncorrected test at 0.05 rejects in 12 % (benchmarks/null_study.py). The factor is that of Nadeau and Bengio,
    1 + J n_test / n_train, for k folds of all patients; 1 for a single split.

    Args:
        folds: k of one cross-validation, at least 1.

    Raises:
        ValueError: ``folds`` below 1.

    Source: Nadeau and Bengio, Machine Learning 2003; Bengio and Grandvalet, JMLR 2004 (no unbiased estimate exists).
    """
    if folds < 1:
        raise StatisticInputError(f"folds is {folds}; give the number of folds, at least 1.")
    return 1.0 if folds == 1 else 1.0 + folds / (folds - 1)


def resampling_inflation(splits: int, train: float, test: float) -> float:
    """`cross_validation_inflation` for splits of any kind: 1 + J · n_test / n_train, with J at most all / n_test.

    Of k folds this is 1 + k / (k - 1). Draws that were tested twice tell nothing new, hence the limit of J.

    Args:
        splits: fits that were tested, at least 1.
        train: patients of a training part, above 0.
        test: patients of a test part, above 0.

    Raises:
        ValueError: numbers outside these.
    """
    if splits < 1 or not (train > 0 and test > 0):
        raise StatisticInputError(f"{splits} splits of {train:g} and {test:g} patients: all must be above 0.")
    return 1.0 + min(splits, (train + test) / test) * test / train


def bootstrap_difference(
    metric: Metric | str,
    labels: npt.ArrayLike,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    folds: npt.ArrayLike | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    stratify: bool = True,
    method: Method = "percentile",
) -> BootstrapDifference:
    """Paired difference of a metric between two models, both on the same drawn patients.

    ``p`` is the smallest 1 - level at which the interval leaves 0 out; with percentiles it is at least 2 over
    resamples + 1. It holds for the two models as they are, on new patients.

    Args:
        metric: see `cluster_bootstrap`.
        labels: (N,).
        scores_a: (N,) or (N, K) of the first model.
        scores_b: of the second.
        patients: (N,) names; at least two patients.
        folds: see `cluster_bootstrap`.
        resamples: number of draws, at least 2.
        level: of confidence, between 0 and 1.
        seed: of the draws.
        stratify: see `cluster_bootstrap`.
        method: see `cluster_bootstrap`.

    Raises:
        ValueError: see `cluster_bootstrap`.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections 15.4 and 14.3.
    """
    _options(resamples, level, method, metric)
    given = [scores_a, scores_b]
    (a, b), each, cohort = _drawn(metric, labels, given, patients, folds, resamples, seed, stratify)
    if method == "percentile":
        return _difference(a, b, level, PERCENTILE)
    without = np.concatenate([each[0](chunk) - each[1](chunk) for chunk in left_out(cohort)])
    spread = spread_of(a.value - b.value, _defined(a.values - b.values), without, cohort)
    return _difference(a, b, level, spread)


def _drawn(
    metric: Metric | str,
    labels: npt.ArrayLike,
    scores: list[npt.ArrayLike],
    patients: npt.ArrayLike,
    folds: npt.ArrayLike | None,
    resamples: int,
    seed: int,
    stratify: bool,
) -> tuple[list[Draws], list[Evaluate], Cohort]:
    """Each model's metric on all samples and on the same draws of patients, and what computes it on others."""
    found, values, cohort = sample_of(labels, scores, patients, stratify)
    parts = folds_of(folds, len(found))
    whole = [on_all(metric, found, one, parts) for one in values]
    each = [evaluator(metric, found, one, cohort.codes, parts) for one in values]
    drawn = [np.concatenate([one(chunk) for chunk in draws(cohort, resamples, seed)]) for one in each]
    return [Draws(*one) for one in zip(whole, drawn, strict=True)], each, cohort


def _interval(drawn: Draws, level: float, spread: Spread) -> BootstrapInterval:
    kept = _defined(drawn.values)
    low, high = spread.ends(kept, level)
    total = len(drawn.values)
    return BootstrapInterval(drawn.value, low, high, float(kept.std(ddof=1)), total, total - len(kept))


def _difference(a: Draws, b: Draws, level: float, spread: Spread, stretch: float = 1.0) -> BootstrapDifference:
    difference = a.value - b.value
    kept = difference + stretch * (_defined(a.values - b.values) - difference)
    low, high = spread.ends(kept, level)
    return BootstrapDifference(
        value_a=a.value,
        value_b=b.value,
        difference=difference,
        low=low,
        high=high,
        se=float(kept.std(ddof=1)),
        p=spread.p(kept),
        resamples=len(a.values),
        undefined=len(a.values) - len(kept),
    )


def _options(resamples: int, level: float, method: str, metric: Metric | str) -> None:
    between("level", level)
    if resamples < 2:
        raise StatisticInputError(f"resamples is {resamples}; give at least 2, 2000 for an interval to report.")
    if method not in ("percentile", "bca"):
        raise StatisticInputError(
            f"method '{method}' is not known; choose 'percentile' or 'bca'.{nearest(method, ('percentile', 'bca'))}"
        )
    if not callable(metric) and not is_weighted(metric):
        raise StatisticInputError(
            f"metric {metric!r} is not known; give {', '.join(WEIGHTED)}, c_index, auroc_at_<k>y, or a function "
            "(labels, scores) → value."
        )


def _defined(values: Floats) -> Floats:
    kept = values[np.isfinite(values)]
    if len(kept) < 2:
        raise StatisticInputError(
            f"the metric is undefined on {len(values) - len(kept)} of {len(values)} draws; there are too few patients."
        )
    return kept
