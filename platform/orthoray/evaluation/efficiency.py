"""Label efficiency: with which share of the labelled patients the candidate matches a baseline that had all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.isotonic import isotonic_regression

from orthoray.evaluation.comparisons import Key, records
from orthoray.evaluation.statistics import Draws

Floats = npt.NDArray[np.float64]


def labels_needed(
    draws: Mapping[Key, Draws], headline: Mapping[str, str], candidate: str, level: float = 0.95
) -> pd.DataFrame:
    """Share of the training patients with which the candidate reaches each baseline's value at all of them.

    The candidate's values over the shares are made rising (isotonic regression), with straight lines over the logarithm
    of the share between them. The interval is that of the draws of patients, on each of which both models are compared.

    Args:
        draws: of `comparisons.draw_all`, with the same shares for all models.
        headline: task → metric.
        candidate: name of a model.
        level: of the interval.

    Returns:
        One row per (task, protocol, baseline) fitted with two shares or more: ``metric, candidate, target`` (the
        baseline's value), ``share, low, high``. The least share there is stands for "that or less", infinity for "more
        than all". ``undefined`` counts draws without a value. Empty where there is one share only.
    """
    rows: list[dict[str, Any]] = []
    for task, protocol in dict.fromkeys((key[0], key[2]) for key in draws):
        curves = {
            model: {
                key[3]: found
                for key, found in draws.items()
                if key[:3] == (task, model, protocol) and key[4] == headline[task]
            }
            for model in dict.fromkeys(key[1] for key in draws)
        }
        shares = sorted(curves.get(candidate, {}))
        if len(shares) < 2:
            continue
        for baseline, curve in curves.items():
            if baseline != candidate and shares[-1] in curve:
                head = {"task": task, "protocol": protocol, "metric": headline[task], "candidate": candidate}
                rows.append(head | {"baseline": baseline} | _needed(curves[candidate], curve[shares[-1]], level))
    return pd.DataFrame(rows)


def _needed(curve: Mapping[float, Draws], target: Draws, level: float) -> dict[str, Any]:
    shares = sorted(curve)
    reached = np.stack([curve[share].values for share in shares], axis=1)
    known = np.isfinite(reached).all(axis=1) & np.isfinite(target.values)
    drawn = np.array(
        [crossing(shares, row, aim) for row, aim in zip(reached[known], target.values[known], strict=True)]
    )
    low, high = (float("nan"), float("nan")) if len(drawn) < 2 else _ends(drawn, level)
    value = crossing(shares, np.array([curve[share].value for share in shares]), target.value)
    return {"target": target.value, "share": value, "low": low, "high": high, "undefined": int((~known).sum())}


def crossing(shares: Sequence[float], values: Floats, target: float) -> float:
    """The share at which a rising fit of ``values`` reaches ``target``: the first share at the least, or infinity.

    Args:
        shares: (F,) rising, above 0.
        values: (F,) finite, larger is better.
        target: finite.
    """
    rising = np.asarray(isotonic_regression(values), dtype=np.float64)
    above = np.flatnonzero(rising >= target)
    if not len(above):
        return float("inf")
    at = int(above[0])
    if at == 0:
        return float(shares[0])
    part = (target - rising[at - 1]) / (rising[at] - rising[at - 1])
    return float(np.exp((1 - part) * np.log(shares[at - 1]) + part * np.log(shares[at])))


def _ends(drawn: Floats, level: float) -> tuple[float, float]:
    """Percentiles that never lie between a share and infinity."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


def efficiency_lines(table: pd.DataFrame, least: float) -> list[str]:
    """Plain text, a line per row; ``least``: the smallest share of the study."""
    return [
        f"{row['task']}, {row['protocol']}: {share_text(row['share'], least)} of the labelled patients match "
        f"{row['baseline']} with all ({share_text(row['low'], least)} to {share_text(row['high'], least)})"
        for row in records(table)
    ]


def share_text(share: float, least: float) -> str:
    """``31 %``, ``at most 12.5 %``, ``more than 100 %`` or ``unknown``."""
    if np.isnan(share):
        return "unknown"
    if np.isinf(share):
        return "more than 100 %"
    return f"at most {100 * share:g} %" if share <= least else f"{100 * share:.0f} %"
