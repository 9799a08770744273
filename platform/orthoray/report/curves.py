"""What more labels would add, whether they ever seem to hurt, and means over the parts of several labels."""

from __future__ import annotations

from typing import Any

import pandas as pd

from orthoray.evaluation.comparisons import records
from orthoray.report.conclusions import by_protocol, conclusion
from orthoray.report.load import Study
from orthoray.report.naming import breakable, metric_name
from orthoray.report.numbers import decimal, signed, span


def learning(study: Study) -> dict[str, Any] | None:
    """Power laws over the shares of labelled patients; None for a study without curves.parquet."""
    ends = ["gain", "gain_low", "gain_high", "fall", "fall_low", "fall_high", "monotone"]
    table = conclusion(study, "curves", ["task", "model", "protocol", "metric", *ends])
    if table is None:
        return None
    tables = []
    for protocol, rows in by_protocol(study, table):
        tasks = []
        for name, task in study.tasks.items():
            found = _ranked(study, rows[rows["task"] == name])
            if found:
                told = [_row(row) for row in found]
                tasks.append({"title": task["title"], "under": metric_name(found[0]["metric"]), "rows": told})
        tables.append({"protocol": protocol, "tasks": tasks})
    return {"tables": tables} if tables else None


def _row(row: dict[str, Any]) -> dict[str, Any]:
    fall = f"{decimal(row['fall'])} ({span(row['fall_low'], row['fall_high'])})" if row["fall"] > 0 else "none"
    return {
        "model": row["model"],
        "gain": f"{signed(row['gain'])} ({span(row['gain_low'], row['gain_high'], sign=True)})",
        "fall": fall,
        "rises": bool(row["monotone"]),
    }


def macro(study: Study) -> dict[str, Any] | None:
    """Macro AUROC of tasks of several labels, all training patients; None for a study without macro.parquet."""
    table = conclusion(study, "macro", ["task", "model", "protocol", "fraction", "parts", "value", "low", "high"])
    if table is None:
        return None
    table = table[table["fraction"] == table["fraction"].max()]
    tables = []
    for protocol, rows in by_protocol(study, table):
        tasks = []
        for group in rows["task"].unique():
            found = _ranked(study, rows[rows["task"] == group])
            told = [
                {"model": r["model"], "value": f"{decimal(r['value'])} ({span(r['low'], r['high'])})"} for r in found
            ]
            tasks.append({"title": breakable(str(group)), "under": f"{int(found[0]['parts'])} parts", "rows": told})
        tables.append({"protocol": protocol, "tasks": tasks})
    return {"tables": tables} if tables else None


def _ranked(study: Study, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of one task and protocol, the candidate first."""
    rows = {row["model"]: row for row in records(table)}
    return [rows[model] for model in study.ranked if model in rows]
