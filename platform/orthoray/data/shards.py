"""Second pass of ingest: pixels of every image, shard by shard."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.cards import DatasetCard
from orthoray.data.codec import encode
from orthoray.data.schema import IMAGES, INDEX, REPORT
from orthoray.imaging import Display, UnreadableImageError, display_frames

ROW_GROUP_BYTES = 24 << 20
ROW_GROUP_ROWS = 256
BLANK_STD = 1.0
"""Standard deviation of grey levels (0..255) below which an image shows nothing."""

COPIED = ["image_id", "patient_id", "study_id", "series_id", "site", "modality", "body_part", "laterality", "view"]
COPIED += ["plane", "visit", "sex", "manufacturer"]
Grey = npt.NDArray[np.uint8]


class ShardWriter:
    """Writes one shard: decodes its images in order and reports every one of them.

    Args:
        rows: rows of `orthoray.data.arrange` of each shard, as references into Ray's object store.
        source: URI of the source folder.
        out: folder of the dataset being written.
        card: the source's card.
    """

    def __init__(self, rows: list[Any], source: str, out: str, card: DatasetCard) -> None:
        self.rows, self.source, self.out, self.card = rows, source, out, card

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[pa.Table]:
        """{"id": numbers of shards} → tables of `REPORT`, row group by row group."""
        cv2.setNumThreads(1)
        for number in batch["id"]:
            yield from self._shard(int(number))

    def _shard(self, number: int) -> Iterator[pa.Table]:
        import ray

        rows: pd.DataFrame = ray.get(self.rows[number])
        with _parquet(storage.join(self.out, "images", f"shard-{number:05d}.parquet")) as writer:
            images: list[dict[str, Any]] = []
            report: list[dict[str, Any]] = []
            size = 0
            for record in self._records(rows):
                report.append({key: value for key, value in record.items() if key != "pixels"})
                if "pixels" in record:
                    images.append(record)
                    size += len(record["pixels"])
                if len(images) >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
                    writer.write_table(pa.Table.from_pylist(images, schema=IMAGES))
                    yield pa.Table.from_pylist(report, schema=REPORT)
                    images, report, size = [], [], 0
            if images:
                writer.write_table(pa.Table.from_pylist(images, schema=IMAGES))
            yield pa.Table.from_pylist(report, schema=REPORT)

    def _records(self, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
        """The record of every row; the images of a series are numbered without gaps."""
        seen: dict[tuple[str, str], str] = {}
        taken: set[str] = set()
        for _, series in groupby(self._outcomes(rows), key=lambda pair: pair[0]["series_id"]):
            records = [self._record(row, outcome, seen, taken) for row, outcome in series]
            images = [record for record in records if "pixels" in record]
            for index, record in enumerate(images):
                record.update(slice_index=index, slice_count=len(images))
            yield from records

    def _outcomes(self, rows: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Display | UnreadableImageError]]:
        """Every row with its frame; a file is decoded once for consecutive rows."""
        last, frames = "", list[Display]()
        failed: UnreadableImageError | None = None
        row: dict[str, Any]
        for row in rows.to_dict("records"):  # type: ignore[assignment]
            if row["file"] != last:
                last, frames, failed = row["file"], [], None
                try:
                    frames = display_frames(storage.join(self.source, last), self.card.window)
                except UnreadableImageError as error:
                    failed = error
            if failed is None and row["frame"] >= len(frames):
                yield row, UnreadableImageError("frame_missing", "fewer frames than the header says")
            else:
                yield row, failed or frames[row["frame"]]

    def _record(
        self,
        row: dict[str, Any],
        outcome: Display | UnreadableImageError,
        seen: dict[tuple[str, str], str],
        taken: set[str],
    ) -> dict[str, Any]:
        record = {name: row[name] for name in COPIED} | {"source": self.card.source_code}
        if isinstance(outcome, UnreadableImageError):
            stage = "quality" if outcome.reason == "blank" else "decode"
            return record | {"stage": stage, "reason": outcome.reason, "detail": outcome.detail}
        image, scale = to_grey(outcome.pixels, row["part"], self.card.short_side)
        inverted = row["inverted"] == "1"
        image = 255 - image if inverted else image
        quality = measure(image)
        if quality["std"] < BLANK_STD:
            return record | {"stage": "quality", "reason": "blank", "detail": f"std {quality['std']:.2f} of 255"}
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        same = (row["patient_id"], f"{digest} {image.shape}")
        if same in seen:
            return record | {"stage": "duplicates", "reason": "same_pixels", "detail": seen[same]}
        if row["image_id"] in taken:
            return record | {"stage": "duplicates", "reason": "same_identifier", "detail": "its pixels differ"}
        seen[same] = row["image_id"]
        taken.add(row["image_id"])
        return record | self._image(row, outcome, image, scale, inverted) | {"quality": quality, "sha256": digest}

    def _image(
        self, row: dict[str, Any], outcome: Display, image: Grey, scale: float, inverted: bool
    ) -> dict[str, Any]:
        numbers = {
            "row_spacing_mm": row["row_spacing_mm"] * scale,
            "col_spacing_mm": row["col_spacing_mm"] * scale,
            "intensity_low": outcome.low,
            "intensity_high": outcome.high,
            "age": row["age"],
            "field_strength_t": row["field_strength_t"],
        }
        days = row["days_from_baseline"]
        return {
            **{name: None if math.isnan(value) else value for name, value in numbers.items()},
            "days_from_baseline": None if math.isnan(days) else int(days),
            "height": image.shape[0],
            "width": image.shape[1],
            "codec": "png",
            "intensity_policy": outcome.policy + ("+inverted" if inverted else ""),
            "pixels": encode(image),
        }


def to_grey(pixels: npt.NDArray[np.float32], part: str, short_side: int) -> tuple[Grey, float]:
    """Quantise to 8 bits, cut out a half (``R`` = image-left, ``L`` = image-right), reduce.

    An odd width gives the middle column to the image-right half.

    Returns:
        (h, w) uint8, and by how much a pixel grew.
    """
    middle = pixels.shape[1] // 2
    pixels = pixels[:, :middle] if part == "R" else pixels[:, middle:] if part == "L" else pixels
    image = np.rint(pixels * 255.0).astype(np.uint8)
    scale = min(image.shape) / short_side
    if scale <= 1.0:
        return np.ascontiguousarray(image), 1.0
    size = (round(image.shape[1] / scale), round(image.shape[0] / scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def measure(image: Grey) -> dict[str, float]:
    """The measures of `orthoray.data.schema.QUALITY`."""
    return {
        "mean": float(image.mean()),
        "std": float(image.std()),
        "sharpness": float(cv2.Laplacian(image, cv2.CV_32F).var()),
        "saturated": float(((image == 0) | (image == 255)).mean()),
    }


@contextmanager
def _parquet(uri: str) -> Iterator[pq.ParquetWriter]:
    filesystem, path = storage.arrow_fs(uri)
    with filesystem.open_output_stream(path) as stream, pq.ParquetWriter(stream, IMAGES, compression="none") as writer:
        yield writer


def index_rows(report: pa.Table) -> pa.Table:
    """The rows of the index among reported ones."""
    return report.filter(pa.compute.is_null(report["stage"])).select(INDEX.names)
