"""Can the probabilities be taken at their word? Calibration before and after temperature scaling, and net benefit.

A fit's temperature comes from its inner validation alone (`temperatures`) and is kept in the row's ``params``. Of
more than two classes the predicted one is looked at: was it right, and how sure was the model?
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit

from orthoray.evaluation.comparisons import ROW
from orthoray.evaluation.results import POOLED
from orthoray.evaluation.statistics import (
    apply_temperature,
    calibration,
    decision_curve,
    reliability_curve,
)
from orthoray.evaluation.statistics.checks import two_sided
from orthoray.evaluation.statistics.probabilities import LEAST
from orthoray.evaluation.tasks import TaskCard
from orthoray.evaluation.temperatures import NAME

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

THRESHOLDS = np.round(np.arange(0.02, 0.99, 0.02), 2)


class Trust(NamedTuple):
    """Tables: ``calibration`` (a row per fit of the grid), ``reliability`` (its bins), ``decisions`` (net benefit)."""

    calibration: pd.DataFrame
    reliability: pd.DataFrame
    decisions: pd.DataFrame


def trust(results: pd.DataFrame, predictions: pd.DataFrame, cards: Mapping[str, TaskCard]) -> Trust:
    """Calibration of the out-of-fold predictions at the largest share of training patients.

    Args:
        results: the rows of ``results.parquet``.
        predictions: the rows of ``predictions.parquet``.
        cards: of the tasks; those of times to an event have no probabilities and no rows.

    Returns:
        ``calibration``: ``task, model, protocol, fraction, of`` (positive, or predicted class)``, samples, patients``,
        and for ``raw`` and ``scaled`` probabilities ``slope, slope_low, slope_high`` (95 %, patients as clusters),
        ``in_the_large, ece, brier``; ``temperature`` (mean of the fits; scaled values are NaN if one has none).
        ``reliability``: ``scaled`` (bool)``, predicted, observed, low, high, samples`` of each bin. ``decisions``, of
        binary tasks: ``threshold, model_benefit, treat_all`` by the scaled probabilities, if there are any.
    """
    largest = predictions["fraction"].max()
    tables: tuple[list[dict[str, Any]], list[pd.DataFrame], list[pd.DataFrame]] = ([], [], [])
    temperatures = _temperatures(results)
    for where, part in predictions[predictions["fraction"] == largest].groupby(ROW, sort=False):
        card = cards[str(where[0])]
        if card.kind == "survival":
            continue
        head = dict(zip(ROW, where, strict=True))
        raw = part[[f"score_{k}" for k in range(card.columns)]].to_numpy(dtype=np.float64)
        scaled, mean = _scaled(part, raw, temperatures)
        label = part["label"].to_numpy(dtype=np.int64)
        row = {**head, "of": "positive" if card.kind == "binary" else "predicted class", "temperature": mean}
        row |= {"samples": len(part), "patients": part["patient_id"].nunique()}
        for name, scores in (("raw", raw), ("scaled", scaled)):
            told = {} if scores is None else _one(label, scores, card, part["patient_id"].to_numpy())
            row |= {f"{key}_{name}": value for key, value in told.items()}
            if scores is not None:
                tables[1].append(_bins(label, scores, card).assign(**head, scaled=name == "scaled"))
        tables[0].append(row)
        if card.kind == "binary":
            used = raw if scaled is None else scaled
            tables[2].append(_benefit(label, used).assign(**head, scaled=scaled is not None))
    return Trust(pd.DataFrame(tables[0]), *(pd.concat(t) if t else pd.DataFrame() for t in tables[1:]))


Fit = tuple[str, str, str, float, int, int]


def _temperatures(results: pd.DataFrame) -> dict[Fit, float | None]:
    """Temperature of each fit."""
    rows = results[results["fold"] != POOLED].drop_duplicates([*ROW, "seed", "fold"])
    keys = rows[[*ROW, "seed", "fold"]].itertuples(index=False, name=None)
    return {key: json.loads(text).get(NAME) for key, text in zip(keys, rows["params"], strict=True)}


def _scaled(part: pd.DataFrame, raw: Floats, known: Mapping[Fit, float | None]) -> tuple[Floats | None, float]:
    """Probabilities at the temperature of each sample's fit, None if a fit has none; and the mean temperature."""
    scaled, values = raw.copy(), []
    places: Any = part.groupby([*ROW, "seed", "fold"], sort=False).indices
    for key, rows in places.items():
        value = known.get(key)
        if value is None:
            return None, float("nan")
        scaled[rows] = apply_temperature(raw[rows], value, probabilities=True)
        values.append(value)
    return scaled, float(np.mean(values))


def judged(labels: Labels, scores: Floats, binary: bool) -> tuple[Labels, Floats]:
    """(N,) 0 or 1, and its probability: of class 1, or of two classes and more whether the predicted one is right."""
    if binary:
        return labels, scores[:, 1]
    chosen = scores.argmax(axis=1)
    return (chosen == labels).astype(np.int64), scores.max(axis=1)


def _one(label: Labels, scores: Floats, card: TaskCard, patients: npt.NDArray[np.object_]) -> dict[str, float]:
    y, p = judged(label, scores, card.kind == "binary")
    if len(np.unique(y)) < 2:
        return {}
    found = calibration(y, p)
    error = slope_error(y, p, patients, found.intercept, found.slope)
    slope = two_sided(found.slope, error, 0.95)
    return {
        "slope": found.slope,
        "slope_low": slope.low,
        "slope_high": slope.high,
        "in_the_large": found.in_the_large,
        "ece": found.ece,
        "brier": found.brier,
    }


def slope_error(y: Labels, p: Floats, patients: npt.NDArray[np.object_], intercept: float, slope: float) -> float:
    """Standard error of the calibration slope with patients as clusters: the sandwich of Liang and Zeger (1986).

    Args:
        y: (N,) 0 or 1.
        p: (N,) probabilities.
        patients: (N,) whose samples they are.
        intercept: of the fit; NaN gives NaN.
        slope: of the fit.
    """
    if np.isnan(slope):
        return float("nan")
    x = np.column_stack([np.ones(len(p)), logit(np.clip(p, LEAST, 1 - LEAST))])
    fitted = expit(x @ np.array([intercept, slope]))
    bread = (x * (fitted * (1 - fitted))[:, None]).T @ x
    _, code = np.unique(patients.astype(str), return_inverse=True)
    pieces = np.zeros((code.max() + 1, 2))
    np.add.at(pieces, code, x * (y - fitted)[:, None])
    number = len(pieces)
    meat = pieces.T @ pieces * (number / max(1, number - 1))
    middle = np.linalg.solve(bread, meat)
    return float(np.sqrt(np.linalg.solve(bread, middle.T)[1, 1]))


def _bins(label: Labels, scores: Floats, card: TaskCard) -> pd.DataFrame:
    y, p = judged(label, scores, card.kind == "binary")
    if len(np.unique(y)) < 2:
        return pd.DataFrame()
    return pd.DataFrame(reliability_curve(y, p)._asdict())


def _benefit(label: Labels, scores: Floats) -> pd.DataFrame:
    found = decision_curve(label, scores[:, 1], THRESHOLDS)
    columns = {"threshold": found.thresholds, "model_benefit": found.model, "treat_all": found.treat_all}
    return pd.DataFrame(columns)


def calibration_lines(table: pd.DataFrame, candidate: str) -> list[str]:
    """Plain text: a line per task and protocol of the candidate."""
    lines = []
    for row in table[table["model"] == candidate].to_dict("records"):
        told = f"{row['task']}, {row['protocol']}: slope {_text(row, 'slope', 'raw')}, ECE {_number(row, 'ece_raw')}"
        if not np.isnan(row["temperature"]):
            told += f"; at temperature {row['temperature']:.2f}: slope {_text(row, 'slope', 'scaled')}, "
            told += f"ECE {_number(row, 'ece_scaled')}"
        lines.append(told)
    return lines


def _text(row: Mapping[Any, Any], name: str, kind: str) -> str:
    value, low, high = (row.get(f"{part}_{kind}", float("nan")) for part in (name, f"{name}_low", f"{name}_high"))
    return "not defined" if np.isnan(value) else f"{value:.2f} ({low:.2f} to {high:.2f})"


def _number(row: Mapping[Any, Any], name: str) -> str:
    value = row.get(name, float("nan"))
    return "not defined" if np.isnan(value) else f"{value:.3f}"
