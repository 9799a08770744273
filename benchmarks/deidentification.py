"""De-identification of one file: what it adds to reading and writing it, per file, on one processor.

Real MR slices and awkward files where they are at hand, and films of hospital size. Timed are `deidentify` on a parsed
header, and beside it the whole way of the master tier: read, de-identify, write.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
from films import REAL, write_mix
from orthoray.imaging import UnreadableImageError
from orthoray.imaging.deid import deidentify, to_bytes
from orthoray.imaging.files import read_dicom
from orthoray.imaging.pseudonyms import Pseudonyms

ROUNDS, MOST_MS = 5, 10.0
AWKWARD = REAL.parents[1] / "dicom-misc"


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measured(files: list[Path], ids: Pseudonyms) -> tuple[list[float], list[float]]:
    """Milliseconds of every file: de-identification alone, and the whole way."""
    alone, whole = [], []
    for file in files:
        try:
            to_bytes(deidentify(read_dicom(str(file)), ids))  # warms up, too
        except UnreadableImageError:
            continue
        fresh = [read_dicom(str(file)) for _ in range(ROUNDS)]
        alone.append(1e3 * statistics.median(seconds(lambda each=each: deidentify(each, ids)) for each in fresh))
        whole.append(1e3 * seconds(lambda file=file: to_bytes(deidentify(read_dicom(str(file)), ids))))
    return alone, whole


def main() -> None:
    """Tell median and worst for each kind of file."""
    ids, met = Pseudonyms(b"benchmark" * 4, "benchmark"), True
    with common.scratch() as scratch:
        mix = write_mix(Path(scratch, "mix"), 1)
        kinds = {
            "films of 2500 x 2048": [file for file in mix if file.name.startswith("xr")],
            "MR slices": [file for file in mix if file.name.startswith("mr")],
            "awkward files": sorted(AWKWARD.rglob("*.dcm")) if AWKWARD.is_dir() else [],
        }
        for kind, files in kinds.items():
            if not files:
                print(f"{kind}: not at hand")
                continue
            alone, whole = measured(files, ids)
            if not alone:
                sys.exit(f"{kind}: none of {len(files)} files could be de-identified")
            typical, count = statistics.median(alone), f"{len(alone)} of {len(files)} files"
            print(
                f"{kind}: {typical:.1f} ms a file (worst {max(alone):.1f}, {count}); "
                f"read, de-identify and write {statistics.median(whole):.1f} ms"
            )
            met &= typical <= MOST_MS
    print(f"wanted at most {MOST_MS:g} ms a file: {'met' if met else 'NOT met'}")
    sys.exit(not met)


if __name__ == "__main__":
    main()
