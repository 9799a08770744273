"""The work of one task of the feed: read a window, decode a worker's images in the plan's order, cut their crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from orthoray.pretrain.crops import MultiCrop, MultiCropConfig
from orthoray.pretrain.plan import Schedule
from orthoray.pretrain.settings.data import MODALITIES, Damaged
from orthoray.pretrain.share import Share
from orthoray.pretrain.shelf import Shelf, Wanted

CHUNK_BYTES = 4 << 20
"""Crops are handed on in blocks of about this size."""


class WindowCutter:
    """Makes blocks of crops of windows.

    Args:
        windows: the run's.
        crops: how images are cut.
        share: which images are this worker's.
        damaged: ``refuse`` or ``replace``; what becomes of an image that cannot be read.
    """

    def __init__(self, windows: Schedule, crops: MultiCropConfig, share: Share, damaged: Damaged = "refuse") -> None:
        self.windows, self.crops, self.share, self.damaged = windows, crops, share, damaged
        self.mixture = windows.mixture
        bytes_per_image = crops.n_global * crops.global_size**2 + crops.n_local * crops.local_size**2
        self.chunk = max(1, CHUNK_BYTES // bytes_per_image)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
        """Yield blocks of crops (columns as `orthoray.pretrain.feed.stream` tells) for the windows of ``batch["id"]``.

        Raises:
            RunError: an image cannot be read, and none is to take its place or none can.
        """
        cv2.setNumThreads(1)
        for number in batch["id"]:
            window = self.windows[int(number)]
            order = enumerate(self.mixture.order(window), start=window.first)
            mine = [
                Wanted(position, group, int(self.mixture.groups[group].rows[place]))
                for position, (group, place) in order
                if self.share.holds(position)
            ]
            shelf = Shelf(self.mixture, window, mine, self.crops, replaces=self.damaged == "replace")
            for begin in range(0, len(mine), self.chunk):
                yield self._cut(mine[begin : begin + self.chunk], shelf)

    def _cut(self, part: Sequence[Wanted], shelf: Shelf) -> dict[str, np.ndarray]:
        cut = MultiCrop(self.crops)
        views, details = cut.room(len(part))
        notes = np.zeros((len(part), 5), np.int64)
        for at, wanted in enumerate(part):
            shown = shelf.show(wanted)
            rng = np.random.default_rng((self.mixture.seed, wanted.position))
            cut.into(views[at], details[at], shown.image, rng, MODALITIES[shown.modality], shown.second)
            notes[at] = shown.number, shown.modality, shown.second_number, shown.mirrored, shown.replaced
        block = {"position": np.array([wanted.position for wanted in part]), "row": notes[:, 0], "views": views}
        block["modality"] = notes[:, 1].astype(np.uint8)
        if self.crops.n_local:
            block["details"] = details
        if self.crops.second_view == "neighbour":
            block["second"] = notes[:, 2]
        if self.crops.canonical_laterality:
            block["mirrored"] = notes[:, 3].astype(np.uint8)
        if self.damaged == "replace":
            block["replaced"] = notes[:, 4].astype(np.uint8)
        return block
