"""Metrics of one set of predictions, by name; definitions are scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from orthoray.errors import InputError, nearest

BINARY = ("auroc", "auprc", "accuracy", "balanced_accuracy")
MULTICLASS = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "qwk")

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating[Any]]


def compute(names: Sequence[str], labels: Labels, scores: Scores) -> dict[str, float]:
    """Compute metrics from class probabilities.

    Args:
        names: metric names out of `BINARY` and `MULTICLASS`.
        labels: (N,) integers in 0..K-1; at least two classes must occur.
        scores: (N, K) class probabilities; the predicted class is the one of the largest (for K = 2: p >= 0.5 for
            class 1 up to ties, which go to class 0).

    Returns:
        One value per name. ``auroc`` counts ties as one half; ``auprc`` is average precision (no interpolation);
        ``balanced_accuracy`` is the mean recall over the classes that occur; ``macro_f1`` and ``weighted_f1`` run
        over the classes that occur in labels or predictions, an undefined F1 counting as 0; ``qwk`` is Cohen's kappa
        with quadratic weights (Cohen 1968) over the K grades.

    Raises:
        InputError: unknown name, shapes that do not fit, labels outside 0..K-1, scores that are not finite, or a
            single class in ``labels`` (no ranking or agreement is defined then).
    """
    _check(labels, scores)
    unknown = [name for name in names if name not in (*BINARY, *MULTICLASS)]
    if unknown:
        raise InputError(f"Unknown metric '{unknown[0]}'.{nearest(unknown[0], (*BINARY, *MULTICLASS))}")
    if scores.shape[1] != 2 and {"auroc", "auprc"} & set(names):
        raise InputError(f"auroc and auprc need two classes, not {scores.shape[1]}.")
    return {name: _one(name, labels, scores) for name in names}


def balanced_accuracy(labels: Labels, predicted: Labels) -> float:
    """Mean recall over the classes that occur in ``labels``; both (N,) integers, N >= 1."""
    return float(np.mean([(predicted[labels == k] == k).mean() for k in np.unique(labels)]))


def _one(name: str, labels: Labels, scores: Scores) -> float:
    if name == "auroc":
        return float(sk.roc_auc_score(labels, scores[:, 1]))
    if name == "auprc":
        return float(sk.average_precision_score(labels, scores[:, 1]))
    predicted = scores.argmax(axis=1)
    if name == "accuracy":
        return float(sk.accuracy_score(labels, predicted))
    if name == "balanced_accuracy":
        return balanced_accuracy(labels, predicted)
    if name == "qwk":
        grades = list(range(scores.shape[1]))
        return float(sk.cohen_kappa_score(labels, predicted, labels=grades, weights="quadratic"))
    average = {"macro_f1": "macro", "weighted_f1": "weighted"}[name]
    return float(sk.f1_score(labels, predicted, average=average, zero_division=0))


def _check(labels: Labels, scores: Scores) -> None:
    if scores.ndim != 2 or labels.shape != (len(scores),):
        raise InputError(f"labels {labels.shape} and scores {scores.shape} do not fit; expected (N,) and (N, K).")
    if not np.isfinite(scores).all():
        raise InputError(f"{int((~np.isfinite(scores)).any(axis=1).sum())} of {len(scores)} scores are not finite.")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise InputError(f"labels must lie in 0..{scores.shape[1] - 1} and there must be at least one.")
    if len(np.unique(labels)) < 2:
        raise InputError("only one class occurs in the labels; no metric here is defined for that.")
