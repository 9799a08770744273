"""Labels of a hospital: several readers, an adjudicator, and a better truth where there is one.

The reference (arthroscopy, histology …) is trusted over the readers; among readers the majority; a tie is decided by
the adjudicator, and without one there is no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property

import pandas as pd

from orthoray.data.sources.files import SourceFiles
from orthoray.data.sources.options import Finding, HospitalOptions
from orthoray.data.sources.options import Reference as ReferenceOptions
from orthoray.data.sources.sheet import Sheet
from orthoray.errors import InputError, nearest

Judged = tuple[str, str, str, str]
"""Label, its source, the reason where there is none, and the votes."""


class HospitalTables:
    """Makes one table per finding."""

    def __init__(self, files: SourceFiles, options: HospitalOptions) -> None:
        self.files, self.options = files, options
        self.makers: dict[str, Callable[[], pd.DataFrame]] = {
            name: lambda finding=finding: self.finding(finding)  # type: ignore[misc]
            for name, finding in options.findings.items()
        }

    @cached_property
    def _sheet(self) -> Sheet:
        return self.files.read(self.options.table)

    def finding(self, finding: Finding) -> pd.DataFrame:
        """Labels of one finding.

        Returns:
            The key columns, and ``label`` (class number; empty = none), ``source`` (``consensus``, ``reader`` where
            only one looked, ``adjudicated``, or the reference's name)``, reason`` (``tie, too_few_readers,
            not_judged``) and ``votes`` (class:count, as ``0:1 1:2``).

        Raises:
            InputError: a missing table or column, a cell that is no class, rows that contradict each other.
        """
        sheet = self._sheet
        keys = self._keys(sheet)
        votes = (
            pd.concat([self._classes(sheet, column, finding) for column in finding.raters], axis=1)
            if finding.raters
            else None
        )
        decided = self._one_each(sheet, finding.adjudicator, finding) if finding.adjudicator else {}
        truth = self._reference(finding)
        rows = []
        for key, places in keys.groupby(keys.columns.tolist(), sort=True).groups.items():
            key = key if isinstance(key, tuple) else (key,)
            cells = [] if votes is None else [cell for cell in votes.loc[places].to_numpy().ravel() if cell != ""]
            judged = _judge(cells, decided.get(key, ""), finding.min_raters)
            if truth.get(key, "") and finding.reference is not None:
                judged = (truth[key], finding.reference.source, "", judged[3])
            rows.append((*key, *judged))
        return pd.DataFrame(rows, columns=[*self.options.key, "label", "source", "reason", "votes"], dtype=str)

    def _keys(self, sheet: Sheet) -> pd.DataFrame:
        keys = pd.DataFrame({name: _exact(sheet, name) for name in self.options.key})
        empty = (keys == "").any(axis=1)
        if empty.any():
            raise InputError(f"{sheet.name}: {int(empty.sum())} row(s) have no {' or '.join(self.options.key)}.")
        owner = keys.assign(rater=_exact(sheet, self.options.rater)) if self.options.rater else keys
        if owner.duplicated().any():
            unit = "sample and reader" if self.options.rater else "sample (or name the reader's column: rater)"
            raise InputError(
                f"{sheet.name}: {int(owner.duplicated().sum())} row(s) too many: one row per {unit} is needed."
            )
        return keys

    def _classes(self, sheet: Sheet, column: str, finding: Finding) -> pd.Series:
        """Cells of a column as class numbers in text; empty where not judged."""
        cells = _exact(sheet, column)
        cells = cells.mask(cells.isin(self.options.missing), "")
        known = {cell: str(value) for cell, value in finding.values.items()}
        classes = cells.map({**known, "": ""}) if known else cells.where(cells.str.fullmatch(r"\d*"))
        wrong = classes.isna()
        if wrong.any():
            raise InputError(
                f"{sheet.name}: {int(wrong.sum())} cell(s) of column '{column}' are no class. Map cells to classes "
                "with `values`, or list cells that mean nothing in `missing`."
            )
        return classes.map(lambda cell: str(int(cell)) if cell else "").rename(column)

    def _one_each(self, sheet: Sheet, column: str, finding: Finding) -> dict[tuple[str, ...], str]:
        """The class per sample in a column; InputError if rows of one sample differ in it."""
        keys = pd.DataFrame({name: _exact(sheet, name) for name in self.options.key})
        table = keys.assign(value=self._classes(sheet, column, finding)).query("value != ''").drop_duplicates()
        if table.duplicated(self.options.key).any():
            raise InputError(
                f"{sheet.name}: rows of the same {', '.join(self.options.key)} differ in column '{column}'."
            )
        return {tuple(row[:-1]): row[-1] for row in table.itertuples(index=False, name=None)}

    def _reference(self, finding: Finding) -> dict[tuple[str, ...], str]:
        reference: ReferenceOptions | None = finding.reference
        if reference is None:
            return {}
        sheet = self.files.read(reference.table) if reference.table else self._sheet
        return self._one_each(sheet, reference.column, finding)


def _judge(votes: list[str], decided: str, least: int) -> Judged:
    counts = Counter(votes)
    text = " ".join(f"{label}:{count}" for label, count in sorted(counts.items()))
    if len(votes) < least:
        return "", "", "too_few_readers" if votes else "not_judged", text
    best = [label for label, count in counts.items() if count == max(counts.values())]
    if len(best) == 1:
        return best[0], "consensus" if len(votes) > 1 else "reader", "", text
    if decided:
        return decided, "adjudicated", "", text
    return "", "", "tie" if votes else "not_judged", text


def _exact(sheet: Sheet, column: str) -> pd.Series:
    """A column by its exact name, as text."""
    if column not in sheet.cells.columns:
        raise InputError(f"{sheet.name}: no column '{column}'.{nearest(column, sheet.cells.columns)}")
    return sheet.cells[column]
