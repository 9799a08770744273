"""Reliability and decision curves of one task: the candidate beside the best comparison."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.report.figures import style
from orthoray.report.load import Study
from orthoray.report.naming import model_name
from orthoray.report.numbers import decimal
from orthoray.report.svg import Chart

TOLD = (0.1, 0.2, 0.3, 0.5)
"""Thresholds whose net benefit is told in words."""


class Series(NamedTuple):
    """One line of a figure: a name for the legend, the shape of its marks, and its classes."""

    name: str
    mark: str
    css: str
    rows: pd.DataFrame


def reliability_plot(study: Study, title: str, rows: pd.DataFrame, rival: str | None) -> dict[str, Any]:
    """Observed share against predicted probability, with the interval of each bin.

    Args:
        study: whose candidate is drawn, as it is and at its temperature where it has one.
        title: of the task.
        rows: of reliability.parquet, one task and protocol.
        rival: the best comparison.
    """
    own = rows[rows["model"] == study.candidate]
    look = style(study, study.candidate)
    drawn = [] if rival is None else [_series(study, rival, rows[(rows["model"] == rival) & ~rows["scaled"]])]
    name = f"{model_name(study.candidate)}, at its temperature"
    drawn.append(Series(name, look["mark"], f"{look['css']} scaled", own[own["scaled"]]))
    drawn.append(_series(study, study.candidate, own[~own["scaled"]]))
    drawn = [series for series in drawn if len(series.rows)]
    chart = Chart.over((0.0, 1.0), (0.0, 1.0), height=330)
    chart.axes("predicted probability")
    chart.y_title("observed share")
    chart.curve([0, 1], [0, 1], "chance")
    for series in drawn:
        found = series.rows.sort_values("predicted")
        chart.curve(found["predicted"].tolist(), found["observed"].tolist(), f"curve thin {series.css}")
        for at, share, low, high in found[["predicted", "observed", "low", "high"]].itertuples(index=False, name=None):
            chart.line(chart.x(at), chart.y(low), chart.x(at), chart.y(high), f"bar {series.css}")
            chart.mark(series.mark, chart.x(at), chart.y(share), 4.2, f"dot {series.css}")
    told = "; ".join(f"{series.name}: {_pairs(series.rows)}" for series in reversed(drawn))
    svg = chart.render(f"{title}: predicted probability and observed share of each bin. {told}.")
    samples = int(own.loc[~own["scaled"], "samples"].sum())
    return {"title": title, "svg": svg, "legend": _legend(reversed(drawn)), "samples": samples}


def decision_plot(study: Study, title: str, rows: pd.DataFrame, rival: str | None) -> dict[str, Any]:
    """Net benefit against the threshold from which on one acts, beside acting on all and on none.

    Args:
        study: whose candidate is drawn.
        title: of the task.
        rows: of decisions.parquet, one task and protocol.
        rival: the best comparison.
    """
    models = [name for name in (rival, study.candidate) if name is not None]
    drawn = [_series(study, name, rows[rows["model"] == name].sort_values("threshold")) for name in models]
    drawn = [series for series in drawn if len(series.rows)]
    everybody = drawn[-1].rows
    top = max(float(series.rows["model_benefit"].max()) for series in drawn)
    top = max(top, float(everybody["treat_all"].max()), 0.02)
    low = -0.2 * top
    chart = Chart.over((0.0, 1.0), (low, 1.08 * top))
    chart.axes("threshold probability")
    chart.y_title("net benefit")
    chart.line(chart.x(0), chart.y(0), chart.x(1), chart.y(0), "curve nobody")
    chart.curve(*cut_below(everybody["threshold"], everybody["treat_all"], low), "curve everybody")
    for series in drawn:
        chart.curve(*cut_below(series.rows["threshold"], series.rows["model_benefit"], low), f"curve {series.css}")
    told = "; ".join(f"{series.name} {_benefits(series.rows, 'model_benefit')}" for series in reversed(drawn))
    told += f"; treating all {_benefits(everybody, 'treat_all')}; treating none 0"
    others = [{"name": "Treat all", "css": "everybody"}, {"name": "Treat none", "css": "nobody"}]
    legend = [*_legend(reversed(drawn)), *others]
    svg = chart.render(f"{title}: net benefit by threshold. {told}.")
    scaled = bool(everybody["scaled"].iloc[0])
    return {"title": title, "svg": svg, "legend": legend, "scaled": scaled}


def cut_below(xs: npt.ArrayLike, ys: npt.ArrayLike, low: float) -> tuple[list[float], list[float]]:
    """(N,) points of a line cut off where it goes below ``low``; the gap is NaN."""
    x, y = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    points: list[tuple[float, float]] = []
    for k in range(len(x)):
        if k and (y[k] < low) != (y[k - 1] < low):
            part = (low - y[k - 1]) / (y[k] - y[k - 1])
            points.append((float(x[k - 1] + part * (x[k] - x[k - 1])), low))
        points.append((float(x[k]), float(y[k]) if y[k] >= low else float("nan")))
    return [point[0] for point in points], [point[1] for point in points]


def _series(study: Study, model: str, rows: pd.DataFrame) -> Series:
    look = style(study, model)
    return Series(model_name(model), look["mark"], look["css"], rows)


def _legend(drawn: Any) -> list[dict[str, str]]:
    return [{"name": series.name, "mark": series.mark, "css": series.css} for series in drawn]


def _pairs(rows: pd.DataFrame) -> str:
    found = rows.sort_values("predicted")
    return ", ".join(f"{at:.2f} {share:.2f}" for at, share in zip(found["predicted"], found["observed"], strict=True))


def _benefits(rows: pd.DataFrame, column: str) -> str:
    values = rows.assign(threshold=rows["threshold"].round(2)).set_index("threshold")[column]
    return ", ".join(f"{decimal(values[at])} at {100 * at:.0f} %" for at in TOLD if at in values.index)
