"""Short tables of a study: mean and SD per model, and on which tasks pretraining paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from orthoray.errors import InputError
from orthoray.evaluation.results import POOLED
from orthoray.evaluation.tasks import load_task

_GROUP = ["study", "task", "model", "protocol", "fraction", "metric"]


def headlines(results: pd.DataFrame) -> dict[str, str]:
    """Task → headline metric: the first metric of the task's card."""
    return {str(task): load_task(str(task)).headline for task in results["task"].unique()}


def summarise(results: pd.DataFrame, headline: dict[str, str] | None = None) -> pd.DataFrame:
    """Mean, SD and pooled value of every metric.

    Args:
        results: the rows of ``results.parquet``.
        headline: task → headline metric; None = from the task cards.

    Returns:
        One row per (study, task, model, protocol, fraction, metric), in the order of ``results``, with ``mean`` and
        ``sd`` (ddof 1) over the folds of all seeds, ``pooled`` (mean over seeds of the out-of-fold value),
        ``n_folds``, ``n_patients``, ``n_samples`` and ``headline`` (bool).
    """
    named = headlines(results) if headline is None else headline
    folds = results[results["fold"] != POOLED].groupby(_GROUP, sort=False)["value"]
    table = folds.agg(mean="mean", sd="std", n_folds="count").reset_index()
    pooled = results[results["fold"] == POOLED].groupby(_GROUP, sort=False)
    whole = pooled.agg(pooled=("value", "mean"), n_patients=("n_patients", "max"), n_samples=("n_samples", "max"))
    table = table.merge(whole.reset_index(), on=_GROUP, how="left", validate="one_to_one")
    return table.assign(headline=[named.get(t) == m for t, m in zip(table["task"], table["metric"], strict=True)])


def verdict(
    results: pd.DataFrame,
    candidate: str = "pretrained",
    baselines: Sequence[str] = ("pixels", "untrained"),
    headline: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Does the candidate beat every baseline by more than the fold SD, task by task?

    Only the headline metric at the largest fraction of each protocol is judged. The yardstick is the larger of the
    fold SDs of the two models compared, which is conservative; it is no significance test.

    Returns:
        One row per (task, protocol): ``metric, candidate, mean, sd, best_baseline, baseline_mean, baseline_sd``
        (of the baseline that leaves the least room), ``margin`` (mean minus baseline mean), ``beats`` (bool: margin
        > yardstick over *every* baseline).

    Raises:
        InputError: the candidate, or all baselines, are not among the models. A protocol that does not apply to a
            baseline is judged by the others.
    """
    models = list(results["model"].unique())
    if candidate not in models or not set(baselines) & set(models):
        wanted = " and one of ".join([candidate, ", ".join(baselines)])
        raise InputError(f"verdict: needs {wanted} in these results; there are {', '.join(models)}.")
    table = summarise(results, headline)
    table = table[table["headline"]]
    rows = []
    for (task, protocol), group in table.groupby(["task", "protocol"], sort=False):
        best = group[group["fraction"] == group["fraction"].max()].set_index("model")
        known = [name for name in baselines if name in best.index]
        if known and candidate in best.index:
            rows.append({"task": task, "protocol": protocol, **_judge(best, candidate, known)})
    return pd.DataFrame(rows)


def _judge(table: pd.DataFrame, candidate: str, baselines: Sequence[str]) -> dict[str, Any]:
    mean, sd = table["mean"].astype(float), table["sd"].astype(float)
    slack = {b: mean[candidate] - mean[b] - max(sd[candidate], sd[b]) for b in baselines}
    closest = min(slack, key=lambda name: slack[name])
    return {
        "metric": table.loc[candidate, "metric"],
        "candidate": candidate,
        "mean": mean[candidate],
        "sd": sd[candidate],
        "best_baseline": closest,
        "baseline_mean": mean[closest],
        "baseline_sd": sd[closest],
        "margin": mean[candidate] - mean[closest],
        "beats": bool(slack[closest] > 0),
    }


def summary_lines(table: pd.DataFrame) -> list[str]:
    """Plain-text table of headline metrics, task × model, mean ± SD; one line per task, protocol and fraction."""
    head = table[table["headline"]]
    models = list(dict.fromkeys(head["model"]))
    wide = max([len("task"), *(len(str(t)) for t in head["task"])])
    by = max(3, *(len(str(p)) for p in head["protocol"])) if len(head) else 3
    lines = [f"{'task':<{wide}}  {'metric':<17}  {'by':<{by}}  {'share':>5}  " + "  ".join(f"{m:>15}" for m in models)]
    for (task, metric, protocol, fraction), group in head.groupby(
        ["task", "metric", "protocol", "fraction"], sort=False
    ):
        cells = {row.model: f"{row.mean:.3f} ± {row.sd:.3f}" for row in group.itertuples()}
        shown = "  ".join(f"{cells.get(m, '-'):>15}" for m in models)
        lines.append(f"{task!s:<{wide}}  {metric!s:<17}  {protocol!s:<{by}}  {float(str(fraction)):>5.0%}  {shown}")
    return lines


def verdict_lines(table: pd.DataFrame) -> list[str]:
    """One sentence with the count, then the tasks won and those not won."""
    won, lost = table[table["beats"]], table[~table["beats"]]
    name = table["candidate"].iloc[0]
    several = table["protocol"].nunique() > 1
    place = "tasks and protocols" if several else "tasks"
    lines = [f"{name} beats every baseline by more than the fold SD on {len(won)} of {len(table)} {place}."]
    for title, part in (("yes", won), ("no", lost)):
        if len(part):
            told = [(f"{r.task!s} by {r.protocol!s}" if several else str(r.task), r) for r in part.itertuples()]
            shown = ", ".join(f"{where} ({r.margin:+.3f} over {r.best_baseline})" for where, r in told)
            lines.append(f"  {title}: {shown}")
    return lines
