"""Experiments are rows: one (model, task, protocol, fraction, seed, fold), one part file when it is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.evaluation.protocol import Indices, Samples

_FACTS = b"orthoray.row"


@dataclass(frozen=True)
class Row:
    """One experiment. ``digest`` covers all that its result depends on, so a changed input is another row."""

    task: str
    model: str
    protocol: str
    fraction: float
    seed: int
    fold: int
    digest: str

    def part(self, out: str) -> str:
        """URI of the row's part file in the study's folder."""
        name = f"{self.model}-{self.protocol}-{self.fraction:g}-s{self.seed}-k{self.fold}-{self.digest}.parquet"
        return storage.join(out, "parts", self.task, name)


def digest(*facts: Any) -> str:
    """12 hexadecimal digits over JSON-able facts."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def samples_digest(samples: Samples) -> str:
    """Digest of a task's samples: ids, patients, labels (and times) and the images behind them."""
    lists = [samples.sample_id, samples.patient_id, samples.label, samples.image_id, samples.owner]
    lists += [] if samples.time is None else [samples.time]
    return digest(*[values.tolist() for values in lists])


def write_part(
    uri: str, row: Row, samples: Samples, test: Indices, scores: npt.NDArray[np.float64], params: dict[str, Any]
) -> None:
    """Write a finished row atomically: its test predictions, and what was chosen for it, in one Parquet file."""
    columns: dict[str, Any] = {
        "sample_id": pa.array(samples.sample_id[test].tolist(), pa.string()),
        "patient_id": pa.array(samples.patient_id[test].tolist(), pa.string()),
        "label": pa.array(samples.label[test], pa.int64()),
    }
    if samples.time is not None:
        columns["time"] = pa.array(samples.time[test], pa.float64())
    for k in range(scores.shape[1]):
        columns[f"score_{k}"] = pa.array(scores[:, k], pa.float64())
    facts = {"row": asdict(row), "params": params}
    table = pa.table(columns).replace_schema_metadata({_FACTS: json.dumps(facts).encode()})
    storage.write_table(table, uri)


def read_part(uri: str) -> tuple[pa.Table, dict[str, Any]]:
    """The predictions of a finished row and its ``params``."""
    filesystem, path = storage.arrow_fs(uri)
    table = pq.read_table(path, filesystem=filesystem)
    facts = json.loads(table.schema.metadata[_FACTS])
    return table.replace_schema_metadata(None), dict(facts["params"])


def copy_part(source: str, target: str, more: dict[str, Any]) -> None:
    """Write a part file again under another name, with ``more`` among its params."""
    filesystem, path = storage.arrow_fs(source)
    table = pq.read_table(path, filesystem=filesystem)
    facts = json.loads(table.schema.metadata[_FACTS])
    facts["params"] |= more
    storage.write_table(table.replace_schema_metadata({_FACTS: json.dumps(facts).encode()}), target)


def finished(rows: Sequence[Row], out: str) -> set[Row]:
    """Those of ``rows`` that have their part file already."""
    there = {uri.rpartition("/parts/")[2] for uri in storage.list_files(storage.join(out, "parts"), ".parquet")}
    return {row for row in rows if row.part(out).rpartition("/parts/")[2] in there}


def whole_groups(rows: Sequence[Row], out: str) -> list[Row]:
    """Those of ``rows`` of whose task, model, protocol, fraction and seed all folds have their part files."""
    there = finished(rows, out)
    lacking = {_group(row) for row in rows if row not in there}
    return [row for row in rows if _group(row) not in lacking]


def _group(row: Row) -> tuple[str, str, str, float, int]:
    return row.task, row.model, row.protocol, row.fraction, row.seed
