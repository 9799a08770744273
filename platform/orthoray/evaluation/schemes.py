"""How a study divides patients into those who train and those who are tested: from settings to splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from orthoray.data.splits import by_time, hold_out, leave_one_out, make_splits
from orthoray.errors import InputError, nearest
from orthoray.evaluation.config import SplitConfig, StudyConfig
from orthoray.evaluation.protocol import Samples
from orthoray.evaluation.tasks import TaskCard

REPEATED = 0.2
"""Share that is tested in a task whose card says ``repeated_80_20``."""


@dataclass(frozen=True)
class Scheme:
    """Makes the splits of a task: ``split`` with kind resolved, the number of folds, and what samples are divided by.

    ``values``: sample → site, year or whatever `SplitConfig.column` names, where that decides.
    """

    split: SplitConfig
    folds: int
    values: dict[str, str | float]

    def make(self, labels: pd.DataFrame, seed: int) -> pd.DataFrame:
        """The split of ``sample_id, patient_id, label`` for a seed; InputError where it is not possible."""
        if self.split.kind == "holdout":
            return hold_out(labels, self.split.holdout, seed)
        if self.split.kind == "leave_one_out":
            return leave_one_out(labels, {name: str(value) for name, value in self.values.items()})
        if self.split.kind == "temporal":
            assert self.split.since is not None
            return by_time(labels, {name: float(value) for name, value in self.values.items()}, self.split.since)
        return make_splits(labels, self.folds, seed)

    @property
    def patients_per_class(self) -> int:
        """Patients that every class needs."""
        if self.split.kind == "holdout":
            return max(2, round(1.0 / self.split.holdout))
        return 2 if self.split.kind in ("leave_one_out", "temporal") else self.folds


def scheme_of(config: StudyConfig, card: TaskCard, parts: Sequence[Samples], indices: Sequence[pd.DataFrame]) -> Scheme:
    """The scheme of a task, or of the parts of one with several labels.

    Raises:
        InputError: the datasets lack the column that decides.
    """
    split = config.split
    if split.kind == "card":
        chosen = {"kind": "holdout", "holdout": REPEATED} if card.protocol == "repeated_80_20" else {"kind": "cv"}
        split = split.model_copy(update=chosen)
    values: dict[str, str | float] = {}
    if split.kind in ("leave_one_out", "temporal"):
        for samples in parts:
            values |= _values(split, card, samples, indices)
    return Scheme(split, config.folds, values)


def _values(
    split: SplitConfig, card: TaskCard, samples: Samples, indices: Sequence[pd.DataFrame]
) -> dict[str, str | float]:
    """Sample → its value, where all images of a sample agree; of times the earliest."""
    column = split.decided_by()
    found: list[pd.DataFrame] = []
    for position, index in enumerate(indices):
        mine = samples.image_dataset == position
        if not mine.any():
            continue
        if column not in index.columns:
            raise InputError(
                f"split.column: a dataset's index has no column '{column}'.{nearest(column, index.columns)} "
                "It may be older than that column; ingest it again, or name another one."
            )
        known = index.set_index("image_id")[column]
        table = pd.DataFrame({"sample": samples.sample_id[samples.owner[mine]]})
        found.append(table.assign(value=known.reindex(samples.image_id[mine]).to_numpy()))
    table = pd.concat(found, ignore_index=True).dropna()
    by_sample = table.groupby("sample")["value"]
    if split.kind == "temporal":
        if not pd.api.types.is_numeric_dtype(table["value"]):
            raise InputError(f"split.column: '{column}' holds no numbers, as `since` needs.")
        return {str(name): float(value) for name, value in by_sample.min().items()}
    agreed = by_sample.first()[by_sample.nunique() == 1]
    return {str(name): str(value) for name, value in agreed.items() if str(value)}


def scheme_text(config: StudyConfig) -> str:
    """How test data are chosen, for a report."""
    split = config.split
    once = "all images of a patient are on one side, and a classifier never saw whom it is tested on"
    if split.kind == "holdout":
        return f"{split.holdout:.0%} of the patients, drawn by label, once for every seed: {once}."
    if split.kind == "leave_one_out":
        return f"each {split.decided_by()} in turn, by what was learnt from all others: {once}."
    if split.kind == "temporal":
        return f"patients first seen with {split.decided_by()} {split.since:g} or later, by the earlier ones: {once}."
    if split.kind == "card":
        return f"as each task's card says, {config.folds} folds or repeated draws of 20 % of the patients: {once}."
    return (
        f"{config.folds} folds, grouped by patient, stratified by label: all images of a patient are in one fold, and "
        "every patient is tested once per seed, by a classifier that never saw them."
    )
