"""Ingest against a bare loop that only decodes and resizes the same files with the same libraries.

Films of 2500 × 2048 pixels of 16 bits (uncompressed, JPEG-LS, JPEG 2000) and eight MR slices with each, real ones where
they are at hand. First the work that a task does: the pixel chain, measures, hash, PNG, all in the guarded child. Both
are held to one processor, since decoders of JPEG 2000 may use more. Then whole runs of `orthoray ingest`, held to one
processor and to two: the time of a large run less that of a small one, so that starting Ray does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pydicom

import common
from films import write_mix
from orthoray.data.decoder import decoder, in_batches
from orthoray.data.prepare import Treatment, Want, prepare

ROUNDS, MIX, SHORT_SIDE = 5, 2, 512
SMALL, LARGE = 4, 80
CARD = """
name: speed
title: Films and slices
phi_source: false
reader: dicom
defaults: {body_part: knee}
keep_derived: true
screened: review
"""


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
    """Files per second through the guarded child."""
    begin = time.perf_counter()
    items = [(str(file), [Want(0, modality="XR" if file.name[:2] == "xr" else "MR")]) for file in files]
    done = list(in_batches(prepare, items, 8, lambda item, error: [error], Treatment("header", SHORT_SIDE)))
    assert len(done) == len(files)
    return len(files) / (time.perf_counter() - begin)


def whole(folder: Path, processors: int) -> float:
    """Seconds of one run of the command, held to some processors."""
    allowed = sorted(os.sched_getaffinity(0))[:processors]
    command = [
        str(Path(sys.executable).with_name("orthoray")),
        "ingest",
        str(folder.parent / "card.yaml"),
        "--source",
        str(folder),
    ]
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, "--out", f"{folder}-{processors}-{time.time_ns()}"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - begin


def main() -> None:
    """One processor first, then whole runs."""
    cv2.setNumThreads(1)
    figures: dict[str, list[float]] = {"ours": [], "bare": []}
    with common.scratch() as scratch:
        files = write_mix(Path(scratch, "mix"), MIX)
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(everywhere)})
        for number in range(ROUNDS + 1):  # the first round warms up
            both = ours(files), bare(files)
            if number:
                figures["ours"].append(both[0])
                figures["bare"].append(both[1])
        decoder().close()
        os.sched_setaffinity(0, everywhere)
        met = common.ratio("one processor, over bare decoding", figures["ours"], figures["bare"], 0.9, "files/s")
        met &= runs(Path(scratch), float(np.median(figures["bare"])))
    sys.exit(not met)


def runs(scratch: Path, plain: float) -> bool:
    """Whole runs; is what the issue wants met?"""
    Path(scratch, "card.yaml").write_text(CARD)
    counts = {rounds: len(write_mix(scratch / f"run-{rounds}", rounds)) for rounds in (SMALL, LARGE)}
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(2):
        for processors, found in rates.items():
            seconds = {rounds: whole(scratch / f"run-{rounds}", processors) for rounds in counts}
            print(f"  whole runs on {processors}: {seconds[SMALL]:.1f} s and {seconds[LARGE]:.1f} s", flush=True)
            found.append((counts[LARGE] - counts[SMALL]) / (seconds[LARGE] - seconds[SMALL]))
    share = np.median(rates[1]) / plain
    print(f"whole run on one processor, with headers, screening and Ray: {share:.2f} of bare decoding")
    return common.ratio("whole run, two processors over one", rates[2], rates[1], 1.8, "files/s")


if __name__ == "__main__":
    main()
