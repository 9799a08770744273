"""How the candidate does in each group of patients; numbers of small groups stay hidden."""

from __future__ import annotations

from typing import Any

import pandas as pd

from orthoray.evaluation.comparisons import records
from orthoray.evaluation.subgroups import BANDS
from orthoray.report.conclusions import by_protocol, conclusion
from orthoray.report.load import Study
from orthoray.report.naming import metric_name
from orthoray.report.numbers import NONE, decimal, known, signed, span, whole

NAMES = {
    "site": "Site",
    "sex": "Sex",
    "age": "Age",
    "manufacturer": "Manufacturer",
    "field_strength_t": "Field strength",
    "laterality": "Side",
}
LEVELS = {"sex": {"F": "female", "M": "male"}, "laterality": {"L": "left", "R": "right", "B": "both"}}
HIDDEN = "fewer than "
"""How the note of a hidden group begins."""


def subgroups(study: Study) -> dict[str, Any] | None:
    """Rows by protocol, task and attribute; None for a study without subgroups.parquet."""
    table = conclusion(study, "subgroups", ["task", "model", "protocol", "attribute", "level", "metric", "note"])
    if table is None:
        return None
    table = table[table["model"] == study.candidate]
    tables = [{"protocol": name, "tasks": _tasks(study, rows)} for name, rows in by_protocol(study, table)]
    return {"tables": tables} if tables else None


def _tasks(study: Study, table: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for name, task in study.tasks.items():
        mine = table[table["task"] == name]
        rows = [row for attribute in mine["attribute"].unique() for row in _rows(mine, str(attribute))]
        if rows:
            found.append({"title": task["title"], "metric": metric_name(mine["metric"].iloc[0]), "rows": rows})
    return found


def _rows(table: pd.DataFrame, attribute: str) -> list[dict[str, Any]]:
    rows = records(table[table["attribute"] == attribute])
    order = [name for _, name in BANDS.get(attribute, ())]
    rows.sort(key=lambda row: order.index(row["level"]) if row["level"] in order else len(order))
    shown = [row for row in rows if not str(row["note"]).startswith(HIDDEN)]
    told = []
    for row in rows:
        words = LEVELS.get(attribute, {}).get(row["level"], row["level"])
        head = {"attribute": NAMES.get(attribute, attribute), "level": words, "note": row["note"]}
        alone = len(shown) == 1 and len(rows) > 1  # its distance from the others would tell what these hidden ones do
        told.append(head | (_cells(row, alone) if row in shown else dict.fromkeys(_CELLS, NONE) | {"bold": False}))
    return told


_CELLS = ("patients", "value", "gap")


def _cells(row: dict[str, Any], alone: bool) -> dict[str, Any]:
    value, gap = row.get("value"), None if alone else row.get("gap")
    ends: tuple[Any, Any] = (row.get("gap_low"), row.get("gap_high"))
    return {
        "patients": whole(row.get("patients")),
        "value": f"{decimal(value)} ({span(row.get('low'), row.get('high'))})" if known(value) else NONE,
        "gap": f"{signed(gap)} ({span(*ends, sign=True)})" if known(gap) else NONE,
        "bold": known(gap) and known(ends[0]) and not ends[0] <= 0 <= ends[1],
    }
