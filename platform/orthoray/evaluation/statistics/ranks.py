"""Models over several tasks: mean ranks, Friedman's test, and Wilcoxon's signed ranks for two of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from orthoray.evaluation.statistics.checks import Floats, Ints, matrix, same_length, vector

DIGITS = 12
"""Values that agree to so many decimals are ties: rounding errors of a metric make no ranks."""
FULL = 1e-9
"""What is left of Friedman's largest value when all tasks agree."""


class SignedRanks(NamedTuple):
    """Wilcoxon's signed-rank test of two models over T tasks.

    Attributes:
        median: of the T differences.
        wins: tasks on which the first model is better.
        ties: tasks without a difference.
        losses: tasks on which the second is better.
        r_plus: sum of the ranks for the first model; ranks of ties are shared equally between both.
        r_minus: for the second; ``r_plus + r_minus = T (T + 1) / 2``.
        p: two-sided, exact given the ranks.
    """

    median: float
    wins: int
    ties: int
    losses: int
    r_plus: float
    r_minus: float
    p: float


class Friedman(NamedTuple):
    """Friedman's test of M models over T tasks, in the form of Iman and Davenport.

    Attributes:
        mean_ranks: M values, 1 = best on every task.
        chi2: Friedman's statistic with M - 1 degrees of freedom; not corrected for ties, which makes it smaller.
        f: Iman and Davenport's statistic with M - 1 and (M - 1)(T - 1) degrees of freedom; inf for perfect agreement.
        p: of ``f``.
    """

    mean_ranks: tuple[float, ...]
    chi2: float
    f: float
    p: float


def mean_ranks(values: npt.ArrayLike, *, higher_is_better: bool = True) -> Floats:
    """Mean rank of each model over the tasks.

    Args:
        values: (T, M) a metric of M models on T tasks; values that agree to 12 decimals share their ranks.
        higher_is_better: False for errors and losses.

    Returns:
        (M,) in 1..M, 1 = best on every task; they sum to M (M + 1) / 2.

    Raises:
        ValueError: NaN, or not a table of tasks and models.

    Source: Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006.
    """
    table = np.round(matrix("values", values), DIGITS)
    return np.asarray(stats.rankdata(-table if higher_is_better else table, axis=1).mean(axis=0), dtype=np.float64)


def friedman(values: npt.ArrayLike, *, higher_is_better: bool = True) -> Friedman:
    """Test whether M models have the same rank over T tasks.

    chi2 = 12 T / (M (M + 1)) (Σ R² - M (M + 1)² / 4), F = (T - 1) chi2 / (T (M - 1) - chi2), R being the mean ranks.

    Args:
        values: (T, M), T >= 2 tasks and M >= 3 models; for two models see `signed_ranks`.
        higher_is_better: False for errors and losses.

    Raises:
        ValueError: NaN, or too few tasks or models.

    Source: Friedman 1940; Iman and Davenport 1980; as in Demsar, JMLR 2006.
    """
    table = matrix("values", values, rows=2, columns=3)
    tasks, models = table.shape
    ranks = mean_ranks(table, higher_is_better=higher_is_better)
    spread = float(((ranks - (models + 1) / 2) ** 2).sum())
    chi2 = 12 * tasks / (models * (models + 1)) * spread
    rest = tasks * (models - 1) - chi2
    f = (tasks - 1) * chi2 / rest if rest > FULL else float("inf")
    p = float(stats.f.sf(f, models - 1, (models - 1) * (tasks - 1)))
    return Friedman(tuple(ranks.tolist()), chi2, f, p)


def signed_ranks(values_a: npt.ArrayLike, values_b: npt.ArrayLike) -> SignedRanks:
    """Wilcoxon's signed-rank test of two models over tasks.

    The p-value is exact for the ranks at hand, ties and zero differences too: all signs of the differences that are not
    0 are equally likely. With T tasks it is never below 2^(1 - T), so 5 tasks cannot reach 0.05.

    Args:
        values_a: (T,) one value per task of the first model, higher = better.
        values_b: (T,) of the second; differences that agree to 12 decimals are ties.

    Raises:
        ValueError: NaN, no task, or different numbers of tasks.

    Source: Wilcoxon, Biometrics Bulletin 1945; zero differences split as in Demsar, JMLR 2006.
    """
    a, b = vector("values_a", values_a), vector("values_b", values_b)
    same_length(values_a=len(a), values_b=len(b))
    differences = np.round(a - b, DIGITS)
    ranks = stats.rankdata(np.abs(differences))
    shared = float(ranks[differences == 0].sum()) / 2
    plus = float(ranks[differences > 0].sum())
    minus = float(ranks[differences < 0].sum())
    doubled = np.round(2 * ranks[differences != 0]).astype(np.int64)
    return SignedRanks(
        median=float(np.median(a - b)),
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
        r_plus=plus + shared,
        r_minus=minus + shared,
        p=_exact(doubled, round(2 * min(plus, minus))),
    )


def _exact(doubled: Ints, smaller: int) -> float:
    """Twice the chance that a sum of randomly kept ranks (all doubled) is at most ``smaller``."""
    chances = np.ones(1)
    for rank in doubled:
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    return min(1.0, 2 * float(chances[: smaller + 1].sum()))
