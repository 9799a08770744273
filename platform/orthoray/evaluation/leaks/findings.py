"""What leak checks find, and the table that it is kept in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from orthoray import storage

FILE = "leaks.parquet"


@dataclass(frozen=True)
class Finding:
    """One check of one task: a ``value`` with its 95 % interval (NaN if it is a count) against a ``threshold``.

    ``alarm``: somebody must look. ``n``: patients, or images, that were checked.
    """

    task: str
    check: str
    value: float
    low: float
    high: float
    threshold: float
    alarm: bool
    n: int
    detail: str


SCHEMA = pa.schema(
    [
        *[(name, pa.string()) for name in ("task", "check")],
        *[(name, pa.float64()) for name in ("value", "low", "high", "threshold")],
        ("alarm", pa.bool_()),
        ("n", pa.int64()),
        ("detail", pa.string()),
    ]
)


def count(task: str, check: str, found: int, n: int, detail: str) -> Finding:
    """A finding that should be 0."""
    return Finding(task, check, float(found), float("nan"), float("nan"), 0.0, found > 0, n, detail)


def write_findings(out: str, findings: Sequence[Finding], digest: str) -> None:
    """Write ``leaks.parquet``; ``digest`` of what was checked is kept in it."""
    table = pa.Table.from_pylist([asdict(finding) for finding in findings], SCHEMA)
    storage.write_table(table.replace_schema_metadata({b"orthoray.checked": digest.encode()}), storage.join(out, FILE))


def read_findings(out: str, digest: str | None = None) -> list[Finding] | None:
    """The findings of a study; None if there are none, or they are of something else than ``digest``."""
    uri = storage.join(out, FILE)
    if not storage.exists(uri):
        return None
    table = storage.read_table(uri)
    checked = (table.schema.metadata or {}).get(b"orthoray.checked", b"").decode()
    return [Finding(**row) for row in table.to_pylist()] if digest in (None, checked) else None


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """Plain text: the alarms, and how many checks passed."""
    alarms = [finding for finding in findings if finding.alarm]
    lines = [f"ALARM {finding.task}, {finding.check}: {finding.detail}" for finding in alarms]
    passed = f"{len(findings) - len(alarms)} of {len(findings)} leak checks passed"
    return [*lines, passed if findings else "no leak check applied"]
