"""A study in MLflow: a run for each (task, model, protocol) under the study's own, and the tables as artefacts."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pandas as pd

from orthoray import storage
from orthoray.evaluation.results import POOLED
from orthoray.evaluation.splitfiles import split_digests
from orthoray.progress import say
from orthoray.tracking import Tracker

ARTEFACTS = ("config.yaml", "study.json", "results.parquet", "intervals.parquet", "comparisons.parquet")
"""Files of the study's folder that are logged; predictions are of single patients and stay where they are."""

PARENT = "mlflow.parentRunId"


def log_groups(
    tracker: Tracker, out: str, table: pd.DataFrame, results: pd.DataFrame, changed: set[tuple[str, str, str]]
) -> None:
    """Log a run for each (task, model, protocol) that is new or has ``changed``, and the tables; never raises.

    Metrics are mean, SD and pooled value at a step that is the share of the training patients in per mille. The runs of
    an earlier session are found by their name and go on, so a study that was interrupted has each once.
    """
    if not tracker.run_id:
        return
    try:
        _log(tracker, out, table, results, changed)
    except Exception as error:  # whatever a store, a driver of it or the way there raises: the work is done
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        say(f"  warning: MLflow has not taken the runs of single models ({reason}); the same command sends them again")


def _log(
    tracker: Tracker, out: str, table: pd.DataFrame, results: pd.DataFrame, changed: set[tuple[str, str, str]]
) -> None:
    client = tracker.client
    experiment = client.get_run(tracker.run_id).info.experiment_id
    known = {}
    page: Any = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.`{PARENT}` = '{tracker.run_id}'",
            max_results=1000,
            page_token=page.token if page is not None else None,
        )
        known.update({run.data.tags.get("mlflow.runName", ""): run for run in page})
        if not page.token:
            break
    digests = split_digests(out)
    for (task, model, protocol), rows in table.groupby(["task", "model", "protocol"], sort=False):
        group = (str(task), str(model), str(protocol))
        name = "/".join(group)
        run = known.get(name)
        if run is not None and run.info.status == "FINISHED" and group not in changed:
            continue
        if run is None:
            tags = {PARENT: tracker.run_id, "orthoray.command": "study"}
            tags |= {"orthoray.task": group[0], "orthoray.model": group[1], "orthoray.protocol": group[2]}
            tags |= {f"orthoray.split.{key}": value for key, value in digests.items() if key.startswith(f"{task}-")}
            run = client.create_run(experiment, run_name=name, tags=tags)
        _fill(client, run.info.run_id, rows, _of(results, group))
    if storage.is_local(out):
        for name in ARTEFACTS:
            path = storage.local_path(storage.join(out, name))
            if path is not None and path.exists():
                client.log_artifact(tracker.run_id, str(path))


def _fill(client: Any, run_id: str, rows: pd.DataFrame, results: pd.DataFrame) -> None:
    import time

    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    metrics = [
        Metric(f"{row.metric}/{kind}", float(getattr(row, kind)), now, round(1000 * float(str(row.fraction))))
        for row in rows.itertuples()
        for kind in ("mean", "sd", "pooled")
        if pd.notna(getattr(row, kind))
    ]
    tags = [RunTag(f"orthoray.{key}", value) for key, value in _chosen(results).items()]
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000], tags=tags if start == 0 else [])
    client.set_terminated(run_id, status="FINISHED")


def _of(results: pd.DataFrame, group: tuple[str, str, str]) -> pd.DataFrame:
    task, model, protocol = group
    mine = (results["task"] == task) & (results["model"] == model) & (results["protocol"] == protocol)
    return results[mine & (results["fold"] != POOLED)].drop_duplicates(["fraction", "seed", "fold"])


def _chosen(results: pd.DataFrame) -> dict[str, str]:
    """What the fits chose, counted: C of a probe, settings of a fine-tuning."""
    params = [json.loads(text) for text in results["params"]]
    found = {}
    for key in ("c", "k", "head", "best_epoch", "options"):
        values = Counter(json.dumps(p[key], sort_keys=True) for p in params if key in p)
        if values:
            found[f"chosen.{key}"] = ", ".join(f"{value} × {count}" for value, count in values.most_common(8))[:500]
    return found
