"""SFDA: in-sample probability of the true class under shrunk discriminants, refitted on mixed features (ECCV 2022)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import softmax

from orthoray.transferability.checks import Matrix, Outcome, Parity, Sample, ScoreInputError

LEAST_SHRINKAGE, SATURATED = 1e-10, 0.9999


def sfda(sample: Sample, *, seed: int = 0, parity: Parity = "corrected") -> Outcome:
    """Mean probability in 0..1; flagged ``saturated`` above 0.9999 or for N < 2D, where random labels reach 1 too.

    All eigenvectors of the published generalised eigenproblem enter, so the between-class scatter drops out and a
    linear system with the within-class scatter gives the same value.
    """
    means, scatter = _moments(sample)
    if np.trace(scatter) <= 0:
        raise ScoreInputError("no class varies within itself: SFDA needs several different samples per class.")
    shrinkage = max(float(np.exp(-5 * _largest(scatter))), LEAST_SHRINKAGE)
    rows = np.arange(len(sample.y))
    first = _posterior(sample, means, scatter, shrinkage)
    own = softmax(first, axis=1)[rows, sample.y][:, None]
    others = (means.sum(axis=0) - means) / (sample.classes - 1)
    mixed = replace(sample, x=own * sample.x + (1 - own) * others[sample.y])
    second = _posterior(mixed, *_moments(mixed), shrinkage)
    value = float(second[rows, sample.y].mean())
    n, d = sample.x.shape
    flags = ("saturated",) if value > SATURATED or n < 2 * d else ()
    details = {"shrinkage": shrinkage, "stage1": float(first[rows, sample.y].mean())}
    return Outcome(value, flags, details)


def _moments(sample: Sample) -> tuple[Matrix, Matrix]:
    """Class means (C, D) and the pooled population covariance (D, D)."""
    means = sample.means()
    centred = sample.x - means[sample.y]
    return means, centred.T @ centred / len(centred)


def _largest(scatter: Matrix) -> float:
    """The published estimate of the largest eigenvalue: six multiplications from the row sums."""
    x = y = scatter.sum(axis=1)
    for _ in range(3):
        y = scatter @ x
        y = y / max(np.linalg.norm(y), np.finfo(float).tiny)
        x = scatter @ y
        x = x / max(np.linalg.norm(x), np.finfo(float).tiny)
    return float(x @ scatter @ y)


def _posterior(sample: Sample, means: Matrix, scatter: Matrix, shrinkage: float) -> Matrix:
    """(N, C) probabilities of linear discriminants; shifts by the overall mean do not change them."""
    d = len(scatter)
    shrunk = (1 - shrinkage) * scatter
    shrunk.flat[:: d + 1] += shrinkage * np.trace(scatter) / d
    centre = sample.x.mean(axis=0)
    weights = _solve(shrunk, (means - centre).T)
    offset = np.log(sample.counts / len(sample.y)) - 0.5 * np.sum((means - centre).T * weights, axis=0)
    return np.asarray(softmax((sample.x - centre) @ weights + offset, axis=1))


def _solve(matrix: Matrix, right: Matrix) -> Matrix:
    """Linear systems; where rounding makes the matrix indefinite, its eigenvalues are floored instead.

    All by numpy, whose threads have just formed the matrix: those of SciPy's BLAS would have to compete with them.
    """
    try:
        np.linalg.cholesky(matrix)  # raises if it is indefinite
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        floor = LEAST_SHRINKAGE * np.trace(matrix) / len(matrix)
        return np.asarray(vectors @ ((vectors.T @ right) / np.maximum(values, floor)[:, None]))
