"""The columns that screening looks at, whatever form the index has."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.data.screening_rules import ScreeningRules
from orthoray.data.strata import Strata

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

FLOOR = {
    "laplacian": 0.05,
    "tenengrad": 0.02,
    "high_frequency": 0.1,
    "detail": 0.05,
    "detail_least": 0.05,
    "clipped_low": 0.002,
    "clipped_high": 0.002,
    "entropy": 0.1,
    "noise": 0.001,
    "contrast": 5.0,
    "seam": 0.2,
    "implant": 0.001,
    "snr": 0.05,
    "ghost": 0.02,
    "streaks": 0.01,
    "air": 0.05,
    "efc": 0.01,
    "spike": 0.1,
    "shading": 0.03,
}
"""Smallest standard deviation of a measure that is taken for natural, in the measure's own unit."""


class ScreeningTable:
    """Columns of an index as arrays; what is absent is remembered in ``missing`` and reads as unknown.

    Args:
        index: as `orthoray.data.screening.screen` describes it.
        rules: sizes of the strata.
    """

    def __init__(self, index: pd.DataFrame, rules: ScreeningRules) -> None:
        self.index = index
        self.strata = Strata(index, rules.enough, rules.least)
        self.missing: set[str] = set()
        self.is_mr: Mask = np.asarray(index["modality"].to_numpy(dtype=object) == "MR", bool)

    def number(self, name: str) -> Values:
        """(n,) float64 of a column; NaN where it is absent or empty."""
        if name not in self.index.columns:
            return self._unknown(name)
        return np.asarray(self.index[name].to_numpy(dtype=np.float64, na_value=np.nan))

    def measure(self, name: str) -> Values:
        """(n,) float64 of a measure of `orthoray.imaging.quality.Quality`."""
        if "quality" not in self.index.columns or f"quality.{name}" in self.index.columns:
            return self.number(f"quality.{name}")
        column = self.index["quality"]
        if isinstance(column.dtype, pd.ArrowDtype):
            fields = [field.name for field in column.dtype.pyarrow_dtype]
            if name not in fields:
                return self._unknown(f"quality.{name}")
            return np.asarray(column.struct.field(name).to_numpy(dtype=np.float64, na_value=np.nan))
        cells: list[Any] = [row.get(name) for row in column]
        return np.array([np.nan if cell is None else cell for cell in cells], np.float64)

    def flag(self, name: str) -> Mask:
        """(n,) True where a boolean column says so."""
        if name not in self.index.columns:
            self.missing.add(name)
            return np.zeros(len(self.index), bool)
        return np.asarray(self.index[name].to_numpy(dtype=object) == True, bool)  # noqa: E712 — None and NaN are not

    def text(self, name: str) -> npt.NDArray[np.object_]:
        """(n,) text of a column; empty where it is absent."""
        if name not in self.index.columns:
            self.missing.add(name)
            return np.full(len(self.index), "", object)
        return np.asarray(self.index[name].fillna("").to_numpy(dtype=object))

    def z(self, name: str, side: Literal["low", "high"], only: Mask | None = None) -> Values:
        """(n,) robust z of a measure towards ``side``; see `Strata.z`. ``only``: NaN for all other images."""
        values = self.measure(name)
        if only is not None:
            values = np.where(only, values, np.nan)
        return self.strata.z(values, side, FLOOR[name])

    def _unknown(self, name: str) -> Values:
        self.missing.add(name)
        return np.full(len(self.index), np.nan)
