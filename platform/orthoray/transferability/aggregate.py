"""Rankings from tables of scores: pure functions on (backbones, datasets) frames of one estimator, higher is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, weightedtau

from orthoray.transferability.checks import ScoreInputError


def ranks(scores: pd.DataFrame) -> pd.DataFrame:
    """Rank of every backbone in every dataset, 1 = best, ties share the mean; a missing cell is an error."""
    if scores.isna().to_numpy().any():
        raise ScoreInputError("some (backbone, dataset) cells have no score: compute them, or leave the row out.")
    return scores.rank(ascending=False, method="average")


def mean_rank(scores: pd.DataFrame) -> pd.Series:
    """Mean rank over datasets, best first."""
    return ranks(scores).mean(axis=1).sort_values()


def borda(scores: pd.DataFrame) -> pd.Series:
    """Backbones beaten, summed over datasets (a tie is one half), best first."""
    return (len(scores) - ranks(scores)).sum(axis=1).sort_values(ascending=False)


def robust_rank(draws: Sequence[pd.DataFrame], level: float = 0.9) -> pd.DataFrame:
    """How far a ranking hangs on the samples at hand.

    Args:
        draws: (backbones, datasets) scores of each resample, the same patients for all backbones.
        level: of the interval.

    Returns:
        By backbone: ``mean``, ``low`` and ``high`` of its mean rank over resamples, ``best`` = share of resamples in
        which it is first (shared among ties); sorted by ``mean``.
    """
    if not draws:
        raise ScoreInputError("no resample was drawn: set bootstraps to 1 or more.")
    table = pd.concat([mean_rank(draw).rename(number) for number, draw in enumerate(draws)], axis=1)
    first = table.eq(table.min(axis=0), axis=1)
    tail = (1 - level) / 2
    found = pd.DataFrame(
        {
            "mean": table.mean(axis=1),
            "low": table.quantile(tail, axis=1),
            "high": table.quantile(1 - tail, axis=1),
            "best": (first / first.sum(axis=0)).mean(axis=1),
        }
    )
    return found.sort_values("mean")


def static_ranks(accuracy: pd.DataFrame) -> pd.DataFrame:
    """The ranker that never looks at the target: minus the mean rank on all *other* datasets, (backbones, datasets).

    A score that does not beat it has learnt nothing of the target (arXiv:2510.06448).
    """
    if accuracy.shape[1] < 2:
        raise ScoreInputError("a static ranker needs results on two datasets at least.")
    table = ranks(accuracy)
    others = table.rsub(table.sum(axis=1), axis=0) / (table.shape[1] - 1)
    return others.mul(-1.0)


def tau(first: pd.Series, second: pd.Series) -> float:
    """Kendall tau-b of two columns over the same backbones; NaN where one of them is all ties."""
    return float(kendalltau(first, second.loc[first.index]).statistic)


def weighted_tau(score: pd.Series, accuracy: pd.Series) -> float:
    """SciPy's weighted tau with defaults, as papers print it."""
    return float(weightedtau(score, accuracy.loc[score.index]).statistic)


def top1_regret(score: pd.Series, accuracy: pd.Series) -> float:
    """Best accuracy minus the accuracy of the backbone of the highest score; 0 is best."""
    return float(accuracy.max() - accuracy.loc[score.index].iloc[int(score.to_numpy().argmax())])


def pareto_front(gains: pd.Series, costs: pd.DataFrame) -> list[str]:
    """Backbones that no other one matches in everything and beats in something: more gain, less of each cost."""
    table = np.column_stack([-gains.to_numpy(float), costs.loc[gains.index].to_numpy(float)])
    beaten = [bool(((table <= row).all(axis=1) & (table < row).any(axis=1)).any()) for row in table]
    return [str(name) for name, out in zip(gains.index, beaten, strict=True) if not out]
