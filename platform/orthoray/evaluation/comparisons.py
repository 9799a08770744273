"""What a study may claim: an interval for every value, and a test for every difference to a baseline.

Everything is computed from ``results.parquet`` and ``predictions.parquet``. A metric is the mean over folds (scores of
different fits are not compared), and patients are what is drawn. An interval of a value is that of the trained models
on new patients; for differences the variance is corrected for what folds share. Nadeau and Bengio's test of the folds
and, as "paper mode", the plain t-test stand beside them. p-values are adjusted over all tasks and baselines of a
protocol and fraction (Holm; Benjamini and Hochberg).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.evaluation.results import POOLED, measured_columns
from orthoray.evaluation.statistics import (
    BootstrapInterval,
    Draws,
    bootstrap_draws,
    detectable_difference,
    difference_of,
    fdr,
    holm,
    interval_of,
    nadeau_bengio_test,
    paper_test,
    resampling_inflation,
)

Floats = npt.NDArray[np.float64]
RESAMPLES = 2000
ROW = ["task", "model", "protocol", "fraction"]
Key = tuple[str, str, str, float, str]


def draw_all(
    predictions: pd.DataFrame, metrics: Mapping[str, Sequence[str]], resamples: int = RESAMPLES
) -> dict[Key, Draws]:
    """(task, model, protocol, fraction, metric) → the metric on ``resamples`` draws of patients.

    Args:
        predictions: the rows of ``predictions.parquet``.
        metrics: of each task.
        resamples: number of draws; models of one task share them.

    Raises:
        ValueError: a metric that is not defined for a task's predictions.
    """
    found: dict[Key, Draws] = {}
    for where, part in predictions.groupby(ROW, sort=False):
        task, model, protocol, fraction = (str(name) for name in where)
        columns = measured_columns(part)
        folds = part["seed"].astype(str) + "/" + part["fold"].astype(str)
        sample = (part["label"].to_numpy(), part[columns].to_numpy(dtype=np.float64), part["patient_id"].to_numpy())
        for metric in metrics[task]:
            key = (task, model, protocol, float(fraction), metric)
            found[key] = bootstrap_draws(metric, *sample, folds=folds.to_numpy(), resamples=resamples)
    return found


def intervals(draws: Mapping[Key, Draws]) -> pd.DataFrame:
    """95 % intervals: ``task, model, protocol, fraction, metric, value, low, high, se, resamples, undefined``.

    ``undefined`` counts draws in which a fold had one class only; the interval is of the others, NaN if there are none.
    """
    rows = []
    for key, drawn in draws.items():
        try:
            told = interval_of(drawn)._asdict()
        except ValueError:
            told = {"value": drawn.value, "resamples": len(drawn.values), "undefined": _undefined(drawn.values)}
        rows.append(dict(zip([*ROW, "metric"], key, strict=True)) | told)
    return pd.DataFrame(rows, columns=[*ROW, "metric", *BootstrapInterval._fields])


def compare(
    results: pd.DataFrame, draws: Mapping[Key, Draws], headline: Mapping[str, str], candidate: str
) -> pd.DataFrame:
    """Test the candidate against every other model, by the headline metric of each task.

    Args:
        results: the rows of ``results.parquet``.
        draws: of `draw_all`.
        headline: task → metric.
        candidate: name of a model.

    Returns:
        One row per (task, protocol, fraction, baseline): ``metric, candidate, value, baseline_value, difference``;
        ``low, high, p`` (cluster bootstrap with `resampling_inflation`), ``undefined`` draws, ``p_holm, p_fdr``;
        ``folds, fold_low, fold_high, fold_p`` (Nadeau and Bengio), ``paper_p`` (two-sided t-test of unpaired folds) and
        ``detectable`` (true difference that Nadeau and Bengio's test would have found with probability 0.8), NaN with
        fewer than two folds.
    """
    rows = []
    for (task, model, protocol, fraction, metric), drawn in draws.items():
        if model != candidate or metric != headline[task]:
            continue
        for other, baseline in draws.items():
            if (other[0], *other[2:]) == (task, protocol, fraction, metric) and other[1] != candidate:
                where = {"task": task, "protocol": protocol, "fraction": fraction, "baseline": other[1]}
                rows.append(where | _tested(results, where, metric, candidate, drawn, baseline))
    table = pd.DataFrame(rows)
    if len(table):
        family = table.groupby(["protocol", "fraction"], sort=False)["p"]
        for name, adjust in (("p_holm", holm), ("p_fdr", fdr)):
            table[name] = family.transform(lambda p, adjust=adjust: adjust(p.fillna(1.0))).where(table["p"].notna())
    return table


def _tested(
    results: pd.DataFrame, where: dict[str, Any], metric: str, candidate: str, ours: Draws, theirs: Draws
) -> dict[str, Any]:
    a, b = (_folds(results, {**where, "model": name, "metric": metric}) for name in (candidate, where["baseline"]))
    told: dict[str, Any] = {
        "metric": metric,
        "candidate": candidate,
        "value": ours.value,
        "baseline_value": theirs.value,
        "difference": ours.value - theirs.value,
        **_bootstrapped(ours, theirs, _inflation(a)),
        "folds": len(a),
    }
    train, test = float(a["n_train_patients"].mean()), float(a["n_patients"].mean())
    if len(a) < 2 or np.isnan(train):
        return told | dict.fromkeys(("fold_low", "fold_high", "fold_p", "paper_p", "detectable"), float("nan"))
    differences = (a["value"] - b["value"].reindex(a.index)).to_numpy()
    corrected = nadeau_bengio_test(differences, train, test)
    sd = float(np.std(differences, ddof=1))
    return told | {
        "fold_low": corrected.low,
        "fold_high": corrected.high,
        "fold_p": corrected.p,
        "paper_p": paper_test(a["value"], b["value"]).p,
        "detectable": detectable_difference(sd, len(a), train, test),
    }


def _inflation(folds: pd.DataFrame) -> float:
    """What patients who train several fits add to the variance, by the mean sizes of test and whole training parts."""
    pool, test = float(folds["n_pool_patients"].mean()), float(folds["n_patients"].mean())
    return 1.0 if np.isnan(pool) else resampling_inflation(len(folds), pool, test)


def _bootstrapped(ours: Draws, theirs: Draws, inflation: float) -> dict[str, Any]:
    try:
        found = difference_of(ours, theirs, inflation=inflation)
    except ValueError:  # hardly a draw in which every fold has two classes
        nothing = float("nan")
        return {"low": nothing, "high": nothing, "p": nothing, "undefined": _undefined(ours.values - theirs.values)}
    return {"low": found.low, "high": found.high, "p": found.p, "undefined": found.undefined}


def _undefined(values: Floats) -> int:
    return int(np.isnan(values).sum())


def _folds(results: pd.DataFrame, where: dict[str, Any]) -> pd.DataFrame:
    """Values of one model's folds, by (seed, fold), with the patients that each was trained on."""
    chosen = results[results["fold"] != POOLED]
    for column in (*ROW, "metric"):
        chosen = chosen[chosen[column] == where[column]]
    params = [json.loads(text) for text in chosen["params"]]
    trained = np.array([float(one.get("n_train_patients", "nan")) for one in params])
    pool = [float(one.get("n_pool_patients", n / where["fraction"])) for one, n in zip(params, trained, strict=True)]
    return chosen.assign(n_train_patients=trained, n_pool_patients=pool).set_index(["seed", "fold"])


def comparison_lines(table: pd.DataFrame) -> list[str]:
    """Plain text: at the largest fraction, a line per task and baseline."""
    lines = []
    for row in records(table[table["fraction"] == table["fraction"].max()]):
        told = "{task}, {protocol}: {difference:+.3f} over {baseline} ({low:+.3f} to {high:+.3f})".format(**row)
        lines.append(f"{told}, p {p_text(row['p'])}, by Holm {p_text(row['p_holm'])}; by folds {p_text(row['fold_p'])}")
    return lines


def p_text(value: float) -> str:
    """``0.012``, ``< 0.001`` or ``unknown``."""
    if np.isnan(value):
        return "unknown"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A dictionary per row."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
