"""Datasets whose images say what they are: series of slices and films, with sides, sites and spacing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.codec import encode
from orthoray.data.schema import IMAGES
from orthoray.pretrain.config import DataConfig
from orthoray.pretrain.plan import Mixture

SIDE = 32


def picture(number):
    """(32, 32) uint8 that tells its number: the left half has its high part, the right half its low part."""
    image = np.empty((SIDE, SIDE), np.uint8)
    image[:, : SIDE // 2] = 10 + number // 16 * 8
    image[:, SIDE // 2 :] = 128 + number % 16 * 8
    return image


def number_of(crop):
    """The number that a whole picture tells, and whether it is mirrored."""
    left, right = int(crop[:, :2].mean().round()), int(crop[:, -2:].mean().round())
    mirrored = left > right
    high, low = (right, left) if mirrored else (left, right)
    return (high - 10) // 8 * 16 + (low - 128) // 8, mirrored


def mr(series, count, spacing=3.0, **more):
    """Rows of one series of slices."""
    shared = {"modality": "MR", "series_id": series, "slice_count": count, "slice_spacing_mm": spacing}
    return [shared | {"slice_index": at, "plane": "coronal", "laterality": "R"} | more for at in range(count)]


def film(**more):
    """Row of a film, a series by itself."""
    return {"modality": "XR", "slice_index": 0, "slice_count": 1, "view": "AP", "laterality": "R"} | more


def write_rows(uri, files, pixels=True):
    """A dataset: for every file a list of row groups, for every row group a list of rows. Pictures are numbered."""
    number = 0
    storage.makedirs(f"{uri}/images")
    for shard, groups in enumerate(files):
        path = f"{uri}/images/shard-{shard:05d}.parquet"
        with pq.ParquetWriter(path, IMAGES, compression="none") as writer:
            for rows in groups:
                made = []
                for row in rows:
                    own = {"image_id": f"img{number:06d}", "codec": "png", "site": "", "plane": "none", "view": ""}
                    own["series_id"] = f"alone{number:06d}"
                    own["pixels"] = encode(picture(number % 240)) if pixels else b""
                    made.append(own | row)
                    number += 1
                writer.write_table(pa.Table.from_pylist(made, schema=IMAGES))
    storage.write_json(f"{uri}/manifest.json", {"dataset_id": "ds-rows", "n_images": number})
    return str(uri)


def mixture_of(uri, seed=0, window=64, **data):
    """The mixture of one dataset, with further keys of the data section."""
    return Mixture(DataConfig.model_validate({"datasets": [{"uri": uri}], "shuffle_window": window} | data), seed)
