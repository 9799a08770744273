"""Nearest neighbours of frozen features, as DINO evaluates them (Caron et al., arXiv:2104.14294, §4.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating[Any]]

ROWS = 1024
"""Test rows at a time."""


def knn_scores(
    train: Features,
    labels: npt.NDArray[np.int64],
    test: Features,
    n_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> npt.NDArray[np.float64]:
    """Class probabilities by the votes of the ``k`` nearest training rows: cosine s weighs exp(s / temperature).

    Args:
        train: (N, D) features of known class.
        labels: (N,) their classes, 0..n_classes-1.
        test: (M, D) features to classify.
        n_classes: number of classes.
        k: neighbours; all training rows where there are fewer.
        temperature: of the votes.

    Returns:
        (M, n_classes) float64, rows sum to 1. Features of zeros have cosine 0 to everything.
    """
    known, count = _unit(train), min(k, len(train))
    votes = np.zeros((len(test), n_classes))
    for start in range(0, len(test), ROWS):
        cosines = _unit(test[start : start + ROWS]) @ known.T
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        weights = np.exp((np.take_along_axis(cosines, nearest, axis=1) - 1.0) / temperature)  # -1: no overflow
        rows = np.repeat(np.arange(start, start + len(cosines)), count)
        np.add.at(votes, (rows, labels[nearest].ravel()), weights.ravel())
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def _unit(features: Features) -> npt.NDArray[np.float64]:
    values = np.asarray(features, np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))
