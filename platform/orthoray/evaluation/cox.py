"""Cox regression with an L2 penalty on frozen features, ties by Breslow (Cox 1972; Breslow 1974)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from orthoray.errors import RunError
from orthoray.evaluation.logistic import GAP

Floats = npt.NDArray[np.float64]


class Cohort(NamedTuple):
    """What a fit needs to know of the times.

    Attributes:
        order: (N,) rows, the earliest time first.
        event: (N,) bool, in that order.
        first: (N,) place of the first row with the same time: where its risk set begins.
        last: (N,) place of the last row with the same time.
    """

    order: npt.NDArray[np.intp]
    event: npt.NDArray[np.bool_]
    first: npt.NDArray[np.intp]
    last: npt.NDArray[np.intp]

    @classmethod
    def of(cls, time: Floats, event: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Cohort:
        """``time``: (N,); ``event``: (N,) 1 = it happened, 0 = observation ended."""
        order = np.argsort(time, kind="stable")
        when = time[order]
        first = np.searchsorted(when, when, side="left")
        return cls(order, event[order] == 1, first, np.searchsorted(when, when, side="right") - 1)


class CoxFit(NamedTuple):
    """A fitted model.

    Attributes:
        weights: (D,) of standardised features: log hazard ratios per standard deviation.
        mean: (D,) of the fitted rows.
        scale: (D,) their population standard deviation, 1 where it is 0.
        objective: see `fit_cox`.
        gap: bound of the distance to the optimal objective.
        iterations: of L-BFGS.
    """

    weights: Floats
    mean: Floats
    scale: Floats
    objective: float
    gap: float
    iterations: int

    @property
    def converged(self) -> bool:
        """The objective is at most `logistic.GAP` above its optimum."""
        return self.gap <= GAP

    def risk(self, x: Floats) -> Floats:
        """(N, D) features → (N,) log hazard relative to the mean features."""
        return np.asarray((x - self.mean) / self.scale @ self.weights)


def partial_likelihood(scores: Floats, cohort: Cohort) -> tuple[float, Floats]:
    """Log partial likelihood of (N,) log hazards, and its gradient (N,)."""
    own = scores[cohort.order]
    at_risk = np.logaddexp.accumulate(own[::-1])[::-1][cohort.first]
    passed = np.where(cohort.event, -at_risk, -np.inf)
    hazard = np.logaddexp.accumulate(passed)[cohort.last]
    slope = np.empty_like(own)
    slope[cohort.order] = cohort.event - np.exp(own + hazard)
    return float((own - at_risk)[cohort.event].sum()), slope


def fit_cox(
    x: Floats, cohort: Cohort, c: float, *, start: CoxFit | None = None, max_iter: int = 500, tol: float = 1e-4
) -> CoxFit:
    """Minimise -log partial likelihood / events + ‖weights‖² / (2 · c · events) over standardised features.

    The penalty makes the objective convex with a curvature of at least 1 / (c · events), so its distance to the optimum
    is at most ‖gradient‖² · c · events / 2: `CoxFit.gap`.

    Args:
        x: (N, D) float64.
        cohort: of the N rows; at least one event.
        c: inverse strength of regularisation, as in scikit-learn's ``C``.
        start: the fit of the same rows with another ``c``, from which to go on.
        max_iter: iterations at most.
        tol: largest component of the gradient at which it may stop; it goes on until ``gap`` is small enough, too.

    Raises:
        RunError: no event among the rows.
    """
    events = int(cohort.event.sum())
    if not events:
        raise RunError("the training part holds no event; a survival model cannot be fitted.")
    mean, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    seen, penalty = (x - mean) / scale, 1.0 / (c * events)

    def objective(weights: Floats, /) -> tuple[float, Floats]:
        value, slope = partial_likelihood(seen @ weights, cohort)
        own = 0.5 * penalty * float(weights @ weights) - value / events
        return own, penalty * weights - seen.T @ slope / events

    small = float(np.sqrt(2.0 * GAP * penalty / x.shape[1]))
    options: Any = {"maxiter": max_iter, "maxfun": 4 * max_iter, "gtol": min(tol, small), "ftol": 0.0, "maxcor": 20}
    first: Any = np.zeros(x.shape[1]) if start is None else start.weights
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    value, slope = objective(found.x)
    return CoxFit(found.x, mean, scale, value, min(value, float(slope @ slope) / (2.0 * penalty)), int(found.nit))
