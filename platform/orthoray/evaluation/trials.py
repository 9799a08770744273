"""Fan the rows of a study out over the cluster: batches of cheap fits, each batch one Ray Tune trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orthoray import storage
from orthoray.data.splits import outer_folds
from orthoray.errors import OrthoRayError, RunError
from orthoray.evaluation.config import KnnConfig, ProbeConfig
from orthoray.evaluation.feature_folders import Folders, image_rows
from orthoray.evaluation.fits import Fits, Fold, family, fit_folds
from orthoray.evaluation.frozen_settings import MilConfig, SgdConfig, TransformerConfig
from orthoray.evaluation.protocol import Samples, assert_disjoint, few_shots, fold_rows, training_subset
from orthoray.evaluation.rows import Row, finished, write_part
from orthoray.evaluation.shots import shots_of
from orthoray.evaluation.task_features import TaskFeatures
from orthoray.evaluation.tuning import OnEnd, run_trials
from orthoray.features.aggregate import Aggregation
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

    ``features`` maps a model to its feature folders, one per dataset; ``blocks`` to those of several blocks;
    ``components`` to its PCA size or None.
    """

    out: str
    tasks: dict[str, TaskJob]
    features: dict[str, Folders]
    components: dict[str, int | None]
    aggregate: Aggregation
    probe: ProbeConfig
    knn: KnnConfig
    mil: MilConfig = field(default_factory=MilConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    sgd: SgdConfig = field(default_factory=SgdConfig)
    blocks: dict[str, Folders] = field(default_factory=dict)


def run_unit(job: StudyJob, rows: Sequence[Row]) -> int:
    """Run rows that share task and model: read the features once. Returns their number.

    A family of protocols that fails does not keep the others from their results: its error is raised at the end.

    Protocols of one family share their fits. The folds of one fraction and seed are fitted together, also those that
    have their part file already (after an interruption, say): a row's numbers must not depend on which others were
    left to do.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    task, model = rows[0].task, rows[0].model
    data = task_features(job, task, model)
    together: dict[tuple[str, int | None, float, int], list[Row]] = {}
    for row in rows:
        protocol, shots = shots_of(row.protocol)
        together.setdefault((family(protocol), shots, row.fraction, row.seed), []).append(row)
    reasons: dict[str, Exception] = {}
    with threadpool_limits(1):
        for (kind, *_), members in together.items():
            try:
                run_folds(job, members, data)
            except Exception as error:  # whatever it is, the other families have a right to their results
                reasons.setdefault(kind, error)
    if len({str(error) for error in reasons.values()}) > 1:
        raise RunError("; ".join(f"{kind}: {error}" for kind, error in reasons.items()))
    if reasons:
        raise next(iter(reasons.values()))
    return len(rows)


def run_folds(job: StudyJob, rows: Sequence[Row], data: TaskFeatures) -> None:
    """Fit all folds of one family of protocols, fraction and seed, and write the part file of each of ``rows``."""
    start = time.monotonic()
    task, first = job.tasks[rows[0].task], rows[0]
    samples, splits = task.samples, task.splits[first.seed]
    shots = shots_of(first.protocol)[1]
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
    options = Fits(job.probe, job.knn, job.components[first.model], job.mil, job.transformer, job.sgd)
    protocols = list(dict.fromkeys(shots_of(row.protocol)[0] for row in rows))
    fitted = fit_folds(protocols, data, list(folds.values()), task.n_classes, options, first.seed)
    seconds = (time.monotonic() - start) / len(folds) / len(protocols)
    dim = int((data.blocks if protocols == ["sgd"] else data.images).shape[1])
    numbers = list(folds)
    for row in rows:
        fold, one = folds[row.fold], fitted[shots_of(row.protocol)[0]][numbers.index(row.fold)]
        params = {
            **one.facts,
            "n_train": len(fold.train),
            "n_train_patients": len(set(samples.patient_id[fold.train])),
            "n_pool_patients": pool[row.fold],
            "dim": dim,
            "seconds": round(seconds, 3),
        }
        write_part(row.part(job.out), row, samples, fold.test, one.scores, params)


def task_features(job: StudyJob, task: str, model: str) -> TaskFeatures:
    """The features of a task by a model, read from the store when they are needed."""
    samples, blocks = job.tasks[task].samples, job.blocks.get(model)
    read = partial(image_rows, samples, job.features.get(model, []), read_features)
    read_blocks = None if blocks is None else partial(image_rows, samples, blocks, read_features)
    return TaskFeatures(samples, job.aggregate, read, read_blocks)


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
