"""Means over the parts of a task of several labels, with intervals over the patients that the parts share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orthoray.evaluation.comparisons import RESAMPLES, ROW
from orthoray.evaluation.parts import group_of
from orthoray.evaluation.statistics import BootstrapInterval, Draws, interval_of
from orthoray.evaluation.statistics.resampling import draws, evaluator, on_all, sample_of

METRIC = "auroc"


def macro_table(predictions: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Macro AUROC of every task of several labels.

    A part's AUROC is its mean over folds, the macro AUROC the mean over parts. A draw is of patients, with all their
    samples in all parts; it is undefined where a part lacks a class in a fold.

    Args:
        predictions: the rows of ``predictions.parquet``.
        resamples: number of draws.

    Returns:
        ``task, model, protocol, fraction, metric (macro_auroc), parts``, and the interval; no rows without such a task.
    """
    table = predictions.assign(group=predictions["task"].map(group_of)).query("group != ''")
    rows: list[dict[str, Any]] = []
    for where, part in table.groupby(["group", *ROW[1:]], sort=False):
        drawn = macro_draws(part, resamples)
        told: dict[str, Any] = dict(zip(ROW, where, strict=True))
        told |= {"metric": "macro_auroc", "parts": part["task"].nunique()}
        undefined = int(np.isnan(drawn.values).sum())
        try:
            told |= interval_of(drawn)._asdict()
        except ValueError:  # hardly a draw in which every part has two classes in every fold
            told |= {"value": drawn.value, "resamples": resamples, "undefined": undefined}
        rows.append(told)
    return pd.DataFrame(rows, columns=[*ROW, "metric", "parts", *BootstrapInterval._fields])


def macro_draws(part: pd.DataFrame, resamples: int) -> Draws:
    """The macro AUROC on all samples of one model's predictions, and on draws of patients."""
    label, score = part["label"].to_numpy(), part["score_1"].to_numpy(dtype=np.float64)
    found, (score,), cohort = sample_of(label, [score], part["patient_id"].to_numpy(), stratify=True)
    fold = part["seed"].astype(str) + "/" + part["fold"].astype(str)
    rows = pd.Series(np.arange(len(part)), index=part.index)
    pieces = [
        [piece.to_numpy() for _, piece in mine.groupby(fold[mine.index])] for _, mine in rows.groupby(part["task"])
    ]
    each = [evaluator(METRIC, found, score, cohort.codes, folds) for folds in pieces]
    chunks = [np.mean([one(chunk) for one in each], axis=0) for chunk in draws(cohort, resamples, 0)]
    return Draws(float(np.mean([on_all(METRIC, found, score, folds) for folds in pieces])), np.concatenate(chunks))


def macro_lines(table: pd.DataFrame) -> list[str]:
    """Plain text, a line per task, model, protocol and fraction."""
    return [
        "{task}, {model}, {protocol}, {fraction:.0%}: {value:.3f} ({low:.3f} to {high:.3f}) over {parts} parts".format(
            **{str(name): value for name, value in row.items()}
        )
        for row in table.to_dict("records")
    ]
