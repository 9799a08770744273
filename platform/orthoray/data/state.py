"""What an ingest has done so far: kept in the dataset's folder ``ingest/``, so that finished work is not done again.

``survey/part-*.parquet`` holds the facts of every file read, ``reports/shard-*.parquet`` what became of every image.
Files are known by pseudonyms of their names and of their sizes and times; days are sealed with the key. Without the key
nothing in here leads to a person or a file.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.imaging.pseudonyms import Pseudonyms

FOLDER = "ingest"
KEY = b"orthoray.key"
"""Entry of a report's metadata: hash of all that decides its content."""

REPORTS = f"{FOLDER}/reports"
TIERS = ("images", "rejected", "master", REPORTS)
"""Folders of a dataset that hold one file for each shard: pixels, thumbnails of excluded images, DICOM, reports."""


def file_keys(files: pd.DataFrame, ids: Pseudonyms) -> pd.DataFrame:
    """Pseudonyms of files: ``file_key`` of the name, ``version`` of name, size and time."""
    keys = [ids.make("file", name) for name in files["file"]]
    rows = zip(files["file"], files["size"], files["changed"], strict=True)
    versions = [ids.make("version", f"{name}\x1f{size}\x1f{changed}") for name, size, changed in rows]
    return files.assign(file_key=keys, version=versions)


class IngestState:
    """The folder ``ingest/`` of a dataset that is being written.

    Args:
        out: folder of the dataset.
        ids: maker of pseudonyms; seals the days.
    """

    def __init__(self, out: str, ids: Pseudonyms) -> None:
        self.out, self.ids = out, ids
        self.survey = storage.join(out, FOLDER, "survey")
        self._parts = max(map(_number, storage.list_files(self.survey, ".parquet")), default=-1) + 1

    def surveyed(self, files: pd.DataFrame) -> pd.DataFrame | None:
        """Rows of the survey for files (with ``file_key, version``) that have not changed since they were read."""
        parts = storage.list_files(self.survey, ".parquet")
        if not parts:
            return None
        tables = [storage.read_table(part) for part in parts]
        rows: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        rows = rows.merge(files[["file", "file_key", "version"]], on=["file_key", "version"], how="inner")
        rows = rows.drop_duplicates(["file_key", "frame"], keep="last")
        rows["day"] = [self._seal(version, day) for version, day in zip(rows["version"], rows["day"], strict=True)]
        return rows

    def add_survey(self, rows: pd.DataFrame) -> None:
        """Keep rows of the survey; each part is written once."""
        sealed = [self._seal(version, day) for version, day in zip(rows["version"], rows["day"], strict=True)]
        table = pa.Table.from_pandas(rows.drop(columns="file").assign(day=sealed), preserve_index=False)
        uri = storage.join(self.survey, f"part-{self._parts:05d}.parquet")
        storage.write_table(table.replace_schema_metadata(None), uri)
        self._parts += 1

    def compact_survey(self, rows: pd.DataFrame) -> None:
        """Replace all parts by one: the files that are there now."""
        old = storage.list_files(self.survey, ".parquet")
        self.add_survey(rows)
        for part in old:
            storage.remove_tree(part)

    def report(self, shard: int, key: str) -> pa.Table | None:
        """The report of a shard if it was written for the same ``key``."""
        uri = shard_uri(self.out, REPORTS, shard)
        if not storage.exists(uri):
            return None
        table = storage.read_table(uri)
        return table if (table.schema.metadata or {}).get(KEY) == key.encode() else None

    def _seal(self, version: str, day: float) -> float:
        """A day number with a whole number of days added that only the key tells; the same again takes it off."""
        if math.isnan(day):
            return day
        mask = int.from_bytes(bytes.fromhex(self.ids.make("day", version)[1:9]), "big")
        return float(int(day) ^ mask)


def shard_uri(out: str, tier: str, number: int) -> str:
    """Where a shard's file of one of the `TIERS` lies."""
    return storage.join(out, tier, f"shard-{number:05d}.parquet")


def keep_shards(out: str, numbers: set[int]) -> None:
    """Remove the files of all other shards."""
    for tier in TIERS:
        for uri in storage.list_files(storage.join(out, tier), ".parquet"):
            if _number(uri) not in numbers:
                storage.remove_tree(uri)


def write_report(out: str, shard: int, key: str, report: pa.Table) -> None:
    """Write a shard's report, after the shard itself."""
    storage.write_table(report.replace_schema_metadata({KEY: key.encode()}), shard_uri(out, REPORTS, shard))


def shard_key(rows: pd.DataFrame, columns: Iterable[str], settings: Any) -> str:
    """Hash of all that decides what a shard holds: its rows and how they are treated."""
    digest = hashlib.sha256(repr(settings).encode())
    for column in columns:
        digest.update(pd.util.hash_pandas_object(rows[column], index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _number(uri: str) -> int:
    """The number at the end of a file's name, as in ``shard-00012.parquet``."""
    return int(uri.rsplit("-", 1)[-1].removesuffix(".parquet"))
