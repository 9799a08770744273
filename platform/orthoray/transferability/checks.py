"""What goes into an estimator: checked features and labels, and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from orthoray.errors import InputError, nearest

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Parity = Literal["corrected", "reference"]


class ScoreInputError(InputError, ValueError):
    """Features, labels or an option from which no score can be computed; the message says what to do."""


@dataclass(frozen=True)
class Sample:
    """Checked input: ``x`` (N, D) float64, read-only; ``y`` (N,) labels 0..C-1, every one of which occurs."""

    x: Matrix
    y: Labels
    counts: npt.NDArray[np.int64]
    flags: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return len(self.counts)

    def sums(self) -> Matrix:
        """(C, D) sums of the features of each class."""
        return np.ascontiguousarray((self.y[None, :] == np.arange(self.classes)[:, None]).astype(np.float64) @ self.x)

    def means(self) -> Matrix:
        """(C, D) class means."""
        return self.sums() / self.counts[:, None]


@dataclass(frozen=True)
class Outcome:
    """What an estimator found: the value, warnings about it, and further figures."""

    value: float
    flags: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


def choose(option: str, value: Any, allowed: Iterable[Any]) -> None:
    """Refuse a value of an option that is not among ``allowed``."""
    pool = list(allowed)
    if not any(value is each or value == each for each in pool):
        raise ScoreInputError(
            f"{option}={value!r} is not known; choose one of {pool}.{nearest(str(value), map(str, pool))}"
        )


def check_features(features: Any, what: str = "features") -> Matrix:
    """Return ``features`` as a read-only (N, D) float64 view or copy; NaN, inf, wrong shapes and types are refused."""
    raw = np.asarray(features)
    if raw.ndim != 2:
        raise ScoreInputError(f"{what} must have shape (N, D), not {raw.shape}: one row per sample.")
    if raw.size == 0:
        raise ScoreInputError(f"{what} are empty, shape {raw.shape}: at least two samples and one column are needed.")
    if raw.dtype.kind not in "fiub":
        raise ScoreInputError(f"{what} must be real numbers, not {raw.dtype}: convert them to float first.")
    view = raw.astype(np.float64, copy=False).view()
    low, high = view.min(axis=0), view.max(axis=0)  # NaN and infinity show in one of them
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        rows = np.flatnonzero(~np.isfinite(view).all(axis=1))
        raise ScoreInputError(
            f"{what} hold NaN or infinite values in {len(rows)} of {len(view)} rows (the first is row {rows[0]}): "
            "remove these samples, or extract the features again with higher precision."
        )
    if (most := max(-low.min(), high.max())) > 1e100:
        raise ScoreInputError(f"{what} reach {most:.1g}, whose squares overflow: divide them first.")
    view.flags.writeable = False
    return view


def check(features: Any, labels: Any) -> Sample:
    """Check a target set and number its classes 0..C-1 in sorted order.

    Raises:
        ScoreInputError: what is wrong and what to do.
    """
    x, raw = check_features(features), np.asarray(labels)
    if raw.ndim != 1:
        raise ScoreInputError(f"labels must have shape (N,), not {raw.shape}: one integer per sample.")
    if len(raw) != len(x):
        raise ScoreInputError(f"{len(x)} rows of features but {len(raw)} labels: give one label per row.")
    if raw.dtype.kind == "f" and not (np.isfinite(raw).all() and (raw == np.round(raw)).all()):
        raise ScoreInputError("labels hold NaN or fractions: these scores are for classes; drop or bin such samples.")
    if raw.dtype.kind not in "iubfUS":
        raise ScoreInputError(f"labels must be integers, not {raw.dtype}: number the classes first.")
    names, y, counts = np.unique(raw, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ScoreInputError(f"all {len(x)} samples have the label {names[0]!r}: at least two classes are needed.")
    constant = (x == x[0]).all(axis=0)
    if constant.all():
        raise ScoreInputError(
            "every feature column is constant: the backbone tells no samples apart, check its output."
        )
    gaps = raw.dtype.kind in "US" or not np.array_equal(names, np.arange(len(names)))
    facts = {
        "relabelled": gaps,
        "singleton_class": counts.min() == 1,
        "constant_columns": constant.any(),
        "n_below_d": len(x) < x.shape[1],
    }
    return Sample(x, y.astype(np.int64), counts, tuple(name for name, holds in facts.items() if holds))
