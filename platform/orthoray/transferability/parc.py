"""PARC: rank correlation between distances of features and of labels (Bolya et al., NeurIPS 2021)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from orthoray.transferability.checks import Matrix, Outcome, Parity, Sample, ScoreInputError, choose

ROWS = 512


def parc(
    sample: Sample,
    *,
    seed: int = 0,
    parity: Parity = "corrected",
    dims: int | None = 32,
    pca: Literal["randomized", "full"] = "randomized",
    max_samples: int = 5000,
) -> Outcome:
    """Spearman correlation times 100. Above ``max_samples`` a stratified subsample is taken, and flagged.

    ``parity="reference"`` takes label distances from correlations of one-hot rows, whose rounding breaks ties.
    """
    choose("pca", pca, ("randomized", "full"))
    if dims is not None and dims < 2:
        raise ScoreInputError(f"dims={dims} must be at least 2, or None for no PCA.")
    x, y, flags = sample.x, sample.y, []
    if len(y) > max_samples:
        if max_samples < 2 * sample.classes:
            raise ScoreInputError(f"max_samples={max_samples} is too few for {sample.classes} classes.")
        kept = _subsample(y, max_samples, seed)
        x, y = x[kept], y[kept]
        flags.append("subsampled")
    if np.bincount(y).max() < 2:
        raise ScoreInputError("no class has two samples: PARC needs pairs of the same class.")
    if dims is not None:
        wanted = min(dims, x.shape[1], len(x) - 1)
        flags += ["fewer_dims"] if wanted < dims else []
        x = _reduce(x, wanted, pca)
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    if x.shape[1] < 2:
        raise ScoreInputError("one usable dimension is left: PARC correlates rows and needs at least two.")
    x = x - x.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    rows = x / np.where(norm > 0, norm, 1.0)
    value = _reference(rows, y) if parity == "reference" else _spearman(rows, y)
    return Outcome(100 * value, tuple(flags), {"n_used": len(y), "dims_used": x.shape[1]})


def _subsample(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of ``count`` samples, classes in proportion; classes of one sample are drawn as one stratum."""
    strata = np.where(np.bincount(y)[y] < 2, -1, y)
    strata = strata if (strata == -1).sum() != 1 else np.where(strata == -1, strata[strata >= 0][0], strata)
    kept, _ = train_test_split(np.arange(len(y)), train_size=count, stratify=strata, random_state=seed)
    return np.sort(kept)


def _reduce(x: Matrix, dims: int, solver: str) -> Matrix:
    power = 1 if solver == "randomized" else "auto"
    found = PCA(n_components=dims, svd_solver=solver, random_state=1919, iterated_power=power)
    reduced = found.fit_transform(x)
    noise = found.singular_values_[0] * np.finfo(float).eps * max(x.shape)
    return np.asarray(reduced[:, found.singular_values_ > noise])  # z-scores would blow rounding up


def _spearman(rows: Matrix, y: np.ndarray) -> float:
    """Rank correlation with a binary variable: one sort, then the mean rank of the pairs of the same class."""
    order = np.argsort(y, kind="stable")
    rows, counts = rows[order], np.bincount(y)
    n, ends = len(rows), np.cumsum(counts)
    n_same = int((counts * (counts - 1) // 2).sum())
    pairs = np.empty(n * (n - 1) // 2)
    within, across = 0, n_same
    for begin in range(0, n, ROWS):
        block = rows[begin : begin + ROWS] @ rows[begin:].T
        for row, found in enumerate(block):
            at = begin + row
            split = int(ends[np.searchsorted(ends, at, side="right")]) - begin
            near, far = found[row + 1 : split], found[split:]
            pairs[within : within + len(near)] = near
            pairs[across : across + len(far)] = far
            within, across = within + len(near), across + len(far)
    total, n_far = len(pairs), len(pairs) - n_same
    few = np.sort(pairs[:n_same] if n_same <= n_far else pairs[n_same:])
    pairs.sort()
    mean_rank = (np.searchsorted(pairs, few).mean() + np.searchsorted(pairs, few, side="right").mean() + 1) / 2
    borders = np.flatnonzero(np.diff(pairs, prepend=np.nan, append=np.nan) != 0)
    ties = np.diff(borders).astype(np.float64)
    variance = (float(total) ** 2 - 1) / 12 - float((ties**3 - ties).sum()) / 12 / total
    if variance <= 0:
        raise ScoreInputError("all pairs of samples are equally far apart: PARC is not defined for these features.")
    share = len(few) / total
    value = (mean_rank - (total + 1) / 2) * np.sqrt(share / (1 - share) / variance)
    return float(value if n_same <= n_far else -value)


def _reference(rows: Matrix, y: np.ndarray) -> float:
    upper = np.triu_indices(len(y), 1)
    labels = 1 - np.corrcoef(np.eye(int(y.max()) + 1)[y])
    return float(spearmanr((1 - rows @ rows.T)[upper], labels[upper]).statistic)
