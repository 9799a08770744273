"""The page of a ranking: heat table, bump chart, trade-off with size, agreement and stability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from orthoray import storage
from orthoray.errors import InputError
from orthoray.report.pages import templates
from orthoray.report.ranking_figures import bump_chart, heat_table, pareto_plot
from orthoray.transferability.leaderboard import records

FILES = ("leaderboard", "ranking", "agreement", "stability", "references")

WORDS = {
    "logme": "LogME",
    "sfda": "SFDA",
    "ped_sfda": "PED + SFDA",
    "ped_logme": "PED + LogME",
    "nleep": "NLEEP",
    "parc": "PARC",
    "itm": "ITM",
    "ncti": "NCTI",
    "hscore": "Reg. H-score",
    "knn": "k-NN",
    "probe": "Linear probe",
    "static": "Static ranker",
    "imagenet": "ImageNet accuracy",
    "parameters": "Number of parameters",
}


def build_ranking(run: str, out: str | None = None) -> Path | str:
    """Write ``rank.html`` and its figures (SVG) from the tables of a ranking.

    Args:
        run: folder that `orthoray rank` wrote.
        out: folder for the page; None = ``run``.

    Returns:
        The page's path, or its URI on a remote filesystem.

    Raises:
        InputError: ``run`` holds no finished ranking.
    """
    if not storage.exists(storage.join(run, "rank.json")):
        raise InputError(f"{run}: no ranking here (rank.json missing). Make one with `orthoray rank CONFIG out={run}`.")
    facts = storage.read_json(storage.join(run, "rank.json"))
    tables = {name: storage.read_table(storage.join(run, f"{name}.parquet")).to_pandas() for name in FILES}
    values = collect(facts, tables)
    where = run if out is None else out
    for name in ("heat", "bump", "pareto"):
        storage.write_bytes(storage.join(where, "figures", f"{name}.svg"), values[name].encode())
    target = storage.join(where, "rank.html")
    storage.write_bytes(target, templates().get_template("ranking.html").render(values).encode())
    return storage.local_path(target) or target


def collect(facts: dict[str, Any], tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Everything that the template shows."""
    columns = [name for name in facts["columns"] if name in set(tables["ranking"]["estimator"])]
    ranking = tables["ranking"].pivot(index="candidate", columns="estimator", values="mean_rank")[columns]
    order = ranking[facts["primary"]].sort_values().index if facts["primary"] in ranking else ranking.index
    ranking = ranking.loc[order]
    scores = tables["leaderboard"]
    primary = tables["ranking"][tables["ranking"]["estimator"] == facts["primary"]].set_index("candidate")
    labels = [str(label) for label in ranking.index]
    of_primary = {row["candidate"]: row for row in records(primary.reset_index())}
    of_scores = {row["candidate"]: row for row in records(scores.drop_duplicates("candidate"))}
    cells = dict(zip(labels, ranking.to_numpy().tolist(), strict=True))
    return {
        "facts": facts,
        "columns": [(name, WORDS[name]) for name in columns],
        "primary": WORDS[facts["primary"]],
        "rows": [_row(of_scores[label], of_primary.get(label, {}), cells[label]) for label in labels],
        "scores": _scores(scores, labels, facts["columns"]),
        "problems": _problems(scores),
        "agreement": _agreement(tables["agreement"], columns),
        "stability": _stability(tables["stability"], columns),
        "references": _references(tables["references"]),
        "heat": heat_table(ranking.rename(columns=WORDS)),
        "bump": bump_chart(scores, facts["primary"], labels, WORDS[facts["primary"]]),
        "pareto": pareto_plot(primary, scores),
        "any_random": bool(scores["random_weights"].any()),
    }


def _row(facts: dict[str, Any], mine: dict[str, Any], ranks: list[float]) -> dict[str, Any]:
    """A backbone in the table of ranks: its facts, its row by the primary estimator, its rank by each."""
    spread = ""
    if mine and not pd.isna(mine["robust_low"]):
        share = f"first in {100 * mine['robust_best']:.0f} %"
        spread = f"{mine['robust_low']:.1f} to {mine['robust_high']:.1f}; {share}"
    return {
        "label": facts["candidate"],
        "method": facts["method"],
        "parameters": f"{facts['parameters'] / 1e6:,.1f} M",
        "gflops": number(facts["gflops"], 1),
        "spread": spread,
        "pareto": bool(mine.get("pareto", False)),
        "cells": [number(value, 2) for value in ranks],
    }


def number(value: Any, digits: int) -> str:
    """A number as text; a dash where there is none."""
    return "–" if value is None or pd.isna(value) else f"{value:,.{digits}f}"


def _scores(scores: pd.DataFrame, labels: list[str], columns: list[str]) -> list[dict[str, Any]]:
    found = []
    for target in dict.fromkeys(scores["target"]):
        part = records(scores[scores["target"] == target])
        cells = {(row["candidate"], row["estimator"]): row for row in part}
        rows = []
        for label in labels:
            mine = [cells[(label, name)] for name in columns]
            texts = [{"text": number(cell["value"], 3), "flags": str(cell["flags"])} for cell in mine]
            rows.append({"label": label, "cells": texts})
        size = {name: int(part[0][name]) for name in ("samples", "patients", "classes")}
        found.append({"target": target, **size, "columns": [WORDS[name] for name in columns], "rows": rows})
    return found


def _problems(scores: pd.DataFrame) -> list[str]:
    mine = scores[scores["problem"] != ""]
    told = [(f"{r['target']}, {r['candidate']}, {WORDS[r['estimator']]}", r["problem"]) for r in records(mine)]
    return [f"{where}: {why}" for where, why in told]


def _agreement(agreement: pd.DataFrame, columns: list[str]) -> dict[str, Any]:
    known: dict[Any, Any] = agreement.groupby(["first", "second"])["tau"].mean().to_dict()
    rows = []
    for first in columns:
        cells = []
        for second in columns:
            value = known.get((first, second), known.get((second, first)))
            cells.append("1" if first == second else number(value, 2))
        rows.append({"name": WORDS[first], "cells": cells})
    return {"columns": [WORDS[name] for name in columns], "rows": rows}


def _stability(stability: pd.DataFrame, columns: list[str]) -> list[dict[str, str]]:
    rows = []
    for name in columns:
        mine = stability[stability["estimator"] == name]
        if len(mine):
            means = mine[["tau_between", "tau_with_all", "same_best"]].mean()
            rows.append({"name": WORDS[name], **{str(key): number(value, 2) for key, value in means.items()}})
    return rows


def _references(references: pd.DataFrame) -> dict[str, Any] | None:
    if references.empty:
        return None
    means = references.groupby("ranker")[["weighted_tau", "tau", "top1_regret"]].mean()
    means = means.sort_values("weighted_tau", ascending=False)
    rows = [
        {"name": WORDS[str(name)], "cells": [number(value, 2) for value in row]}
        for name, row in zip(means.index, means.to_numpy(), strict=True)
    ]
    first = references.iloc[0]
    return {"truth": first["truth"], "metric": first["metric"], "targets": references["target"].nunique(), "rows": rows}
