"""The images of a window that one worker needs: read once, decoded one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from orthoray.errors import RunError
from orthoray.pretrain import sides
from orthoray.pretrain.crops import Grey
from orthoray.pretrain.plan import Mixture, Window
from orthoray.pretrain.row_group import RowGroup, columns_of
from orthoray.pretrain.settings.crops import MultiCropConfig
from orthoray.pretrain.settings.data import MODALITIES


@dataclass(frozen=True)
class Wanted:
    """An image of a window: its place in the run, its row group in the mixture, its row in the row group's file."""

    position: int
    group: int
    row: int


@dataclass(frozen=True)
class Shown:
    """An image ready to be cut, and what is to be told of it.

    ``second``: (H, W) uint8 for the second global crop, None = the image itself. ``number`` and ``second_number``:
    numbers of the two within the mixture. ``modality``: code as in `MODALITIES`.
    """

    image: Grey
    second: Grey | None
    number: int
    second_number: int
    modality: int
    mirrored: bool
    replaced: bool


class Shelf:
    """Reads the row groups of a window and keeps what is wanted of them, encoded.

    Args:
        mixture: the run's data.
        window: of it.
        wanted: images that will be shown.
        crops: decides on neighbours and sides.
        replaces: show another image in place of one that cannot be read.

    Raises:
        RunError: a row group cannot be read, unless it ``replaces``.
    """

    def __init__(
        self, mixture: Mixture, window: Window, wanted: Sequence[Wanted], crops: MultiCropConfig, *, replaces: bool
    ) -> None:
        self.mixture, self.window, self.crops, self.replaces = mixture, window, crops, replaces
        self._columns = columns_of(crops)
        self._kept: dict[tuple[str, int], RowGroup | None] = {}
        self._whole: dict[tuple[str, int], RowGroup | None] = {}
        by_key: dict[tuple[str, int], list[Wanted]] = {}
        for one in wanted:
            by_key.setdefault(self._key(one.group), []).append(one)
        for key, ones in by_key.items():
            group = self._kept[key] = self._read(key)
            if group is not None:
                seconds = [self._second(one, group) for one in ones]
                group.keep({one.row for one in ones} | {row for row in seconds if row is not None})

    def show(self, wanted: Wanted) -> Shown:
        """Decode an image, and the neighbour that the second global crop is to show.

        Raises:
            RunError: it cannot be read, and nothing replaces it.
        """
        group = self._kept[self._key(wanted.group)]
        if group is not None:
            try:
                return self._shown(wanted, group, replaced=False)
            except RunError:
                if not self.replaces:
                    raise
        return self._substitute(wanted)

    def _shown(self, wanted: Wanted, group: RowGroup, *, replaced: bool) -> Shown:
        image, second, row = group.image(wanted.row), None, wanted.row
        other = self._second(wanted, group)
        if other is not None:
            try:
                second, row = group.image(other), other
            except RunError:
                if not self.replaces:
                    raise
                replaced = True
        mirrored = self.crops.canonical_laterality and group.facts.state(wanted.row) == sides.MIRRORED
        if mirrored:
            image = np.asarray(cv2.flip(image, 1), np.uint8)
            second = None if second is None else np.asarray(cv2.flip(second, 1), np.uint8)
        modality = MODALITIES.index(group.facts.modality(wanted.row))
        numbers = self._number(wanted.group, wanted.row), self._number(wanted.group, row)
        return Shown(image, second, *numbers, modality, mirrored, replaced)

    def _second(self, wanted: Wanted, group: RowGroup) -> int | None:
        """The neighbour by lot; None if the image has none or none is asked for."""
        if self.crops.second_view == "same":
            return None
        near = group.facts.neighbours(wanted.row, self.crops.max_gap_mm)
        near = [row for row in near if self.mixture.groups[wanted.group].number(row) is not None]
        lot = np.random.default_rng((self.mixture.seed, wanted.position, 1))
        return near[int(lot.integers(len(near)))] if near else None

    def _substitute(self, wanted: Wanted) -> Shown:
        """The next image of the window that can be read, the same for every number of workers."""
        for other in self._after(wanted):
            group = self._reread(self._key(other.group))
            if group is not None:
                try:
                    return self._shown(other, group, replaced=True)
                except RunError:
                    continue
        files = sorted({self.mixture.groups[index].file for index in self.window.groups})
        raise RunError(f"{', '.join(files)}: of {len(self.window.groups)} row group(s) no image can be read.")

    def _after(self, wanted: Wanted) -> Iterator[Wanted]:
        """Images in whose place ``wanted`` may be shown: later ones of its row group, then those of the next ones."""
        groups = self.window.groups
        at = groups.index(wanted.group)
        for group in [*groups[at:], *groups[:at]]:
            rows = [int(row) for row in self.mixture.groups[group].rows]
            begin = rows.index(wanted.row) + 1 if group == wanted.group else 0
            for row in [*rows[begin:], *rows[:begin]]:
                yield Wanted(wanted.position, group, row)

    def _reread(self, key: tuple[str, int]) -> RowGroup | None:
        """A row group with all of its images."""
        if key not in self._whole:
            self._whole[key] = None if key in self._kept and self._kept[key] is None else self._read(key)
        return self._whole[key]

    def _read(self, key: tuple[str, int]) -> RowGroup | None:
        try:
            return RowGroup(*key, self._columns)
        except RunError:
            if not self.replaces:
                raise
            return None

    def _key(self, group: int) -> tuple[str, int]:
        found = self.mixture.groups[group]
        return found.file, found.group

    def _number(self, group: int, row: int) -> int:
        number = self.mixture.groups[group].number(row)
        if number is None:
            raise ValueError(f"row {row} takes no part")
        return number
