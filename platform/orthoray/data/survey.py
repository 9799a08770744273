"""First pass of ingest: the header of every file, with identifiers replaced where they are read."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orthoray import storage
from orthoray.data.cards import DatasetCard
from orthoray.data.decoder import in_batches
from orthoray.data.failures import worker_failures
from orthoray.data.schema import as_table
from orthoray.data.state import IngestState
from orthoray.imaging import ImageFacts, UnreadableImageError, read_facts, sniff
from orthoray.imaging.pseudonyms import Pseudonyms
from orthoray.progress import Progress

BLOCK_FILES = 64
FILES_PER_CALL = 16
KEEP_EVERY_S, KEEP_BLOCKS = 20.0, 32
"""Seconds of reading, or blocks read, after which facts are kept for the next run."""

IDENTIFIERS = {
    "patient": "patient",
    "study_uid": "study",
    "series_uid": "series",
    "image_uid": "image",
    "accession": "accession",
}
"""Fields of ImageFacts that identify a person → kind of their pseudonym."""

READERS = {"dicom": "dicom", "hdf5": "hdf5", "npy": "npy", **dict.fromkeys(("png", "jpeg", "tiff"), "images")}
"""Kind of a file by its content → the card's reader that takes it."""

COLUMN_TYPES = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "date | None": pa.float64(),
}
"""Annotation of a field of ImageFacts → type of its column."""

SURVEY = pa.schema(
    [
        *[(name, pa.string()) for name in ("file", "file_key", "version")],
        *[(field.name, COLUMN_TYPES[str(field.type)]) for field in fields(ImageFacts) if field.name not in IDENTIFIERS],
        *[(f"{kind}_key", pa.string()) for kind in IDENTIFIERS.values()],
        *[(name, pa.string()) for name in ("stage", "reason", "detail")],
    ]
)
"""Columns of the survey."""


def survey(
    files: pd.DataFrame, source: str, card: DatasetCard, ids: Pseudonyms, state: IngestState | None = None
) -> pd.DataFrame:
    """Read all headers on Ray Data.

    Args:
        files: ``file`` (path relative to ``source``), ``file_key``, ``version``.
        source: URI of the source folder.
        card: says which kind of files is expected.
        ids: maker of pseudonyms.
        state: facts of an earlier run; files that it knows are not read again. None = read all, keep nothing.

    Returns:
        One row per frame: ``file, file_key, version, frame``, ids, the facts of `ImageFacts`, ``day`` as a day number
        (NaN = unknown); a file that cannot be read has one row with ``stage``, ``reason`` and ``detail``.
    """
    known = state.surveyed(files) if state is not None else None
    parts = [] if known is None else [as_table(known, SURVEY)]
    rest = files if known is None else files[~files["version"].isin(set(known["version"]))]
    with Progress(len(files), "reading headers", "files") as bar:
        bar.start_at(len(files) - len(rest))
        parts += _read(rest, source, card, ids, state, bar)
    table = pa.concat_tables(parts).sort_by([("file", "ascending"), ("frame", "ascending")])
    del parts, known
    return cast(pd.DataFrame, table.to_pandas())


def _read(
    files: pd.DataFrame, source: str, card: DatasetCard, ids: Pseudonyms, state: IngestState | None, bar: Progress
) -> Iterator[pa.Table]:
    """The survey's rows, in one table for each `KEEP_BLOCKS` or `KEEP_EVERY_S` of reading."""
    import ray.data

    if files.empty:
        return
    blocks = max(1, math.ceil(len(files) / BLOCK_FILES))
    dataset = ray.data.from_pandas(files[["file", "file_key", "version"]]).repartition(blocks)
    reader: Any = HeaderReader(source, card.reader, ids)
    rows = dataset.map_batches(reader, batch_format="pandas", batch_size=None, num_cpus=1)
    fresh, last = list[pa.Table](), time.monotonic()
    part: Any
    with worker_failures("reading headers"):
        for part in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            fresh.append(part)
            bar.advance(pc.count_distinct(part["file"]).as_py())
            if len(fresh) == KEEP_BLOCKS or time.monotonic() - last > KEEP_EVERY_S:
                yield _kept(fresh, state)
                fresh, last = [], time.monotonic()
    if fresh:
        yield _kept(fresh, state)


def _kept(parts: list[pa.Table], state: IngestState | None) -> pa.Table:
    """Blocks of rows as one table, far smaller than they are one by one; with a state it is kept for the next run."""
    table = pa.concat_tables(parts).combine_chunks()
    if state is not None:
        state.add_survey(table.to_pandas())
    return table


class HeaderReader:
    """Reads the headers of a block of files."""

    def __init__(self, source: str, reader: str, ids: Pseudonyms) -> None:
        self.source, self.reader, self.ids = source, reader, ids

    def __call__(self, batch: pd.DataFrame) -> pa.Table:
        """Rows ``file, file_key, version`` → rows of `SURVEY`."""
        uris = [storage.join(self.source, str(file)) for file in batch["file"]]
        results = in_batches(facts_of, uris, FILES_PER_CALL, _failed, self.reader)
        rows = []
        for file, (_, result) in zip(batch.to_dict("records"), results, strict=True):
            facts, failed = result
            rows += [self._row(file, fact, failed) for fact in facts]
        return pa.Table.from_pylist(rows, schema=SURVEY)

    def _row(self, file: dict[Any, Any], fact: ImageFacts, failed: tuple[str, str, str]) -> dict[str, Any]:
        row = asdict(fact)
        row["day"] = float(fact.day.toordinal()) if fact.day else math.nan
        for field, kind in IDENTIFIERS.items():
            row[f"{kind}_key"] = self.ids.make(kind, str(row.pop(field)))
        stage, reason, detail = failed
        return {**file, **row, "stage": stage, "reason": reason, "detail": detail}


Facts = tuple[list[ImageFacts], tuple[str, str, str]]
"""Facts of a file's frames; and stage, reason and detail if it cannot be read (then of one frame that has none)."""


def facts_of(uris: list[str], reader: str) -> list[Facts]:
    """Facts of some files. Runs in a guarded child process."""
    return [_facts(uri, reader) for uri in uris]


def _facts(uri: str, reader: str) -> Facts:
    try:
        if READERS[sniff(uri)] != reader:
            raise UnreadableImageError("other_format", f"the card's reader is '{reader}'")
        return read_facts(uri), ("", "", "")
    except UnreadableImageError as error:
        return _failed(uri, error)


def _failed(_: str, error: UnreadableImageError) -> Facts:
    return [ImageFacts()], ("read", error.reason, error.detail)
