"""What a fit learns, from whom, and what chooses its best epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orthoray.data.splits import make_splits
from orthoray.errors import InputError
from orthoray.evaluation.cox import Cohort, partial_likelihood
from orthoray.evaluation.finetune.settings import Objective
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.protocol import Indices, Samples, assert_disjoint

Scores = npt.NDArray[np.float64]

LEAST = 1e-12
"""Probability below which the log-loss grows no more."""


@dataclass(frozen=True)
class Task:
    """Samples, kind and number of classes of a task, and its headline metric."""

    samples: Samples
    kind: str
    classes: int
    headline: str


class Parts(NamedTuple):
    """Rows of samples: those that teach, those that choose the epoch (may be none), those that are tested."""

    fit: Indices
    validate: Indices
    test: Indices


def parts_of(samples: Samples, train: Indices, test: Indices, holdout: float, seed: int) -> Parts:
    """Hold about ``holdout`` of the training patients out, stratified by label; none if a class has one patient only.

    Raises:
        RunError: a patient is in two parts.
    """
    frame = samples.frame(train)
    rarest = int(frame.groupby("label")["patient_id"].nunique().min())
    pieces = min(max(2, round(1.0 / holdout)), rarest)
    if pieces < 2:
        parts = Parts(train, np.zeros(0, np.int64), test)
    else:
        split = make_splits(frame, pieces, seed)
        held = set(split.loc[split["fold"] == 0, "sample_id"])
        inside = np.array([sample in held for sample in samples.sample_id[train]])
        parts = Parts(train[~inside], train[inside], test)
    assert_disjoint(samples.patient_id, *parts)
    return parts


def inner_score(task: Task, rows: Indices, scores: Scores, objective: Objective) -> float:
    """What a fit is chosen by, larger is better: minus the log-loss, or the headline metric.

    NaN where the rows hold one class only (or no pair of times to compare) and the headline is asked for. The log-loss
    of times to an event is the partial likelihood per event.
    """
    label = task.samples.label[rows]
    if task.samples.time is not None:
        return _score_of_times(task.headline, label, scores, task.samples.time[rows], objective)
    if objective == "log_loss":
        return float(np.log(np.maximum(scores[np.arange(len(rows)), label], LEAST)).mean())
    if len(np.unique(label)) < 2:
        return float("nan")
    return compute([task.headline], label, scores)[task.headline]


def _score_of_times(headline: str, event: Indices, scores: Scores, days: Scores, objective: Objective) -> float:
    if objective == "log_loss":
        return partial_likelihood(scores[:, 0], Cohort.of(days, event))[0] / max(1, int(event.sum()))
    try:
        return compute([headline], event, scores, days)[headline]
    except InputError:
        return float("nan")
