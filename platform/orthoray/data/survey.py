"""First pass of ingest: the header of every file, with identifiers replaced where they are read."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from orthoray import storage
from orthoray.data.cards import DatasetCard
from orthoray.data.failures import worker_failures
from orthoray.imaging import ImageFacts, UnreadableImageError, is_raster, read_facts
from orthoray.imaging.pseudonyms import Pseudonyms
from orthoray.progress import Progress

if TYPE_CHECKING:
    import numpy as np

BLOCK_FILES = 64
NUMBERS = ("position_mm", "row_spacing_mm", "col_spacing_mm", "day", "years", "field_strength_t")
IDENTIFIERS = {"patient": "patient", "study_uid": "study", "series_uid": "series", "image_uid": "image"}
"""Fields of ImageFacts that identify a person → kind of their pseudonym."""


def survey(files: list[str], source: str, card: DatasetCard, ids: Pseudonyms) -> pd.DataFrame:
    """Read all headers on Ray Data.

    Args:
        files: paths relative to ``source``.
        source: URI of the source folder.
        card: says which kind of files is expected.
        ids: maker of pseudonyms.

    Returns:
        One row per frame: ``file, frame``, ids, the facts of `ImageFacts`, ``day`` as a day number (NaN = unknown);
        a file that cannot be read has one row with ``stage``, ``reason`` and ``detail``.
    """
    import ray.data

    blocks = max(1, math.ceil(len(files) / BLOCK_FILES))
    dataset = ray.data.from_items([{"file": file} for file in files], override_num_blocks=blocks)
    reader: Any = HeaderReader(source, card.reader, ids)
    rows = dataset.map_batches(reader, batch_format="numpy", batch_size=None, num_cpus=1)
    parts: list[pd.DataFrame] = []
    part: Any
    with Progress(len(files), "reading headers", "files") as bar, worker_failures("reading headers"):
        for part in rows.iter_batches(batch_size=None, batch_format="pandas"):
            parts.append(part)
            bar.advance(part["file"].nunique())
    table = pd.concat(parts, ignore_index=True)
    return table.astype(dict.fromkeys(NUMBERS, "float64"))  # a column of nothing but NaN comes back as objects


class HeaderReader:
    """Reads the headers of a block of files."""

    def __init__(self, source: str, reader: str, ids: Pseudonyms) -> None:
        self.source, self.reader, self.ids = source, reader, ids

    def __call__(self, batch: dict[str, np.ndarray]) -> pd.DataFrame:
        """{"file": (n,)} → the rows of `survey`."""
        return pd.DataFrame([row for file in batch["file"] for row in self._rows(str(file))])

    def _rows(self, file: str) -> list[dict[str, Any]]:
        failed = ("", "", "")
        try:
            if is_raster(file) != (self.reader == "images"):
                raise UnreadableImageError("other_format", f"the card's reader is '{self.reader}'")
            facts = read_facts(storage.join(self.source, file))
        except UnreadableImageError as error:
            facts, failed = [ImageFacts()], ("read", error.reason, error.detail)
        return [self._row(file, fact, failed) for fact in facts]

    def _row(self, file: str, fact: ImageFacts, failed: tuple[str, str, str]) -> dict[str, Any]:
        row = asdict(fact)
        row["day"] = float(fact.day.toordinal()) if fact.day else math.nan
        for field, kind in IDENTIFIERS.items():
            row[f"{kind}_key"] = self.ids.make(kind, str(row.pop(field)))
        stage, reason, detail = failed
        return {"file": file, **row, "stage": stage, "reason": reason, "detail": detail}
