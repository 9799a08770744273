"""Estimators held against what fine-tuning (or a linear probe) really gave, beside rankers that never look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from orthoray import storage
from orthoray.errors import InputError
from orthoray.transferability import aggregate
from orthoray.transferability.config import Estimator

PROTOCOLS = ("ft", "lp")
"""What counts as the truth, the first that is there."""

PREFERRED = ("auroc", "balanced_accuracy", "accuracy")

COLUMNS = ["target", "ranker", "truth", "metric", "candidates", "weighted_tau", "tau", "top1_regret"]


def study_results(folders: Sequence[str]) -> tuple[pd.DataFrame | None, str, str]:
    """Mean results over folds and seeds of all training patients, (models, tasks).

    Args:
        folders: of studies (`orthoray study`).

    Returns:
        The table, the protocol it is of, and the metric; None without folders.

    Raises:
        InputError: a folder without results.
    """
    if not folders:
        return None, "", ""
    frames = []
    for folder in folders:
        uri = storage.join(folder, "results.parquet")
        if not storage.exists(uri):
            raise InputError(f"results: {folder} holds no results.parquet; give the folder of a finished study.")
        frames.append(storage.read_table(uri).to_pandas())
    rows = pd.concat(frames, ignore_index=True)
    rows = rows[(rows["fraction"] == 1.0) & (rows["fold"] >= 0)]
    protocol = next((name for name in PROTOCOLS if (rows["protocol"] == name).any()), None)
    if protocol is None:
        raise InputError(f"results: no rows of {' or '.join(PROTOCOLS)} with all training patients in {list(folders)}.")
    rows = rows[rows["protocol"] == protocol]
    metric = next((name for name in PREFERRED if (rows["metric"] == name).any()), str(rows["metric"].iloc[0]))
    mine = rows[rows["metric"] == metric]
    return mine.pivot_table(index="model", columns="task", values="value", aggfunc="mean"), protocol, metric


def held_against(
    scores: pd.DataFrame, truth: pd.DataFrame | None, protocol: str, metric: str, columns: Sequence[Estimator]
) -> pd.DataFrame:
    """Weighted tau, tau and top-1 regret of every estimator and of three rankers that never look at the target.

    The truth is ``truth`` where a target has results of at least three candidates; without any, the cross-validated
    linear probe on the same features stands in, and the column ``truth`` says so. ``static`` is the mean rank on the
    other targets, ``imagenet`` the published ImageNet accuracy, ``parameters`` the size.
    """
    name, table = protocol, _matched(scores, truth)
    if table is None:
        probe = scores[scores["estimator"] == "probe"]
        table = probe.pivot(index="candidate", columns="target", values="value").astype(float)
        name, metric = "probe (stand-in)", "balanced_accuracy"
    rows = []
    for target in table.columns:
        real = table[target].dropna()
        if len(real) < 3:
            continue
        for ranker, values in _rankers(scores, table, str(target), columns, probed=name.startswith("probe")).items():
            rows.append(_compared(values, real, {"target": target, "ranker": ranker, "truth": name, "metric": metric}))
    return pd.DataFrame([row for row in rows if row is not None], columns=COLUMNS)


def _matched(scores: pd.DataFrame, truth: pd.DataFrame | None) -> pd.DataFrame | None:
    """Results of the candidates on the targets; None if no target has three."""
    if truth is None:
        return None
    labels = scores["candidate"].unique()
    rows = [label for label in labels if label in truth.index]
    columns = [target for target in scores["target"].unique() if target in truth.columns]
    found = truth.loc[rows, columns].astype(float)
    found = found[[column for column in columns if found[column].notna().sum() >= 3]]
    return found if found.shape[1] else None


def _rankers(
    scores: pd.DataFrame, truth: pd.DataFrame, target: str, columns: Sequence[Estimator], probed: bool
) -> dict[str, pd.Series]:
    mine = scores[scores["target"] == target]
    found: dict[str, pd.Series] = {}
    for estimator in columns:
        if not (probed and estimator == "probe"):
            rows = mine[mine["estimator"] == estimator]
            found[estimator] = rows.set_index("candidate")["value"].astype(float)
    facts = mine.drop_duplicates("candidate").set_index("candidate")
    found["imagenet"] = facts["imagenet_top1"].astype(float)
    found["parameters"] = facts["parameters"].astype(float)
    whole = truth.dropna(axis=0)
    if whole.shape[1] > 1 and len(whole) > 2:
        found["static"] = aggregate.static_ranks(whole)[target]
    return found


def _compared(values: pd.Series, real: pd.Series, facts: dict[str, Any]) -> dict[str, Any] | None:
    both = values.reindex(real.index).dropna()
    if len(both) < 3:
        return None
    accuracy = real.loc[both.index]
    constant = both.nunique() == 1 or accuracy.nunique() == 1
    return {
        **facts,
        "candidates": len(both),
        "weighted_tau": np.nan if constant else aggregate.weighted_tau(both, accuracy),
        "tau": aggregate.tau(both, accuracy),
        "top1_regret": aggregate.top1_regret(both, accuracy),
    }
