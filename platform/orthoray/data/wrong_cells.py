"""Wrong cells of a source's tables, told so that people can correct them and nobody is named."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

from orthoray.errors import nearest
from orthoray.imaging import vocabulary

MOST_KINDS = 10
"""A column with more kinds of wrong cells than this is taken for free text or identifiers."""

_WORD = re.compile(r"(?!.*\d{3})[^\s,;:^@]{1,20}")
"""One short word without a number of three digits: no date, no identifier, no "Family, Given" or "Family^Given"."""

_PERSONAL = re.compile(r"name|birth|geburt|\bdob\b|mrn|addre|phone|telefon|mail|\bssn\b|(^|[^a-z])u?id$", re.IGNORECASE)
"""Columns called like this are not quoted, whatever a card wants of them."""

_WORDS: dict[str, Callable[[str], str]] = {"laterality": vocabulary.side, "plane": vocabulary.plane}
"""Facts whose words in other languages are known → the function that understands them."""


def told(wrong: pd.Series, column: str, *, identifies: bool) -> str:
    """Wrong cells with their counts, or only where the first one is.

    Tables come from hospitals, and a card may take a column for what it is not. A cell is quoted only if it is one
    short word without a number of three digits, and its column has few kinds of wrong cells, identifies nothing in the
    card and is not called after a person's name, birth, address or number. All others are counted.

    Args:
        wrong: the cells; the index is their row in the table, from 0.
        column: name of the column.
        identifies: does the card use the column to find or name persons, studies or files?

    Returns:
        For example ``'links' (2), 'rechts' (1); 3 more are not quoted, as they may name somebody: the first is in row 7
        below the header``.
    """
    shown = quotable(wrong, column, identifies=identifies)
    hidden = wrong[~wrong.isin(shown)]
    counts = wrong.value_counts()
    parts = [", ".join(f"'{cell}' ({counts[cell]})" for cell in shown)] if shown else []
    if len(hidden):
        what = f"{len(hidden)} more are" if shown else "they are"
        row = int(hidden.index[0]) + 1
        parts.append(f"{what} not quoted, as they may name somebody: the first is in row {row} below the header")
    return "; ".join(parts)


def quotable(wrong: pd.Series, column: str, *, identifies: bool) -> list[str]:
    """The distinct wrong cells that `told` quotes, most frequent first."""
    kinds = [str(cell) for cell in wrong.value_counts().index]
    if identifies or len(kinds) > MOST_KINDS or _PERSONAL.search(column):
        return []
    return [cell for cell in kinds if _WORD.fullmatch(cell)]


def meant(fact: str, cell: str, allowed: tuple[str, ...]) -> str:
    """What a wrong cell probably means: one of ``allowed``, or ``…``."""
    understood = _WORDS[fact](cell) if fact in _WORDS else ""
    if understood not in allowed:
        understood = nearest(cell, allowed).partition("'")[2].partition("'")[0]
    return understood or "…"
