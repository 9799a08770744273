"""What a ranking says of itself: before it runs, at its end, and in ``rank.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from orthoray import storage
from orthoray.features.candidate_settings import Candidate
from orthoray.features.candidates import RANDOM, Ready
from orthoray.progress import heading, outputs, say
from orthoray.transferability.config import RankConfig, uses_ped
from orthoray.transferability.generic import Generic
from orthoray.transferability.leaderboard import Leaderboard, records
from orthoray.transferability.targets import Labelled


def announce(
    config: RankConfig,
    candidates: Sequence[Candidate],
    targets: Sequence[Labelled],
    generic: Generic,
    random: set[str],
) -> None:
    """Say what is going to be ranked, and on what."""
    say(f"  candidates  {len(candidates)}, {len(random)} of them with random weights")
    for target in targets:
        lost = "".join(f"; {count} {reason}" for reason, count in target.left_out.items() if count)
        size = f"{len(target.sample):,} samples of {len(set(target.patient)):,} patients"
        say(f"  target      {target.name}: {size}, {len(np.unique(target.label))} classes{lost}")
    if uses_ped(config.columns()):
        say(f"  generic     {generic.images:,} images for PED: {generic.origin}")


def tell(config: RankConfig, out: str, board: Leaderboard, references: pd.DataFrame) -> None:
    """Say what came out, what has no score and why, and where it lies."""
    heading(f"Ranking by {config.primary}: mean rank over {board.scores['target'].nunique()} target(s)")
    mine = board.ranking[board.ranking["estimator"] == config.primary]
    for place, row in enumerate(records(mine), 1):
        spread = "" if pd.isna(row["robust_low"]) else f"  {row['robust_low']:.1f} … {row['robust_high']:.1f}"
        say(f"  {place:>2}  {row['candidate']:<36} {row['mean_rank']:5.2f}{spread}{'  *' if row['pareto'] else ''}")
    say("  Behind the mean rank: 90 % interval over resampled patients; * no other is better at no greater cost")
    problems = board.scores[board.scores["problem"] != ""]
    for name, part in problems.groupby("estimator"):
        say(f"  {name}: no score in {len(part)} cells; the first: {part['problem'].iloc[0]}")
    if len(references):
        found = references.groupby("ranker")["weighted_tau"].mean().sort_values(ascending=False)
        truth = references["truth"].iloc[0]
        say(f"  Weighted tau with {truth}: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    outputs({"leaderboard": storage.join(out, "leaderboard.parquet")})


def facts_of(
    config: RankConfig, ready: Sequence[Ready], targets: Sequence[Labelled], generic: Generic, run_id: str
) -> dict[str, Any]:
    """What ``rank.json`` holds."""
    return {
        "name": config.name,
        "primary": config.primary,
        "columns": config.columns(),
        "run_id": run_id,
        "generic": {"origin": generic.origin, "images": generic.images},
        "candidates": [
            {
                "label": one.label,
                "method": one.candidate.method,
                "backbone": one.candidate.backbone or one.candidate.checkpoint,
                "weights": RANDOM if one.random else one.candidate.weights,
                "parameters": one.parameters,
                "gflops": one.gflops,
                "licence": one.licence,
            }
            for one in ready
        ],
        "targets": [
            {
                "name": target.name,
                "dataset": target.dataset,
                "dataset_id": target.dataset_id,
                "samples": len(target.sample),
                "patients": len(set(target.patient)),
                "left_out": target.left_out,
            }
            for target in targets
        ],
        "features": config.features.model_dump(),
        "subsets": config.subsets,
        "bootstraps": config.bootstraps,
    }
