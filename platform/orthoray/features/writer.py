"""The Ray Data stage that encodes images and writes feature files, and its share of the cluster."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orthoray import storage
from orthoray.features.encoders import EncoderSpec, stored

ROWS_PER_FILE = 256
"""Images per feature file; one map batch becomes one file per encoder."""


@dataclass(frozen=True)
class ActorPlan:
    """How many encoder actors run, and what each one takes."""

    actors: int
    cpus: float
    gpus: float
    threads: int
    device: str


def actor_plan(batches: int) -> ActorPlan:
    """Divide the cluster: one actor per GPU; without GPUs up to four that share the processors; none without a batch.

    Several actors of few threads rather than one of many: on a machine that is busy with other work, threads that
    wait for each other at every layer lose far more than processes that do not.
    At least one processor stays free for the tasks that read, or actors and readers would wait for each other.
    """
    import ray

    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    if gpus:
        actors = max(1, min(gpus, cpus - 1, batches))
        return ActorPlan(actors, 1.0 if cpus > actors else 0.5, 1.0, 2, "cuda")
    actors = max(1, min(cpus, 4, batches))
    share = (cpus - 1) / actors if cpus > 1 else 0.5
    share = float(int(share)) if share >= 1 else share  # Ray takes fractions only below one
    return ActorPlan(actors, share, 0.0, max(1, cpus // actors), "cpu")


class FeatureWriter:
    """Ray Data actor: decode a batch once, encode it by every encoder, write one Parquet file for each.

    File names are derived from the ids within, so a batch that Ray runs again overwrites its own file.
    """

    def __init__(
        self, todo: dict[str, EncoderSpec], modality: str | None, batch_size: int, threads: int, device: str
    ) -> None:
        import cv2

        os.environ["OMP_NUM_THREADS"] = str(threads)
        cv2.setNumThreads(1)
        self.modality, self.batch_size = modality, batch_size
        self.encoders = {folder: spec.build(threads, device) for folder, spec in todo.items()}

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Table of image_id, modality, codec, pixels → one row: file name and number of images."""
        import pyarrow.compute as pc

        if self.modality is not None:
            batch = batch.filter(pc.equal(batch["modality"], self.modality))
        ids = [str(value) for value in batch["image_id"].to_pylist()]
        name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:24] + ".parquet"
        if ids:
            self._write(ids, batch, name)
        return pa.table({"file": [name], "rows": pa.array([len(ids)], pa.int64())})

    def _write(self, ids: list[str], batch: pa.Table, name: str) -> None:
        blocks: dict[str, list[Any]] = {folder: [] for folder in self.encoders}
        for start in range(0, len(ids), self.batch_size):
            piece = batch.slice(start, self.batch_size)
            images = _decode(piece)
            for folder, encoder in self.encoders.items():
                blocks[folder].append(stored(encoder.encode(images)))
        for folder, rows in blocks.items():
            storage.write_table(feature_table(ids, np.concatenate(rows)), storage.join(folder, name))


def _decode(piece: pa.Table) -> list[npt.NDArray[np.uint8]]:
    from orthoray.data.codec import decode

    return [
        decode(pixels, codec)
        for pixels, codec in zip(piece["pixels"].to_pylist(), piece["codec"].to_pylist(), strict=True)
    ]


def feature_table(ids: list[str], features: npt.NDArray[Any]) -> pa.Table:
    """Table of ``image_id`` and ``feature`` (fixed-size list of float16 or uint8) from N ids and an (N, D) array."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), features.shape[1])
    return pa.table({"image_id": pa.array(ids, pa.string()), "feature": values})
