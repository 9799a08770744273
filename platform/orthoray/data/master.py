"""The master tier: de-identified DICOM files with their stored values, as the source had them, one row per file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.data.decoder import in_batches
from orthoray.data.prepare import Refused
from orthoray.data.state import shard_uri
from orthoray.imaging import UnreadableImageError
from orthoray.imaging.deid import deidentify, to_bytes
from orthoray.imaging.files import read_dicom
from orthoray.imaging.pseudonyms import Pseudonyms

MASTER = pa.schema(
    [
        ("file_key", pa.string()),
        ("image_ids", pa.list_(pa.string())),
        ("dicom", pa.binary()),
        ("reason", pa.string()),
    ]
)
"""``dicom``: a Part 10 file (PS3.10) without identities, pixel data unchanged; null, with a ``reason``, where none can
be made."""

FILES_PER_CALL = 4


def master_rows(rows: pd.DataFrame, source: str, ids: Pseudonyms) -> Iterator[dict[str, Any]]:
    """Rows of `MASTER` for the files of the rows of a shard, each file once.

    De-identification runs in a child process of its own, which never decodes pixels and alone is given the key.
    """
    files = rows.groupby("file", sort=False).agg(file_key=("file_key", "first"), image_ids=("image_id", list))
    uris = [storage.join(source, str(file)) for file in files.index]
    made = in_batches(deidentified, uris, FILES_PER_CALL, _refused, ids, guard="deidentify")
    for row, (_, result) in zip(files.to_dict("records"), made, strict=True):
        refused = isinstance(result, Refused)
        outcome = {"dicom": None, "reason": result.reason} if refused else {"dicom": result, "reason": None}  # type: ignore[union-attr]
        yield {str(name): value for name, value in row.items()} | outcome


def keep_master(out: str, number: int, image_ids: set[str]) -> None:
    """Drop the files of a shard of which no image is left: what a person must not see is in neither tier."""
    uri = shard_uri(out, "master", number)
    if not storage.exists(uri):
        return
    table = storage.read_table(uri)
    stays = pa.array([bool(image_ids & set(images)) for images in table["image_ids"].to_pylist()], pa.bool_())
    storage.write_table(table.filter(stays), uri, compression="none")


def deidentified(uris: list[str], ids: Pseudonyms) -> list[bytes | Refused]:
    """De-identified files. Runs in a guarded child process."""
    return [_deidentified(uri, ids) for uri in uris]


def _deidentified(uri: str, ids: Pseudonyms) -> bytes | Refused:
    try:
        return to_bytes(deidentify(read_dicom(uri), ids))
    except UnreadableImageError as error:
        return Refused(error.reason, error.detail)


def _refused(_: str, error: UnreadableImageError) -> bytes | Refused:
    return Refused(error.reason, error.detail)
