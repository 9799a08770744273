"""Last pass of ingest: shards without the images that screening excluded, thumbnails of those for people to look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.codec import decode, encode
from orthoray.data.master import keep_master
from orthoray.data.schema import IMAGES, REJECTED
from orthoray.data.shards import open_shard
from orthoray.data.stacks import DUPLICATE, settled_geometry
from orthoray.data.state import shard_uri

THUMBNAIL_SIDE = 256

SETTLED = ["slice_index", "slice_count", "geometry"]
"""Columns that depend on which images of a stack stay."""


def slice_numbers(index: pd.DataFrame) -> pd.DataFrame:
    """Number the images of every series without gaps, in the order in which they are given."""
    series = index.groupby("series_id", sort=False)["image_id"]
    return index.assign(
        slice_index=series.cumcount().astype("int32"), slice_count=series.transform("size").astype("int32")
    )


def settle_geometry(index: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The images that stay, with what is still true of their stacks' ``geometry``.

    Args:
        index: ``image_id, series_id, geometry`` of the images that stay.
        rows: ``image_id, place`` of all that were read.
    """
    repeated = index[index["geometry"].astype(str).str.contains(DUPLICATE, regex=False)]
    if repeated.empty:
        return index
    places = repeated["image_id"].map(rows.drop_duplicates("image_id").set_index("image_id")["place"])
    geometry = index["geometry"].copy()
    for _, stack in repeated.groupby("series_id"):
        geometry.loc[stack.index] = settled_geometry(stack["geometry"].iloc[0], places.loc[stack.index])
    return index.assign(geometry=geometry)


def renumbered(table: pa.Table, numbers: pd.DataFrame) -> pa.Table:
    """Rows of images with the columns `SETTLED` of ``numbers``, row by row."""
    for name in SETTLED:
        field = IMAGES.field(name)
        table = table.set_column(
            table.schema.get_field_index(name), field, pa.array(numbers[name].to_numpy(), field.type)
        )
    return table


def without_nan(table: pa.Table) -> pa.Table:
    """The table with null in place of NaN, also in its structs."""
    columns = [_without_nan(column.combine_chunks()) for column in table.columns]
    return pa.table(columns, schema=table.schema)


def _without_nan(values: pa.Array) -> pa.Array:
    if pa.types.is_struct(values.type):
        fields = [_without_nan(field) for field in values.flatten()]
        return pa.StructArray.from_arrays(fields, fields=list(values.type), mask=values.is_null())
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(values.type) else values


def held(out: str, number: int) -> list[str]:
    """Ids of the images that a shard's file holds, in its order; none if there is no file."""
    uri = shard_uri(out, "images", number)
    if not storage.exists(uri):
        return []
    ids: list[str] = storage.read_table(uri, columns=["image_id"]).column("image_id").to_pylist()
    return ids


class ShardSettler:
    """Rewrites shards so that they hold the wanted images only.

    Args:
        wanted: for each shard its number and the rows to hold (``image_id`` and `SETTLED`), as references.
        out: folder of the dataset being written.
        hidden: images of which, when they are excluded, no thumbnail and no file is kept, because lettering in them may
            name somebody.
    """

    def __init__(self, wanted: list[tuple[int, Any]], out: str, hidden: frozenset[str]) -> None:
        self.wanted, self.out, self.hidden = wanted, out, hidden

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[int]]:
        """{"id": places in ``wanted``} → {"images": how many each shard holds now}."""
        return {"images": [self._shard(int(place)) for place in batch["id"]]}

    def _shard(self, place: int) -> int:
        import ray

        number, reference = self.wanted[place]
        rows: pd.DataFrame = ray.get(reference)
        numbers = rows.set_index("image_id")[SETTLED]
        uri, count = shard_uri(self.out, "images", number), 0
        rejected: list[pa.Table] = []
        with storage.replacing(uri) as temporary, open_shard(temporary) as writer:
            for group in _row_groups(uri):
                stays = pc.is_in(group["image_id"], value_set=pa.array(numbers.index, pa.string()))
                shown = pc.invert(pc.is_in(group["image_id"], value_set=pa.array(sorted(self.hidden), pa.string())))
                rejected.append(_thumbnails(group.filter(pc.and_(pc.invert(stays), shown))))
                kept = group.filter(stays)
                kept = renumbered(kept, numbers.loc[kept["image_id"].to_pylist()])
                count += len(kept)
                if len(kept):
                    writer.write_table(kept)
        self._reject(number, rejected)
        keep_master(self.out, number, set(numbers.index), self.hidden - set(numbers.index))
        return count

    def _reject(self, number: int, tables: list[pa.Table]) -> None:
        """Add thumbnails to those that are there already: an image is rejected once."""
        uri = shard_uri(self.out, "rejected", number)
        if storage.exists(uri):
            tables = [storage.read_table(uri), *tables]
        table = pa.concat_tables([REJECTED.empty_table(), *tables])
        if len(table):
            storage.write_table(table, uri, compression="none")


def _row_groups(uri: str) -> Iterator[pa.Table]:
    filesystem, path = storage.arrow_fs(uri)
    with filesystem.open_input_file(path) as handle:
        file = pq.ParquetFile(handle)
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def _thumbnails(table: pa.Table) -> pa.Table:
    rows = []
    for row in table.select(["image_id", "codec", "pixels"]).to_pylist():
        image = decode(row["pixels"], row["codec"])
        scale = max(image.shape) / THUMBNAIL_SIDE
        if scale > 1.0:
            size = (max(1, round(image.shape[1] / scale)), max(1, round(image.shape[0] / scale)))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        rows.append({"image_id": row["image_id"], "codec": "png", "pixels": encode(image)})
    return pa.Table.from_pylist(rows, schema=REJECTED)
