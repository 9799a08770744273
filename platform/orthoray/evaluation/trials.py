"""Fan the rows of a study out over the cluster: batches of cheap fits, each batch one Ray Tune trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orthoray import storage
from orthoray.data.splits import outer_folds
from orthoray.errors import OrthoRayError
from orthoray.evaluation.config import KnnConfig, ProbeConfig
from orthoray.evaluation.feature_folders import Folders, image_rows
from orthoray.evaluation.fits import Fits, Fold, fit_folds
from orthoray.evaluation.protocol import Samples, assert_disjoint, few_shots, fold_rows, training_subset
from orthoray.evaluation.rows import Row, finished, write_part
from orthoray.evaluation.shots import shots_of
from orthoray.evaluation.tuning import OnEnd, run_trials
from orthoray.features.aggregate import Aggregation, aggregate
from orthoray.features.store import read_features
from orthoray.progress import Progress


@dataclass(frozen=True)
class TaskJob:
    """What a worker needs of one task: its samples, its number of classes and its splits by seed."""

    samples: Samples
    n_classes: int
    splits: dict[int, Any]


@dataclass(frozen=True)
class StudyJob:
    """What a worker needs of the study; travels once through the object store.

    ``features`` maps a model to its feature folders, one per dataset; ``components`` to its PCA size or None.
    """

    out: str
    tasks: dict[str, TaskJob]
    features: dict[str, Folders]
    components: dict[str, int | None]
    aggregate: Aggregation
    probe: ProbeConfig
    knn: KnnConfig


def run_unit(job: StudyJob, rows: Sequence[Row]) -> int:
    """Run rows that share task and model: read the features once. Returns their number.

    The folds of one fraction and seed are fitted together, also those that have their part file already (after an
    interruption, say): a row's numbers must not depend on which others were left to do.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    task, model = rows[0].task, rows[0].model
    samples = job.tasks[task].samples
    together: dict[tuple[str, float, int], list[Row]] = {}
    for row in rows:
        together.setdefault((row.protocol, row.fraction, row.seed), []).append(row)
    with threadpool_limits(1):
        features = sample_features(samples, job.features[model], job.aggregate)
        for members in together.values():
            run_folds(job, members, features)
    return len(rows)


def run_folds(job: StudyJob, rows: Sequence[Row], features: npt.NDArray[np.float64]) -> None:
    """Fit all folds of one protocol, fraction and seed, and write the part file of each of ``rows``."""
    start = time.monotonic()
    task, first = job.tasks[rows[0].task], rows[0]
    samples, splits = task.samples, task.splits[first.seed]
    protocol, shots = shots_of(first.protocol)
    folds, pool = {}, {}
    for number in outer_folds(splits):
        train, test = fold_rows(samples, splits, number)
        pool[number] = len(set(samples.patient_id[train]))
        if shots is None:
            train = training_subset(samples, train, first.fraction, first.seed)
        else:
            train = few_shots(samples, train, shots, first.seed)
        assert_disjoint(samples.patient_id, train, test)
        folds[number] = Fold(train, test)
    options = Fits(job.probe, job.knn, job.components[first.model])
    fitted = fit_folds(protocol, features, samples, list(folds.values()), task.n_classes, options, first.seed)
    seconds = (time.monotonic() - start) / len(folds)
    for (number, fold), one in zip(folds.items(), fitted, strict=True):
        params = {
            **one.facts,
            "n_train": len(fold.train),
            "n_train_patients": len(set(samples.patient_id[fold.train])),
            "n_pool_patients": pool[number],
            "dim": int(features.shape[1]),
            "seconds": round(seconds, 3),
        }
        for row in rows:
            if row.fold == number:
                write_part(row.part(job.out), row, samples, fold.test, one.scores, params)


def sample_features(samples: Samples, folders: Folders, how: Aggregation) -> npt.NDArray[np.float64]:
    """(N, D) float64 features of a task's samples, slices pooled by ``how``."""
    return aggregate(image_rows(samples, folders, read_features), samples.owner, len(samples.label), how)


def batches(rows: Sequence[Row], job: StudyJob, count: int) -> list[list[list[Row]]]:
    """Group rows into units (same task and model), and deal the units, costliest first, onto ``count`` trials."""
    units: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        units.setdefault((row.task, row.model), []).append(row)

    def cost(unit: list[Row]) -> float:
        task = job.tasks[unit[0].task]
        shrink = 0.2 if job.components[unit[0].model] else 1.0
        return len(unit) * len(task.samples.label) * task.n_classes * shrink

    dealt: list[list[list[Row]]] = [[] for _ in range(min(count, len(units)))]
    load = [0.0] * len(dealt)
    for unit in sorted(units.values(), key=cost, reverse=True):
        lightest = load.index(min(load))
        dealt[lightest].append(unit)
        load[lightest] += cost(unit)
    return dealt


def run_rows(
    rows: Sequence[Row], job: StudyJob, trials: int | None = None, on_end: OnEnd | None = None
) -> dict[Row, str]:
    """Run all ``rows`` through Ray Tune and return when each has its part file, or a reason why not.

    Args:
        rows: rows without a result.
        job: data and options, shared by all trials.
        trials: number of trials; None = two per processor, at most one per (task, model).
        on_end: told of rows as they end.

    Returns:
        The rows that failed, with reasons.

    Raises:
        RunError: trials vanished: no processor could be had.
    """
    from ray import tune

    from orthoray.cluster.session import available_cpus

    groups = batches(rows, job, trials or 2 * available_cpus())
    failed: dict[Row, str] = {}
    trial = tune.with_resources(tune.with_parameters(_trial, groups=groups, job=job), {"cpu": 1})
    with Progress(len(rows), "fits", "fits") as bar:
        run_trials(
            trial,
            storage.join(job.out, ".tune"),
            _callback(groups, bar, failed, on_end),
            len(groups),
            param_space={"group": tune.grid_search(list(range(len(groups))))},
            reuse_actors=True,
        )
    there = finished(rows, job.out)
    return {row: failed.get(row, "the trial was lost") for row in rows if row not in there}


def _trial(config: dict[str, Any], groups: list[list[list[Row]]], job: StudyJob) -> None:
    """Function trainable: the units of one group, told after each; one that fails does not take the others with it."""
    from ray import tune

    for place, unit in enumerate(groups[config["group"]]):
        reason = ""
        try:
            run_unit(job, [row for row in unit if not storage.exists(row.part(job.out))])
        except Exception as error:  # whatever it is, the other units have a right to their results
            reason = (str(error).strip().splitlines() or [""])[0]
            reason = reason if isinstance(error, OrthoRayError) else f"{type(error).__name__}: {reason}"
        tune.report({"group": config["group"], "unit": place, "reason": reason})


def _callback(groups: list[list[list[Row]]], bar: Progress, failed: dict[Row, str], on_end: OnEnd | None) -> Any:
    from ray import tune

    class Show(tune.Callback):
        """Move the bar, take note of what failed, and pass on what ended."""

        def __init__(self) -> None:
            self.seen: set[tuple[int, int]] = set()

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            place = int(result["group"]), int(result["unit"])
            unit = groups[place[0]][place[1]]
            if place not in self.seen:
                self.seen.add(place)
                bar.advance(len(unit))
            if result["reason"]:
                failed.update(dict.fromkeys(unit, str(result["reason"])))
            elif on_end is not None:
                on_end(unit)

    return Show()
