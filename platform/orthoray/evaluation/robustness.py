"""Robustness: the linear probes of a study, fitted on clean images, tested on images made worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.cluster.fanout import for_each
from orthoray.data.splits import outer_folds
from orthoray.evaluation.comparisons import records
from orthoray.evaluation.config import ProbeConfig, StudyConfig
from orthoray.evaluation.feature_folders import Folders, image_rows, make_folders
from orthoray.evaluation.metrics import LOWER_IS_BETTER, compute
from orthoray.evaluation.preflight import Plan, PlannedTask
from orthoray.evaluation.probe import Part, fit_probes
from orthoray.evaluation.protocol import fold_rows, inner_folds
from orthoray.evaluation.rows import digest, samples_digest
from orthoray.features.aggregate import Aggregation, aggregate
from orthoray.features.store import read_features

FILE = "robustness.parquet"
_KEY = b"orthoray.measured"


@dataclass(frozen=True)
class Cell:
    """What one task and model need; ``folders``: corruption (empty = clean images) → feature folders."""

    task: str
    model: str
    planned: PlannedTask
    seed: int
    folders: Mapping[str, Folders]
    components: int | None
    how: Aggregation
    probe: ProbeConfig


def corruptions_of(config: StudyConfig) -> list[str]:
    """``noise-1``, ``noise-3``, …"""
    wish = config.robustness
    return [f"{kind}-{severity}" for kind in wish.corruptions for severity in wish.severities]


def measure_robustness(config: StudyConfig, plan: Plan, out: str) -> pd.DataFrame:
    """Write ``robustness.parquet``, or read it if it is of the same study; empty where nothing is asked for.

    All training patients and the first seed; the headline metric as mean over folds. Times to an event are left out.

    Returns:
        ``task, model, metric, corruption, severity, clean, value, loss`` (clean less value).

    Raises:
        RunError: an extraction or a fit failed.
    """
    wanted = corruptions_of(config)
    tasks = {name: task for name, task in plan.tasks.items() if task.card.kind != "survival"}
    if not wanted or not tasks:
        return pd.DataFrame()
    keys = {name: spec.key("", config.features.modality) for name, spec in plan.specs.items()}
    facts = [config.probe.model_dump(), config.aggregate, min(config.seeds), wanted, keys]
    done = digest(*facts, {name: samples_digest(task.samples) for name, task in tasks.items()})
    uri = storage.join(out, FILE)
    if storage.exists(uri):
        table = storage.read_table(uri)
        if (table.schema.metadata or {}).get(_KEY, b"").decode() == done:
            return pd.DataFrame(table.to_pandas())
    found = pd.DataFrame([row for rows in _measured(config, plan, tasks, wanted, out) for row in rows])
    written = pa.Table.from_pandas(found, preserve_index=False).replace_schema_metadata({_KEY: done.encode()})
    storage.write_table(written, uri)
    return found


def _measured(
    config: StudyConfig, plan: Plan, tasks: Mapping[str, PlannedTask], wanted: Sequence[str], out: str
) -> list[list[dict[str, Any]]]:
    from orthoray.cluster.session import connect

    connect()
    kinds = ["", *wanted]
    specs = {(name, kind): replace(spec, corruption=kind) for name, spec in plan.specs.items() for kind in kinds}
    folders = make_folders(config, plan, out, list(specs.values()))
    cells = [
        Cell(
            name,
            model.name,
            task,
            min(config.seeds),
            {kind: folders[specs[model.name, kind]] for kind in kinds},
            config.probe.pixel_components if model.kind == "pixels" else None,
            config.aggregate,
            config.probe,
        )
        for name, task in tasks.items()
        for model in config.all_models()
    ]
    return for_each(measure_cell, cells, "robustness", "models on tasks")


def measure_cell(cell: Cell) -> list[dict[str, Any]]:
    """Rows of the table for one task and model."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    samples, split, card = cell.planned.samples, cell.planned.splits[cell.seed], cell.planned.card
    read = partial(_features, cell)
    with threadpool_limits(1):
        clean = read("")
        folds = [fold_rows(samples, split, fold) for fold in outer_folds(split)]
        parts = [Part(train, inner_folds(samples, train, cell.probe, cell.seed)) for train, _ in folds]
        probes = fit_probes(clean, samples.label, parts, len(card.classes), cell.probe, cell.components)

        def mean(features: npt.NDArray[np.float64]) -> float:
            values = [
                compute([card.headline], samples.label[test], probe.predict(features[test]))[card.headline]
                for probe, (_, test) in zip(probes, folds, strict=True)
            ]
            return float(np.mean(values))

        best = mean(clean)
        rows = []
        for corruption in cell.folders:
            if corruption:
                kind, _, severity = corruption.partition("-")
                value = mean(read(corruption))
                head = {"task": cell.task, "model": cell.model, "metric": card.headline}
                told = {"corruption": kind, "severity": int(severity), "clean": best, "value": value}
                rows.append(head | told | {"loss": best - value})
    return rows


def _features(cell: Cell, corruption: str) -> npt.NDArray[np.float64]:
    samples = cell.planned.samples
    images = image_rows(samples, cell.folders[corruption], read_features)
    return aggregate(images, samples.owner, len(samples.label), cell.how)


def mean_error(table: pd.DataFrame, baseline: str = "pixels") -> pd.DataFrame:
    """Mean corruption error: error on corrupted images over the baseline's, averaged over kinds.

    Args:
        table: of `measure_robustness`, of metrics that are 1 at best.
        baseline: a model of the table; without it there are no rows.

    Returns:
        ``task, model, mce`` (1 = as the baseline, less is better; NaN where the baseline makes no error).

    Source: Hendrycks and Dietterich, ICLR 2019, with this baseline in the place of AlexNet.
    """
    kept = table[~table["metric"].isin(LOWER_IS_BETTER)]
    error = (1.0 - kept["value"]).groupby([kept["task"], kept["model"], kept["corruption"]]).sum().rename("error")
    wide = error.reset_index()
    own = wide[wide["model"] == baseline].set_index(["task", "corruption"])["error"]
    if own.empty:
        return pd.DataFrame(columns=["task", "model", "mce"])
    base = own.reindex(pd.MultiIndex.from_frame(wide[["task", "corruption"]])).to_numpy()
    ratio = np.divide(wide["error"], base, out=np.full(len(wide), np.nan), where=base > 0)
    return wide.assign(mce=ratio).groupby(["task", "model"], sort=False)["mce"].mean().reset_index()


def robustness_lines(table: pd.DataFrame) -> list[str]:
    """Plain text: per task and model what is lost on average, and the kind that costs most."""
    if table.empty:
        return []
    error = {(row["task"], row["model"]): row["mce"] for row in records(mean_error(table))}
    lines = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        by_kind = part.groupby("corruption")["loss"].mean()
        told = f"{task}, {model}: {part['metric'].iloc[0]} {part['clean'].iloc[0]:.3f}, {part['loss'].mean():.3f} lost "
        told += f"on average, most by {by_kind.idxmax()} ({by_kind.max():.3f})"
        mce = error.get((str(task), str(model)), float("nan"))
        lines.append(told if np.isnan(mce) else f"{told}; mean corruption error {mce:.2f} of the pixels'")
    return lines
