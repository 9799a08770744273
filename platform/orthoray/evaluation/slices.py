"""A linear probe on slices, each with the label of its study, and rules that make one study of their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from orthoray.errors import RunError

Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

TOP = 3
"""Slices that `slices_topk` looks at."""


def _mean(scores: Matrix) -> Matrix:
    return np.asarray(scores.mean(axis=0))


def _max(scores: Matrix) -> Matrix:
    return np.asarray(scores.max(axis=0))


def _topk(scores: Matrix) -> Matrix:
    return np.asarray(np.sort(scores, axis=0)[-TOP:].mean(axis=0))


def _noisy_or(scores: Matrix) -> Matrix:
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(np.log1p(-scores).sum(axis=0)))


RULES: dict[str, Callable[[Matrix], Matrix]] = {
    "slices_mean": _mean,
    "slices_max": _max,
    "slices_topk": _topk,
    "slices_noisy_or": _noisy_or,
}
"""Protocol → from the scores (S, C) of a study's slices to those of the study (C,), class by class."""


def combine(scores: Matrix, owner: Indices, n_samples: int, rule: str) -> Matrix:
    """Class probabilities of studies from those of their slices.

    For two classes the rule is applied to the probability p of class 1, and the other is 1 - p. For more it is applied
    to each class by itself, and the results are divided by their sum.

    Args:
        scores: (S, K) probabilities of slices.
        owner: (S,) the study 0..n_samples-1 of each, in any order.
        n_samples: N.
        rule: of `RULES`. ``slices_topk`` is the mean of the `TOP` largest (of all, where a study has fewer);
            ``slices_noisy_or`` is 1 - Π(1 - p).

    Returns:
        (N, K), rows sum to 1.

    Raises:
        RunError: a study without slices.
    """
    counts = np.bincount(owner, minlength=n_samples)
    if (counts == 0).any():
        raise RunError(f"{int((counts == 0).sum())} of {n_samples} studies have no slice.")
    ordered = scores[np.argsort(owner, kind="stable")]
    two = scores.shape[1] == 2
    groups = np.split(ordered[:, 1:] if two else ordered, np.cumsum(counts)[:-1])
    found = np.stack([RULES[rule](group) for group in groups])
    return np.concatenate([1.0 - found, found], axis=1) if two else found / found.sum(axis=1, keepdims=True)


def to_slices(
    owner: Indices, train: Indices, inner: Sequence[tuple[Indices, Indices]]
) -> list[tuple[Indices, Indices]]:
    """Inner folds of studies as inner folds of their slices.

    Args:
        owner: (S,) row of the study of each training slice.
        train: (T,) rows of the training studies.
        inner: pairs of positions (fit, validate) into ``train``.

    Returns:
        Pairs of positions into the training slices.
    """
    place = {row: position for position, row in enumerate(train.tolist())}
    position = np.array([place[row] for row in owner.tolist()], dtype=np.int64)
    return [(_where(position, fit), _where(position, validate)) for fit, validate in inner]


def _where(position: Indices, chosen: Indices) -> Indices:
    return np.flatnonzero(np.isin(position, chosen))
