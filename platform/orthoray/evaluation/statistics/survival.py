"""Metrics of time-to-event predictions, for many sets of weights at once (see `weighted`).

The weights say how often each patient was drawn; a patient who was drawn twice counts like two patients who are alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from orthoray.evaluation.statistics.checks import Floats, Ints, StatisticInputError

DAYS_PER_YEAR = 365.25
HORIZON = re.compile(r"auroc_at_(\d+)y")
PAIRS = 1 << 22
"""Pairs of samples that are held at a time."""


def is_survival(name: str) -> bool:
    """``c_index``, or ``auroc_at_<k>y`` with k years."""
    return name == "c_index" or HORIZON.fullmatch(name) is not None


def survival_metric(name: str, labels: npt.NDArray[np.int64], scores: Floats, codes: Ints) -> Callable[[Ints], Floats]:
    """A function that computes a metric of time-to-event predictions on many draws; NaN where there is no pair.

    Args:
        name: ``c_index``: Harrell's concordance. Of every pair of which it is known who had the event first (the
            earlier time is an event; at equal times one is an event and the other is not) the share in which that one
            has the higher score; equal scores count one half. ``auroc_at_<k>y``: cumulative, dynamic area at k years
            of 365.25 days: of those with an event up to then, against those who were observed longer. Cases are
            weighed by 1 / G(their time -), G the Kaplan-Meier estimate, on the drawn samples, of not being censored.
        labels: (N,) 1 = event, 0 = censored.
        scores: (N, 2): the risk (any scale, higher = earlier) and the time in days, > 0.
        codes: (N,) the patient 0..P-1 of each sample.

    Raises:
        ValueError: labels or scores that are not as above.

    Sources: Harrell, Lee and Mark, Statistics in Medicine 1996; Uno, Cai, Tian and Wei, JASA 2007; ties as in
    scikit-survival and lifelines.
    """
    if scores.ndim != 2 or scores.shape[1] != 2 or not (scores[:, 1] > 0).all():
        raise StatisticInputError(f"'{name}' needs a risk and a time above 0 per sample, not scores {scores.shape}.")
    if labels.shape != (len(scores),) or not np.isin(labels, (0, 1)).all():
        raise StatisticInputError(f"'{name}' needs labels 1 (event) or 0 (censored), one per sample.")
    event = labels == 1
    order = np.lexsort((~event, scores[:, 1]))
    event, risk, time, people = event[order], scores[order, 0], scores[order, 1], codes[order]
    if name == "c_index":
        return lambda drawn: _concordance(event, risk, time, drawn[:, people].astype(np.float64))
    found = HORIZON.fullmatch(name)
    if found is None:
        raise StatisticInputError(f"'{name}' is no metric of survival; there are c_index and auroc_at_<k>y.")
    limit = int(found.group(1)) * DAYS_PER_YEAR
    return lambda drawn: _area(event, risk, time, limit, drawn[:, people].astype(np.float64))


def _concordance(event: npt.NDArray[np.bool_], risk: Floats, time: Floats, weights: Floats) -> Floats:
    """(C,) concordance; samples by time, at equal times events first."""
    later = np.where(event, np.searchsorted(time, time, side="right"), len(time))
    first = np.flatnonzero(event)
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for rows in np.array_split(first, max(1, -(-len(first) * len(time) // PAIRS))):
        known = np.arange(len(time))[None, :] >= later[rows, None]
        known |= (time[None, :] == time[rows, None]) & ~event[None, :]
        pairs += np.einsum("ci,ci->c", weights[:, rows], weights @ known.T)
        won += np.einsum("ci,ci->c", weights[:, rows], weights @ (known * _ahead(risk[rows], risk)).T)
    return _share(won, pairs)


def _area(event: npt.NDArray[np.bool_], risk: Floats, time: Floats, limit: float, weights: Floats) -> Floats:
    """(C,) area of cases up to ``limit`` against those who are observed longer."""
    cases, controls = np.flatnonzero(event & (time <= limit)), np.flatnonzero(time > limit)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = 1.0 / _uncensored(event, time, weights)[:, cases]
    own = weights[:, cases]
    case = np.where(own > 0, own * factor, 0.0)
    won = np.zeros(len(weights))
    blocks = max(1, -(-len(cases) * len(controls) // PAIRS))
    for rows in np.array_split(np.arange(len(cases)), blocks):
        ahead = _ahead(risk[cases[rows]], risk[controls])
        won += np.einsum("ci,ci->c", case[:, rows], weights[:, controls] @ ahead.T)
    return _share(won, case.sum(axis=1) * weights[:, controls].sum(axis=1))


def _uncensored(event: npt.NDArray[np.bool_], time: Floats, weights: Floats) -> Floats:
    """(C, N) Kaplan-Meier estimate of being uncensored just before each time; events come before equal times."""
    total = weights.sum(axis=1, keepdims=True)
    at_risk = total - np.cumsum(weights, axis=1) + weights
    starts = np.flatnonzero(np.r_[True, time[1:] != time[:-1]])
    lost = np.add.reduceat(np.where(event, 0.0, weights), starts, axis=1)
    had = np.add.reduceat(np.where(event, weights, 0.0), starts, axis=1)
    left = at_risk[:, starts] - had
    steps = 1.0 - np.divide(lost, left, out=np.zeros_like(lost), where=left > 0)
    before = np.concatenate([np.ones((len(weights), 1)), np.cumprod(steps, axis=1)[:, :-1]], axis=1)
    return np.asarray(np.repeat(before, np.diff(np.r_[starts, len(time)]), axis=1))


def _ahead(first: Floats, second: Floats) -> Floats:
    """(A, B): 1 where the first is higher, one half where both are equal."""
    return np.asarray((first[:, None] > second[None, :]) + 0.5 * (first[:, None] == second[None, :]))


def _share(won: Floats, pairs: Floats) -> Floats:
    return np.asarray(np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
