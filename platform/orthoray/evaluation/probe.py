"""Linear probe: regularised logistic regression on frozen features, its strength chosen on inner validation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from orthoray.errors import RunError
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.metrics import balanced_accuracy

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]
InnerFolds = Sequence[tuple[Indices, Indices]]


@dataclass(frozen=True)
class Probe:
    """A fitted probe; everything in it was estimated from the training rows alone."""

    transform: Pipeline
    model: LogisticRegression
    n_classes: int
    facts: dict[str, Any]

    def predict(self, features: Matrix) -> Matrix:
        """(N, D) features → (N, K) class probabilities; a class absent from training has probability 0."""
        return _probabilities(self.model, self.transform.transform(features), self.n_classes)


def fit_probe(
    features: Matrix,
    labels: Labels,
    inner: InnerFolds,
    n_classes: int,
    config: ProbeConfig,
    components: int | None = None,
) -> Probe:
    """Choose C on ``inner``, then refit on all rows given.

    Args:
        features: (N, D) float64 of the training part only.
        labels: (N,) integers in 0..n_classes-1.
        inner: pairs of row indices (fit, validate) within the training part; see `protocol.inner_folds`. The
            standardisation (and PCA) of the choice is fitted on the inner fit rows too.
        n_classes: K, the number of classes of the task.
        config: grid, inner metric, class weights and solver limits.
        components: number of principal components taken before standardisation; None = no PCA.

    Returns:
        The probe; its ``facts`` hold C, the inner scores of the C values walked, iterations and convergence.

    Raises:
        RunError: fewer than two classes in the training part, or features that are not finite.
    """
    if not np.isfinite(features).all():
        raise RunError(f"{int((~np.isfinite(features)).any(axis=1).sum())} feature rows are not finite.")
    if len(np.unique(labels)) < 2:
        raise RunError("the training part holds one class only; a probe cannot be fitted.")
    best, walked = _choose_c(features, labels, inner, n_classes, config, components)
    transform = _transform(features, components)
    ready = transform.fit_transform(features)
    model = _model(config)
    converged = _fit(model, ready, labels, best)
    facts = {
        "c": best,
        "inner_metric": config.inner_metric,
        "inner_folds": len(inner),
        "inner_scores": {f"{c:.6g}": round(score, 6) for c, score in walked.items()},
        "c_on_grid_edge": best in (config.grid()[0], config.grid()[-1]) and config.c_steps > 1,
        "iterations": int(np.max(model.n_iter_)),
        "converged": converged,
        "class_weight": config.class_weight,
        "components": components,
    }
    return Probe(transform, model, n_classes, facts)


def _choose_c(
    features: Matrix,
    labels: Labels,
    inner: InnerFolds,
    n_classes: int,
    config: ProbeConfig,
    components: int | None,
) -> tuple[float, dict[float, float]]:
    """Walk the grid from strong to weak regularisation with warm starts; return the best C and all scores."""
    grid = config.grid()
    if len(grid) == 1:
        return grid[0], {}
    parts = [InnerPart(features, labels, fit, val, n_classes, config, components) for fit, val in inner]
    walked: dict[float, float] = {}
    best, misses = grid[0], 0
    for c in grid:
        walked[c] = float(np.average([part.score(c) for part in parts], weights=[part.size for part in parts]))
        if c == grid[0] or walked[c] > walked[best]:
            best, misses = c, 0
        elif (misses := misses + 1) >= config.patience:
            break
    return best, walked


class InnerPart:
    """One inner fold: features transformed by its own fit rows, and a model that is warm-started along the grid."""

    def __init__(
        self,
        features: Matrix,
        labels: Labels,
        fit: Indices,
        val: Indices,
        n_classes: int,
        config: ProbeConfig,
        components: int | None,
    ) -> None:
        transform = _transform(features[fit], components)
        self.train, self.valid = transform.fit_transform(features[fit]), transform.transform(features[val])
        self.train_y, self.valid_y = labels[fit], labels[val]
        self.n_classes, self.config, self.size = n_classes, config, len(val)
        self.model = _model(config)

    def score(self, c: float) -> float:
        """Larger is better."""
        _fit(self.model, self.train, self.train_y, c)
        scores = _probabilities(self.model, self.valid, self.n_classes)
        if self.config.inner_metric == "balanced_accuracy":
            return balanced_accuracy(self.valid_y, scores.argmax(axis=1))
        weights = np.ones(self.n_classes)
        if self.config.class_weight == "balanced":
            weights = 1.0 / np.maximum(np.bincount(self.train_y, minlength=self.n_classes), 1)
        return -log_loss(self.valid_y, scores, weights)


def log_loss(labels: Labels, scores: Matrix, class_weights: Matrix) -> float:
    """Weighted mean of -log p(label); p is floored at the smallest normal float64, so a class never seen costs 708."""
    chosen = np.maximum(scores[np.arange(len(labels)), labels], np.finfo(np.float64).tiny)
    return float(np.average(-np.log(chosen), weights=class_weights[labels]))


def _transform(features: Matrix, components: int | None) -> Pipeline:
    if components is None:
        return make_pipeline(StandardScaler())
    n, d = features.shape
    solver = "covariance_eigh" if n > d else "full"
    return make_pipeline(PCA(min(components, n - 1, d), svd_solver=solver), StandardScaler())


def _model(config: ProbeConfig) -> LogisticRegression:
    return LogisticRegression(
        solver="lbfgs",
        max_iter=config.max_iter,
        tol=config.tol,
        warm_start=True,
        class_weight="balanced" if config.class_weight == "balanced" else None,
    )


def _fit(model: LogisticRegression, features: Matrix, labels: Labels, c: float) -> bool:
    """Fit in place; True if the solver converged within its iterations."""
    model.set_params(C=c)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(features, labels)
    return not any(issubclass(item.category, ConvergenceWarning) for item in caught)


def _probabilities(model: LogisticRegression, features: Matrix, n_classes: int) -> Matrix:
    full = np.zeros((len(features), n_classes))
    full[:, model.classes_] = model.predict_proba(features)
    return full
