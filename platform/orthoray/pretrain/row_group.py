"""One row group in memory: the images that a task wants of it, and what the columns say of the others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.codec import decode
from orthoray.errors import RunError
from orthoray.pretrain import sides
from orthoray.pretrain.crops import Grey
from orthoray.pretrain.settings.crops import MultiCropConfig
from orthoray.pretrain.settings.data import MODALITIES, Modality

PIXELS = ("pixels", "codec")
SIDES = ("laterality", "plane", "view")
STACK = ("series_id", "slice_index", "slice_spacing_mm")

ROUNDING_MM = 0.01
"""Distances are products of numbers that were rounded."""

REMEDY = "Restore the file from a copy or ingest the dataset again; data.damaged=replace goes on without such images"


def columns_of(crops: MultiCropConfig) -> list[str]:
    """Columns beside the pixels that cutting needs."""
    sided = SIDES if crops.canonical_laterality else ()
    stacked = STACK if crops.second_view == "neighbour" else ()
    return ["modality", *sided, *stacked]


class Facts:
    """The columns of a row group without pixels, one entry a row."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns

    def modality(self, row: int) -> Modality:
        """XR or MR."""
        found: Modality = self.columns["modality"][row]
        return found

    def state(self, row: int) -> str:
        """A key of `sides.STATES`."""
        cells = (self.columns[name][row] or "" for name in SIDES)
        return sides.state(self.modality(row), *cells)

    def neighbours(self, row: int, max_gap_mm: float) -> list[int]:
        """Other slices of the same series in this row group at most ``max_gap_mm`` away, ascending.

        Where the spacing is unknown, the slices before and after. Films have no neighbours.
        """
        if self.modality(row) != "MR":
            return []
        spacing = self.columns["slice_spacing_mm"][row]
        known = spacing is not None and spacing > 0 and math.isfinite(spacing)
        reach = int((max_gap_mm + ROUNDING_MM) / spacing) if known else 1
        series, number = self.columns["series_id"], self.columns["slice_index"]
        found = []
        for step in (-1, 1):
            other = row + step
            while 0 <= other < len(series) and series[other] == series[row]:
                if abs(number[other] - number[row]) > reach:
                    break
                found.append(other)
                other += step
        return sorted(found)


class RowGroup:
    """A row group as it was read.

    Args:
        file: URI of the shard.
        group: number of the row group in it.
        columns: what is needed beside the pixels (`columns_of`).

    Raises:
        RunError: it cannot be read; the message names the shard and what to do.
        OSError: the filesystem failed, which may pass.
    """

    def __init__(self, file: str, group: int, columns: list[str]) -> None:
        self.where = f"{file}, row group {group}"
        filesystem, path = storage.arrow_fs(file)
        try:
            with filesystem.open_input_file(path) as handle:
                table = pq.ParquetFile(handle).read_row_group(group, columns=[*PIXELS, *columns])
            self._table: pa.Table | None = table.select(PIXELS)
            self.facts = Facts({name: table.column(name).to_pylist() for name in columns})
            strange = set(self.facts.columns["modality"]) - set(MODALITIES)
            if strange:
                raise ValueError(f"a modality that is neither XR nor MR: {strange.pop()!r}")
        except FileNotFoundError:
            raise RunError(f"{file}: the shard is gone. {REMEDY}.") from None
        except (pa.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise RunError(f"{self.where}: damaged ({error}). {REMEDY}.") from None
        self._kept: dict[int, tuple[bytes, str]] = {}
        self.rows = len(table)

    def keep(self, rows: Iterable[int]) -> None:
        """Hold the encoded images of these rows, and let go of all others."""
        if self._table is not None:
            self._kept |= {row: self._encoded(row) for row in rows}
            self._table = None

    def image(self, row: int) -> Grey:
        """(H, W) uint8 of a row; RunError, which names the shard and what to do, if it is damaged."""
        try:
            return decode(*(self._kept.get(row) or self._encoded(row)))
        except RunError as error:
            raise RunError(f"{self.where}, row {row}: {error} {REMEDY}.") from None

    def _encoded(self, row: int) -> tuple[bytes, str]:
        if self._table is None:
            raise KeyError(row)
        try:
            content, codec = (self._table.column(name)[row].as_py() for name in PIXELS)
        except ValueError:  # the name of a codec in no alphabet
            return b"", "png"
        return content or b"", codec or "png"
