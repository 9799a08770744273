"""Paired tests of two areas under the ROC curve (DeLong 1988; Obuchowski 1997 with several samples per patient)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orthoray.evaluation.statistics.auroc import covariance, pairs_won, people_of
from orthoray.evaluation.statistics.checks import (
    Floats,
    Ints,
    StatisticInputError,
    between,
    binary,
    groups,
    same_length,
    two_sided,
    vector,
)


class DelongTest(NamedTuple):
    """Difference of two areas under the ROC curve on the same samples.

    Attributes:
        auroc_a: of the first model, in [0, 1].
        auroc_b: of the second.
        difference: ``auroc_a - auroc_b``.
        low: lower end of its confidence interval.
        high: upper end.
        se: standard error of the difference.
        z: difference / se; 0 where the difference is 0, ±inf where only ``se`` is 0.
        p: two-sided, normal; 1 for equal rankings.
        degenerate: True where ``se`` is 0; a ``p`` of 0 is then a convention and the interval a point.
    """

    auroc_a: float
    auroc_b: float
    difference: float
    low: float
    high: float
    se: float
    z: float
    p: float
    degenerate: bool


class FoldsDelongTest(NamedTuple):
    """Mean over J folds of the paired difference of areas.

    Attributes:
        difference: mean of the folds' differences, each fold weighing the same.
        low: lower end of its confidence interval.
        high: upper end.
        se: square root of the sum of the folds' variances, divided by J.
        z: difference / se; 0 where the difference is 0, ±inf where only ``se`` is 0.
        p: two-sided, normal.
        degenerate: True where ``se`` is 0.
        folds: J names, sorted.
        differences: J values.
        variances: J values.
    """

    difference: float
    low: float
    high: float
    se: float
    z: float
    p: float
    degenerate: bool
    folds: tuple[object, ...]
    differences: tuple[float, ...]
    variances: tuple[float, ...]


def delong_test(
    labels: npt.ArrayLike,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> DelongTest:
    """Two-sided paired test of two areas under the ROC curve on the same samples.

    It holds for two fixed models on new patients; it says nothing about training the models again.

    Args:
        labels: (N,) 0 or 1, at least two samples (with ``patients``: samples of two patients) of each class.
        scores_a: (N,) of the first model, higher for class 1; ties count one half.
        scores_b: (N,) of the second, on any other scale.
        patients: (N,) names; None = every sample is a patient of its own.
        level: of the confidence interval, between 0 and 1.

    Raises:
        ValueError: NaN, lengths that differ, labels other than 0 and 1, too few samples or patients of a class, or
            ``level`` outside 0..1.

    Source: DeLong, DeLong and Clarke-Pearson 1988; Obuchowski 1997; see `delong_covariance` for the variance.
    """
    a, b, found = _checked(labels, scores_a, scores_b, level)
    return _paired(found, a, b, people_of(found, patients), level)


def paired_delong_over_folds(
    labels: npt.ArrayLike,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    folds: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> FoldsDelongTest:
    """Test two models by the areas within each test fold of one cross-validation.

    Scores of different folds come from different trainings and are never ranked against each other. The variances of
    the folds add up since their patients differ: Var = Σ Var_j / J². Like `delong_test` it holds for the models as they
    were trained; for the variation between trainings see `nadeau_bengio_test`.

    Args:
        labels: (N,) 0 or 1, enough of both in every fold (see `delong_test`).
        scores_a: (N,) of the first model, out of fold.
        scores_b: (N,) of the second.
        folds: (N,) number or name of the fold in which a sample was tested.
        patients: (N,) names, each in one fold only; None = every sample is a patient of its own.
        level: of the confidence interval, between 0 and 1.

    Raises:
        ValueError: as `delong_test`, with the fold's name; a patient who occurs in two folds.
    """
    a, b, found = _checked(labels, scores_a, scores_b, level)
    fold, names = groups("folds", folds, len(found))
    codes = np.arange(len(found)) if patients is None else groups("patients", patients, len(found))[0]
    _refuse_crossing(codes, fold)
    done = [_in_fold(found, a, b, codes, fold == j, name) for j, name in enumerate(names)]
    difference = float(np.mean([one.difference for one in done]))
    se = math.sqrt(sum(one.se**2 for one in done)) / len(done)
    tested = two_sided(difference, se, level)
    return FoldsDelongTest(
        difference=difference,
        low=tested.low,
        high=tested.high,
        se=se,
        z=tested.statistic,
        p=tested.p,
        degenerate=tested.degenerate,
        folds=tuple(names),
        differences=tuple(one.difference for one in done),
        variances=tuple(one.se**2 for one in done),
    )


def _checked(
    labels: npt.ArrayLike, scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, level: float
) -> tuple[Floats, Floats, Ints]:
    between("level", level)
    a, b = vector("scores_a", scores_a), vector("scores_b", scores_b)
    same_length(scores_a=len(a), scores_b=len(b))
    return a, b, binary(labels, len(a))


def _paired(labels: Ints, a: Floats, b: Floats, codes: Ints, level: float) -> DelongTest:
    won, above = pairs_won(labels, np.stack([a, b]))
    areas = won.sum(axis=1) / (won.shape[1] * above.shape[1])
    found, variance = covariance(won[:1] - won[1:], above[:1] - above[1:], labels, codes)
    difference, se = float(found[0]), math.sqrt(max(float(variance[0, 0]), 0.0))
    done = two_sided(difference, se, level)
    return DelongTest(
        auroc_a=float(areas[0]),
        auroc_b=float(areas[1]),
        difference=difference,
        low=done.low,
        high=done.high,
        se=se,
        z=done.statistic,
        p=done.p,
        degenerate=done.degenerate,
    )


def _in_fold(labels: Ints, a: Floats, b: Floats, codes: Ints, rows: npt.NDArray[np.bool_], name: object) -> DelongTest:
    try:
        return delong_test(labels[rows], a[rows], b[rows], codes[rows])
    except StatisticInputError as error:
        raise StatisticInputError(f"fold {name}: {error}") from error


def _refuse_crossing(codes: Ints, fold: Ints) -> None:
    crossing = np.unique(np.stack([codes, fold]), axis=1).shape[1] - len(np.unique(codes))
    if crossing:
        raise StatisticInputError(
            f"patients occur in several folds ({crossing} times more than once); "
            "give the folds of one cross-validation that keeps patients together."
        )
