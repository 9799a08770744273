"""The tables that `orthoray study` draws from its results, where they are there and are of this study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from orthoray import storage
from orthoray.evaluation.results import POOLED
from orthoray.report.load import Study, first_protocol, full_data, read_table
from orthoray.report.naming import protocol_name


def conclusion(study: Study, name: str, columns: Sequence[str]) -> pd.DataFrame | None:
    """The rows of ``name``.parquet on tasks and models of the study; None without such a file or rows.

    Raises:
        InputError: the file is damaged, empty, or lacks one of ``columns``.
    """
    if not storage.exists(storage.join(study.uri, f"{name}.parquet")):
        return None
    table = read_table(study.uri, f"{name}.parquet", list(columns))
    if name != "macro":  # its tasks are groups of the study's
        table = table[table["task"].isin(study.tasks)]
    if "model" in table:
        table = table[table["model"].isin(study.models)]
    return pd.DataFrame(table) if len(table) else None


def protocols(study: Study) -> list[str]:
    """Protocols in the order of the results."""
    return [str(name) for name in study.results["protocol"].unique()]


def by_protocol(study: Study, table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(name in words, rows) for each protocol that a table has; the study's first is the first."""
    parts = [(name, table[table["protocol"] == name]) for name in protocols(study)]
    return [(protocol_name(name), pd.DataFrame(part)) for name, part in parts if len(part)]


def of_first_protocol(study: Study, table: pd.DataFrame, task: str) -> pd.DataFrame:
    """Rows of one task under the protocol that its figures show."""
    shown = first_protocol(study.results, task)["protocol"].iloc[0]
    return pd.DataFrame(table[(table["task"] == task) & (table["protocol"] == shown)])


def best_comparison(study: Study, task: str) -> str | None:
    """The comparison with the best mean by the headline metric, at all training patients; None if there is none."""
    part = full_data(study.table, task)
    means = part[part["headline"]].set_index("model")["mean"].astype(float).reindex(study.comparisons).dropna()
    return str(means.idxmax()) if len(means) else None


def agrees(study: Study, rows: pd.DataFrame, model: str, value: str) -> bool:
    """Whether the column ``value`` holds the mean over folds of the models named by the column ``model``.

    Each row is of one task, protocol and fraction; a table of other predictions than the study's hardly agrees.
    """
    folds = study.results[study.results["fold"] != POOLED]
    means = folds.groupby(["task", "model", "protocol", "fraction", "metric"])["value"].mean()
    keys = list(rows[["task", model, "protocol", "fraction", "metric"]].itertuples(index=False, name=None))
    wanted: Any = means.reindex(pd.MultiIndex.from_tuples(keys, names=means.index.names)).to_numpy()
    return bool(np.allclose(rows[value].to_numpy(dtype=np.float64), wanted, rtol=0, atol=1e-6))
