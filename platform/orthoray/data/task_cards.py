"""What ingest needs to know of task cards: classes and unit of a label, and whether a card is there at all."""

from __future__ import annotations

import difflib
from typing import Any

from orthoray.config import project_files, read_yaml
from orthoray.data.card_tables import LabelTable
from orthoray.errors import InputError

FOLDER = "datasets/tasks"
NEAR_MISS = 0.8
"""From this likeness on (`difflib`) the name of a task without a card is taken for another's, mistyped."""


def task_card(task: str) -> dict[str, Any]:
    """The card of a task in `FOLDER`, unchecked; empty if there is none."""
    file = project_files(FOLDER).get(task)
    return {} if file is None else read_yaml(file)


def class_names(task: str) -> list[str]:
    """Names of a task's classes from its card; none if there is no card."""
    return [str(name) for name in task_card(task).get("classes", ())]


def check_task(label: LabelTable) -> None:
    """InputError if an entry's task looks like another one mistyped, or its unit is not the one of the task's card."""
    card = task_card(label.task)
    if not card:
        known = project_files(FOLDER)
        near = sorted(difflib.get_close_matches(label.task, known, cutoff=NEAR_MISS))
        if near:
            raise InputError(
                f"labels: no task '{label.task}'. Did you mean {' or '.join(near)}? If it is a task of its own, write "
                f"its card first, datasets/tasks/{label.task}.yaml (docs/data.md tells how)."
            )
    elif card.get("unit", label.unit) != label.unit:
        raise InputError(
            f"labels: the entry of {label.task} has unit {label.unit}, and the task's card has {card['unit']}. Correct "
            "the one that is wrong, or give the task another name and a card of its own."
        )
