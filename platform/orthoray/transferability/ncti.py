"""NCTI: how near features are to neural collapse, in three terms that a pool of backbones is compared by.

Wang et al., "How far pre-trained models are from neural collapse on the target dataset informs their transferability",
ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.linalg
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from orthoray.transferability.checks import Matrix, Outcome, Parity, Sample, ScoreInputError

DIMS, LEADING, LEAST_SHRINKAGE = 64, 32, 1e-10
TERMS = ("spread", "probability", "rank")


def ncti(sample: Sample, *, seed: int = 0, parity: Parity = "corrected") -> Outcome:
    """Mean true-class probability of LDA on 64 principal components; the score proper needs a pool (`pool_ncti`).

    ``details`` hold the three terms: ``spread`` S, the nuclear norm of the centred LDA projection; ``probability`` P,
    the value; ``rank`` R = ln Σ_c ‖p(·|x_c)‖_*, low when a class's predictions are alike. LDA is shrunk by
    max(exp(−Σ of the 32 largest variances), 1e-10). Fewer than 64 dimensions or samples are taken as they are, and
    flagged; ``parity="reference"`` refuses them, as the published code does.
    """
    n, d = sample.x.shape
    dims = min(DIMS, d, n - 1)
    if dims < DIMS and parity == "reference":
        raise ScoreInputError(f"NCTI as published needs 64 dimensions and more samples; here are {d} and {n}.")
    if n - sample.classes < 1:
        raise ScoreInputError("no class has two samples: NCTI needs several samples per class.")
    found = PCA(n_components=dims, svd_solver="full").fit(sample.x)
    kept = found.explained_variance_ > found.explained_variance_[0] * np.finfo(float).eps * max(n, d)
    reduced = found.transform(sample.x)[:, kept]
    shrinkage = max(float(np.exp(-found.explained_variance_[:LEADING].sum())), LEAST_SHRINKAGE)
    projected, chance = _discriminant(reduced, sample, shrinkage)
    centred = projected - projected.mean(axis=0)
    norms = [scipy.linalg.svdvals(chance[sample.y == c]).sum() for c in range(sample.classes)]
    probability = float(chance[np.arange(n), sample.y].mean())
    terms = (float(scipy.linalg.svdvals(centred).sum()), probability, float(np.log(np.sum(norms))))
    flags = ("needs_pool", "fewer_dims") if dims < DIMS else ("needs_pool",)
    return Outcome(probability, flags, {**dict(zip(TERMS, terms, strict=True)), "shrinkage": shrinkage})


def pool_ncti(terms: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    """Scores of a pool of backbones on one target: S + P − R, each scaled to 0..1 over the pool.

    Args:
        terms: (backbones, 3) `TERMS`; a term that all share counts as 0.
    """
    table = np.asarray(terms, dtype=np.float64)
    if table.ndim != 2 or table.shape[1:] != (3,) or not np.isfinite(table).all():
        raise ScoreInputError("NCTI pools need a table of (backbones, 3) finite terms.")
    low, span = table.min(axis=0), np.ptp(table, axis=0)
    scaled = np.divide(table - low, span, out=np.zeros_like(table), where=span > 0)
    return np.asarray(scaled[:, 0] + scaled[:, 1] - scaled[:, 2])


def _discriminant(reduced: Matrix, sample: Sample, shrinkage: float) -> tuple[Matrix, Matrix]:
    """LDA's projection (N, C-1 at most) and class probabilities (N, C) of the very samples it was fitted on."""
    least = shrinkage == LEAST_SHRINKAGE
    model = LinearDiscriminantAnalysis(solver="svd") if least else _shrunk(shrinkage)
    try:
        projected = model.fit_transform(reduced, sample.y)
    except np.linalg.LinAlgError as error:
        raise ScoreInputError("the covariance within classes is singular: give more samples than classes.") from error
    return np.asarray(projected), np.asarray(model.predict_proba(reduced))


def _shrunk(shrinkage: float) -> LinearDiscriminantAnalysis:
    return LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage)
