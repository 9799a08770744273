"""What every statistic asks of its input, and the two-sided test that most of them end with."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from orthoray.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FLAT = 1e-12
"""Differences between folds or tasks that are nearer to each other than this count as equal."""


class StatisticInputError(InputError, ValueError):
    """Numbers from which a statistic cannot be computed; the message says what to do."""


class Tested(NamedTuple):
    """An estimate divided by its standard error.

    Attributes:
        statistic: z or t; 0 where the estimate is 0, ±inf where only the standard error is 0.
        p: two-sided, in [0, 1].
        low: lower end of the confidence interval.
        high: upper end.
        degenerate: True where the standard error is 0: ``p`` is then 1 or 0 by convention, and the interval a point.
    """

    statistic: float
    p: float
    low: float
    high: float
    degenerate: bool


def two_sided(estimate: float, se: float, level: float, df: float = math.inf) -> Tested:
    """Test an estimate against 0 by Student's t with ``df`` degrees of freedom (infinite = normal)."""
    if se == 0:
        zero = abs(estimate) <= FLAT
        statistic = 0.0 if zero else math.copysign(math.inf, estimate)
        return Tested(statistic, 1.0 if zero else 0.0, estimate, estimate, True)
    statistic = estimate / se
    reach = float(stats.t.isf((1 - level) / 2, df)) * se
    p = float(2 * stats.t.sf(abs(statistic), df))
    return Tested(statistic, p, estimate - reach, estimate + reach, False)


def vector(name: str, values: npt.ArrayLike, least: int = 1) -> Floats:
    """(N,) finite float64 of at least ``least`` values, or a StatisticInputError."""
    found = numbers(name, values)
    if found.ndim != 1 or len(found) < least:
        raise StatisticInputError(f"{name} must be one row of at least {least} number(s), not of shape {found.shape}.")
    return _finite(name, found)


def matrix(name: str, values: npt.ArrayLike, rows: int = 1, columns: int = 1) -> Floats:
    """(N, M) finite float64 of at least ``rows`` x ``columns`` values, or a StatisticInputError."""
    found = numbers(name, values)
    if found.ndim != 2 or found.shape[0] < rows or found.shape[1] < columns:
        raise StatisticInputError(
            f"{name} must have at least {rows} row(s) and {columns} column(s), not shape {found.shape}."
        )
    return _finite(name, found)


def binary(labels: npt.ArrayLike, length: int | None = None) -> Ints:
    """(N,) labels 0 and 1, both of which occur, or a StatisticInputError; ``length``: N of the scores."""
    found = classes(labels, length)
    present = np.unique(found)
    if present.tolist() == [0, 1]:
        return found
    if len(present) == 1:
        raise StatisticInputError(f"only class {present[0]} occurs in the labels; both 0 and 1 are needed.")
    raise StatisticInputError(f"labels must be 0 or 1, found {present[:5].tolist()}; make them binary first.")


def classes(labels: npt.ArrayLike, length: int | None = None) -> Ints:
    """(N,) whole numbers of at least 0, or a StatisticInputError; ``length``: N of the scores."""
    found = vector("labels", labels)
    if (found != np.floor(found)).any() or found.min() < 0:
        raise StatisticInputError("labels must be whole numbers 0, 1, …; number the classes first.")
    if length is not None:
        same_length(labels=len(found), scores=length)
    return found.astype(np.int64)


def chances(probabilities: npt.ArrayLike) -> Floats:
    """(N,) probabilities in [0, 1], or a StatisticInputError."""
    found = vector("probabilities", probabilities)
    if found.min() < 0 or found.max() > 1:
        raise StatisticInputError(
            f"probabilities reach from {found.min():g} to {found.max():g}; they must lie in [0, 1]."
        )
    return found


def same_length(**lengths: int) -> None:
    """Refuse arrays that do not belong together, by their names."""
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise StatisticInputError(f"lengths differ: {told}; give one entry per sample in each.")


def groups(what: str, names: npt.ArrayLike, length: int) -> tuple[Ints, list[object]]:
    """(N,) numbers 0..G-1 of the groups in sorted order of their names, and these, or a StatisticInputError."""
    named = np.asarray(names)
    if named.ndim != 1:
        raise StatisticInputError(f"{what} must be one name per sample, not of shape {named.shape}.")
    same_length(labels=length, **{what: len(named)})
    missing = int(pd.isna(named).sum())
    if missing:
        raise StatisticInputError(f"{missing} of the {what} are missing; give every sample one.")
    codes, unique = pd.factorize(named, sort=True)
    return codes.astype(np.int64), unique.tolist()


def between(name: str, value: float, low: float = 0.0, high: float = 1.0) -> float:
    """A number strictly between two bounds, or a StatisticInputError."""
    if not low < value < high:
        raise StatisticInputError(f"{name} is {value}; it must lie between {low:g} and {high:g}.")
    return float(value)


def numbers(name: str, values: npt.ArrayLike) -> Floats:
    """float64 of any shape, or a StatisticInputError."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StatisticInputError(f"{name} must be numbers in rows of one length: {error}") from error


def _finite(name: str, values: Floats) -> Floats:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise StatisticInputError(f"{bad} of {values.size} {name} are NaN or infinite; remove or mend them first.")
    return values
