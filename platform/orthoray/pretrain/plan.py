"""Which images are read when: a deterministic order over all epochs, cut into windows that one task reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from orthoray.data.dataset import Dataset
from orthoray.errors import InputError
from orthoray.pretrain.body_parts import indexed_parts, no_images
from orthoray.pretrain.config import DataConfig, DataSource
from orthoray.pretrain.selection import Counts, Divider, Part, Places
from orthoray.pretrain.shard_rows import Weighing, rows_of_files


@dataclass(frozen=True)
class RowGroup:
    """One Parquet row group and which of its rows take part. ``first`` numbers its first row within the mixture."""

    file: str
    group: int
    rows: Places
    first: int
    parts: tuple[Part, ...]

    def number(self, row: int) -> int | None:
        """Number within the mixture of a row of the row group; None if it takes no part."""
        if isinstance(self.rows, range):
            return self.first + row
        place = int(np.searchsorted(self.rows, row))
        return self.first + place if place < len(self.rows) and self.rows[place] == row else None


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

    Within an epoch every image appears as often as its weight says (see `orthoray.pretrain.selection`). Row groups are
    permuted, packed into windows of about ``shuffle_window`` images, and the images of a window are permuted.
    Everything follows from (seed, epoch), so that a resumed run goes on with the very next image. What is kept grows
    with the number of row groups, not of images.

    Raises:
        InputError: a dataset cannot be read or holds no images that are wanted, or a weight is for nothing.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.seed, self.window = seed, config.shuffle_window
        self.dataset_ids: list[str] = []
        self.groups: list[RowGroup] = []
        self.images = 0
        weighing, divider = Weighing(config.weights), Divider()
        found: set[str] = set()
        for source in config.datasets:
            found |= self._add(source, weighing, divider)
        weighing.require_used()
        self.body_parts = sorted(found | weighing.body_parts)
        """What the images show, by the datasets; ``""`` among them: of some it is not known."""

    def _add(self, source: DataSource, weighing: Weighing, divider: Divider) -> set[str]:
        """Take up a source; returns the body parts of its images, by its index, unless they are selected."""
        dataset = Dataset(source.uri)
        dataset_id = str(dataset.manifest["dataset_id"])
        if dataset_id not in self.dataset_ids:  # X-rays and MR of one dataset can be two sources
            self.dataset_ids.append(dataset_id)
        before = self.images
        for file, groups in rows_of_files(dataset.image_files(), source, weighing):
            for index, (rows, weights) in enumerate(groups):
                if len(rows):
                    parts = divider.divide(weights, len(rows))
                    self.groups.append(RowGroup(file, index, rows, self.images, parts))
                    self.images += len(rows)
        if self.images == before:
            raise no_images(dataset, source, weighing.any)
        return set() if source.body_parts else indexed_parts(dataset, source, weighing)

    @cached_property
    def _counts(self) -> Counts:
        return Counts([group.parts for group in self.groups])

    def images_per_epoch(self) -> int:
        """Images of one epoch, with weights; the nearest whole number where they have fractions."""
        return max(1, round(self._counts.mean()))

    def require_batch(self, batch: int) -> None:
        """InputError unless an epoch has at least one batch of images."""
        images = self.images_per_epoch()
        if images < 2:
            raise InputError("data: an epoch has one image, and nothing to tell it from. Give more data.")
        if images < batch:
            raise InputError(
                f"batch_size: a batch of {batch} is more than the {images} images of an epoch, so that some would come "
                f"twice in it. Give batch_size={images // 2 * 2} or less, or more data."
            )

    def schedule(self, total: int, start: int = 0) -> Schedule:
        """The windows that hold images ``start`` … ``total - 1`` of the run, in order."""
        return Schedule(self, total, start)

    def windows(self, total: int, start: int = 0) -> Iterator[Window]:
        """The same, one after the other."""
        return iter(self.schedule(total, start))

    def packed(self, epoch: int) -> list[tuple[tuple[int, ...], int]]:
        """The windows of an epoch: row groups, and how many images they have in it (at least one)."""
        order = np.random.default_rng((self.seed, epoch, 1)).permutation(len(self.groups))
        counts = self._counts.of_epoch(epoch)[order]
        order, counts = order[counts > 0], counts[counts > 0]
        filled = np.cumsum(self._sizes[order])
        found, begin = [], 0
        while begin < len(order):
            before = int(filled[begin - 1]) if begin else 0
            end = min(int(np.searchsorted(filled, before + self.window)) + 1, len(order))
            found.append((tuple(order[begin:end].tolist()), int(counts[begin:end].sum())))
            begin = end
        return found

    @cached_property
    def _sizes(self) -> npt.NDArray[np.int64]:
        return np.array([len(group.rows) for group in self.groups], np.int64)

    def epoch_size(self, epoch: int) -> int:
        """Images of an epoch."""
        return int(self._counts.of_epoch(epoch).sum())

    def order(self, window: Window) -> list[tuple[int, int]]:
        """The images of a window in order, as (index of the row group, position within its chosen rows)."""
        rng = np.random.default_rng((self.seed, window.epoch, 2, *window.groups))
        rows: list[tuple[int, int]] = []
        for index in window.groups:
            group = self.groups[index]
            for number, part in enumerate(group.parts):
                rows.extend((index, row) for row in part.of_epoch(window.epoch, (self.seed, 3, index, number)))
            rng.permutation(len(group.rows))  # of no use any more, but later numbers stay the same
        shuffled = [rows[position] for position in rng.permutation(len(rows))]
        return shuffled[window.skip : window.skip + window.take]


class Schedule(Sequence[Window]):
    """The windows of a run from some image on. Holds two numbers for every epoch; windows are made when asked for.

    Args:
        mixture: what is shown.
        total: images of the whole run.
        start: the first image.
    """

    def __init__(self, mixture: Mixture, total: int, start: int) -> None:
        self.mixture, self.total, self.start = mixture, total, start
        self._epoch, position = 0, 0
        while position < total and position + (size := mixture.epoch_size(self._epoch)) <= start:
            position, self._epoch = position + size, self._epoch + 1
        positions, windows = [position], [0]
        while position < total:
            packed = mixture.packed(self._epoch + len(windows) - 1)
            windows.append(windows[-1] + len(self._within(packed, position)))
            position += sum(size for _, size in packed)
            positions.append(position)
        self._positions, self._windows = np.array(positions, np.int64), np.array(windows, np.int64)

    def __len__(self) -> int:
        return int(self._windows[-1])

    def __getitem__(self, number: int) -> Window:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(number)
        at = int(np.searchsorted(self._windows, number, "right")) - 1
        return self._of_epoch(at)[number - int(self._windows[at])]

    def __iter__(self) -> Iterator[Window]:
        for at in range(len(self._windows) - 1):
            yield from self._of_epoch(at)

    def _of_epoch(self, at: int) -> list[Window]:
        epoch = self._epoch + at
        return [
            Window(epoch, groups, skip, take, first)
            for groups, skip, take, first in self._within(self.mixture.packed(epoch), int(self._positions[at]))
        ]

    def _within(
        self, packed: list[tuple[tuple[int, ...], int]], position: int
    ) -> list[tuple[tuple[int, ...], int, int, int]]:
        """(groups, skip, take, first) of the windows that hold images of the run."""
        found = []
        for groups, size in packed:
            skip, end = max(0, self.start - position), min(size, self.total - position)
            if skip < end:
                found.append((groups, skip, end - skip, position + skip))
            position += size
        return found
