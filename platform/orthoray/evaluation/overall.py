"""Over all tasks: who ranks where on average, and is the candidate better on more tasks than chance would give?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orthoray.evaluation.comparisons import p_text, records
from orthoray.evaluation.statistics import friedman, mean_ranks, signed_ranks


def rank_table(summary: pd.DataFrame, candidate: str) -> pd.DataFrame:
    """Mean ranks over tasks by the headline metric, of each protocol at its largest share of training patients.

    Args:
        summary: of `summary.summarise`, with ``headline`` and ``mean``.
        candidate: the model that is tested against each other one.

    Returns:
        ``protocol, model, tasks, mean_rank`` (1 = best on every task)``, friedman_p`` (of all models; NaN below two
        tasks or three models), and against the candidate ``wins, ties, losses`` (of the candidate) and ``p`` (signed
        ranks of Wilcoxon; with T tasks never below 2^(1 - T)), NaN in its own row. Tasks that lack a model are left
        out, and a protocol with fewer than two tasks or models has no rows.
    """
    rows: list[dict[str, Any]] = []
    for protocol, part in summary[summary["headline"]].groupby("protocol", sort=False):
        whole = part[part["fraction"] == part["fraction"].max()]
        table = whole.pivot_table(index="task", columns="model", values="mean", sort=False).dropna()
        if min(table.shape) < 2:
            continue
        values = table.to_numpy(dtype=np.float64)
        ranks, p = mean_ranks(values), friedman(values).p if table.shape[1] > 2 else float("nan")
        for model, rank in zip(table.columns, ranks, strict=True):
            row = {"protocol": protocol, "model": model, "tasks": len(table), "mean_rank": float(rank)}
            row["friedman_p"] = p
            if candidate in table and model != candidate:
                tested = signed_ranks(table[candidate].to_numpy(), table[model].to_numpy())
                row |= {"wins": tested.wins, "ties": tested.ties, "losses": tested.losses, "p": tested.p}
            rows.append(row)
    columns = ["protocol", "model", "tasks", "mean_rank", "friedman_p", "wins", "ties", "losses", "p"]
    return pd.DataFrame(rows, columns=columns)


def rank_lines(table: pd.DataFrame) -> list[str]:
    """Plain text: a line per protocol, the best mean rank first, and one per comparison."""
    lines = []
    for protocol, part in table.groupby("protocol", sort=False):
        ordered = part.sort_values("mean_rank", kind="stable")
        told = ", ".join(f"{row['model']} {row['mean_rank']:.2f}" for row in records(ordered))
        lines.append(f"{protocol}, {part['tasks'].iloc[0]} tasks: {told}; equal ranks {_p(part['friedman_p'].iloc[0])}")
        lines += [
            f"{protocol}: better than {row['model']} on {row['wins']:.0f} of {row['tasks']} tasks, {_p(row['p'])}"
            for row in records(part[part["wins"].notna()])
        ]
    return lines


def _p(value: float) -> str:
    return f"p {p_text(value)}"
