"""What the driver of a pretraining run holds of its data: 12,500 images against 1.25 million.

Shards have the columns and row groups of real ones, without pixels. Timed are the plan of the run (which row groups,
with what weights, in which order) and the look at sides and neighbours before it; told are also the bytes that go to
every task of the feed.
"""

from __future__ import annotations

import pickle
import resource
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa

import common
from orthoray import storage
from orthoray.data.arrange import IMAGES_PER_SHARD
from orthoray.data.shards import ROW_GROUP_ROWS, open_shard
from orthoray.pretrain.census import Census
from orthoray.pretrain.config import DataConfig, DataSource
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.cutter import WindowCutter
from orthoray.pretrain.plan import Mixture
from orthoray.pretrain.settings.data import Weights
from orthoray.pretrain.share import Share

FEW, MANY, EPOCHS, SLICES = 12_500, 1_250_000, 2, 32
LIMIT_MB, LIMIT_SECONDS = 200.0, 60.0


def main() -> None:
    """Each size in a process of its own."""
    if len(sys.argv) == 2:
        run_one(sys.argv[1])
        return
    peaks, seconds = {}, 0.0
    with common.scratch() as scratch:
        for count in (FEW, MANY):
            write_dataset(f"{scratch}/{count}", count)
            done = subprocess.run([sys.executable, __file__, f"{scratch}/{count}"], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            *told, peak, took = done.stdout.rsplit(maxsplit=2)
            peaks[count], seconds = float(peak), float(took)
            print(f"  {count:>9,} images: {peaks[count]:.0f} MB; {told[0].strip()}", flush=True)
    more = peaks[MANY] - peaks[FEW]
    met = more < LIMIT_MB and seconds < LIMIT_SECONDS
    print(
        f"driver of a run: {more:.0f} MB more and {seconds:.0f} s, at most {LIMIT_MB:.0f} MB and {LIMIT_SECONDS:.0f} s "
        f"wanted: {'met' if met else 'NOT met'}"
    )
    sys.exit(not met)


def write_dataset(folder: str, count: int) -> None:
    """Shards of MR stacks and films, alternating."""
    schema = pa.schema(
        [(name, pa.string()) for name in ("image_id", "series_id", "modality", "site", "laterality", "plane", "view")]
        + [("slice_index", pa.int32()), ("slice_spacing_mm", pa.float32()), ("codec", pa.string())]
        + [("pixels", pa.binary())]
    )
    storage.makedirs(f"{folder}/images")
    for number, first in enumerate(range(0, count, IMAGES_PER_SHARD)):
        rows = np.arange(first, min(first + IMAGES_PER_SHARD, count))
        film = rows // SLICES % 4 == 0
        columns = {
            "image_id": [f"i{row:020d}" for row in rows],
            "series_id": [f"s{row // SLICES:020d}" for row in rows],
            "modality": np.where(film, "XR", "MR"),
            "site": np.where(rows // SLICES % 3 == 0, "a", "b"),
            "laterality": np.where(rows // SLICES % 2 == 0, "L", "R"),
            "plane": np.where(film, "", "sagittal"),
            "view": np.where(film, "PA", ""),
            "slice_index": rows % SLICES,
            "slice_spacing_mm": np.full(len(rows), 3.3),
            "codec": ["png"] * len(rows),
            "pixels": [b""] * len(rows),
        }
        with open_shard(f"{folder}/images/shard-{number:05d}.parquet", schema) as writer:
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROW_GROUP_ROWS)
    storage.write_json(f"{folder}/manifest.json", {"dataset_id": f"ds-{count}"})


def run_one(folder: str) -> None:
    """Plan a run and print bytes, peak in MB and seconds."""
    begin = time.perf_counter()
    weights = Weights(modality={"XR": 4.0}, site={"b": 0.3})
    config = DataConfig(datasets=[DataSource(uri=folder)], weights=weights)
    crops = MultiCropConfig(second_view="neighbour", canonical_laterality=True)
    mixture = Mixture(config, seed=0)
    windows = mixture.schedule(EPOCHS * mixture.images_per_epoch())
    Census(mixture, crops)
    seconds = time.perf_counter() - begin
    sent = len(pickle.dumps(WindowCutter(windows, crops, Share(0, 1, 64)))) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.1f} s, {len(windows):,} windows, {sent:.1f} MiB go to every task", peak, seconds)


if __name__ == "__main__":
    main()
