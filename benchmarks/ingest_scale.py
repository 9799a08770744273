"""What ingest does in one place for 1.25 million images: ids, order, shards, screening, index, folds, manifest.

Headers and pixels are read by workers; here their results are simulated. Prints seconds and the largest memory.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

import common
from orthoray import storage
from orthoray.config import parse_config
from orthoray.data.arrange import arrange, shard_count, shard_of
from orthoray.data.cards import DatasetCard
from orthoray.data.manifest import build_manifest
from orthoray.data.schema import EXCLUDED, INDEX
from orthoray.data.screening import screen
from orthoray.data.splits import make_splits
from orthoray.data.state import file_keys
from orthoray.data.survey import IDENTIFIERS, SURVEY
from orthoray.data.tables import Tables
from orthoray.imaging import ImageFacts
from orthoray.imaging.pseudonyms import Pseudonyms
from orthoray.imaging.quality import Quality

IMAGES, SLICES, SECONDS, BYTES = 1_250_000, 40, 60.0, 4 << 30
CARD = {"name": "scale", "title": "Simulated", "phi_source": False}


def simulated(ids: Pseudonyms, files: pd.DataFrame) -> pd.DataFrame:
    """The survey of files that hold stacks of `SLICES` slices, four studies a patient."""
    count, rng = len(files), np.random.default_rng(0)
    blank = pd.DataFrame([vars(ImageFacts())]).drop(columns=[*IDENTIFIERS])
    table = blank.loc[np.zeros(count, int)].reset_index(drop=True)
    series = np.arange(count) // SLICES
    names = {"series": series, "study": series // 3, "patient": series // 12}
    for kind, numbers in names.items():
        unique = np.array([ids.make(kind, str(number)) for number in range(numbers[-1] + 1)])
        table[f"{kind}_key"] = unique[numbers]
    table["image_key"], table["accession_key"] = files["file_key"], ""
    table = table.assign(modality="MR", body_part="knee", plane="sagittal", stage="", reason="", detail="")
    table["position_mm"] = rng.permutation(count).astype(float)
    table["day"] = 730_000.0 + (series // 3) % 2000
    table = pd.concat([files[["file", "file_key", "version"]], table], axis=1)[SURVEY.names]
    return table.astype(SURVEY.empty_table().to_pandas().dtypes)


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the index with measures, as screening gets them."""
    rng = np.random.default_rng(1)
    names = [name for name in Quality.__annotations__ if name != "phash"]
    values = rng.standard_normal((len(rows), len(names)), dtype=np.float32) * 0.05 + 4.5
    frame = pd.DataFrame(values, columns=[f"quality.{name}" for name in names])
    for name in INDEX.names:
        if name not in ("quality", *frame.columns):
            frame[name] = rows[name].to_numpy() if name in rows.columns else ""
    frame["slice_index"] = np.arange(len(rows)) % SLICES
    frame["slice_count"] = SLICES
    frame["height"] = frame["width"] = 512
    frame["sha256"] = rows["image_id"].to_numpy()
    frame["source"] = "scale"
    return frame


def main() -> None:
    """Run every step once and compare with the limits."""
    card = parse_config(DatasetCard, CARD, "benchmark")
    ids = Pseudonyms(b"benchmark-key-0123", "scale")
    laps: dict[str, float] = {}
    with common.scratch() as folder:
        begin = time.perf_counter()
        files = pd.DataFrame({"file": [f"{n // 512:05d}/{n:07d}.dcm" for n in range(IMAGES)], "size": 1, "changed": ""})
        lap(laps, "simulated listing", begin)
        begin = time.perf_counter()
        files = file_keys(files, ids)
        lap(laps, "file keys", begin)
        frames = simulated(ids, files)
        begin = time.perf_counter()
        rows, _ = arrange(frames, card, Tables(folder, ids), ids)
        lap(laps, "arrange", begin)
        del files, frames
        begin = time.perf_counter()
        shards = shard_count(len(rows))
        rows["patient_id"].map(lambda patient: shard_of(patient, shards)).value_counts()
        lap(laps, "shards", begin)
        index = measured(rows)
        del rows
        begin = time.perf_counter()
        screen(index, card.screening)
        lap(laps, "screening", begin)
        begin = time.perf_counter()
        labels = pd.DataFrame({"sample_id": index["study_id"], "patient_id": index["patient_id"]}).drop_duplicates()
        labels["label"] = np.arange(len(labels)) % 2
        make_splits(labels, 5, 0)
        lap(laps, "folds", begin)
        begin = time.perf_counter()
        empty = pd.DataFrame(columns=EXCLUDED.names)
        build_manifest(card, ids.key_id, {"files": IMAGES, "frames": IMAGES, "images": IMAGES}, index, empty)
        table = pa.Table.from_pandas(index[[n for n in INDEX.names if n in index.columns]], preserve_index=False)
        storage.write_table(table, str(Path(folder, "index.parquet")))
        lap(laps, "index and manifest", begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    total = sum(laps.values())
    met = total <= SECONDS and peak <= BYTES
    print(f"{IMAGES:,} images: {total:.0f} s of {SECONDS:.0f}, {peak / 2**30:.1f} GiB of {BYTES >> 30}: {met}")
    sys.exit(not met)


def lap(laps: dict[str, float], name: str, begin: float) -> None:
    """Remember and print how long a step took."""
    laps[name] = time.perf_counter() - begin
    print(f"  {name:<20} {laps[name]:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
