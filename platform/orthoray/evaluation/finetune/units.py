"""Rows that are fitted one after another by one trial, and what is kept of the fits of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orthoray import storage
from orthoray.errors import RunError
from orthoray.evaluation.finetune.search import Record
from orthoray.evaluation.rows import Row, copy_part


@dataclass(frozen=True)
class Unit:
    """Rows of one task, model, fraction and seed; with a ``budget`` above 1 a single row, fitted that many times."""

    rows: list[Row]
    budget: int

    def target(self, out: str, row: Row, fit: int) -> str:
        """Where the predictions of a fit go: the row's part file, or a place among the searched ones."""
        return row.part(out) if self.budget == 1 else storage.join(self.folder(out), f"{fit:03d}.parquet")

    def folder(self, out: str) -> str:
        """Of the fits of a search."""
        return self.rows[0].part(storage.join(out, "search")).removesuffix(".parquet")


def units_of(rows: Sequence[Row], budgets: Sequence[int]) -> list[Unit]:
    """Rows with a budget of 1 together by task, model, fraction and seed; every other one by itself; in their order."""
    together: dict[tuple[Any, ...], list[Row]] = {}
    for row, budget in zip(rows, budgets, strict=True):
        alone = (row.fold,) if budget > 1 else ()
        together.setdefault((budget, row.task, row.model, row.fraction, row.seed, *alone), []).append(row)
    return [Unit(members, key[0]) for key, members in together.items()]


def write_record(out: str, unit: Unit, fit: int, record: Record) -> None:
    """Keep how a fit of a search went."""
    storage.write_json(storage.join(unit.folder(out), f"{fit:03d}.json"), asdict(record))


def read_records(out: str, unit: Unit) -> list[Record]:
    """Fits of an earlier session, from the first to the last without a gap; completed ones with their predictions."""
    found: list[Record] = []
    while len(found) < unit.budget:
        file = storage.join(unit.folder(out), f"{len(found):03d}.json")
        if not storage.exists(file):
            break
        record = Record(**storage.read_json(file))
        if record.state == "completed" and not storage.exists(unit.target(out, unit.rows[0], len(found))):
            break
        found.append(record)
    return found


def settle(out: str, unit: Unit, records: Sequence[Record], winner: int | None, objective: str) -> None:
    """Make the best fit's predictions the row's part.

    Raises:
        RunError: all fits failed.
    """
    row = unit.rows[0]
    if winner is None:
        raise RunError(f"all {len(records)} fits of the search failed; the first: {records[0].reason}")
    tried = [
        {**record.options, "state": record.state, "epochs": len(record.history), objective: record.best(objective)}
        for record in records
    ]
    copy_part(unit.target(out, row, winner), row.part(out), {"search": tried, "chosen": winner})
