"""Few shots: protocols that learn from k patients of each class, named ``lp-4shot``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orthoray.data.splits import outer_folds
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.preflight import PlannedTask
from orthoray.evaluation.protocol import fold_rows, most_shots

ABLE = ("lp", "knn")
"""Protocols that few shots are for: cheap ones, without a hold-out of their own."""

_NAME = re.compile(r"(.+)-(\d+)shot")


def shot_protocol(protocol: str, shots: int) -> str:
    """Name of a protocol with ``shots`` patients of each class."""
    return f"{protocol}-{shots}shot"


def shots_of(protocol: str) -> tuple[str, int | None]:
    """The protocol behind a name, and the patients of each class; None = as many as there are."""
    found = _NAME.fullmatch(protocol)
    return (found.group(1), int(found.group(2))) if found else (protocol, None)


def shot_protocols(config: StudyConfig) -> list[str]:
    """Names of all that a study asks for."""
    return [shot_protocol(name, k) for name in config.protocols if name in ABLE for k in config.shots]


def too_many(config: StudyConfig, task: PlannedTask) -> dict[int, str]:
    """Shots that a task cannot give → why."""
    if not config.shots:
        return {}
    if task.samples.time is not None:
        return dict.fromkeys(config.shots, "times to an event have no classes")
    fewest = min(_fewest(task, seed) for seed in task.splits)
    reason = f"a class has {fewest} training patients in some fold"
    return {shots: reason for shots in config.shots if shots > fewest}


def _fewest(task: PlannedTask, seed: int) -> int:
    split = task.splits[seed]
    return min(most_shots(task.samples, fold_rows(task.samples, split, fold)[0]) for fold in outer_folds(split))


def rows_of(config: StudyConfig, protocols: Sequence[str], lacking: dict[int, str]) -> list[tuple[str, float]]:
    """(protocol, fraction) of a task: ``protocols`` at all fractions, then the few shots that it can give."""
    shares = [(protocol, fraction) for protocol in protocols for fraction in config.fractions]
    few = [
        (shot_protocol(protocol, shots), 1.0)
        for protocol in protocols
        if protocol in ABLE
        for shots in config.shots
        if shots not in lacking
    ]
    return shares + few
