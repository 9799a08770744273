"""What an audit reads of a dataset beside its pixels: index, findings for review, thumbnails of excluded images."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.codec import decode
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError


def index_table(dataset: Dataset) -> pa.Table:
    """The index in columns: a dataset of millions of images stays small that way."""
    return storage.read_table(storage.join(dataset.uri, "index.parquet"))


def review_table(dataset: Dataset) -> pd.DataFrame:
    """``image_id, reason, detail, value`` of images that ingest kept in doubt; empty if none are known."""
    uri = storage.join(dataset.uri, "review.parquet")
    if not storage.exists(uri):
        return pd.DataFrame({name: [] for name in ("image_id", "reason", "detail", "value")})
    frame: pd.DataFrame = storage.read_table(uri).to_pandas()
    return frame


def rejected_ids(dataset: Dataset) -> set[str]:
    """image_id of every excluded image that has a thumbnail; empty where the dataset keeps none."""
    found: set[str] = set()
    for file in _thumbnails(dataset):
        found.update(storage.read_table(file, ["image_id"]).column("image_id").drop_null().to_pylist())
    return found - {""}


def read_rejected(dataset: Dataset, image_ids: Collection[str]) -> dict[str, npt.NDArray[np.uint8]]:
    """Thumbnails as (H, W) uint8 by image_id; InputError names the first that is missing."""
    found: dict[str, npt.NDArray[np.uint8]] = {}
    for file in _thumbnails(dataset) if image_ids else []:
        filesystem, path = storage.arrow_fs(file)
        wanted = [("image_id", "in", list(image_ids))]
        table = pq.read_table(path, columns=["image_id", "codec", "pixels"], filters=wanted, filesystem=filesystem)
        for row in table.to_pylist():
            found[row["image_id"]] = decode(row["pixels"], row["codec"])
    missing = set(image_ids) - found.keys()
    if missing:
        raise InputError(f"{dataset.uri}: the thumbnail of {min(missing)} is missing. Ingest the dataset again.")
    return found


def _thumbnails(dataset: Dataset) -> list[str]:
    return sorted(storage.list_files(storage.join(dataset.uri, "rejected"), ".parquet"))
