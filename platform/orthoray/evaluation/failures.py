"""Rows that failed: kept with their reasons, so that they can be looked at and run again alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

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


def read_failures(out: str) -> dict[Row, tuple[str, int]]:
    """Rows that failed in an earlier session → reason and number of attempts."""
    uri = storage.join(out, FILE)
    if not storage.exists(uri):
        return {}
    found = {}
    for values in storage.read_table(uri).to_pylist():
        reason, attempts = values.pop("reason"), values.pop("attempts")
        found[Row(**values)] = (reason, attempts)
    return found


def write_failures(out: str, failed: Mapping[Row, str]) -> None:
    """Replace the list by the rows that failed now; their attempts are counted on. Without any the file goes."""
    before = read_failures(out)
    uri = storage.join(out, FILE)
    if not failed:
        storage.remove_tree(uri)
        return
    rows = [
        {**asdict(row), "reason": reason, "attempts": before.get(row, ("", 0))[1] + 1} for row, reason in failed.items()
    ]
    storage.write_table(pa.Table.from_pylist(rows, SCHEMA), uri)


def only_failed(out: str, rows: Sequence[Row]) -> list[Row]:
    """Those of ``rows`` that are on the list."""
    listed = read_failures(out)
    return [row for row in rows if row in listed]


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
