"""Images from the feature store, for networks that learn: one size, grey, kept as uint8 (`encoders.image_spec`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.errors import RunError
from orthoray.features.store import META


def read_images(folder_uri: str, image_ids: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Grey levels of the given images, (N, side, side), in the order asked for; file by file, so nothing is held twice.

    Raises:
        RunError: an image is not there, or there twice.
    """
    meta = storage.read_json(storage.join(folder_uri, META))
    side = int(meta["spec"]["resolution"])
    place = {image_id: row for row, image_id in enumerate(image_ids)}
    found = np.zeros((len(image_ids), side, side), np.uint8)
    times = np.zeros(len(image_ids), np.int64)
    filesystem, path = storage.arrow_fs(folder_uri)
    for name in meta["files"]:
        table = pq.read_table(f"{path.rstrip('/')}/{name}", filesystem=filesystem)
        wanted = [(row, place[i]) for row, i in enumerate(table["image_id"].to_pylist()) if i in place]
        if not wanted:
            continue
        values = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        rows, places = np.array(wanted).T
        found[places] = values.reshape(-1, side, side)[rows]
        np.add.at(times, places, 1)
    if len(place) != len(image_ids) or (times != 1).any():
        raise RunError(
            f"{folder_uri}: {int((times == 0).sum())} of {len(image_ids)} images are not there and "
            f"{int((times > 1).sum())} are there twice. Remove the folder; it is made again."
        )
    return found
