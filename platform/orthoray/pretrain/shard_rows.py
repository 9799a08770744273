"""Rows of shards that take part in a run, and their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.errors import InputError, nearest
from orthoray.pretrain.selection import Places, fraction
from orthoray.pretrain.settings.data import DataSource, Weights

READERS = 8
"""Files whose footers are read at a time."""

ALWAYS = ("pixels", "codec", "modality")
"""Columns that every shard must have."""

Columns = dict[str, pa.ChunkedArray]

Weighed = tuple[Places, Sequence[Fraction] | Fraction]
"""The chosen rows of a row group and their weights (or one for all)."""


class Weighing:
    """Weights of rows by modality and site."""

    def __init__(self, weights: Weights) -> None:
        self.modality = {str(name): weight for name, weight in weights.modality.items()}
        self.site = dict(weights.site)
        self.any = bool(self.modality or self.site)
        self.body_parts: set[str] = set()
        """Of the rows that were taken from sources with a selection of body parts."""
        self._seen: dict[str, set[str]] = {"modality": set(), "site": set()}

    def columns(self, source: DataSource) -> list[str]:
        """Columns that decide over a row."""
        by_modality = ["modality"] if self.modality or source.modality else []
        return [*by_modality, *(["site"] if self.site else []), *(["body_part"] if source.body_parts else [])]

    def weigh(self, source: DataSource, columns: Columns, rows: int) -> Weighed:
        """The rows of a row group with a weight above 0."""
        modality, site, parts = (
            [value or "" for value in columns[name].to_pylist()] if name in columns else []
            for name in ("modality", "site", "body_part")
        )
        self._seen["modality"].update(modality)
        self._seen["site"].update(site)
        chosen: Places = range(rows)
        if source.modality:
            chosen = _compact([row for row, value in enumerate(modality) if value == source.modality], rows)
        if source.body_parts:
            chosen = _compact([int(row) for row in chosen if parts[row] in source.body_parts], rows)
        if not self.any:
            self._took(parts, chosen)
            return chosen, fraction(source.weight)
        kinds = [(modality[row] if self.modality else "", site[row] if self.site else "") for row in chosen]
        known = {
            kind: fraction(source.weight, self.modality.get(kind[0], 1.0), self.site.get(kind[1], 1.0))
            for kind in set(kinds)
        }
        kept = [(row, known[kind]) for row, kind in zip(chosen, kinds, strict=True) if known[kind]]
        chosen = _compact([row for row, _ in kept], rows)
        self._took(parts, chosen)
        return chosen, [weight for _, weight in kept]

    def _took(self, parts: list[str], chosen: Places) -> None:
        if parts:
            self.body_parts.update(parts[row] for row in chosen)

    def require_used(self) -> None:
        """InputError if there is a weight for something that no dataset holds."""
        for name, weights in (("modality", self.modality), ("site", self.site)):
            for key in weights:
                if key not in self._seen[name]:
                    there = ", ".join(repr(value) for value in sorted(self._seen[name])) or "none"
                    near = nearest(key, self._seen[name])
                    raise InputError(f"data.weights.{name}: no image is of {name} '{key}'.{near} There is: {there}.")


def rows_of_files(files: list[str], source: DataSource, weighing: Weighing) -> Iterator[tuple[str, list[Weighed]]]:
    """The chosen rows of every row group of every shard, in the order of ``files``.

    Raises:
        InputError: a shard is damaged, or lacks a column that is needed.
    """
    columns = weighing.columns(source)
    with ThreadPoolExecutor(READERS) as pool:
        for file, groups in zip(files, pool.map(partial(read_columns, columns=columns), files), strict=True):
            yield file, [weighing.weigh(source, values, rows) for rows, values in groups]


def read_columns(file: str, columns: list[str]) -> list[tuple[int, Columns]]:
    """Per row group of a shard the number of its rows and some columns of it.

    Raises:
        InputError: the shard is damaged, or lacks one of the columns.
    """
    filesystem, path = storage.arrow_fs(file)
    try:
        with filesystem.open_input_file(path) as handle:
            parquet = pq.ParquetFile(handle)
            require_columns(file, parquet, [*ALWAYS, *columns])
            table = parquet.read(columns=columns)
            sizes = [parquet.metadata.row_group(index).num_rows for index in range(parquet.num_row_groups)]
            ends = np.cumsum([0, *sizes]).tolist()
            return [
                (size, {name: table.column(name).slice(begin, size) for name in columns})
                for size, begin in zip(sizes, ends, strict=False)
            ]
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name that is no text
        if isinstance(error, OSError) and error.errno is not None:  # of the filesystem, not of the content
            raise
        raise InputError(f"{file}: damaged, or not a Parquet file ({error}). Ingest the dataset again.") from None


def require_columns(file: str, parquet: pq.ParquetFile, columns: list[str]) -> None:
    """InputError if a shard lacks a column."""
    missing = [name for name in columns if name not in parquet.schema_arrow.names]
    if missing:
        raise InputError(f"{file}: no column {', '.join(missing)}. Ingest the dataset again with this version.")


def _compact(rows: list[int], among: int) -> Places:
    """Row numbers in as little memory as they need."""
    return range(among) if len(rows) == among else np.array(rows, np.int32)
