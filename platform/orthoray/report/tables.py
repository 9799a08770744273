"""Result tables: every model, every metric, mean ± SD over folds, and the pooled out-of-fold value."""

from __future__ import annotations

from typing import Any

import pandas as pd

from orthoray.evaluation.comparisons import draw_all, records
from orthoray.evaluation.efficiency import labels_needed, share_text
from orthoray.evaluation.metrics import LOWER_IS_BETTER
from orthoray.evaluation.results import POOLED
from orthoray.report.conclusions import agrees, conclusion, of_first_protocol
from orthoray.report.load import Study, first_protocol, full_data
from orthoray.report.naming import metric_name

DIGITS = 3


def result_tables(study: Study) -> list[dict[str, Any]]:
    """One table per task (first protocol, all training patients): metrics × models, the headline metric first."""
    tables = []
    for name, task in study.tasks.items():
        part = full_data(study.table, name)
        whole = full_data(study.results, name)
        head = study.headline(name)
        metrics = [head, *[m for m in task["metrics"] if m != head and m in set(part["metric"])]]
        pooled = whole[whole["fold"] == POOLED]
        tables.append(
            {
                "task": name,
                "title": task["title"],
                "metrics": [{"id": m, "name": metric_name(m), "headline": m == head} for m in metrics],
                "rows": [_row(part[part["model"] == model], model, metrics, part) for model in study.ranked],
                "patients": int(pooled["n_patients"].max()),
                "samples": int(pooled["n_samples"].max()),
                "unit": "images" if task["unit"] == "image_id" else "studies",
                "classes": list(zip(task["classes"], task["class_counts"], strict=True)),
                "folds": int(whole.loc[whole["fold"] != POOLED, "fold"].nunique()),
                "seeds": int(whole["seed"].nunique()),
                "protocol": str(whole["protocol"].iloc[0]),
            }
        )
    return tables


def _row(rows: pd.DataFrame, model: str, metrics: list[str], everyone: pd.DataFrame) -> dict[str, Any]:
    cells = []
    for metric in metrics:
        found = rows[rows["metric"] == metric]
        peers = everyone.loc[everyone["metric"] == metric, "mean"].round(DIGITS)
        if found.empty:
            cells.append({"text": "–", "best": False, "pooled": ""})
            continue
        mean, sd, pooled = (float(found[name].iloc[0]) for name in ("mean", "sd", "pooled"))
        best = len(peers) > 1 and round(mean, DIGITS) == (peers.min() if metric in LOWER_IS_BETTER else peers.max())
        cells.append({"text": plus_minus(mean, sd), "best": best, "pooled": f"{pooled:.{DIGITS}f}"})
    return {"model": model, "cells": cells}


def plus_minus(mean: float, sd: float) -> str:
    """``0.912 ± 0.021``; without the SD where a single fold gives none."""
    text = f"{mean:.{DIGITS}f} ± {sd:.{DIGITS}f}" if sd == sd else f"{mean:.{DIGITS}f}"
    return text.replace("-", "−")


def protocol_table(study: Study) -> list[dict[str, Any]]:
    """Headline metric of each task, protocols × models (all training patients); empty where there is one protocol."""
    head = study.table[study.table["headline"]]
    head = head[head["fraction"] == head["fraction"].max()]
    if head["protocol"].nunique() < 2:
        return []
    tasks = []
    for name, task in study.tasks.items():
        part = head[head["task"] == name]
        cells = {
            (str(protocol), str(model)): plus_minus(float(mean), float(sd))
            for protocol, model, mean, sd in zip(part["protocol"], part["model"], part["mean"], part["sd"], strict=True)
        }
        rows = [
            {"protocol": protocol, "cells": [cells.get((protocol, model), "–") for model in study.ranked]}
            for protocol in dict.fromkeys(part["protocol"].astype(str))
        ]
        tasks.append({"title": task["title"], "metric": metric_name(study.headline(name)), "rows": rows})
    return tasks


def fraction_table(study: Study) -> dict[str, Any]:
    """Headline metric by share of the training patients: ``shares``, and per task one row of cells for each model."""
    head = study.table[study.table["headline"]]
    shares = sorted({float(value) for value in head["fraction"]})
    tasks = []
    for name, task in study.tasks.items():
        part = first_protocol(head, name)
        cells = {
            (str(model), float(share)): plus_minus(float(mean), float(sd))
            for model, share, mean, sd in zip(part["model"], part["fraction"], part["mean"], part["sd"], strict=True)
        }
        rows = [{"model": model, "cells": [cells.get((model, s), "–") for s in shares]} for model in study.ranked]
        tasks.append({"title": task["title"], "metric": metric_name(study.headline(name)), "rows": rows})
    return {"shares": shares, "tasks": tasks, "needed": _labels_needed(study) if len(shares) > 1 else []}


def _labels_needed(study: Study) -> list[dict[str, str]]:
    """Which share of the labelled patients lets the candidate match each comparison that had all of them."""
    table = _needed_of_the_study(study)
    if table is None:
        head = {name: study.headline(name) for name in study.tasks}
        part = pd.concat([first_protocol(study.predictions, name) for name in head])
        table = labels_needed(draw_all(part, {name: [m] for name, m in head.items()}), head, study.candidate)
    least = float(study.results["fraction"].min())
    return [
        {
            "title": study.tasks[row["task"]]["title"],
            "baseline": row["baseline"],
            "share": share_text(row["share"], least),
            "interval": f"{share_text(row['low'], least)} to {share_text(row['high'], least)}",
        }
        for row in records(table)
    ]


def _needed_of_the_study(study: Study) -> pd.DataFrame | None:
    """The rows of efficiency.parquet; None unless there is one for every task and comparison, of these very results."""
    table = conclusion(study, "efficiency", ["task", "protocol", "metric", "candidate", "baseline"])
    if table is None or not {"target", "share", "low", "high"} <= set(table.columns):
        return None
    rows = pd.concat([of_first_protocol(study, table, name) for name in study.tasks])
    largest = {name: full_data(study.results, name)["fraction"].max() for name in study.tasks}
    rows = rows.assign(fraction=rows["task"].map(largest))
    found = list(rows[["task", "baseline", "metric", "candidate"]].itertuples(index=False, name=None))
    wanted = [
        (name, other, study.headline(name), study.candidate) for name in study.tasks for other in study.comparisons
    ]
    whole = sorted(found) == sorted(wanted) and agrees(study, rows, "baseline", "target")
    return rows if whole else None
