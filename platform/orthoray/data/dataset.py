"""Reading a dataset folder."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.codec import decode
from orthoray.data.splits import read_splits
from orthoray.errors import InputError, nearest


class Dataset:
    """A dataset as `orthoray ingest` writes it.

    Args:
        uri: folder on any filesystem.

    Raises:
        InputError: there is no finished dataset at ``uri``.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        manifest = storage.join(self.uri, "manifest.json")
        if not storage.exists(manifest):
            what = "no manifest.json in it" if storage.is_folder(self.uri) else "no such folder"
            raise InputError(
                f"{uri}: not a dataset ({what}). Make one with `orthoray ingest CARD --source … --out {uri}`."
            )
        self.manifest: dict[str, Any] = storage.read_json(manifest)

    def index(self) -> pd.DataFrame:
        """Every column but pixels, one row per image."""
        return self._index.copy()

    def excluded(self) -> pd.DataFrame:
        """What was read but is no image of the dataset, with stage, reason and detail."""
        return _frame(storage.join(self.uri, "excluded.parquet"))

    def image_files(self) -> list[str]:
        """URIs of the shards, in a fixed order."""
        return sorted(storage.list_files(storage.join(self.uri, "images"), ".parquet"))

    def tasks(self) -> list[str]:
        """Tasks that there are labels for."""
        folder = storage.join(self.uri, "labels")
        if not storage.is_folder(folder):
            return []
        return sorted(uri.rsplit("/", 1)[-1].removesuffix(".parquet") for uri in storage.list_files(folder, ".parquet"))

    def labels(self, task: str) -> pd.DataFrame:
        """Labels of a task: sample_id, patient_id, label (int64), label_source, class_name."""
        tasks = self.tasks()
        if task not in tasks:
            known = ", ".join(tasks) or "none"
            raise InputError(f"{self.uri} has no labels for task '{task}'.{nearest(task, tasks)} It has: {known}.")
        return _frame(storage.join(self.uri, "labels", f"{task}.parquet"))

    def split(self, task: str) -> pd.DataFrame | None:
        """The split that the source's authors made (sample_id, patient_id, fold, role); None where there is none."""
        uri = storage.join(self.uri, "splits", f"{task}.parquet")
        return read_splits(uri) if storage.exists(uri) else None

    def read_images(self, image_ids: Iterable[str]) -> dict[str, npt.NDArray[np.uint8]]:
        """Pixels of some images as (H, W) uint8; InputError names the first id that the dataset does not hold."""
        wanted = set(image_ids)
        found: dict[str, npt.NDArray[np.uint8]] = {}
        for file in self.image_files():
            if len(found) == len(wanted):
                break
            found.update(_read_some(file, wanted))
        missing = wanted - found.keys()
        if missing:
            raise InputError(f"{self.uri}: image {min(missing)} is not in the dataset.")
        return found

    @cached_property
    def _index(self) -> pd.DataFrame:
        return _frame(storage.join(self.uri, "index.parquet"))


def _frame(uri: str) -> pd.DataFrame:
    frame: pd.DataFrame = storage.read_table(uri).to_pandas()
    return frame


def _read_some(file: str, wanted: set[str]) -> dict[str, npt.NDArray[np.uint8]]:
    """Decode the wanted images of one shard, reading only the row groups that hold some."""
    filesystem, path = storage.arrow_fs(file)
    found: dict[str, npt.NDArray[np.uint8]] = {}
    with filesystem.open_input_file(path) as handle:
        parquet = pq.ParquetFile(handle)
        for group in range(parquet.num_row_groups):
            ids = parquet.read_row_group(group, columns=["image_id"]).column("image_id")
            mask = pc.is_in(ids, value_set=_array(wanted))
            if not pc.any(mask).as_py():
                continue
            rows = parquet.read_row_group(group, columns=["image_id", "codec", "pixels"]).filter(mask)
            for row in rows.to_pylist():
                found[row["image_id"]] = decode(row["pixels"], row["codec"])
    return found


def _array(values: set[str]) -> Any:
    import pyarrow as pa

    return pa.array(sorted(values), pa.string())
