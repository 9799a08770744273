"""Metrics of one set of predictions, by name; definitions are scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from orthoray.errors import InputError, nearest
from orthoray.evaluation.statistics.survival import is_survival, survival_metric

BINARY = ("auroc", "auprc", "accuracy", "balanced_accuracy", "sens_at_spec90", "spec_at_sens90", "brier")
MULTICLASS = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "qwk", "auroc_ovr")
ORDINAL = (*MULTICLASS, "mae", "within_one")
ALL = tuple(dict.fromkeys((*BINARY, *ORDINAL)))
LOWER_IS_BETTER = ("brier", "mae")
ALLOWED = {"binary": BINARY, "multiclass": MULTICLASS, "ordinal": ORDINAL, "multilabel": ("macro_auroc",)}
"""Metrics of each kind of task; those of survival are told by `fits_kind`."""

TWO_CLASSES = {"auroc", "auprc", "sens_at_spec90", "spec_at_sens90", "brier"}
ROUNDING = 1e-9

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating[Any]]


def fits_kind(name: str, kind: str) -> bool:
    """Is the metric one for tasks of this kind?"""
    return is_survival(name) if kind == "survival" else name in ALLOWED[kind]


def compute(
    names: Sequence[str], labels: Labels, scores: Scores, time: npt.NDArray[np.float64] | None = None
) -> dict[str, float]:
    """Compute metrics from class probabilities, or with ``time`` from risks.

    Args:
        names: metric names out of `ALL`.
        labels: (N,) integers in 0..K-1; at least two classes must occur.
        scores: (N, K) class probabilities; the predicted class is the one of the largest (for K = 2: p >= 0.5 for
            class 1 up to ties, which go to class 0). With ``time``: (N, 1) risks, higher = earlier.
        time: (N,) days > 0 to the event or to the end of observation, for ``c_index`` and ``auroc_at_<k>y``
            (`statistics.survival.survival_metric`); ``labels`` are then 1 = event, 0 = observation ended.

    Returns:
        One value per name. ``auroc`` counts ties as one half; ``auprc`` is average precision (no interpolation);
        ``balanced_accuracy`` is the mean recall over the classes that occur; ``macro_f1`` and ``weighted_f1`` run
        over the classes that occur in labels or predictions, an undefined F1 counting as 0; ``qwk`` is Cohen's kappa
        with quadratic weights (Cohen 1968) over the K grades. ``sens_at_spec90`` is the largest sensitivity of a
        threshold with a specificity of at least 0.9, ``spec_at_sens90`` the reverse; ``brier`` is the mean squared
        error of the probability of class 1 (Brier 1950). ``auroc_ovr`` is the mean over the classes that occur of each
        against the rest. ``mae`` is the mean distance in grades, ``within_one`` the share at most one grade away.

    Raises:
        InputError: unknown name, shapes that do not fit, labels outside 0..K-1, scores that are not finite, or a
            single class in ``labels`` (no ranking or agreement is defined then), or no pair of times to compare.
    """
    if time is not None:
        return {name: _of_times(name, labels, scores, time) for name in names}
    _check(labels, scores)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise InputError(f"Unknown metric '{unknown[0]}'.{nearest(unknown[0], ALL)}")
    if scores.shape[1] != 2 and TWO_CLASSES & set(names):
        raise InputError(f"{' and '.join(sorted(TWO_CLASSES & set(names)))} need two classes, not {scores.shape[1]}.")
    return {name: _one(name, labels, scores) for name in names}


def balanced_accuracy(labels: Labels, predicted: Labels) -> float:
    """Mean recall over the classes that occur in ``labels``; both (N,) integers, N >= 1."""
    return float(np.mean([(predicted[labels == k] == k).mean() for k in np.unique(labels)]))


def _one(name: str, labels: Labels, scores: Scores) -> float:
    if name in TWO_CLASSES:
        return _of_positives(name, labels, scores[:, 1])
    if name == "auroc_ovr":
        return float(np.mean([sk.roc_auc_score(labels == k, scores[:, k]) for k in np.unique(labels)]))
    predicted = scores.argmax(axis=1)
    if name == "mae":
        return float(np.abs(labels - predicted).mean())
    if name == "within_one":
        return float((np.abs(labels - predicted) <= 1).mean())
    if name == "accuracy":
        return float(sk.accuracy_score(labels, predicted))
    if name == "balanced_accuracy":
        return balanced_accuracy(labels, predicted)
    if name == "qwk":
        grades = list(range(scores.shape[1]))
        return float(sk.cohen_kappa_score(labels, predicted, labels=grades, weights="quadratic"))
    average = {"macro_f1": "macro", "weighted_f1": "weighted"}[name]
    return float(sk.f1_score(labels, predicted, average=average, zero_division=0))


def _of_times(name: str, labels: Labels, scores: Scores, time: npt.NDArray[np.float64]) -> float:
    if not is_survival(name):
        raise InputError(f"'{name}' is no metric of time-to-event predictions; there are c_index and auroc_at_<k>y.")
    if scores.shape != (len(labels), 1) or time.shape != labels.shape or not np.isfinite(scores).all():
        shapes = f"labels {labels.shape}, scores {scores.shape}, time {time.shape}"
        raise InputError(f"{shapes}: expected (N,), finite (N, 1) and (N,).")
    both = np.column_stack([scores[:, 0].astype(np.float64), time])
    rows = np.arange(len(labels))
    value = float(survival_metric(name, labels, both, rows)(np.ones((1, len(rows)), dtype=np.int64))[0])
    if np.isnan(value):
        raise InputError(f"{name}: no pair of samples of which it is known who had the event first (in that time).")
    return value


def _of_positives(name: str, labels: Labels, scores: Scores) -> float:
    if name == "auroc":
        return float(sk.roc_auc_score(labels, scores))
    if name == "auprc":
        return float(sk.average_precision_score(labels, scores))
    if name == "brier":
        return float(np.square(scores - labels).mean())
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    if name == "sens_at_spec90":
        return float(tpr[fpr <= 0.1 + ROUNDING].max())
    return float(1.0 - fpr[tpr >= 0.9 - ROUNDING].min())


def _check(labels: Labels, scores: Scores) -> None:
    if scores.ndim != 2 or labels.shape != (len(scores),):
        raise InputError(f"labels {labels.shape} and scores {scores.shape} do not fit; expected (N,) and (N, K).")
    if not np.isfinite(scores).all():
        raise InputError(f"{int((~np.isfinite(scores)).any(axis=1).sum())} of {len(scores)} scores are not finite.")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise InputError(f"labels must lie in 0..{scores.shape[1] - 1} and there must be at least one.")
    if len(np.unique(labels)) < 2:
        raise InputError("only one class occurs in the labels; no metric here is defined for that.")
