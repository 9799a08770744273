"""Peak memory of the process that drives an ingest: 1,000 files against 20,000.

The peak is the largest resident set that the kernel has seen (``ru_maxrss``): what the process allocated, libraries,
and the pages of Ray's object store that it touched. Workers, Ray's services and the making of the files are other
processes and do not count.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

import common
from orthoray.config import parse_config
from orthoray.data.cards import DatasetCard
from orthoray.data.ingest import ingest

FEW, MANY, LIMIT_MB = 1_000, 20_000, 200.0
CARD = {
    "name": "memory",
    "title": "Small pictures",
    "phi_source": False,
    "reader": "images",
    "screened": "review",
    "defaults": {"modality": "XR"},
    "facts": [{"table": "patients.csv", "key": {"file": "file"}, "columns": {"patient": "patient"}}],
}


def main() -> None:
    """Each size in a process of its own."""
    if len(sys.argv) == 3:
        run_one(Path(sys.argv[2]))
        return
    peaks = {}
    with common.scratch() as scratch:
        for count in (FEW, MANY):
            folder = Path(scratch, str(count))
            write_pictures(folder / "source", count)
            done = subprocess.run([sys.executable, __file__, "one", str(folder)], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            peaks[count] = float(done.stdout.split()[-1])
            print(f"  {count:>6,} files: {peaks[count]:.0f} MB", flush=True)
    more = peaks[MANY] - peaks[FEW]
    print(
        f"driver's memory: {more:.0f} MB more, at most {LIMIT_MB:.0f} wanted: {'met' if more < LIMIT_MB else 'NOT met'}"
    )
    sys.exit(more >= LIMIT_MB)


def write_pictures(source: Path, count: int) -> None:
    """Pictures of noise, four of a patient."""
    rng = np.random.default_rng(0)
    source.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(source / f"{number:05d}.png"), rng.integers(0, 256, (48, 48), dtype=np.uint8))
    rows = [f"{number:05d}.png,P{number // 4}" for number in range(count)]
    (source / "patients.csv").write_text("\n".join(["file,patient", *rows]))


def run_one(folder: Path) -> None:
    """Ingest the pictures and print the peak in MB."""
    ingest(parse_config(DatasetCard, CARD, "benchmark"), str(folder / "source"), str(folder / "out"))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
