"""Metrics of weighted samples, many sets of weights at once: what a bootstrap asks for.

The weights say how often each patient was drawn. Metrics of classes need the confusion matrix alone, which is a product
of the draws and each patient's own matrix; metrics of ranks need one sort. Definitions are those of
`orthoray.evaluation.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from orthoray.evaluation.statistics.checks import Floats, Ints, StatisticInputError, binary, classes
from orthoray.evaluation.statistics.survival import is_survival, survival_metric

Evaluate = Callable[[Ints], Floats]
"""(C, P) how often each of P patients was drawn → (C,) values, NaN where undefined."""


def weighted(name: str, labels: npt.NDArray[Any], scores: Floats, codes: Ints) -> Evaluate:
    """A function that computes the metric ``name`` (see `is_weighted`) on many draws; undefined if one class is drawn.

    Args:
        name: of the metric.
        labels: (N,) whole numbers from 0.
        scores: (N, K) of the classes; (N,) or (N, 2) for metrics of ranks; risk and time for those of survival.
        codes: (N,) the patient 0..P-1 of each sample.

    Raises:
        ValueError: scores of another shape, or labels that do not fit them.
    """
    if is_survival(name):
        return survival_metric(name, labels, scores, codes)
    if name == "auroc_ovr":
        return _one_against_rest(labels, scores, codes)
    if name in RANKS or name == "brier":
        single = scores[:, 1] if scores.ndim == 2 and scores.shape[1] == 2 else scores
        if single.ndim != 1:
            raise StatisticInputError(f"'{name}' needs one score per sample, not scores of shape {scores.shape}.")
        up = binary(labels, len(single)) == 1
        return _brier(up, single, codes) if name == "brier" else _ranked(RANKS[name], up, single, codes)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise StatisticInputError(f"'{name}' needs (N, K) scores of the classes, not scores of shape {scores.shape}.")
    found, k = classes(labels, len(scores)), scores.shape[1]
    if found.max() >= k:
        raise StatisticInputError(f"labels reach to {found.max()}, the scores are of {k} classes.")
    patients = np.zeros((int(codes.max()) + 1, k * k))
    np.add.at(patients, (codes, found * k + scores.argmax(axis=1)), 1.0)
    measure = CONFUSIONS[name]

    def evaluate(drawn: Ints) -> Floats:
        confusion = (drawn[:, : len(patients)].astype(np.float64) @ patients).reshape(len(drawn), k, k)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = measure(confusion)
        return np.where((confusion.sum(axis=2) > 0).sum(axis=1) > 1, values, np.nan)

    return evaluate


def _one_against_rest(labels: npt.NDArray[Any], scores: Floats, codes: Ints) -> Evaluate:
    """Mean of the areas of the classes that are drawn."""
    each = [
        _ranked(_auroc, labels == k, scores[:, k], codes)
        for k in range(scores.shape[1])
        if 0 < (labels == k).mean() < 1
    ]
    if not each:
        raise StatisticInputError("'auroc_ovr' needs two classes among the labels.")

    def evaluate(drawn: Ints) -> Floats:
        values = np.stack([one(drawn) for one in each])
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0))

    return evaluate


def _brier(up: npt.NDArray[np.bool_], scores: Floats, codes: Ints) -> Evaluate:
    people = int(codes.max()) + 1
    errors = np.bincount(codes, weights=np.square(scores - up), minlength=people)
    samples, positives = np.bincount(codes, minlength=people), np.bincount(codes, weights=up, minlength=people)

    def evaluate(drawn: Ints) -> Floats:
        own = drawn[:, :people].astype(np.float64)
        total, found = own @ samples, own @ positives
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where((found > 0) & (found < total), own @ errors / total, np.nan))

    return evaluate


def _ranked(
    measure: Callable[[Floats, Floats], Floats], up: npt.NDArray[np.bool_], scores: Floats, codes: Ints
) -> Evaluate:
    """Weights of positives and negatives at each distinct score, from the highest down, for ``measure``."""
    order = np.argsort(-scores, kind="stable")
    ordered, people, positive = scores[order], codes[order], up[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def evaluate(drawn: Ints) -> Floats:
        weights = drawn[:, people]
        found = np.add.reduceat(np.where(positive, weights, 0), starts, axis=1)
        others = np.add.reduceat(np.where(positive, 0, weights), starts, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = measure(found, others)
        return np.where((found.sum(axis=1) > 0) & (others.sum(axis=1) > 0), values, np.nan)

    return evaluate


def _auroc(found: Floats, others: Floats) -> Floats:
    """Whole numbers up to the division: pairs won count twice, ties once."""
    below = others.sum(axis=1, keepdims=True) - np.cumsum(others, axis=1)
    twice = np.einsum("ij,ij->i", found, 2 * below + others)
    return np.asarray(twice / (2 * found.sum(axis=1) * others.sum(axis=1)))


def _auprc(found: Floats, others: Floats) -> Floats:
    """Average precision: precision at each score, weighted by the recall that it adds."""
    kept = np.cumsum(found, axis=1)
    precision = kept / np.maximum(kept + np.cumsum(others, axis=1), 1)
    return np.asarray((found * precision).sum(axis=1) / found.sum(axis=1))


def _sens_at_spec90(found: Floats, others: Floats) -> Floats:
    """From the highest score down: positives found while at most a tenth of the negatives are."""
    allowed = 10 * np.cumsum(others, axis=1) <= others.sum(axis=1, keepdims=True)
    return np.asarray(np.where(allowed, np.cumsum(found, axis=1), 0).max(axis=1) / found.sum(axis=1))


def _spec_at_sens90(found: Floats, others: Floats) -> Floats:
    """Negatives that are left when nine tenths of the positives are found."""
    total = others.sum(axis=1)
    enough = 10 * np.cumsum(found, axis=1) >= 9 * found.sum(axis=1, keepdims=True)
    taken = np.where(enough, np.cumsum(others, axis=1), total[:, None]).min(axis=1)
    return np.asarray(1 - taken / total)


def _accuracy(confusion: Floats) -> Floats:
    return np.asarray(np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2)))


def _balanced_accuracy(confusion: Floats) -> Floats:
    support = confusion.sum(axis=2)
    recall = np.diagonal(confusion, axis1=1, axis2=2) / np.maximum(support, 1)
    return np.asarray(recall.sum(axis=1) / (support > 0).sum(axis=1))


def _f1(confusion: Floats) -> tuple[Floats, Floats]:
    """(C, K) F1 of each class, 0 where it is neither present nor predicted, and (C, K) samples and predictions."""
    both = confusion.sum(axis=2) + confusion.sum(axis=1)
    return 2 * np.diagonal(confusion, axis1=1, axis2=2) / np.maximum(both, 1), both


def _macro_f1(confusion: Floats) -> Floats:
    f1, both = _f1(confusion)
    return np.asarray(f1.sum(axis=1) / (both > 0).sum(axis=1))


def _weighted_f1(confusion: Floats) -> Floats:
    support = confusion.sum(axis=2)
    return np.asarray((_f1(confusion)[0] * support).sum(axis=1) / support.sum(axis=1))


def _qwk(confusion: Floats) -> Floats:
    grades = np.arange(confusion.shape[1])
    apart = (grades[:, None] - grades[None, :]) ** 2
    chance = np.einsum("ci,cj->cij", confusion.sum(axis=2), confusion.sum(axis=1))
    observed, expected = (confusion * apart).sum(axis=(1, 2)), (chance * apart).sum(axis=(1, 2))
    return np.asarray(1 - observed * confusion.sum(axis=(1, 2)) / expected)


def _mae(confusion: Floats) -> Floats:
    grades = np.arange(confusion.shape[1])
    apart = np.abs(grades[:, None] - grades[None, :])
    return np.asarray((confusion * apart).sum(axis=(1, 2)) / confusion.sum(axis=(1, 2)))


def _within_one(confusion: Floats) -> Floats:
    grades = np.arange(confusion.shape[1])
    near = np.abs(grades[:, None] - grades[None, :]) <= 1
    return np.asarray((confusion * near).sum(axis=(1, 2)) / confusion.sum(axis=(1, 2)))


RANKS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "auroc": _auroc,
    "auprc": _auprc,
    "sens_at_spec90": _sens_at_spec90,
    "spec_at_sens90": _spec_at_sens90,
}
CONFUSIONS: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
    "qwk": _qwk,
    "mae": _mae,
    "within_one": _within_one,
}
WEIGHTED = (*RANKS, *CONFUSIONS, "auroc_ovr", "brier")
"""Names of the metrics that are fast on many draws."""


def is_weighted(name: object) -> bool:
    """One of `WEIGHTED`, or a metric of survival."""
    return isinstance(name, str) and (name in WEIGHTED or is_survival(name))
