"""p-values of several tests, adjusted so that each can be compared with the level for all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orthoray.evaluation.statistics.checks import Floats, StatisticInputError, vector


def holm(p: npt.ArrayLike) -> Floats:
    """Adjust for the chance of even one false rejection among M tests, whatever their dependence.

    The i-th smallest becomes the largest of (M - j + 1) p_(j) over j <= i, at most 1.

    Args:
        p: (M,) p-values in [0, 1], M >= 1.

    Returns:
        (M,) adjusted p-values, in the order given.

    Raises:
        ValueError: no p-values, NaN, or values outside [0, 1].

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    values, order = _ordered(p)
    stepped = np.maximum.accumulate(np.arange(len(values), 0, -1) * values[order])
    return _placed(stepped, order)


def fdr(p: npt.ArrayLike) -> Floats:
    """Adjust for the expected share of false ones among the rejections (false discovery rate).

    The i-th smallest becomes the least of M p_(j) / j over j >= i, at most 1. Holds for independent or positively
    dependent tests.

    Args:
        p: (M,) p-values in [0, 1], M >= 1.

    Returns:
        (M,) adjusted p-values, in the order given.

    Raises:
        ValueError: no p-values, NaN, or values outside [0, 1].

    Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 1995.
    """
    values, order = _ordered(p)
    scaled = values[order] * (len(values) / np.arange(1, len(values) + 1))
    return _placed(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _ordered(p: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.intp]]:
    values = vector("p-values", p)
    if values.min() < 0 or values.max() > 1:
        raise StatisticInputError(f"p-values reach from {values.min():g} to {values.max():g}; they must lie in [0, 1].")
    return values, np.argsort(values, kind="stable")


def _placed(adjusted: Floats, order: npt.NDArray[np.intp]) -> Floats:
    found = np.empty(len(order))
    found[order] = np.minimum(adjusted, 1.0)
    return found
