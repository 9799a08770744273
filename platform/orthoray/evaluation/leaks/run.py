"""All leak checks of a study, a Ray task for each of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.cluster.fanout import for_each
from orthoray.data.splits import make_splits, outer_folds
from orthoray.errors import InputError
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.feature_folders import Folders, image_rows
from orthoray.evaluation.leaks.copies import exact_copies, near_copies, shared_studies
from orthoray.evaluation.leaks.findings import Finding, count, finding_lines, read_findings, write_findings
from orthoray.evaluation.leaks.probes import (
    ACQUISITION,
    PATIENT,
    blind_probe,
    margins,
    metadata,
    permuted_labels,
    unseen_rows,
)
from orthoray.evaluation.preflight import Plan
from orthoray.evaluation.protocol import Samples
from orthoray.evaluation.rows import digest, samples_digest
from orthoray.features.aggregate import aggregate
from orthoray.features.store import read_features
from orthoray.progress import say

KNOWN = {"acquisition only": ACQUISITION, "age and sex only": PATIENT}


@dataclass(frozen=True)
class TaskLeaks:
    """What the checks of one task read.

    ``index``: rows of the datasets' indices of its images, in their order; ``tests``: probes of the study that may
    raise an alarm.
    """

    task: str
    samples: Samples
    splits: dict[int, pd.DataFrame]
    classes: int
    index: pd.DataFrame
    pixels: Folders
    tests: int


def check_copies(config: StudyConfig, plan: Plan) -> None:
    """InputError if an image is on both sides of a split, unless ``leaks.on_copies`` is ``report``; before any fit."""
    if config.leaks.on_copies == "report":
        return
    indices = [dataset.index() for dataset in plan.datasets]
    for name, task in plan.tasks.items():
        rows = _rows(task.samples, indices)
        found = (
            exact_copies(name, task.samples, task.splits, rows["sha256"].to_numpy(dtype=object))
            if "sha256" in rows
            else None
        )
        if found is not None and found.alarm:
            raise InputError(
                f"Task '{name}': {found.detail}, under another patient: one patient with two ids, or a copy. Correct "
                "the patients and ingest again, or set leaks.on_copies=report to go on with an alarm in the report."
            )


def check_leaks(plan: Plan, out: str, pixels: Folders) -> list[Finding]:
    """Run the checks of all tasks, or read what they found before; tell the alarms. ``pixels``: of thumbnails."""
    done = digest(5, {n: [samples_digest(t.samples), sorted(t.splits)] for n, t in plan.tasks.items()}, plan.overlap)
    findings = read_findings(out, done)
    if findings is None:
        findings = _run(plan, pixels)
        write_findings(out, findings, done)
    for line in finding_lines(findings):
        say(f"  {line}")
    return findings


def _run(plan: Plan, pixels: Folders) -> list[Finding]:
    indices = [dataset.index() for dataset in plan.datasets]
    tests = 2 * len(plan.tasks)
    jobs = [
        TaskLeaks(
            name,
            task.samples,
            task.splits,
            len(task.card.classes),
            _rows(task.samples, indices),
            pixels,
            tests,
        )
        for name, task in plan.tasks.items()
    ]
    found = for_each(check_task, jobs, "leak checks", "tasks")
    return [finding for findings in found for finding in findings] + _seen(plan)


def check_task(job: TaskLeaks) -> list[Finding]:
    """All checks of one task."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    samples, owner = job.samples, job.samples.owner
    n = len(samples.label)
    seed = min(job.splits)
    split = probing_split(samples, job.splits[seed], seed)
    thumbs = image_rows(samples, job.pixels, read_features)
    whole = aggregate(thumbs, owner, n)
    found: list[Finding | None] = []
    with threadpool_limits(1):
        if "sha256" in job.index:
            found.append(exact_copies(job.task, samples, job.splits, job.index["sha256"].to_numpy(dtype=object)))
        found.append(near_copies(job.task, samples, job.splits, thumbs))
        if "study_id" in job.index:
            found.append(shared_studies(job.task, samples, job.splits, job.index["study_id"].to_numpy(dtype=object)))
        frame, few = _few(margins(thumbs, owner, n)), _few(whole)
        known = {check: metadata(job.index, columns, owner, n) for check, columns in KNOWN.items()}
        shared = (samples, split, job.classes, seed)
        nan = float("nan")
        probes: dict[str, Callable[[], Finding | None]] = {
            "acquisition only": lambda: _blind("acquisition only", job, split, known, True),
            "age and sex only": lambda: _blind("age and sex only", job, split, known, False),
            "margin only": lambda: blind_probe("margin only", job.task, frame, *shared, True, job.tests),
            "permuted labels": lambda: permuted_labels(job.task, few, *shared),
            "fitted outside training": lambda: unseen_rows(job.task, few, *shared),
        }
        for check, probe in probes.items():
            try:
                found.append(probe())
            except Exception as error:  # too few patients of a class, say: told, and no reason to end the study
                found.append(Finding(job.task, check, nan, nan, nan, nan, False, n, f"not possible: {error}"))
    return [finding for finding in found if finding is not None]


def _blind(
    check: str, job: TaskLeaks, split: pd.DataFrame, known: dict[str, npt.NDArray[np.float64]], alarms: bool
) -> Finding | None:
    return blind_probe(
        check, job.task, known[check], job.samples, split, job.classes, min(job.splits), alarms, job.tests
    )


def probing_split(samples: Samples, split: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The study's own split if it tests every sample; else, for the probes alone, folds of patients."""
    if set(split["fold"]) == set(outer_folds(split)):
        return split
    frame = samples.frame()
    rarest = int(frame.groupby("label")["patient_id"].nunique().min())
    return make_splits(frame, max(2, min(5, rarest)), seed)


def _few(features: npt.NDArray[np.float64], most: int = 64) -> npt.NDArray[np.float64]:
    """At most ``most`` columns: means of neighbouring ones. (Principal components would be fitted on test rows.)"""
    if features.shape[1] <= most:
        return features
    return np.stack([part.mean(axis=1) for part in np.array_split(features, most, axis=1)], axis=1)


def _seen(plan: Plan) -> list[Finding]:
    """Evaluated patients that a model saw in pretraining; no alarm, as labels were not seen."""
    found = []
    ids = [str(dataset.manifest["dataset_id"]) for dataset in plan.datasets]
    for name, task in plan.tasks.items():
        for model, seen in plan.overlap.items():
            if not seen:
                continue
            inside = np.isin(task.samples.image_dataset, [ids.index(one) for one in seen])
            patients = len(set(task.samples.patient_id[task.samples.owner[inside]]))
            detail = f"{model} saw {int(inside.sum())} of {len(inside)} images, of {patients} patients, without labels"
            one = count(name, "seen in pretraining", patients, len(set(task.samples.patient_id)), detail)
            found.append(Finding(**{**one.__dict__, "alarm": False}))
    return found


def _rows(samples: Samples, indices: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of the indices of a task's images, in their order."""
    tables = [index.assign(_dataset=position) for position, index in enumerate(indices)]
    table = pd.concat(tables, ignore_index=True).set_index(["_dataset", "image_id"])
    keys = list(zip(samples.image_dataset.tolist(), samples.image_id.tolist(), strict=True))
    return table.loc[keys].reset_index()
