"""The linear probe of time-to-event tasks: penalised Cox regression, its strength chosen on inner validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.cox import Cohort, CoxFit, fit_cox, partial_likelihood
from orthoray.evaluation.probe import Part, fit_components, require_finite
from orthoray.evaluation.protocol import Indices

Floats = npt.NDArray[np.float64]


class CoxProbe(NamedTuple):
    """A fitted probe; everything in it was estimated from its training rows alone."""

    components: PCA | None
    fit: CoxFit
    facts: dict[str, Any]

    def predict(self, features: Floats) -> Floats:
        """(N, D) features → (N, 1) log hazards relative to the mean of the training rows."""
        return self.fit.risk(_seen(self.components, features))[:, None]


def fit_cox_probe(
    features: Floats,
    event: npt.NDArray[np.int64],
    time: Floats,
    part: Part,
    config: ProbeConfig,
    components: int | None = None,
) -> CoxProbe:
    """Choose C on the inner folds of ``part``, then refit on its training rows.

    C is walked from strong to weak regularisation. A value's score is the cross-validated partial likelihood (Verweij
    and van Houwelingen 1993) per event: of the fit on an inner fold's rows, the log partial likelihood of all training
    rows less that of the fitted ones. It counts validated rows against all who are at risk, so that few events are
    enough. `ProbeConfig.inner_metric` and ``class_weight`` are of classes and not used.

    Args:
        features: (N, D) float64.
        event: (N,) 1 = it happened, 0 = observation ended.
        time: (N,) days > 0 to either.
        part: training rows and inner folds; no other row has an influence.
        config: grid, patience and limits.
        components: number of principal components taken before standardisation; None = no PCA.

    Raises:
        RunError: features that are not finite, or no event among the rows of a fit.
    """
    own = features[part.train]
    require_finite(own)
    known, days = event[part.train], time[part.train]
    scores = _walk(own, known, days, part.inner, config, components)
    c = max(scores, key=lambda value: scores[value])
    pca = None if components is None else fit_components(own, components)
    fit = fit_cox(_seen(pca, own), Cohort.of(days, known), c, max_iter=config.max_iter, tol=config.tol)
    grid = config.grid()
    facts = {
        "c": c,
        "inner_metric": "partial_likelihood",
        "inner_folds": len(part.inner),
        "inner_scores": {f"{value:.6g}": round(score, 6) for value, score in scores.items()},
        "c_on_grid_edge": c in (grid[0], grid[-1]) and config.c_steps > 1,
        "iterations": fit.iterations,
        "converged": fit.converged,
        "events": int(known.sum()),
        "components": None if pca is None else int(pca.n_components),
    }
    return CoxProbe(pca, fit, facts)


def _walk(
    own: Floats,
    known: npt.NDArray[np.int64],
    days: Floats,
    inner: Sequence[tuple[Indices, Indices]],
    config: ProbeConfig,
    components: int | None,
) -> dict[float, float]:
    """The inner score of each C that was walked, until it stayed behind its best `ProbeConfig.patience` times."""
    grid = config.grid()
    if len(grid) == 1:
        return {grid[0]: 0.0}
    everybody, total = Cohort.of(days, known), max(1, int(known.sum()))
    folds = []
    for fit, _ in inner:
        pca = None if components is None else fit_components(own[fit], components)
        folds.append((fit, _seen(pca, own), Cohort.of(days[fit], known[fit])))
    last: list[CoxFit | None] = [None] * len(folds)
    scores: dict[float, float] = {}
    best, misses = -np.inf, 0
    for c in grid:
        score = 0.0
        for at, (fit, seen, cohort) in enumerate(folds):
            model = fit_cox(seen[fit], cohort, c, start=last[at], max_iter=config.max_iter, tol=config.tol)
            last[at], risk = model, model.risk(seen)
            score += partial_likelihood(risk, everybody)[0] - partial_likelihood(risk[fit], cohort)[0]
        scores[c] = score / total
        best, misses = (scores[c], 0) if scores[c] > best else (best, misses + 1)
        if misses == config.patience:
            break
    return scores


def _seen(pca: PCA | None, features: Floats) -> Floats:
    return features if pca is None else np.asarray(pca.transform(features))
