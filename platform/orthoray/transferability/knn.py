"""Leave-one-out k nearest neighbours by cosine similarity: a sanity column."""

from __future__ import annotations

import numpy as np

from orthoray.transferability.checks import Outcome, Parity, Sample, ScoreInputError

ROWS = 1024


def knn(sample: Sample, *, seed: int = 0, parity: Parity = "corrected", k: int = 20) -> Outcome:
    """Balanced accuracy in 0..1 of majority votes; equal votes go to the class of greater summed similarity."""
    if k < 1:
        raise ScoreInputError(f"k={k} must be at least 1.")
    n, k = len(sample.y), min(k, len(sample.y) - 1)
    norm = np.linalg.norm(sample.x, axis=1, keepdims=True)
    unit, right = sample.x / np.where(norm > 0, norm, 1.0), np.empty(n, dtype=bool)
    for begin in range(0, n, ROWS):
        similar = unit[begin : begin + ROWS] @ unit.T
        rows = np.arange(len(similar))
        similar[rows, begin + rows] = -np.inf
        near = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        votes = np.zeros((len(rows), sample.classes))
        weight = 1 + (1 + np.take_along_axis(similar, near, axis=1)) / (4 * n)  # below one vote in all
        np.add.at(votes, (rows[:, None], sample.y[near]), weight)
        right[begin : begin + ROWS] = votes.argmax(axis=1) == sample.y[begin + rows]
    recall = np.bincount(sample.y, right) / sample.counts
    return Outcome(float(recall.mean()), (), {"accuracy": float(right.mean()), "k": k})
