"""Bootstrap intervals of a metric, and of the difference of two models, over patients."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from orthoray.errors import nearest
from orthoray.evaluation.statistics.bca import PERCENTILE, spread_of
from orthoray.evaluation.statistics.checks import Floats, StatisticInputError, between
from orthoray.evaluation.statistics.resampling import Metric, draws, evaluator, left_out, on_all, sample_of

Method = Literal["percentile", "bca"]


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
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    stratify: bool = True,
    method: Method = "percentile",
) -> BootstrapInterval:
    """Interval of a metric over patients drawn with replacement, all samples of a patient together.

    Args:
        metric: ``"auroc"`` (fast), or a function (labels, scores) → value of the drawn samples; a draw on which it
            gives NaN or raises ValueError or InputError is counted as undefined.
        labels: (N,).
        scores: (N,) or (N, K), finite.
        patients: (N,) names; at least two patients.
        resamples: number of draws, at least 2.
        level: of confidence, between 0 and 1.
        seed: of the draws; the same patients, strata and seed give the same draws, whatever the order of the samples.
        stratify: draw patients among those with the same largest label, so that each draw has as many patients of each
            kind as there are. A stratum of one patient is in every draw and adds nothing to the width.
        method: ``"percentile"``, or ``"bca"`` (bias-corrected and accelerated), which needs the metric to be defined
            when any one patient is left out.

    Raises:
        ValueError: NaN, lengths that differ, one patient, an option that is not known, a metric that is undefined on
            all samples or on nearly every draw; for ``"auroc"`` labels other than 0 and 1.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8; Efron, JASA 1987 (BCa).
    """
    _options(resamples, level, method, metric)
    found, (values,), cohort = sample_of(labels, [scores], patients, stratify)
    value = on_all(metric, found, values)
    evaluate = evaluator(metric, found, values, cohort.codes)
    drawn = np.concatenate([evaluate(chunk) for chunk in draws(cohort, resamples, seed)])
    kept = _defined(drawn)
    spread = PERCENTILE
    if method == "bca":
        spread = spread_of(value, kept, np.concatenate([evaluate(chunk) for chunk in left_out(cohort)]), cohort)
    low, high = spread.ends(kept, level)
    return BootstrapInterval(value, low, high, float(kept.std(ddof=1)), resamples, resamples - len(kept))


def bootstrap_difference(
    metric: Metric | str,
    labels: npt.ArrayLike,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
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
    found, (a, b), cohort = sample_of(labels, [scores_a, scores_b], patients, stratify)
    value_a, value_b = on_all(metric, found, a), on_all(metric, found, b)
    of_a, of_b = evaluator(metric, found, a, cohort.codes), evaluator(metric, found, b, cohort.codes)
    drawn = np.concatenate([of_a(chunk) - of_b(chunk) for chunk in draws(cohort, resamples, seed)])
    kept = _defined(drawn)
    spread = PERCENTILE
    if method == "bca":
        without = np.concatenate([of_a(chunk) - of_b(chunk) for chunk in left_out(cohort)])
        spread = spread_of(value_a - value_b, kept, without, cohort)
    low, high = spread.ends(kept, level)
    return BootstrapDifference(
        value_a=value_a,
        value_b=value_b,
        difference=value_a - value_b,
        low=low,
        high=high,
        se=float(kept.std(ddof=1)),
        p=spread.p(kept),
        resamples=resamples,
        undefined=resamples - len(kept),
    )


def _options(resamples: int, level: float, method: str, metric: Metric | str) -> None:
    between("level", level)
    if resamples < 2:
        raise StatisticInputError(f"resamples is {resamples}; give at least 2, 2000 for an interval to report.")
    if method not in ("percentile", "bca"):
        raise StatisticInputError(
            f"method '{method}' is not known; choose 'percentile' or 'bca'.{nearest(method, ('percentile', 'bca'))}"
        )
    if not callable(metric) and metric != "auroc":
        raise StatisticInputError(
            f"metric {metric!r} is not known; give 'auroc' or a function (labels, scores) → value."
        )


def _defined(values: Floats) -> Floats:
    kept = values[np.isfinite(values)]
    if len(kept) < 2:
        raise StatisticInputError(
            f"the metric is undefined on {len(values) - len(kept)} of {len(values)} draws; there are too few patients."
        )
    return kept
