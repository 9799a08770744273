"""What a time-to-event task needs of its label tables and folds, found before anything is written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.errors import InputError
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.protocol import Samples
from orthoray.evaluation.tasks import TaskCard


def label_columns(card: TaskCard) -> list[str]:
    """Columns of the label table that the task's samples are made of."""
    return ["sample_id", "patient_id", "label", *(["days"] if card.kind == "survival" else [])]


def times_of(card: TaskCard, table: pd.DataFrame) -> npt.NDArray[np.float64] | None:
    """(N,) days of the rows; None for a task without times. InputError where a time is missing or not above 0."""
    if card.kind != "survival":
        return None
    days = np.asarray(table["days"].astype("float64"), dtype=np.float64)
    wrong = int((~(days > 0)).sum())
    if wrong:
        raise InputError(
            f"Task '{card.task}': {wrong} of {len(days)} samples have no `days` above 0 to the event or to the end of "
            "observation. Give the column in the label entry of the dataset's card (docs/data.md), and ingest again."
        )
    return days


def check_times(card: TaskCard, samples: Samples, split: pd.DataFrame, seed: int) -> None:
    """InputError if a metric is not defined on some test fold, for example no event before a horizon."""
    if samples.time is None:
        return
    place = dict(zip(split["sample_id"], split["fold"], strict=True))
    folds = np.array([place[sample] for sample in samples.sample_id])
    for number in np.unique(folds):
        rows = np.flatnonzero(folds == number)
        for metric in card.metrics:
            try:
                compute([metric], samples.label[rows], np.zeros((len(rows), 1)), samples.time[rows])
            except InputError as error:
                raise InputError(
                    f"Task '{card.task}', seed {seed}: the test part of fold {number}: {error} Use fewer folds, or "
                    f"take the metric out of datasets/tasks/{card.task}.yaml."
                ) from None


def not_applicable(card: TaskCard, config: StudyConfig) -> dict[str, str]:
    """Protocol → why it is not run on a time-to-event task."""
    if card.kind != "survival":
        return {}
    tuning = config.finetune
    reasons = dict.fromkeys(config.protocols, "it tells classes apart, and who was censored has no class")
    reasons = {name: why for name, why in reasons.items() if name not in ("lp", "ft")}
    if tuning.start == "probe" or tuning.mixup or tuning.cutmix:
        reasons["ft"] = "finetune.start probe, mixup and cutmix are of classes; set start: zero and both to 0"
    return {name: reasons[name] for name in config.protocols if name in reasons}
