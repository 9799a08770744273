"""Tasks of several labels per sample: one split of the patients, shared by all parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from orthoray.errors import InputError
from orthoray.evaluation.protocol import Samples
from orthoray.evaluation.tasks import TaskCard, load_task

SEPARATOR = "."


def part_name(group: str, part: str) -> str:
    """Name of a part in a study's tables, ``mr_findings.mr_acl``."""
    return f"{group}{SEPARATOR}{part}"


def group_of(task: str) -> str:
    """The task of several labels that ``task`` is a part of; empty if it is none."""
    return task.partition(SEPARATOR)[0] if SEPARATOR in task else ""


def part_cards(card: TaskCard) -> dict[str, TaskCard]:
    """Cards of the parts.

    Raises:
        InputError: a part without a card, or one that is not binary or is of another unit or modality.
    """
    cards = {name: load_task(name) for name in card.parts}
    for name, part in cards.items():
        if (part.kind, part.unit, part.modality) != ("binary", card.unit, card.modality):
            raise InputError(
                f"datasets/tasks/{card.task}.yaml: part {name} is {part.kind}, of {part.unit}, {part.modality}; parts "
                f"are binary, of {card.unit}, {card.modality}."
            )
    return cards


def shared_splits(
    parts: Mapping[str, Samples],
    folds: int,
    seeds: Sequence[int],
    make: Callable[[pd.DataFrame, int], pd.DataFrame],
) -> tuple[dict[str, dict[int, pd.DataFrame]], dict[str, int]]:
    """One split of all samples for each seed, of which every part has the rows that it has labels for.

    Samples are stratified by the rarest part that is positive. Strata with fewer patients than ``folds`` join the
    largest. ``make`` splits them, for a seed.

    Returns:
        Part → seed → split, and part → samples of the others that it has no label for.

    Raises:
        InputError: see ``make``.
    """
    table = pd.concat([samples.frame().assign(part=name) for name, samples in parts.items()], ignore_index=True)
    everybody = table.drop_duplicates("sample_id")[["sample_id", "patient_id"]].set_index("sample_id")
    positive = table[table["label"] == 1]
    everybody["label"] = 0
    for code, name in enumerate(positive["part"].value_counts().index, start=1):
        everybody.loc[positive.loc[positive["part"] == name, "sample_id"], "label"] = code
    patients = everybody.groupby("label")["patient_id"].nunique()
    small = list(patients.index[patients < folds])
    everybody["label"] = everybody["label"].where(~everybody["label"].isin(small), patients.idxmax())
    whole = {seed: make(everybody.reset_index(), seed) for seed in seeds}
    splits = {name: {seed: _rows(split, samples) for seed, split in whole.items()} for name, samples in parts.items()}
    return splits, {name: len(everybody) - len(samples.label) for name, samples in parts.items()}


def _rows(split: pd.DataFrame, samples: Samples) -> pd.DataFrame:
    return split[split["sample_id"].isin(samples.sample_id)].reset_index(drop=True)
