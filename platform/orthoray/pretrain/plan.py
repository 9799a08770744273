"""Which images are read when: a deterministic order over all epochs, cut into windows that one task reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError
from orthoray.pretrain.config import DataConfig, DataSource


@dataclass(frozen=True)
class RowGroup:
    """One Parquet row group and which of its rows take part. ``first`` numbers its first row within the mixture."""

    file: str
    group: int
    rows: tuple[int, ...]
    first: int
    weight: float


@dataclass(frozen=True)
class Window:
    """Row groups that are shuffled together.

    ``skip`` images of its order were used before a resume; the next ``take`` are used, from place ``first`` of the run.
    """

    epoch: int
    groups: tuple[int, ...]
    skip: int
    take: int
    first: int


class Mixture:
    """The row groups of all datasets of a run, and the order in which their images are used.

    Within an epoch every image appears ``weight`` times (a fractional part by lot). Row groups are permuted, packed
    into windows of about ``shuffle_window`` images, and the images of a window are permuted. Everything follows from
    (seed, epoch), so that a resumed run goes on with the very next image.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.seed, self.window = seed, config.shuffle_window
        self.dataset_ids: list[str] = []
        self.groups: list[RowGroup] = []
        for source in config.datasets:
            self._add(source)
        self.images = sum(len(group.rows) for group in self.groups)

    def _add(self, source: DataSource) -> None:
        dataset = Dataset(source.uri)
        dataset_id = str(dataset.manifest["dataset_id"])
        if dataset_id not in self.dataset_ids:  # X-rays and MR of one dataset can be two sources
            self.dataset_ids.append(dataset_id)
        first = sum(len(group.rows) for group in self.groups)
        before = first
        for file in dataset.image_files():
            for index, rows in enumerate(_rows_of(file, source.modality)):
                if rows:
                    self.groups.append(RowGroup(file, index, rows, first, source.weight))
                    first += len(rows)
        if first == before:
            wanted = f" of modality {source.modality}" if source.modality else ""
            raise InputError(f"{source.uri}: the dataset holds no images{wanted}.")

    def images_per_epoch(self) -> int:
        """Images of one epoch, with weights."""
        return sum(_repeated(len(group.rows), group.weight) for group in self.groups)

    def windows(self, total: int, start: int = 0) -> Iterator[Window]:
        """The windows that hold images ``start`` … ``total - 1`` of the run, in order."""
        position = epoch = 0
        while position < total:
            for groups in self._epoch_windows(epoch):
                rows = sum(_repeated(len(self.groups[index].rows), self.groups[index].weight) for index in groups)
                rows = min(rows, total - position)
                if position + rows > start and rows > 0:
                    skip = max(0, start - position)
                    yield Window(epoch, groups, skip, rows - skip, position + skip)
                position += rows
            epoch += 1

    def _epoch_windows(self, epoch: int) -> Iterator[tuple[int, ...]]:
        order = np.random.default_rng((self.seed, epoch, 1)).permutation(len(self.groups))
        packed: list[int] = []
        rows = 0
        for index in order:
            packed.append(int(index))
            rows += len(self.groups[index].rows)
            if rows >= self.window:
                yield tuple(packed)
                packed, rows = [], 0
        if packed:
            yield tuple(packed)

    def order(self, window: Window) -> list[tuple[int, int]]:
        """The images of a window in order, as (index of the row group, position within its chosen rows)."""
        rng = np.random.default_rng((self.seed, window.epoch, 2, *window.groups))
        rows: list[tuple[int, int]] = []
        for index in window.groups:
            group = self.groups[index]
            whole, rest = divmod(_repeated(len(group.rows), group.weight), len(group.rows))
            rows.extend((index, row) for _ in range(whole) for row in range(len(group.rows)))
            rows.extend((index, int(row)) for row in rng.permutation(len(group.rows))[:rest])
        shuffled = [rows[position] for position in rng.permutation(len(rows))]
        return shuffled[window.skip : window.skip + window.take]


def _repeated(rows: int, weight: float) -> int:
    """Appearances of ``rows`` images at ``weight`` per epoch: at least one."""
    return max(1, math.floor(rows * weight + 0.5))


def _rows_of(file: str, modality: str | None) -> list[tuple[int, ...]]:
    """The chosen rows of every row group of a shard; InputError if it is damaged."""
    filesystem, path = storage.arrow_fs(file)
    try:
        with filesystem.open_input_file(path) as handle:
            parquet = pq.ParquetFile(handle)
            return [_chosen_rows(parquet, index, modality) for index in range(parquet.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the filesystem, not of the content
            raise
        raise InputError(f"{file}: damaged, or not a Parquet file ({error}). Ingest the dataset again.") from None


def _chosen_rows(parquet: pq.ParquetFile, group: int, modality: str | None) -> tuple[int, ...]:
    if modality is None:
        return tuple(range(parquet.metadata.row_group(group).num_rows))
    column = parquet.read_row_group(group, columns=["modality"]).column("modality").to_pylist()
    return tuple(row for row, value in enumerate(column) if value == modality)
