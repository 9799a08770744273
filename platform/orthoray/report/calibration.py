"""Can the probabilities be taken at their word: what `orthoray study` found, as figures and tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from orthoray.evaluation.comparisons import records
from orthoray.report.calibration_figures import decision_plot, reliability_plot
from orthoray.report.conclusions import best_comparison, by_protocol, conclusion, of_first_protocol
from orthoray.report.load import Study
from orthoray.report.numbers import decimal, known, span

_KEY = ["task", "model", "protocol"]


def calibration(study: Study) -> dict[str, Any] | None:
    """Tables of all models by protocol, and figures of binary tasks under the study's first protocol.

    Returns:
        ``tables``, ``reliability`` and ``decisions``; ``judged``: whether some task has more than two classes. None for
        a study without calibration.parquet.
    """
    table = conclusion(study, "calibration", [*_KEY, "of", "temperature"])
    if table is None:
        return None
    bins = conclusion(study, "reliability", [*_KEY, "scaled", "predicted", "observed", "low", "high", "samples"])
    benefit = conclusion(study, "decisions", [*_KEY, "scaled", "threshold", "model_benefit", "treat_all"])
    return {
        "tables": [{"protocol": name, "tasks": _tasks(study, rows)} for name, rows in by_protocol(study, table)],
        "reliability": [] if bins is None else _plots(study, bins, reliability_plot),
        "decisions": [] if benefit is None else _plots(study, benefit, decision_plot),
        "judged": bool((table["of"] != "positive").any()),
    }


def _plots(study: Study, table: pd.DataFrame, draw: Any) -> list[dict[str, Any]]:
    """A figure for each binary task whose candidate has rows."""
    plots = []
    for name, task in study.tasks.items():
        rows = of_first_protocol(study, table, name)
        if task["kind"] == "binary" and (rows["model"] == study.candidate).any():
            plots.append(draw(study, task["title"], rows, best_comparison(study, name)))
    return plots


def _tasks(study: Study, table: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for name, task in study.tasks.items():
        rows = {row["model"]: row for row in records(table[table["task"] == name])}
        if rows:
            of = next(iter(rows.values()))["of"]
            told = [_row(rows[model]) for model in study.ranked if model in rows]
            found.append({"title": task["title"], "under": f"{of} class" if of == "positive" else of, "rows": told})
    return found


def _row(row: dict[str, Any]) -> dict[str, str]:
    told = {name: decimal(row.get(name)) for name in ("ece_raw", "brier_raw", "temperature", "ece_scaled")}
    return {"model": row["model"], **told, "slope_raw": _slope(row, "raw"), "slope_scaled": _slope(row, "scaled")}


def _slope(row: dict[str, Any], kind: str) -> str:
    value, low, high = (row.get(f"slope{end}_{kind}") for end in ("", "_low", "_high"))
    return f"{decimal(value)} ({span(low, high)})" if known(value) else decimal(value)
