"""A grid of linear probes, fitted together as a study does it, against a loop of scikit-learn fits.

    python benchmarks/linear_probe.py

45 values of C × 5 folds × 5 fractions × 5 seeds on N = 2,000 samples of D = 1,024 features, 2 and 5 classes: 5,625
fits. Ours are all fitted. The loop's time is that of one fold and seed at every fourth C of each fraction, times the
fits that it stands for; a fraction's sample is timed right after our fits of that fraction. Every fit of the sample is
also compared: our objective may be 1e-4 above scikit-learn's at most (below, where that stopped short of its optimum).
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import common
from orthoray.evaluation.logistic import solve

N, D, EVERY = 2000, 1024, 4
GRID = 10.0 ** np.linspace(-6, 5, 45)
FRACTIONS, FOLDS, SEEDS = (1.0, 0.75, 0.5, 0.25, 0.125), 5, 5
LEAST, FURTHEST, ITERATIONS = 20.0, 1e-4, 1000


def data(classes: int) -> tuple[Any, Any]:
    """Class means in noise of a falling spectrum, on axes that are turned and shifted."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(N) % classes)
    spectrum = np.arange(1, D + 1) ** -0.5
    x = (rng.standard_normal((N, D)) + 0.15 * rng.standard_normal((classes, D))[y]) * spectrum
    return x @ np.linalg.qr(rng.standard_normal((D, D)))[0] * 3 + 0.5, y


def training_rows(fraction: float, seed: int) -> Any:
    """(FOLDS, N) bool: the rows that each fold trains on, nested in those of larger fractions."""
    rng = np.random.default_rng(100 + seed)
    fold, order = rng.permutation(N) % FOLDS, rng.permutation(N)
    return np.stack([(fold != k) & (order < fraction * N) for k in range(FOLDS)])


def ours(x: Any, y: Any, classes: int, rows: Any) -> list[float]:
    """All folds along the grid; the objectives of the first fold."""
    kept = rows.any(axis=0)
    features, labels = torch.from_numpy(x[kept]), torch.from_numpy(y[kept])
    weights, found, objectives = torch.from_numpy(rows[:, kept].astype(np.float64)), None, []
    for c in GRID:
        strengths = torch.full((FOLDS,), float(c), dtype=torch.float64)
        found = solve(features, labels, weights, strengths, classes, start=found, max_iter=ITERATIONS, tol=1e-4)
        objectives.append(float(found.objective[0]))
    return objectives


def theirs(x: Any, y: Any, rows: Any, c: float) -> float:
    """One scikit-learn fit; its objective per row."""
    pipe = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=ITERATIONS)).fit(x[rows], y[rows])
    chosen = pipe.predict_log_proba(x[rows])[np.arange(rows.sum()), y[rows]]
    return float(0.5 * np.square(pipe[-1].coef_).sum() / (c * rows.sum()) - chosen.mean())


def compare(classes: int) -> bool:
    """Print and judge one number of classes."""
    x, y = data(classes)
    mine = others = furthest = 0.0
    for fraction in FRACTIONS:
        begin = time.perf_counter()
        objectives, *_ = [ours(x, y, classes, training_rows(fraction, seed)) for seed in range(SEEDS)]
        taken = time.perf_counter() - begin
        begin, sample = time.perf_counter(), range(0, len(GRID), EVERY)
        reached = [theirs(x, y, training_rows(fraction, 0)[0], GRID[at]) for at in sample]
        loop = (time.perf_counter() - begin) / len(sample) * len(GRID) * FOLDS * SEEDS
        furthest = max(furthest, *(objectives[at] - value for at, value in zip(sample, reached, strict=True)))
        mine, others = mine + taken, others + loop
        print(f"  {classes} classes, {fraction:.1%}: {taken:.1f} s, the loop {loop:.0f} s", flush=True)
    good = others / mine >= LEAST and furthest <= FURTHEST
    print(
        f"{classes} classes: {mine:.1f} of {others:.0f} s, ratio {others / mine:.1f}, wanted at least {LEAST:g}; "
        f"objective at most {furthest:.1e} above scikit-learn's, wanted {FURTHEST:g}: {'met' if good else 'NOT met'}"
    )
    return good


def main() -> None:
    """Both numbers of classes; exit with 1 if one is not met."""
    common.own_kernels()
    solve(*(torch.from_numpy(part) for part in (np.eye(4), np.arange(4) % 2, np.ones((1, 4)), np.ones(1))), 2)
    two, five = compare(2), compare(5)
    sys.exit(not (two and five))


if __name__ == "__main__":
    main()
