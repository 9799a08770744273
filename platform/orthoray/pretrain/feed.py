"""Ray Data: windows of the plan in, blocks of uint8 crops out, for all epochs in one streaming execution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.codec import decode
from orthoray.pretrain.crops import MultiCrop, MultiCropConfig
from orthoray.pretrain.plan import Mixture, Window

if TYPE_CHECKING:
    import ray.data

CHUNK_BYTES = 4 << 20
"""Crops are handed on in blocks of about this size."""


@dataclass(frozen=True)
class Share:
    """The part of every batch that one worker takes: slice ``rank`` of ``world`` equal slices of ``batch`` images."""

    rank: int
    world: int
    batch: int

    def holds(self, position: int) -> bool:
        """True if this worker takes the image at ``position`` of the run."""
        return position % self.batch // (self.batch // self.world) == self.rank


def stream(mixture: Mixture, crops: MultiCropConfig, share: Share, start: int, total: int) -> ray.data.Dataset:
    """A Ray dataset of one worker's crops of images ``start`` … ``total - 1`` of a run.

    Columns: ``position`` int64 (place of the image in the run), ``row`` int64 (number of the image in the mixture),
    ``views`` uint8 (2, G, G), ``details`` uint8 (n, L, L) (absent without local crops). The order is the plan's, so
    the images of a step do not depend on the number of workers nor on where a run was resumed.
    """
    import ray.data

    windows = list(mixture.windows(total, start))
    cutter: Any = WindowCutter(mixture, crops, share, windows)
    dataset = ray.data.range(len(windows), override_num_blocks=len(windows))
    dataset.context.execution_options.preserve_order = True
    return dataset.map_batches(cutter, batch_size=1, batch_format="numpy", num_cpus=1)


class WindowCutter:
    """Reads the row groups of a window, decodes a worker's images in the plan's order and cuts their crops."""

    def __init__(self, mixture: Mixture, crops: MultiCropConfig, share: Share, windows: list[Window]) -> None:
        self.mixture, self.crops, self.share, self.windows = mixture, crops, share, windows
        bytes_per_image = crops.n_global * crops.global_size**2 + crops.n_local * crops.local_size**2
        self.chunk = max(1, CHUNK_BYTES // bytes_per_image)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
        """Yield blocks of crops for the windows whose numbers are in ``batch``."""
        import cv2

        cv2.setNumThreads(1)
        for number in batch["id"]:
            window = self.windows[int(number)]
            order = enumerate(self.mixture.order(window), start=window.first)
            mine = [(position, *place) for position, place in order if self.share.holds(position)]
            pixels = self._read({group for _, group, _ in mine})
            for begin in range(0, len(mine), self.chunk):
                yield self._cut(mine[begin : begin + self.chunk], pixels)

    def _read(self, groups: set[int]) -> dict[int, tuple[list[bytes], list[str]]]:
        """Encoded images of row groups, chosen rows only."""
        found = {}
        for index in sorted(groups):
            group = self.mixture.groups[index]
            filesystem, path = storage.arrow_fs(group.file)
            with filesystem.open_input_file(path) as handle:
                table = pq.ParquetFile(handle).read_row_group(group.group, columns=["pixels", "codec"])
            table = table.take(list(group.rows))
            found[index] = (table.column("pixels").to_pylist(), table.column("codec").to_pylist())
        return found

    def _cut(
        self, part: list[tuple[int, int, int]], pixels: dict[int, tuple[list[bytes], list[str]]]
    ) -> dict[str, np.ndarray]:
        cut = MultiCrop(self.crops)
        views, details, rows = [], [], []
        for position, group, row in part:
            encoded, codecs = pixels[group]
            view, detail = cut(decode(encoded[row], codecs[row]), np.random.default_rng((self.mixture.seed, position)))
            views.append(view)
            details.append(detail)
            rows.append(self.mixture.groups[group].first + row)
        positions = np.array([position for position, _, _ in part])
        block = {"position": positions, "row": np.array(rows), "views": np.stack(views)}
        if self.crops.n_local:
            block["details"] = np.stack(details)
        return block
