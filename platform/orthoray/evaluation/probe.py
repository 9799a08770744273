"""Linear probes: regularised logistic regression on frozen features, its strength chosen on inner validation.

Probes on the same features are fitted together, see `orthoray.evaluation.logistic`: each step of the walk along the
grid of C is one call for every inner fold of every probe that still walks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA

from orthoray.errors import RunError
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.logistic import Solution, solve
from orthoray.evaluation.metrics import balanced_accuracy
from orthoray.evaluation.temperatures import inner_temperature

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]


FEW_C = 1.0
"""C of a probe that has no inner folds to choose it by; scikit-learn's default."""


class Part(NamedTuple):
    """What one probe may see: rows of the features, and pairs of positions (fit, validate) within those rows.

    Without pairs there is nothing to choose C by: it is `FEW_C`, or the only one of the grid.
    """

    train: Indices
    inner: Sequence[tuple[Indices, Indices]]


@dataclass(frozen=True)
class Probe:
    """A fitted probe; everything in it was estimated from its training rows alone."""

    components: PCA | None
    solution: Solution
    facts: dict[str, Any]

    def predict(self, features: Matrix) -> Matrix:
        """(N, D) features → (N, K) class probabilities; a class absent from training has probability 0."""
        seen = features if self.components is None else self.components.transform(features)
        return _numpy(self.solution.probabilities(torch.from_numpy(np.ascontiguousarray(seen)))[0])


def fit_probe(
    features: Matrix,
    labels: Labels,
    inner: Sequence[tuple[Indices, Indices]],
    n_classes: int,
    config: ProbeConfig,
    components: int | None = None,
) -> Probe:
    """`fit_probes` for one probe that trains on all rows given; ``inner`` are pairs of row indices (fit, validate)."""
    return fit_probes(features, labels, [Part(np.arange(len(labels)), inner)], n_classes, config, components)[0]


def fit_probes(
    features: Matrix,
    labels: Labels,
    parts: Sequence[Part],
    n_classes: int,
    config: ProbeConfig,
    components: int | None = None,
) -> list[Probe]:
    """Choose C of each part on its inner folds, then refit on its training rows.

    Args:
        features: (N, D) float64.
        labels: (N,) integers in 0..n_classes-1.
        parts: of each probe, see `Part` and `protocol.inner_folds`. The standardisation (and PCA) of the choice is
            fitted on the inner fit rows, that of the probe on its training rows. No other row has an influence.
        n_classes: K, the number of classes of the task.
        config: grid, inner metric, class weights and solver limits.
        components: number of principal components taken before standardisation; None = no PCA.

    Returns:
        One probe per part; its ``facts`` hold C, the inner scores of the C values walked, iterations and convergence.

    Raises:
        RunError: fewer than two classes in a training part, or features that are not finite.
    """
    for part in parts:
        require_finite(features[part.train])
        if len(np.unique(labels[part.train])) < 2:
            raise RunError("the training part holds one class only; a probe cannot be fitted.")
    if components is not None:
        return [_on_components(features, labels, part, n_classes, config, components) for part in parts]
    rows = np.unique(np.concatenate([part.train for part in parts]))
    own, known = features[rows], labels[rows]
    trains = [np.searchsorted(rows, part.train) for part in parts]
    inner = [
        Problem(at, trains[at][fit], trains[at][validate])
        for at, part in enumerate(parts)
        for fit, validate in part.inner
    ]
    chosen = _choose_c([Walk(own, known, inner, n_classes, config)], len(parts), config)
    return _refit(own, known, trains, chosen, n_classes, config, None)


def _on_components(
    features: Matrix, labels: Labels, part: Part, n_classes: int, config: ProbeConfig, components: int
) -> Probe:
    """Principal components differ from fold to fold, so these fits have no features in common."""
    own, known = features[part.train], labels[part.train]
    walks = []
    for fit, validate in part.inner:
        seen = fit_components(own[fit], components).transform(own)
        walks.append(Walk(seen, known, [Problem(0, fit, validate)], n_classes, config))
    chosen, pca = _choose_c(walks, 1, config), fit_components(own, components)
    return _refit(pca.transform(own), known, [np.arange(len(own))], chosen, n_classes, config, pca)[0]


def require_finite(features: npt.NDArray[np.floating[Any]]) -> None:
    """RunError if a row of (N, D) features holds NaN or infinity."""
    broken = int((~np.isfinite(features)).any(axis=1).sum())
    if broken:
        raise RunError(f"{broken} feature rows are not finite.")


def fit_components(features: Matrix, components: int) -> PCA:
    """Principal components of (N, D) features, at most as many as there can be."""
    n, d = features.shape
    return PCA(min(components, n - 1, d), svd_solver="covariance_eigh" if n > d else "full").fit(features)


def _refit(
    features: Matrix,
    labels: Labels,
    trains: Sequence[Indices],
    chosen: Sequence[Choice],
    n_classes: int,
    config: ProbeConfig,
    pca: PCA | None,
) -> list[Probe]:
    """One fit for each choice, on all of its training rows."""
    weights = np.stack([row_weights(labels, rows, config) for rows in trains])
    found = _solve(features, labels, weights, np.array([choice.c for choice in chosen]), n_classes, config)
    grid = config.grid()
    probes = []
    for at, choice in enumerate(chosen):
        facts = {
            "c": choice.c,
            "inner_metric": config.inner_metric,
            "inner_folds": choice.folds,
            "inner_scores": {f"{c:.6g}": round(score, 6) for c, score in choice.scores.items()},
            "c_on_grid_edge": choice.c in (grid[0], grid[-1]) and config.c_steps > 1,
            "iterations": int(found.iterations[at]),
            "converged": bool(found.converged[at]),
            "class_weight": config.class_weight,
            "components": None if pca is None else int(pca.n_components),
        }
        if choice.validated is not None:
            facts |= inner_temperature(*choice.validated)
        probes.append(Probe(pca, found.only([at]), facts))
    return probes


def _solve(
    features: Matrix,
    labels: Labels,
    weights: Matrix,
    c: Matrix,
    n_classes: int,
    config: ProbeConfig,
    start: Solution | None = None,
) -> Solution:
    x, y, w, strengths = (torch.from_numpy(np.ascontiguousarray(part)) for part in (features, labels, weights, c))
    return solve(x, y, w, strengths, n_classes, start=start, max_iter=config.max_iter, tol=config.tol)


def row_weights(labels: Labels, rows: Indices, config: ProbeConfig) -> Matrix:
    """(N,) weights of the loss: 0 outside ``rows``; inside 1, or with balanced classes n / (classes · class size)."""
    weights = np.zeros(len(labels))
    counts = np.bincount(labels[rows])
    if config.class_weight == "balanced":
        weights[rows] = len(rows) / ((counts > 0).sum() * counts[labels[rows]])
    else:
        weights[rows] = 1.0
    return weights


def _numpy(values: torch.Tensor) -> Matrix:
    return np.asarray(values.numpy(), dtype=np.float64)


class Choice(NamedTuple):
    """The best C of a probe, the inner score of each C that it walked, and on how many inner folds.

    ``validated``: labels and probabilities of the validated rows at that C, each by the fit that did not see it.
    """

    c: float
    scores: dict[float, float]
    folds: int
    validated: tuple[Labels, Matrix] | None = None


def _choose_c(walks: Sequence[Walk], count: int, config: ProbeConfig) -> list[Choice]:
    """Walk the grid from strong to weak regularisation; a probe whose score stays behind its best stops."""
    grid = config.grid()
    folds = [sum(one.owner == at for walk in walks for one in walk.problems) for at in range(count)]
    choices = [Choice(grid[0] if of or len(grid) == 1 else FEW_C, {}, of) for of in folds]
    if len(grid) == 1:
        return choices
    misses = [0] * count
    for c in grid:
        going = {at for at in range(count) if folds[at] and misses[at] < config.patience}
        scores, sizes = np.zeros(count), np.zeros(count)
        told: dict[int, list[tuple[Labels, Matrix]]] = {at: [] for at in going}
        for walk in walks:
            for problem, score, found in walk.step(c, going):
                scores[problem.owner] += score * len(problem.validate)
                sizes[problem.owner] += len(problem.validate)
                told[problem.owner].append((walk.labels[problem.validate], found))
        for at in going:
            walked = choices[at].scores
            walked[c] = float(scores[at] / sizes[at])
            if c == grid[0] or walked[c] > walked[choices[at].c]:
                truth, own = zip(*told[at], strict=True)
                validated = (np.concatenate(truth), np.concatenate(own))
                choices[at], misses[at] = choices[at]._replace(c=c, validated=validated), 0
            else:
                misses[at] += 1
    return choices


class Problem(NamedTuple):
    """An inner fold: the probe that it belongs to, and rows of the features to fit and to validate on."""

    owner: int
    fit: Indices
    validate: Indices


class Walk:
    """Problems on the same features, fitted for one C after the other, each from where it stood."""

    def __init__(
        self, features: Matrix, labels: Labels, problems: Sequence[Problem], n_classes: int, config: ProbeConfig
    ) -> None:
        self.features, self.labels, self.n_classes, self.config = features, labels, n_classes, config
        self.problems = list(problems)
        weights = [row_weights(labels, problem.fit, config) for problem in problems]
        self.weights = np.stack(weights) if weights else np.zeros((0, len(labels)))
        self.found: Solution | None = None

    def step(self, c: float, owners: set[int]) -> list[tuple[Problem, float, Matrix]]:
        """Fit the problems of ``owners`` for ``c``; of each its score on its rows of validation and their (n, K)."""
        kept = [at for at, problem in enumerate(self.problems) if problem.owner in owners]
        if len(kept) < len(self.problems):
            self.problems, self.weights = [self.problems[at] for at in kept], self.weights[kept]
            self.found = None if self.found is None else self.found.only(kept)
        if not kept:
            return []
        data, strengths = (self.features, self.labels, self.weights), np.full(len(kept), c)
        self.found = _solve(*data, strengths, self.n_classes, self.config, self.found)
        scores = _numpy(self.found.probabilities(torch.from_numpy(self.features)))
        own = [scores[at, one.validate] for at, one in enumerate(self.problems)]
        return [(one, self._score(one, found), found) for one, found in zip(self.problems, own, strict=True)]

    def _score(self, problem: Problem, scores: Matrix) -> float:
        return inner_score(self.config, self.labels[problem.fit], self.labels[problem.validate], scores, self.n_classes)


def inner_score(config: ProbeConfig, fitted: Labels, truth: Labels, scores: Matrix, n_classes: int) -> float:
    """What choices are made by, larger is better: balanced accuracy, or minus the log-loss.

    Args:
        config: inner metric; with balanced classes the loss weighs them by their number in ``fitted``.
        fitted: labels of the rows that were learned from.
        truth: (N,) labels of the rows of validation.
        scores: (N, K) class probabilities.
        n_classes: K.
    """
    if config.inner_metric == "balanced_accuracy":
        return balanced_accuracy(truth, scores.argmax(axis=1))
    weights = np.ones(n_classes)
    if config.class_weight == "balanced":
        weights = 1.0 / np.maximum(np.bincount(fitted, minlength=n_classes), 1)
    return -log_loss(truth, scores, weights)


def log_loss(labels: Labels, scores: Matrix, class_weights: Matrix) -> float:
    """Weighted mean of -log p(label); p is floored at the smallest normal float64, so a class never seen costs 708."""
    chosen = np.maximum(scores[np.arange(len(labels)), labels], np.finfo(np.float64).tiny)
    return float(np.average(-np.log(chosen), weights=class_weights[labels]))
