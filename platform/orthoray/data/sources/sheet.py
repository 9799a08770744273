"""One table of a source: columns whatever their case, cells as codes, numbers and days."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from orthoray import storage
from orthoray.data.sources.sas import SUFFIXES, read_sas
from orthoray.data.sources.text import parse_text
from orthoray.errors import InputError, nearest

TEXT_SUFFIXES = (".csv", ".txt", ".tsv")

MISSING = r"^(?:\.?|\.[A-Za-z]|\.[A-Za-z]?\s*:.*)$"
"""Cells without a value: empty, ``.``, ``.A``, ``.: Missing Form/Incomplete Workbook``. ``.5`` is a number."""

CODE = r"^([+-]?(?:\d+\.?\d*|\.\d+))(?:\s*:\s.*)?$"
"""A number, or a code with its label as ASCII tables write it: ``1: Right``."""

DATES = ("%m/%d/%Y", "%Y-%m-%d", "%m/%d/%y", "%Y%m%d")


def read_cells(uri: str, name: str, names: list[str] | None = None) -> pd.DataFrame:
    """A table as text cells, by its suffix: SAS, else delimited text; InputError if it is neither or damaged."""
    if name.lower().endswith(SUFFIXES):
        return read_sas(uri, name)
    return parse_text(storage.read_bytes(uri), name, names)


@dataclass(frozen=True)
class Sheet:
    """A table and its name. Columns are found whatever their case, because releases differ in it."""

    name: str
    cells: pd.DataFrame

    def find(self, candidates: Iterable[str]) -> str | None:
        """The column called like one of ``candidates``; InputError if several are."""
        wanted = {candidate.lower() for candidate in candidates}
        found = [column for column in self.cells.columns if column.lower() in wanted]
        if len(found) > 1:
            raise InputError(f"{self.name}: columns {', '.join(found)} mean the same; keep one.")
        return found[0] if found else None

    def text(self, *candidates: str) -> pd.Series:
        """A column as text, missing codes as empty text; InputError names the nearest column."""
        column = self.find(candidates)
        if column is None:
            raise InputError(
                f"{self.name}: no column '{' or '.join(candidates)}'.{nearest(candidates[0], self.cells.columns)}"
            )
        cells = self.cells[column]
        return cells.mask(cells.str.match(MISSING), "")

    def code(self, *candidates: str, words: Mapping[float, str]) -> pd.Series:
        """A column of codes as float64, NaN where missing.

        Args:
            candidates: names of the column.
            words: code → how its label begins, where the table writes labels (``1: Right``), in any case.

        Raises:
            InputError: no such column, a code that is not in ``words``, or one with the label of another.
        """
        codes = self.number(*candidates, allowed=words)
        labels = self.text(*candidates).str.extract(r":\s+(.+)$", expand=False)
        pairs = zip(codes.fillna(0.0), labels.fillna(""), strict=True)
        wrong = sum(bool(label) and not label.lower().startswith(words[code].lower()) for code, label in pairs)
        if wrong:
            raise InputError(f"{self.name}: {wrong} code(s) of column '{self.find(candidates)}' have another's label.")
        return codes

    def number(self, *candidates: str, allowed: Collection[float] | None = None) -> pd.Series:
        """A column of numbers or codes as float64, NaN where missing.

        Raises:
            InputError: no such column, a cell that is neither number nor code, or one that is not ``allowed``. Cells
                are counted, not quoted.
        """
        cells = self.text(*candidates)
        numbers = pd.to_numeric(cells.str.extract(CODE, expand=False))
        wrong = (cells != "") & (numbers.isna() if allowed is None else ~numbers.isin(list(allowed)))
        if wrong.any():
            need = "a number" if allowed is None else f"one of {', '.join(f'{value:g}' for value in sorted(allowed))}"
            raise InputError(
                f"{self.name}: {int(wrong.sum())} cell(s) of column '{self.find(candidates)}' are not {need}."
            )
        return numbers

    def day(self, *candidates: str) -> pd.Series:
        """A column of dates as day numbers (float64; NaN where missing); InputError for a cell that is no date."""
        cells = self.text(*candidates)
        days = pd.Series(float("nan"), index=cells.index)
        for form in DATES:
            dates = pd.to_datetime(cells, format=form, errors="coerce")
            numbers = dates.map(lambda date: float(date.toordinal()) if date == date else float("nan"))
            days = days.fillna(numbers.astype(float))
        wrong = (cells != "") & days.isna()
        if wrong.any():
            raise InputError(
                f"{self.name}: {int(wrong.sum())} cell(s) of column '{self.find(candidates)}' are no dates."
            )
        return days

    def unique(self, *candidates: str) -> pd.Series:
        """A column of identifiers as text; InputError if one is missing or occurs twice (rows are counted)."""
        cells = self.text(*candidates)
        wrong = (cells == "") | cells.duplicated(keep=False)
        if wrong.any():
            raise InputError(
                f"{self.name}: {int(wrong.sum())} row(s) without an identifier of their own in column "
                f"'{self.find(candidates)}'."
            )
        return cells
