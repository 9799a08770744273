"""The master tier: de-identified DICOM files with their stored values, as the source had them, one row per file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def master_rows(rows: pd.DataFrame, source: str, ids: Pseudonyms, clean: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Rows of `MASTER` for the files of the rows of a shard, each file once.

    De-identification runs in a child process of its own, which never decodes pixels and alone is given the key.
    ``clean``: ``file_key`` → frames on which OCR read nothing but markers; a file of which that holds for all frames
    claims clean pixel data.
    """
    files = rows.groupby("file", sort=False).agg(file_key=("file_key", "first"), image_ids=("image_id", list))
    uris = (storage.join(source, str(file)) for file in files.index)
    tasks = zip(uris, (clean.get(key, 0) for key in files["file_key"]), strict=True)
    made = in_batches(deidentified, tasks, FILES_PER_CALL, _refused, ids, guard="deidentify")
    for row, (_, result) in zip(files.to_dict("records"), made, strict=True):
        refused = isinstance(result, Refused)
        outcome = {"dicom": None, "reason": result.reason} if refused else {"dicom": result, "reason": None}  # type: ignore[union-attr]
        yield {str(name): value for name, value in row.items()} | outcome


def keep_master(out: str, number: int, image_ids: set[str], hidden: frozenset[str]) -> None:
    """Drop the files of a shard of which no image is left, or of which one was excluded for lettering (``hidden``).

    What a person must not see is in neither tier.
    """
    uri = shard_uri(out, "master", number)
    if not storage.exists(uri):
        return
    table = storage.read_table(uri)
    files = [set(images) for images in table["image_ids"].to_pylist()]
    stays = pa.array([bool(image_ids & images) and not hidden & images for images in files], pa.bool_())
    storage.write_table(table.filter(stays), uri, compression="none")


def deidentified(files: list[tuple[str, int]], ids: Pseudonyms) -> list[bytes | Refused]:
    """De-identified files, given with the number of their frames that are clean. Runs in a guarded child process."""
    return [_deidentified(uri, clean, ids) for uri, clean in files]


def _deidentified(uri: str, clean: int, ids: Pseudonyms) -> bytes | Refused:
    try:
        dataset = read_dicom(uri)
        return to_bytes(deidentify(dataset, ids, clean_pixels=clean == int(dataset.get("NumberOfFrames") or 1)))
    except UnreadableImageError as error:
        return Refused(error.reason, error.detail)


def _refused(_: tuple[str, int], error: UnreadableImageError) -> bytes | Refused:
    return Refused(error.reason, error.detail)
