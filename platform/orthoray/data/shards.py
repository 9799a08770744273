"""Second pass of ingest: pixels of every image, shard by shard."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.data.cards import DatasetCard
from orthoray.data.decoder import in_batches
from orthoray.data.lettered import clean_frames
from orthoray.data.master import MASTER, master_rows
from orthoray.data.prepare import Made, Outcome, Refused, Treatment, Want, prepare
from orthoray.data.schema import ACQUISITION, COPIED, FLAGS, IMAGES, NUMBERS, REPORT, VERSION
from orthoray.data.stacks import settled_geometry
from orthoray.data.state import REPORTS, shard_uri, write_report
from orthoray.imaging import UnreadableImageError
from orthoray.imaging.ocr import require_ocr
from orthoray.imaging.pseudonyms import Pseudonyms

ROW_GROUP_BYTES = 24 << 20
ROW_GROUP_ROWS = 256
FILES_PER_CALL = 8
FRAMES_READ = 16
"""With OCR a call takes so many frames of one file at most; each takes up to seconds."""

NOTHING_SHOWN = ("blank", "too_small")
LIMITS = ("intensity_low", "intensity_high")
MADE = ("height", "width", "codec", "sha256", "quality", "phash", "polarity", *LIMITS, "intensity_policy")
"""Columns that `prepare` fills, beside ``pixels``."""

Row = dict[str, Any]


class ShardWriter:
    """Writes one shard: has its images made in order and reports every one of them.

    Args:
        rows: rows of `orthoray.data.arrange` of each shard, as references into Ray's object store.
        keys: number of each shard and the key of its report.
        source: URI of the source folder.
        out: folder of the dataset being written.
        card: the source's card.
        ids: maker of pseudonyms, for the master tier.
    """

    def __init__(
        self, rows: list[Any], keys: list[tuple[int, str]], source: str, out: str, card: DatasetCard, ids: Pseudonyms
    ) -> None:
        self.rows, self.keys, self.source, self.out, self.card, self.ids = rows, keys, source, out, card, ids
        self._known: dict[str, Outcome] = {}

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, list[int]]]:
        """{"id": places in ``keys``} → {"images": how many were tried}, row group by row group."""
        for place in batch["id"]:
            yield from self._shard(int(place))

    def _shard(self, place: int) -> Iterator[dict[str, list[int]]]:
        import ray

        if self.card.ocr:
            require_ocr(f"card '{self.card.name}'")  # this machine may lack what the first one has
        rows: pd.DataFrame = ray.get(self.rows[place])
        number, key = self.keys[place]
        self._known = earlier_outcomes(self.out, number)
        parts = []
        with storage.replacing(shard_uri(self.out, "images", number)) as uri, open_shard(uri) as writer:
            for images, report in self._groups(rows):
                if images:
                    writer.write_table(pa.Table.from_pylist(images, schema=IMAGES))
                parts.append(pa.Table.from_pylist(report, schema=REPORT))
                yield {"images": [len(report)]}
        whole = pa.concat_tables(parts)
        if self.card.master:
            made = made_images(whole)
            self._master(number, rows[rows["image_id"].isin(made["image_id"].to_pylist())], clean_frames(made))
        write_report(self.out, number, key, whole)

    def _master(self, number: int, rows: pd.DataFrame, clean: dict[str, int]) -> None:
        with storage.replacing(shard_uri(self.out, "master", number)) as uri, open_shard(uri, MASTER) as writer:
            for row in master_rows(rows, self.source, self.ids, clean):
                writer.write_table(pa.Table.from_pylist([row], schema=MASTER))

    def _groups(self, rows: pd.DataFrame) -> Iterator[tuple[list[Row], list[Row]]]:
        """Images of one row group, and the report of all that was tried for it."""
        images, report, size = list[Row](), list[Row](), 0
        for record in self._records(rows):
            report.append({key: value for key, value in record.items() if key != "pixels"})
            if "pixels" in record:
                images.append(record)
                size += len(record["pixels"])
            if len(images) >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
                yield images, report
                images, report, size = [], [], 0
        yield images, report

    def _records(self, rows: pd.DataFrame) -> Iterator[Row]:
        """The record of every row; the images of a series are numbered without gaps."""
        seen: dict[tuple[str, str], str] = {}
        taken: set[str] = set()
        for _, series in groupby(self._outcomes(rows), key=lambda pair: pair[0]["series_id"]):
            pairs = list(series)
            records = [self._record(row, outcome, seen, taken) for row, outcome in pairs]
            images = [record for record in records if "pixels" in record]
            places = [row["place"] for (row, _), record in zip(pairs, records, strict=True) if "pixels" in record]
            for index, record in enumerate(images):
                geometry = settled_geometry(record["geometry"], places)
                record.update(slice_index=index, slice_count=len(images), geometry=geometry)
            yield from records

    def _outcomes(self, rows: pd.DataFrame) -> Iterator[tuple[Row, Outcome]]:
        """Every row with its image; a file is decoded once for consecutive rows (with OCR: `FRAMES_READ`)."""
        records: list[Row] = rows.to_dict("records")  # type: ignore[assignment]
        ocr = self.card.ocr
        treatment = Treatment(self.card.window, self.card.short_side, ocr)
        for row in records:
            row["made_from"] = _made_from(row, treatment)
        files = [list(group) for _, group in groupby(records, key=lambda row: row["file"])]
        if ocr:
            files = [file[first : first + FRAMES_READ] for file in files for first in range(0, len(file), FRAMES_READ)]
        new = [file for file in files if not self._is_known(file)]
        made = in_batches(prepare, map(self._wanted, new), 1 if ocr else FILES_PER_CALL, _refused, treatment)
        for file in files:
            if self._is_known(file):
                yield from ((row, self._known[row["made_from"]]) for row in file)
            else:
                yield from zip(file, next(made)[1], strict=True)

    def _is_known(self, rows: list[Row]) -> bool:
        return all(row["made_from"] in self._known for row in rows)

    def _wanted(self, rows: list[Row]) -> tuple[str, list[Want]]:
        return storage.join(self.source, rows[0]["file"]), [_want(row) for row in rows]

    def _record(self, row: Row, outcome: Outcome, seen: dict[tuple[str, str], str], taken: set[str]) -> Row:
        record = {name: row[name] for name in COPIED} | {"source": self.card.source_code, "made_from": row["made_from"]}
        if isinstance(outcome, Refused):
            stage = "quality" if outcome.reason in NOTHING_SHOWN else "decode"
            return record | {"stage": stage, "reason": outcome.reason, "detail": outcome.detail}
        fields = outcome.fields
        same = (row["patient_id"], f"{fields['sha256']} {fields['height']} {fields['width']}")
        if same in seen:
            return record | {"stage": "duplicates", "reason": "same_pixels", "detail": seen[same]}
        if row["image_id"] in taken:
            return record | {"stage": "duplicates", "reason": "same_identifier", "detail": "its pixels differ"}
        seen[same] = row["image_id"]
        taken.add(row["image_id"])
        acquisition = {field.name: _or_null(row[field.name]) for field in ACQUISITION}
        flags = {name: bool(row[name]) for name in FLAGS}
        return record | fields | _numbers(row, outcome) | flags | {"acquisition": acquisition}


def _or_null(value: Any) -> Any:
    return None if value == "" or (isinstance(value, float) and math.isnan(value)) else value


def _want(row: Row) -> Want:
    return Want(int(row["frame"]), row["part"], row["inverted"] == "1", row["modality"])


def _made_from(row: Row, treatment: Treatment) -> str:
    text = repr((VERSION, row["version"], _want(row), treatment))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def made_images(report: pa.Table) -> pa.Table:
    """The rows of images among reported ones."""
    return report.filter(pc.is_null(report["stage"]))


def earlier_outcomes(out: str, number: int) -> dict[str, Outcome]:
    """What an earlier run made of the rows of a shard, by ``made_from``; images that it excluded later are left out."""
    report = shard_uri(out, REPORTS, number)
    if not (storage.exists(report) and storage.exists(shard_uri(out, "images", number))):
        return {}
    held = held_pixels(out, number)
    rows = storage.read_table(report).to_pylist()
    images = {row["image_id"]: row for row in rows if row["stage"] is None and row["image_id"] in held}
    known: dict[str, Outcome] = {}
    for row in rows:
        image = images.get(row["detail"] if row["reason"] == "same_pixels" else row["image_id"])
        if row["stage"] == "decode" or row["reason"] in NOTHING_SHOWN:
            known[row["made_from"]] = Refused(row["reason"], row["detail"])
        elif image is not None and row["reason"] in (None, "same_pixels"):
            fields = {name: image[name] for name in MADE} | {"pixels": held[image["image_id"]]}
            known[row["made_from"]] = Made(fields, image["scale"])
    return known


def _refused(wanted: tuple[str, list[Want]], error: UnreadableImageError) -> list[Outcome]:
    return [Refused(error.reason, error.detail)] * len(wanted[1])


def _numbers(row: Row, made: Made) -> Row:
    """Numbers of a row as columns of the dataset; NaN becomes null."""
    numbers = {name: row[name] for name in NUMBERS}
    numbers |= {f"{way}_spacing_mm": row[f"{way}_spacing_mm"] * made.scale for way in ("row", "col")}
    whole = ("days_from_baseline", "study_year")
    numbers |= {name: made.fields[name] for name in LIMITS}
    return {
        "scale": made.scale,
        **{name: _or_null(value) for name, value in numbers.items()},
        **{name: None if math.isnan(row[name]) else int(row[name]) for name in whole},
    }


def held_pixels(out: str, number: int) -> dict[str, bytes]:
    """The encoded images that a shard's file holds, by image_id."""
    table = storage.read_table(shard_uri(out, "images", number), columns=["image_id", "pixels"])
    return dict(zip(table["image_id"].to_pylist(), table["pixels"].to_pylist(), strict=True))


@contextmanager
def open_shard(uri: str, schema: pa.Schema = IMAGES) -> Iterator[pq.ParquetWriter]:
    """A Parquet writer for a shard; pixels are compressed already, so nothing else is."""
    filesystem, path = storage.arrow_fs(uri)
    with filesystem.open_output_stream(path) as stream, pq.ParquetWriter(stream, schema, compression="none") as writer:
        yield writer
