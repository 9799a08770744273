"""Ingest on real files against a bare loop that only decodes and resizes the same files with the same libraries.

Films of 2500 × 2048 pixels of 16 bits (uncompressed, JPEG-LS, JPEG 2000) and MR slices, one processor each.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pydicom

import common
from films import FILMS, write_films
from orthoray.data.decoder import decoder, in_batches
from orthoray.data.prepare import Treatment, Want, prepare

ROUNDS, SHORT_SIDE = 5, 512


def bare(files: list[Path]) -> float:
    """Files per second: decode, bring to 8 bits by the window of the values' range, reduce."""
    begin = time.perf_counter()
    for file in files:
        values = pydicom.dcmread(file).pixel_array
        low, high = int(values.min()), int(values.max())
        image = ((values - np.float32(low)) * np.float32(255.0 / max(1, high - low))).astype(np.uint8)
        scale = max(1.0, min(image.shape) / SHORT_SIDE)
        size = (round(image.shape[1] / scale), round(image.shape[0] / scale))
        cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return len(files) / (time.perf_counter() - begin)


def ours(files: list[Path]) -> float:
    """Files per second through the guarded child: the whole pixel chain, measures, hash, PNG."""
    begin = time.perf_counter()
    items = [(str(file), [Want(0)]) for file in files]
    done = list(in_batches(prepare, items, 8, lambda item, error: [error], Treatment("header", SHORT_SIDE)))
    assert len(done) == len(files)
    return len(files) / (time.perf_counter() - begin)


def main() -> None:
    """Alternate both on one processor."""
    cv2.setNumThreads(1)
    figures: dict[str, list[float]] = {"ours": [], "bare": []}
    with tempfile.TemporaryDirectory(prefix="orthoray-bench-") as folder:
        files = write_films(Path(folder), FILMS)
        for number in range(ROUNDS + 1):  # the first round warms up
            both = ours(files), bare(files)
            if number:
                figures["ours"].append(both[0])
                figures["bare"].append(both[1])
    decoder().close()
    common.conclude("ingest over bare decoding", figures["ours"], figures["bare"], least=0.9, unit="files/s")


if __name__ == "__main__":
    sys.exit(main())
