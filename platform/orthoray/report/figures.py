"""Figures of results: dots of every fold, ROC curves, confusion matrices, curves over the share of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score, roc_curve

from orthoray.evaluation.results import POOLED
from orthoray.report.load import Study, first_protocol, full_data, short
from orthoray.report.naming import CHANCE_TEXT, MARKS, chance_level, metric_name, model_name
from orthoray.report.svg import TOP, Chart

ROC_POINTS = 160


def style(study: Study, model: str) -> dict[str, Any]:
    """Shape and CSS class of a model: the candidate is always the first, comparisons follow in order."""
    place = study.ranked.index(model)
    return {"mark": MARKS[place % len(MARKS)], "css": f"m{place % len(MARKS)}"}


def dot_plots(study: Study) -> list[dict[str, Any]]:
    """Per task: the headline metric of every fold (and seed) and its mean, one line per model."""
    return [_dots(study, name, task) for name, task in study.tasks.items()]


def _dots(study: Study, name: str, task: dict[str, Any]) -> dict[str, Any]:
    metric = study.headline(name)
    rows = full_data(study.results, name)
    rows = rows[(rows["metric"] == metric) & (rows["fold"] != POOLED)]
    chance = chance_level(metric, task["class_counts"])
    values = [float(value) for value in rows["value"]]
    low, high = min([*values, *([] if chance is None else [chance])]), max(values)
    room = max(0.02, 0.08 * (high - low))
    lane = 44
    shown = study.ranked_on(name)
    height = TOP + lane * len(shown) + 40
    chart = Chart.over((low - room, min(high + room, 1.0 if high < 0.985 else 1.01)), (0, 1), height, left=92)
    chart.axes(metric_name(metric), y_ticks=False)
    if chance is not None:
        chart.line(chart.x(chance), TOP, chart.x(chance), height - 40, "chance")
    told = []
    for place, model in enumerate(shown):
        folds = rows[rows["model"] == model].sort_values(["seed", "fold"])["value"].astype(float).tolist()
        look, middle = style(study, model), TOP + lane * (place + 0.5)
        chart.text(84, middle + 4, short(model_name(model), 12), "name", "end")
        mean = float(np.mean(folds))
        chart.line(chart.x(mean), middle - 14, chart.x(mean), middle + 14, f"mean {look['css']}")
        for k, value in enumerate(folds):
            wobble = ((k % 5) - 2) * 3.2
            chart.mark(look["mark"], chart.x(value), middle + wobble, 4.2, f"dot {look['css']}")
        told.append(f"{model_name(model)} mean {mean:.3f}, from {min(folds):.3f} to {max(folds):.3f}")
    label = f"{task['title']}: {metric_name(metric)} of each test fold. {'; '.join(told)}."
    note = "" if chance is None else f"dashed: {CHANCE_TEXT[metric]}, {chance:.2f}"
    return {"title": task["title"], "svg": chart.render(label), "note": note}


def first_seed(study: Study, task: str) -> pd.DataFrame:
    """Out-of-fold predictions of one task, all training patients, first seed: each sample once per model."""
    part = full_data(study.predictions, task)
    return pd.DataFrame(part[part["seed"] == part["seed"].min()])


def roc_plots(study: Study) -> list[dict[str, Any]]:
    """ROC curves of binary tasks over the pooled out-of-fold scores of the first seed."""
    return [_roc(study, name, task) for name, task in study.tasks.items() if task["kind"] == "binary"]


def _roc(study: Study, name: str, task: dict[str, Any]) -> dict[str, Any]:
    part = first_seed(study, name)
    chart = Chart.over((0.0, 1.0), (0.0, 1.0), height=330)
    chart.axes("False positive rate (1 − specificity)")
    chart.y_title("True positive rate (sensitivity)")
    chart.curve([0, 1], [0, 1], "chance")
    areas: list[dict[str, Any]] = []
    shown = study.ranked_on(name)
    for model in reversed(shown[: len(MARKS)]):
        rows = part[part["model"] == model]
        label, score = rows["label"].to_numpy(), rows["score_1"].to_numpy(dtype=np.float64)
        fpr, tpr, _ = roc_curve(label, score)
        chart.curve(*_thin(fpr, tpr), f"curve {style(study, model)['css']}")
        areas.append({"model": model, "area": float(roc_auc_score(label, score))})
    areas.reverse()
    told = ", ".join(f"{model_name(item['model'])} {item['area']:.3f}" for item in areas)
    label_text = f"ROC curves for {task['title']}. Area under the curve: {told}."
    counts = {"positive": int((rows["label"] == 1).sum()), "n": len(rows)}
    left_out = max(0, len(shown) - len(MARKS))
    return {"title": task["title"], "svg": chart.render(label_text), "areas": areas, "left_out": left_out, **counts}


def _thin(fpr: Any, tpr: Any) -> tuple[list[float], list[float]]:
    """At most ROC_POINTS points of a step curve, evenly spread; the eye cannot tell."""
    if len(fpr) <= ROC_POINTS:
        return [float(v) for v in fpr], [float(v) for v in tpr]
    keep = np.unique(np.linspace(0, len(fpr) - 1, ROC_POINTS).round().astype(int))
    return [float(v) for v in fpr[keep]], [float(v) for v in tpr[keep]]


def confusions(study: Study) -> list[dict[str, Any]]:
    """Confusion matrices of tasks with more than two classes, candidate and best comparison."""
    found = []
    for name, task in study.tasks.items():
        if task["kind"] in ("binary", "survival"):
            continue
        part = first_seed(study, name)
        matrices = [
            {"model": model, **_matrix(part[part["model"] == model], len(task["classes"]))}
            for model in study.ranked_on(name)
        ]
        found.append({"title": task["title"], "classes": task["classes"], "matrices": matrices})
    return found


def _matrix(rows: pd.DataFrame, classes: int) -> dict[str, Any]:
    scores = rows[[f"score_{k}" for k in range(classes)]].to_numpy(dtype=np.float64)
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (rows["label"].to_numpy(), scores.argmax(axis=1)), 1)
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    cells = [
        [{"count": int(counts[i, j]), "share": float(share[i, j]), "right": i == j} for j in range(classes)]
        for i in range(classes)
    ]
    return {"cells": cells, "accuracy": float(np.trace(counts) / max(1, counts.sum()))}


def fraction_plots(study: Study) -> list[dict[str, Any]]:
    """Headline metric against the share of training patients, for tasks fitted with several shares."""
    plots = []
    for name, task in study.tasks.items():
        part = first_protocol(study.table[study.table["headline"]], name)
        if part["fraction"].nunique() < 2:
            continue
        low, high = (
            float((part["mean"] - part["sd"].fillna(0)).min()),
            float((part["mean"] + part["sd"].fillna(0)).max()),
        )
        ends = (100 * float(part["fraction"].min()), 100 * float(part["fraction"].max()))
        chart = Chart.over((ends[0] - 6, ends[1] + 6), (low - 0.02, high + 0.02))
        chart.axes("share of training patients, %")
        for model in reversed(study.ranked_on(name)):
            _share_line(chart, part[part["model"] == model].sort_values("fraction"), study, model)
        label = f"{task['title']}: {metric_name(study.headline(name))} by share of training patients; see the table."
        metric = metric_name(study.headline(name))
        plots.append({"title": task["title"], "metric": metric, "svg": chart.render(label)})
    return plots


def _share_line(chart: Chart, rows: pd.DataFrame, study: Study, model: str) -> None:
    """One model's means with SD bars, moved sideways a little so that bars of several models stay apart."""
    look = style(study, model)
    aside = 3.5 * (study.ranked.index(model) - (len(study.ranked) - 1) / 2)
    unit = chart.x(1.0) - chart.x(0.0)
    xs, ys = [100 * float(v) + aside / unit for v in rows["fraction"]], [float(v) for v in rows["mean"]]
    chart.curve(xs, ys, f"curve {look['css']}")
    for x, y, sd in zip(xs, ys, rows["sd"].fillna(0.0), strict=True):
        chart.line(chart.x(x), chart.y(y - sd), chart.x(x), chart.y(y + sd), f"bar {look['css']}")
        chart.mark(look["mark"], chart.x(x), chart.y(y), 4.2, f"dot {look['css']}")
