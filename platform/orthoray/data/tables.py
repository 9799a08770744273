"""CSV tables of a source: read once, joined on pseudonyms."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pandas as pd

from orthoray import storage
from orthoray.data.cards import TableJoin
from orthoray.errors import InputError, nearest
from orthoray.imaging.pseudonyms import Pseudonyms

HASHED = ("patient", "study", "series", "image")


class Tables:
    """The tables of a source. Identifying cells are replaced by pseudonyms as soon as they are read."""

    def __init__(self, source: str, ids: Pseudonyms) -> None:
        self.source, self.ids = source, ids
        self._read: dict[str, pd.DataFrame] = {}

    def column(self, join: TableJoin, column: str) -> pd.Series:
        """A column as text, empty cells as empty text; InputError names the nearest column."""
        table = self._table(join.table)
        if column not in table.columns:
            raise InputError(f"{join.table}: no column '{column}'.{nearest(column, table.columns)}")
        return table[column]

    def check(self, join: TableJoin, columns: Iterable[str]) -> None:
        """InputError if the table or one of the columns is missing."""
        for column in [*join.key.values(), *columns]:
            self.column(join, column)

    def keys(self, join: TableJoin) -> pd.DataFrame:
        """The key columns of a join, named by fact, identifiers as pseudonyms."""
        return pd.DataFrame(
            {fact: self.hashed(fact, self.column(join, column)) for fact, column in sorted(join.key.items())}
        )

    def hashed(self, fact: str, cells: pd.Series) -> pd.Series:
        """Pseudonyms of a column if ``fact`` identifies; the column itself otherwise."""
        return cells.map(lambda cell: self.ids.make(fact, cell)) if fact in HASHED else cells

    def _table(self, name: str) -> pd.DataFrame:
        if name not in self._read:
            uri = storage.join(self.source, name)
            if not storage.exists(uri):
                raise InputError(f"{uri}: this table of the card is missing. Put it there, or take it out of the card.")
            try:
                table = pd.read_csv(io.BytesIO(storage.read_bytes(uri)), dtype=str, keep_default_na=False)
            except (ValueError, UnicodeDecodeError) as error:
                raise InputError(f"{uri}: not a CSV table ({type(error).__name__}).") from None
            self._read[name] = table.apply(lambda cells: cells.str.strip())
        return self._read[name]
