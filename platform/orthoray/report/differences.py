"""What the candidate gains over every comparison, with intervals over patients and adjusted p-values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orthoray.evaluation.comparisons import compare, draw_all, p_text, records
from orthoray.evaluation.cross_joint import cross_joint
from orthoray.report.conclusions import agrees, conclusion, of_first_protocol
from orthoray.report.figures import style
from orthoray.report.load import Study, full_data, short
from orthoray.report.naming import joined, metric_name, model_name
from orthoray.report.numbers import decimal, known, signed, span
from orthoray.report.svg import TOP, Chart

LANE, ROOM = 26, 40

_KEY = ["task", "protocol", "fraction", "baseline", "metric", "candidate"]
_SHOWN = ["difference", "low", "high", "p", "p_holm", "p_fdr", "fold_p", "paper_p", "detectable", "undefined"]


def differences(study: Study) -> dict[str, Any] | None:
    """Tests at all training patients, by the headline metric of each task; None where nothing can be compared.

    Returns:
        ``tasks``: title, metric, svg (a forest of the differences) and rows of text for the table; ``unknown``: whether
        some draws of patients left a fold without one of its classes; ``cross_joint``: see `_across`.
    """
    headline = {name: study.headline(name) for name in study.tasks}
    if not study.comparisons:
        return None
    tests = _of_the_study(study, headline)
    if tests is None:
        tests = _drawn_again(study, headline)
    if tests.empty:
        return None
    tasks = [
        {
            "title": task["title"],
            "metric": metric_name(headline[name]),
            "svg": _forest(study, task["title"], metric_name(headline[name]), tests[tests["task"] == name]),
            "rows": [_row(row) for row in records(tests[tests["task"] == name])],
        }
        for name, task in study.tasks.items()
        if (tests["task"] == name).any()
    ]
    return {
        "tasks": tasks,
        "unknown": bool((tests["undefined"] > 0).any()),
        "cross_joint": _across(study, tests),
    }


def _across(study: Study, tests: pd.DataFrame) -> dict[str, Any] | None:
    """The gains on joints that the candidate never saw in pretraining, and what it saw; None where none applies."""
    joints = {name: str(task.get("joint") or "") for name, task in study.tasks.items()}
    seen = study.model(study.candidate).get("pretrained_body_parts")
    table = cross_joint(tests, joints, seen)
    if not len(table):
        return None
    groups = [
        {
            "title": study.tasks[str(name)]["title"],
            "joint": joints[str(name)],
            "rows": [_gain(row) for row in records(part)],
        }
        for name, part in table.groupby("task", sort=False)
    ]
    return {"seen": joined([part.replace("_", " ") for part in seen or []]), "tasks": groups}


def _gain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "baseline": row["baseline"],
        "difference": signed(row["difference"]),
        "interval": _interval(row),
        "p_holm": p_text(row["p_holm"]),
        "bold": bool(row["p_holm"] < 0.05),
    }


def _of_the_study(study: Study, headline: dict[str, str]) -> pd.DataFrame | None:
    """The rows of comparisons.parquet; None unless there is one for every comparison, of these very results."""
    table = conclusion(study, "comparisons", _KEY)
    if table is None or not {"value", "baseline_value", *_SHOWN} <= set(table.columns):
        return None
    rows = pd.concat([of_first_protocol(study, table, name) for name in headline])
    rows = rows[rows["fraction"] == rows.groupby("task")["fraction"].transform("max")]
    found = list(rows[["task", "baseline", "metric", "candidate"]].itertuples(index=False, name=None))
    wanted = [
        (name, other, metric, study.candidate) for name, metric in headline.items() for other in study.comparisons
    ]
    if sorted(found) != sorted(wanted):
        return None
    fits = agrees(study, rows, "candidate", "value") and agrees(study, rows, "baseline", "baseline_value")
    return pd.DataFrame(rows) if fits else None


def _drawn_again(study: Study, headline: dict[str, str]) -> pd.DataFrame:
    """The same tests from results and predictions."""
    results, predictions = (
        pd.concat([full_data(table, name) for name in headline]) for table in (study.results, study.predictions)
    )
    draws = draw_all(predictions, {name: [metric] for name, metric in headline.items()})
    return compare(results, draws, headline, study.candidate)


def _forest(study: Study, title: str, metric: str, rows: pd.DataFrame) -> Any:
    """A line per comparison: the difference and its interval, beside the line of no difference."""
    values = rows[["difference", "low", "high"]].to_numpy(dtype=np.float64)
    finite = values[np.isfinite(values)]
    low, high = min(0.0, float(finite.min())), max(0.0, float(finite.max()))
    room = max(0.01, 0.08 * (high - low))
    height = TOP + LANE * len(rows) + ROOM
    chart = Chart.over((low - room, high + room), (0, 1), height, left=92)
    chart.axes(f"difference in {metric}", y_ticks=False)
    chart.line(chart.x(0), TOP, chart.x(0), height - ROOM, "chance")
    told = []
    for place, row in enumerate(records(rows)):
        look, middle = style(study, row["baseline"]), TOP + LANE * (place + 0.5)
        chart.text(84, middle + 4, short(model_name(row["baseline"]), 12), "name", "end")
        if np.isfinite(row["low"]):
            chart.line(chart.x(row["low"]), middle, chart.x(row["high"]), middle, f"mean {look['css']}")
        chart.mark(look["mark"], chart.x(row["difference"]), middle, 4.6, f"dot {look['css']}")
        told.append(f"over {model_name(row['baseline'])} {signed(row['difference'])}, {_interval(row)}")
    return chart.render(f"{title}: difference in {metric}. {'; '.join(told)}.")


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "baseline": row["baseline"],
        "difference": signed(row["difference"]),
        "interval": _interval(row),
        "bold": bool(row["p_holm"] < 0.05),
        **{name: p_text(row[name]) for name in ("p", "p_holm", "p_fdr", "fold_p", "paper_p")},
        "detectable": decimal(row["detectable"]) if known(row["detectable"]) else "unknown",
    }


def _interval(row: dict[str, Any]) -> str:
    return span(row["low"], row["high"], sign=True)
