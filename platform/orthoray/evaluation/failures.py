"""Rows that failed: kept with their reasons, so that they can be looked at and run again alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.evaluation.rows import Row

FILE = "failed.parquet"
SCHEMA = pa.schema(
    [
        *[(name, pa.string()) for name in ("task", "model", "protocol")],
        ("fraction", pa.float64()),
        ("seed", pa.int64()),
        ("fold", pa.int64()),
        ("digest", pa.string()),
        ("reason", pa.string()),
        ("attempts", pa.int64()),
    ]
)


def read_failures(out: str) -> pd.DataFrame:
    """Failures of earlier sessions, columns of `SCHEMA`."""
    uri = storage.join(out, FILE)
    table = storage.read_table(uri) if storage.exists(uri) else SCHEMA.empty_table()
    frame: pd.DataFrame = table.to_pandas()
    return frame


def write_failures(out: str, failed: Mapping[Row, str]) -> None:
    """Replace the list by the rows that failed now; their attempts are counted on. Without any the file goes."""
    before = {str(row.digest): int(row.attempts) for row in _keyed(read_failures(out))}
    uri = storage.join(out, FILE)
    if not failed:
        storage.remove_tree(uri)
        return
    rows = [
        {
            **{name: getattr(row, name) for name in SCHEMA.names[:6]},
            "digest": _key(row),
            "reason": reason,
            "attempts": before.get(_key(row), 0) + 1,
        }
        for row, reason in failed.items()
    ]
    storage.write_table(pa.Table.from_pylist(rows, SCHEMA), uri)


def only_failed(out: str, rows: Sequence[Row]) -> list[Row]:
    """Those of ``rows`` that are on the list."""
    listed = set(read_failures(out)["digest"])
    return [row for row in rows if _key(row) in listed]


def failure_lines(failed: Mapping[Row, str]) -> list[str]:
    """A line per reason: how many rows it took, and the first of them."""
    by_reason: dict[str, list[Row]] = {}
    for row, reason in failed.items():
        by_reason.setdefault(reason, []).append(row)
    lines = []
    for reason, rows in by_reason.items():
        first = rows[0]
        count = f"{len(rows)} rows, the first" if len(rows) > 1 else "1 row,"
        where = f"{first.task}, {first.model}, {first.protocol}, {first.fraction:.0%}, seed {first.seed}, fold"
        lines.append(f"{count} {where} {first.fold}: {reason}")
    return lines


def _key(row: Row) -> str:
    return f"{row.task}/{row.model}/{row.protocol}/{row.fold}/{row.digest}/{row.fraction:g}/{row.seed}"


def _keyed(frame: pd.DataFrame) -> list[pd.Series]:
    return [row for _, row in frame.iterrows()]
