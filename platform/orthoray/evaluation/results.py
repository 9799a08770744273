"""From part files to the two tables that every figure is drawn from: results and predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.errors import RunError
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.rows import Row, read_part
from orthoray.evaluation.tasks import TaskCard

POOLED = -1
"""Value of ``fold`` for the metric over all out-of-fold predictions of a seed."""

KEY = ["study", "task", "model", "protocol", "fraction", "seed", "fold"]

RESULTS = pa.schema(
    [
        *[(name, pa.string()) for name in KEY[:4]],
        ("fraction", pa.float64()),
        ("seed", pa.int64()),
        ("fold", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("n_patients", pa.int64()),
        ("n_samples", pa.int64()),
        ("params", pa.string()),
        ("run_id", pa.string()),
    ]
)


def collect(
    study: str, out: str, rows: Sequence[Row], cards: Mapping[str, TaskCard], run_id: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every row's part, compute the metrics of each fold and of the pooled out-of-fold predictions.

    Returns:
        (results, predictions), also written atomically as ``results.parquet`` and ``predictions.parquet`` in ``out``.
        In results ``fold`` = -1 is the pooled value of (task, model, protocol, fraction, seed): ranking metrics are
        then over scores of several fits, so read them beside the per-fold values. Score columns that a task does
        not have are null; so is ``time`` (days), which is there only with a time-to-event task.

    Raises:
        RunError: a part is missing, or a sample was tested twice or never.
    """
    values: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    groups: dict[tuple[str, str, str, float, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.model, row.protocol, row.fraction, row.seed), []).append(row)
    for (task, model, protocol, fraction, seed), members in groups.items():
        head: dict[str, Any] = {"study": study, "task": task, "model": model, "protocol": protocol}
        head |= {"fraction": fraction, "seed": seed}
        parts = [(row.fold, *_part(out, row)) for row in members]
        for fold, frame, params in parts:
            values += _values({**head, "fold": fold}, frame, cards[task], params, run_id)
            tables.append(frame.assign(**head, fold=fold))
        pooled = pd.concat([frame for _, frame, _ in parts], ignore_index=True)
        if pooled["sample_id"].duplicated().any():
            raise RunError(f"{task}, {model}, seed {seed}: a sample was tested in two folds; remove parts/ and rerun.")
        values += _values({**head, "fold": POOLED}, pooled, cards[task], {"folds": len(parts)}, run_id)
    results = pd.DataFrame(values)[RESULTS.names]
    predictions = _order(pd.concat(tables, ignore_index=True))
    storage.write_table(pa.Table.from_pandas(results, RESULTS, preserve_index=False), f"{out}/results.parquet")
    storage.write_table(pa.Table.from_pandas(predictions, preserve_index=False), f"{out}/predictions.parquet")
    return results, predictions


def _part(out: str, row: Row) -> tuple[pd.DataFrame, dict[str, Any]]:
    uri = row.part(out)
    if not storage.exists(uri):
        raise RunError(f"the result of {row.task}, {row.model}, fold {row.fold} is missing; run the study again.")
    table, params = read_part(uri)
    return table.to_pandas(), params


def _values(
    head: dict[str, Any], frame: pd.DataFrame, card: TaskCard, params: dict[str, Any], run_id: str
) -> list[dict[str, Any]]:
    facts = {
        "n_patients": int(frame["patient_id"].nunique()),
        "n_samples": len(frame),
        "params": json.dumps(params, sort_keys=True),
        "run_id": run_id,
    }
    measured = measure(frame, card, card.metrics)
    return [{**head, "metric": name, "value": value, **facts} for name, value in measured.items()]


def measure(frame: pd.DataFrame, card: TaskCard, names: Sequence[str]) -> dict[str, float]:
    """Metrics of a task's predictions, of one or more part files."""
    scores = frame[[f"score_{k}" for k in range(card.columns)]].to_numpy(dtype=np.float64)
    time = frame["time"].to_numpy(dtype=np.float64) if card.kind == "survival" else None
    return compute(names, frame["label"].to_numpy(dtype=np.int64), scores, time)


def measured_columns(table: pd.DataFrame) -> list[str]:
    """Columns that a metric of one task's predictions is computed from: its scores in order, and ``time`` if it has."""
    there = [name for name in table.columns if table[name].notna().all()]
    scores = sorted((name for name in there if name.startswith("score_")), key=lambda name: int(name.partition("_")[2]))
    return [*scores, *(["time"] if "time" in there else [])]


def _order(table: pd.DataFrame) -> pd.DataFrame:
    scores = sorted((c for c in table.columns if c.startswith("score_")), key=lambda c: int(c.partition("_")[2]))
    time = [name for name in ("time",) if name in table.columns]
    return table[[*KEY, "sample_id", "patient_id", "label", *time, *scores]]
