"""Robust z values within strata of comparable images."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

KINDS = (
    ("modality", "projection", "body_part", "site"),
    ("modality", "projection", "body_part"),
    ("modality", "projection"),
    ("modality",),
)
"""Kinds of strata from the finest to the coarsest. ``projection``: the view of a film, the plane of a slice."""

STACK = 5
"""With so many images per series or more on average, a stratum's images come in stacks and are alike within them."""

NORMAL = 1.4826
"""Median absolute deviation times this estimates the standard deviation of a normal distribution."""


class Strata:
    """Assigns every image to the finest stratum that is large enough to judge it.

    The slices of a stack are alike, so few stacks tell little of how much stacks differ. In strata of stacks that have
    fewer than ``enough`` of them, a slice must stand out of its own stack too.

    Args:
        index: columns ``modality`` and any of ``view, plane, body_part, site``; absent ones count as one value. Without
            ``series_id`` every image counts as a series.
        enough: images that a stratum needs, else the next coarser one is taken.
        least: images that the coarsest stratum needs at least; without them an image has no z.
    """

    def __init__(self, index: pd.DataFrame, enough: int, least: int) -> None:
        columns = {name: _codes(index, name) for name in ("modality", "view", "plane", "body_part", "site")}
        is_mr = index["modality"].to_numpy(dtype=object, na_value="") == "MR"
        columns["projection"] = np.where(is_mr, columns["plane"], columns["view"])
        self.codes = [_combined([columns[name] for name in kind]) for kind in KINDS]
        self.kind = np.full(len(index), -1)
        for number, codes in enumerate(self.codes):
            limit = least if number == len(KINDS) - 1 else enough
            large = np.bincount(codes)[codes] >= limit if len(codes) else np.zeros(0, bool)
            self.kind[(self.kind < 0) & large] = number
        self.series = _codes(index, "series_id") if "series_id" in index.columns else np.arange(len(index))
        self.stacked = [_few_stacks(codes, self.series, enough) for codes in self.codes]

    def account(self) -> dict[str, Any]:
        """How many images each kind of strata judges (``none``: too few to judge), and how many strata there are."""
        names = [" x ".join(kind) for kind in KINDS]
        by_kind = {name: int((self.kind == number).sum()) for number, name in enumerate(names)}
        strata = int(self.codes[0].max()) + 1 if len(self.codes[0]) else 0
        return {"by_stratum": by_kind | {"none": int((self.kind < 0).sum())}, "strata": strata}

    def z(self, values: Values, side: Literal["low", "high"], floor: float) -> Values:
        """How far each value lies from its stratum's median towards ``side``, in robust standard deviations.

        The deviation is estimated on that side alone (median distance of the values there, times `NORMAL`), so that a
        skewed measure does not flag its own long tail.

        Args:
            values: (n,) NaN where there is no measure.
            side: ``low`` = values below the median count as positive distances.
            floor: smallest standard deviation, in units of the measure; keeps strata that are all alike from flagging
                what differs by a trifle.

        Returns:
            (n,) distances, negative on the other side; NaN without a value or a large enough stratum.
        """
        towards = -values if side == "low" else values
        result = np.full(len(values), np.nan)
        for number, codes in enumerate(self.codes):
            judged = self.kind == number
            if not judged.any():
                continue
            wanted = np.zeros(int(codes.max()) + 1, bool)
            wanted[codes[judged]] = True
            members = wanted[codes] & ~np.isnan(towards)
            far = _distances(towards, codes, codes, members, floor)
            stacked = members & self.stacked[number]
            if stacked.any():
                within = _distances(towards, self.series, codes, stacked, floor)
                far = np.where(stacked, np.minimum(far, within), far)
            result[judged] = far[judged]
        return result


def _distances(values: Values, centres: Codes, spreads: Codes, members: npt.NDArray[np.bool_], floor: float) -> Values:
    """Distance above the median of one grouping, in robust deviations of another."""
    distance = values - _medians(values, centres, members)[centres]
    spread = NORMAL * _medians(distance, spreads, members & (distance >= 0))[spreads]
    return np.asarray(distance / np.maximum(spread, floor))


def _few_stacks(codes: Codes, series: Codes, enough: int) -> npt.NDArray[np.bool_]:
    """(n,) images whose stratum is made of stacks, but of fewer than ``enough``."""
    if not len(codes):
        return np.zeros(0, bool)
    pairs = np.unique(codes * (int(series.max()) + 1) + series)
    stacks = np.bincount(pairs // (int(series.max()) + 1), minlength=int(codes.max()) + 1)
    images = np.bincount(codes)
    return np.asarray(((stacks < enough) & (images >= STACK * stacks))[codes])


def _codes(index: pd.DataFrame, name: str) -> Codes:
    if name not in index.columns:
        return np.zeros(len(index), np.int64)
    return np.asarray(pd.factorize(index[name], use_na_sentinel=False)[0], np.int64)


def _combined(columns: list[Codes]) -> Codes:
    """One dense code for each combination of codes."""
    total = columns[0]
    for codes in columns[1:]:
        total = pd.factorize(total * (int(codes.max(initial=0)) + 1) + codes)[0]
    return np.asarray(total, np.int64)


def _medians(values: Values, codes: Codes, members: npt.NDArray[np.bool_]) -> Values:
    """(strata,) median of the members of each stratum; NaN where there are none."""
    groups, chosen = codes[members], values[members]
    order = np.lexsort((chosen, groups))
    count = np.bincount(groups, minlength=int(codes.max()) + 1)
    end = np.cumsum(count)
    start = end - count
    medians = np.full(len(count), np.nan)
    some = count > 0
    low, high = (start + (count - 1) // 2)[some], (start + count // 2)[some]
    ordered = chosen[order]
    medians[some] = (ordered[low] + ordered[high]) / 2
    return medians
