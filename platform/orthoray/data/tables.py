"""Tables of a source: files read once, or made by its adapter; joined on pseudonyms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property

import pandas as pd

from orthoray import storage
from orthoray.data.card_tables import HASHED, FactColumn, TableJoin
from orthoray.data.sources.adapters import Makers, makers
from orthoray.data.sources.options import AdapterOptions
from orthoray.data.sources.sheet import read_cells
from orthoray.errors import InputError, nearest
from orthoray.imaging.pseudonyms import Pseudonyms


class Tables:
    """The tables of a source. Identifying cells are replaced by pseudonyms as soon as they are read.

    Args:
        source: URI of the source folder.
        ids: maker of pseudonyms.
        adapter: the card's adapter, if it has one.
        images: paths of the images relative to ``source``, for the adapter; None = it lists the folder.
    """

    def __init__(
        self,
        source: str,
        ids: Pseudonyms,
        adapter: AdapterOptions | None = None,
        images: Iterable[str] | None = None,
    ) -> None:
        self.source, self.ids, self.adapter = source, ids, adapter
        self._images = images
        self._read: dict[tuple[str, ...], pd.DataFrame] = {}

    def column(self, join: TableJoin, column: str | list[str] | FactColumn) -> pd.Series:
        """A column as text, empty cells as empty text; of several columns the first filled cell of each row.

        Raises:
            InputError: a missing table or column (names the nearest), or a table that cannot be read.
        """
        table = self._table(join)
        column = column.column if isinstance(column, FactColumn) else column
        names = [column] if isinstance(column, str) else column
        cells = pd.Series("", index=table.index, dtype=str)
        for name in names:
            if name not in table.columns:
                raise InputError(f"{join.table}: no column '{name}'.{nearest(name, table.columns)}")
            cells = cells.where(cells != "", table[name].mask(table[name].isin(join.missing), ""))
        return cells

    def check(self, join: TableJoin, columns: Iterable[str | list[str] | FactColumn]) -> None:
        """InputError if the table or one of the columns is missing."""
        for column in [*join.key.values(), *columns]:
            self.column(join, column)

    def keys(self, join: TableJoin) -> pd.DataFrame:
        """The key columns of a join, named by fact, as `facts` gives them."""
        return pd.DataFrame({fact: self.facts(join, fact, column) for fact, column in sorted(join.key.items())})

    def facts(self, join: TableJoin, fact: str, column: FactColumn) -> pd.Series:
        """A column as ``fact``: pseudonyms if it identifies, what ``values`` makes of the cells, or the cells."""
        cells = self.column(join, column)
        if fact in HASHED:
            return cells.map(lambda cell: self.ids.make(fact, cell))
        if column.values:
            return cells.map({cell: str(value) for cell, value in column.values.items()}).fillna("").astype(str)
        return cells

    def digest(self, join: TableJoin) -> str:
        """SHA-256 of the table as it is used: the same cells under the same names give the same text."""
        table = self._table(join)
        digest = hashlib.sha256("\x1f".join(table.columns).encode(errors="surrogatepass"))
        for column in table.columns:
            digest.update(b"\x1e" + "\x1f".join(table[column]).encode(errors="surrogatepass"))
        return digest.hexdigest()

    def _table(self, join: TableJoin) -> pd.DataFrame:
        name = (join.table, *join.header)
        if name not in self._read:
            self._read[name] = self._made(join) if join.adapter else self._file(join)
        return self._read[name]

    def _file(self, join: TableJoin) -> pd.DataFrame:
        uri = storage.join(self.source, join.table)
        if not storage.exists(uri):
            raise InputError(f"{uri}: this table of the card is missing. Put it there, or take it out of the card.")
        return read_cells(uri, uri, join.header or None)

    def _made(self, join: TableJoin) -> pd.DataFrame:
        adapter, _, name = join.table.partition(":")
        if name not in self._makers:
            known = ", ".join(self._makers)
            raise InputError(
                f"{join.table}: adapter '{adapter}' has no such table.{nearest(name, self._makers)} It has {known}."
            )
        return self._makers[name]().reset_index(drop=True)

    @cached_property
    def _makers(self) -> Makers:
        if self.adapter is None:
            raise InputError("the card joins on a table of an adapter, and names none (`adapter`).")
        return makers(self.adapter, self.source, self._images)
