"""From finished cells to the tables of a ranking; everything shown of a ranking is drawn from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from orthoray.features.candidates import Ready
from orthoray.transferability import aggregate
from orthoray.transferability.cells import RESAMPLED
from orthoray.transferability.config import Estimator
from orthoray.transferability.ncti import TERMS, pool_ncti
from orthoray.transferability.targets import Labelled

WHOLE = "all"
"""The draw that is the whole target; the others are subsets and resamples."""

Cells = dict[tuple[str, str], dict[str, Any]]
"""A cell by (candidate's label, target)."""


@dataclass(frozen=True)
class Leaderboard:
    """The tables of a ranking.

    Attributes:
        scores: one row per (target, candidate, estimator): value, rank in the target (1 = best), flags, problem (why
            there is no value), seconds, facts of target and candidate.
        draws: values of the subsets and resamples.
        ranking: one row per (estimator, candidate): mean rank, Borda count, targets; of resampled estimators also the
            interval of the mean rank and the share of resamples in which the candidate is first; ``pareto``: no other
            candidate has a better mean rank at no more parameters and FLOPs.
        agreement: Kendall tau of two estimators, per target.
        stability: per (estimator, target) the mean Kendall tau between subsets, and between subsets and the whole.
    """

    scores: pd.DataFrame
    draws: pd.DataFrame
    ranking: pd.DataFrame
    agreement: pd.DataFrame
    stability: pd.DataFrame


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain dictionaries."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def leaderboard(
    ready: Sequence[Ready], targets: Sequence[Labelled], cells: Cells, columns: Sequence[Estimator]
) -> Leaderboard:
    """Put the tables together."""
    scores = pd.DataFrame([row for one in ready for target in targets for row in _rows(one, target, cells)])
    draws = _draws(cells)
    _pool(scores, draws, cells)
    grouped = scores.groupby(["target", "estimator"])["value"]
    scores["rank"] = grouped.rank(ascending=False, method="average")
    return Leaderboard(
        scores=scores,
        draws=draws,
        ranking=_ranking(scores, draws, ready, columns),
        agreement=_agreement(scores, columns),
        stability=_stability(scores, draws, columns),
    )


def _rows(one: Ready, target: Labelled, cells: Cells) -> list[dict[str, Any]]:
    cell = cells[(one.label, target.name)]
    facts = {
        "target": target.name,
        "dataset_id": target.dataset_id,
        "candidate": one.label,
        "method": one.candidate.method,
        "random_weights": one.random,
        "samples": cell["samples"],
        "patients": cell["patients"],
        "classes": cell["classes"],
        "dim": cell["dim"],
        "generic_images": cell["generic_images"],
        "parameters": one.parameters,
        "gflops": one.gflops,
        "imagenet_top1": one.candidate.imagenet_top1,
    }
    found = []
    for score in cell["scores"]:
        plain = {key: score[key] for key in ("estimator", "value", "seconds", "problem")}
        balanced = score["details"].get("balanced_accuracy")
        found.append({**facts, **plain, "flags": " ".join(score["flags"]), "balanced_accuracy": balanced})
    return found


def _draws(cells: Cells) -> pd.DataFrame:
    rows = [
        {
            "candidate": label,
            "target": target,
            "draw": row["draw"],
            "estimator": row["estimator"],
            "value": row["value"],
        }
        for (label, target), cell in cells.items()
        for row in cell["draws"]
    ]
    return pd.DataFrame(rows, columns=["candidate", "target", "draw", "estimator", "value"])


def _pool(scores: pd.DataFrame, draws: pd.DataFrame, cells: Cells) -> None:
    """Replace NCTI's values by those within the pool of candidates, target by target and draw by draw."""
    if not (scores["estimator"] == "ncti").any():
        return
    terms: dict[tuple[str, str], dict[str, list[Any]]] = {}
    for (label, target), cell in cells.items():
        for score in cell["scores"]:
            if score["estimator"] == "ncti":
                terms.setdefault((target, WHOLE), {})[label] = [score["details"].get(name) for name in TERMS]
        for row in cell["draws"]:
            if row["estimator"] == "ncti":
                terms.setdefault((target, row["draw"]), {})[label] = row["terms"]
    for (target, draw), by_label in terms.items():
        known = {label: found for label, found in by_label.items() if None not in found}
        pooled = dict(zip(known, pool_ncti(list(known.values())).tolist(), strict=True)) if known else {}
        table = scores if draw == WHOLE else draws
        mine = (table["target"] == target) & (table["estimator"] == "ncti")
        mine &= True if draw == WHOLE else table["draw"] == draw
        table.loc[mine, "value"] = table.loc[mine, "candidate"].map(pooled)


def table_of(rows: pd.DataFrame, estimator: str) -> pd.DataFrame | None:
    """(candidates, targets) values of one estimator; without the candidates that lack one, None if two are not left."""
    mine = rows[rows["estimator"] == estimator]
    table = mine.pivot(index="candidate", columns="target", values="value").astype(float)
    table = table.dropna(axis=0)
    return table if len(table) > 1 else None


def _ranking(
    scores: pd.DataFrame, draws: pd.DataFrame, ready: Sequence[Ready], columns: Sequence[Estimator]
) -> pd.DataFrame:
    costs = pd.DataFrame(
        {"parameters": [one.parameters for one in ready], "gflops": [one.gflops for one in ready]},
        index=pd.Index([one.label for one in ready]),
    ).astype(float)
    costs = costs.dropna(axis=1, how="any")
    rows = []
    for estimator in columns:
        table = table_of(scores, estimator)
        if table is None:
            continue
        mean, count = aggregate.mean_rank(table), aggregate.borda(table)
        front = aggregate.pareto_front(-mean, costs)
        robust = _robust(draws, estimator, list(table.index))
        for candidate in mean.index:
            row = {"estimator": estimator, "candidate": candidate, "mean_rank": mean[candidate]}
            row |= {"borda": count[candidate], "targets": table.shape[1], "pareto": candidate in front}
            names = ("mean", "low", "high", "best")
            row |= {f"robust_{n}": np.nan if robust is None else robust.loc[candidate, n] for n in names}
            rows.append(row)
    return pd.DataFrame(rows)


def _robust(draws: pd.DataFrame, estimator: str, candidates: list[str]) -> pd.DataFrame | None:
    mine = draws[(draws["estimator"] == estimator) & draws["draw"].str.startswith("resample")]
    if estimator not in RESAMPLED or mine.empty:
        return None
    mine = mine[mine["candidate"].isin(candidates)]
    tables = [part.pivot(index="candidate", columns="target", values="value") for _, part in mine.groupby("draw")]
    whole = [table.astype(float) for table in tables if not table.isna().to_numpy().any()]
    return aggregate.robust_rank(whole) if whole else None


def _agreement(scores: pd.DataFrame, columns: Sequence[Estimator]) -> pd.DataFrame:
    rows = []
    for target, part in scores.groupby("target", sort=False):
        table = part.pivot(index="candidate", columns="estimator", values="value").astype(float)
        for first, second in combinations(columns, 2):
            both = table[[first, second]].dropna()
            value = aggregate.tau(both[first], both[second]) if len(both) > 1 else np.nan
            rows.append({"target": target, "first": first, "second": second, "tau": value, "candidates": len(both)})
    return pd.DataFrame(rows, columns=["target", "first", "second", "tau", "candidates"])


def _stability(scores: pd.DataFrame, draws: pd.DataFrame, columns: Sequence[Estimator]) -> pd.DataFrame:
    rows = []
    subsets = draws[draws["draw"].str.startswith("subset")] if len(draws) else draws
    for (target, estimator), part in subsets.groupby(["target", "estimator"], sort=False):
        table = part.pivot(index="candidate", columns="draw", values="value").astype(float)
        whole = scores[(scores["target"] == target) & (scores["estimator"] == estimator)]
        table[WHOLE] = whole.set_index("candidate")["value"]
        table = table.dropna(axis=0)
        if len(table) < 2 or estimator not in columns:
            continue
        names = [name for name in table.columns if name != WHOLE]
        between = [aggregate.tau(table[a], table[b]) for a, b in combinations(names, 2)]
        with_all = [aggregate.tau(table[name], table[WHOLE]) for name in names]
        best = table[WHOLE].idxmax()
        rows.append(
            {
                "target": target,
                "estimator": estimator,
                "subsets": len(names),
                "tau_between": float(np.mean(between)) if between else np.nan,
                "tau_with_all": float(np.mean(with_all)),
                "same_best": float(np.mean([table[name].idxmax() == best for name in names])),
            }
        )
    return pd.DataFrame(rows, columns=["target", "estimator", "subsets", "tau_between", "tau_with_all", "same_best"])
