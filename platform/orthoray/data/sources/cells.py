"""Small helpers on columns of cells."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd


def first_true(conditions: Mapping[str, pd.Series], otherwise: pd.Series | str = "") -> pd.Series:
    """Per row the name of the first condition that holds, else ``otherwise``."""
    index = next(iter(conditions.values())).index
    names = otherwise if isinstance(otherwise, pd.Series) else pd.Series(otherwise, index=index, dtype=str)
    for name, holds in reversed(list(conditions.items())):
        names = names.mask(holds.astype(bool), name)
    return names


def smaller(one: pd.Series, other: pd.Series) -> pd.Series:
    """The smaller of two numbers per row; of a number and NaN the number."""
    return pd.concat([one, other], axis=1).min(axis=1)


def whole_text(numbers: pd.Series) -> pd.Series:
    """Whole numbers as text, NaN as empty text."""
    return numbers.map(lambda value: "" if value != value else f"{value:.0f}").astype(str)


def as_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Every cell text: whole numbers without a point, others with all their digits, NaN as empty text."""
    numbers = [column for column in table.columns if table[column].dtype.kind in "fi"]
    texts = {column: table[column].map(lambda v: "" if v != v else f"{v:.15g}") for column in numbers}
    return table.assign(**texts).astype(str)
