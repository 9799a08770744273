"""What the candidate gains on joints that its pretraining never showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from orthoray.evaluation.comparisons import p_text, records

COLUMNS = ["task", "joint", "seen", "protocol", "fraction", "baseline", "difference", "low", "high", "p_holm"]

SHOWS = {
    "pelvis": ["hip"],
    "thigh": ["hip", "knee"],
    "leg": ["knee", "ankle"],
    "foot": ["ankle"],
    "arm": ["shoulder"],
    "chest": ["shoulder"],
    "extremity": ["hip", "knee", "ankle", "shoulder"],
    "whole_body": ["hip", "knee", "ankle", "shoulder"],
}
"""Body parts whose images may show a joint too: who saw a pelvis saw hips."""


def seen_in_pretraining(card: Mapping[str, Any]) -> list[str] | None:
    """Body parts that a checkpoint saw in pretraining, by its ``card.json``; None if that is not known."""
    provenance = card.get("provenance") or {}
    names = sorted({str(name) for name in provenance.get("body_parts") or []})
    if "" in names or (not names and int(provenance.get("steps") or 0)):
        return None
    return names


def cross_joint(comparisons: pd.DataFrame, joints: Mapping[str, str], seen: Sequence[str] | None) -> pd.DataFrame:
    """The comparisons on tasks of a joint that the candidate never saw in pretraining.

    Args:
        comparisons: of `comparisons.compare`; p-values stay adjusted over all tasks of the study.
        joints: task → joint of its card; ``""`` where it names none.
        seen: body parts that the candidate saw, None if that is not known; a candidate that saw none has nothing to
            carry over.

    Returns:
        `COLUMNS`, one row per (task, protocol, fraction, baseline); ``seen`` is text. No rows where nothing applies.
    """
    if not seen or not len(comparisons):
        return pd.DataFrame(columns=COLUMNS)
    shown = {*seen, *(joint for part in seen for joint in SHOWS.get(part, []))}
    new = [task for task, joint in joints.items() if joint and joint not in shown]
    rows = comparisons[comparisons["task"].isin(new)]
    return rows.assign(joint=rows["task"].map(joints), seen=", ".join(seen))[COLUMNS].reset_index(drop=True)


def unknown_line(joints: Mapping[str, str], seen: Sequence[str] | None, candidate: str) -> str | None:
    """What to say where tasks are of several joints and nobody knows which of them the candidate saw."""
    if seen is not None or len({joint for joint in joints.values() if joint}) < 2:
        return None
    return (
        f"cross-joint: the card of {candidate} does not say which body parts it saw in pretraining, so that gains on "
        "joints it never saw are not told apart; pretrain again with this version to have it written down"
    )


def cross_joint_lines(table: pd.DataFrame) -> list[str]:
    """Plain text: what was seen, then at the largest fraction a line per task and baseline."""
    lines = [f"seen in pretraining: {table['seen'].iloc[0]}"]
    for row in records(table[table["fraction"] == table["fraction"].max()]):
        told = "{task} ({joint}), {protocol}: {difference:+.3f} over {baseline} ({low:+.3f} to {high:+.3f})"
        lines.append(f"{told.format(**row)}, by Holm {p_text(row['p_holm'])}")
    return lines
