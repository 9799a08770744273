"""What a backbone's frozen features are worth on labelled data: kNN and linear probe, grouped by patient.

The one module of pretraining that uses `orthoray.evaluation`. A probe is a quick look while a run goes on; figures for
a paper come from a downstream study (`orthoray study`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.data.dataset import Dataset
from orthoray.data.splits import make_splits
from orthoray.errors import InputError, nearest
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.knn import knn_scores
from orthoray.evaluation.metrics import ALLOWED, LOWER_IS_BETTER, compute
from orthoray.evaluation.preflight import check_foldable, gather_samples
from orthoray.evaluation.probe import Part, fit_probes
from orthoray.evaluation.protocol import Samples, assert_disjoint, fold_rows, inner_folds, training_subset
from orthoray.evaluation.tasks import TaskCard, load_task
from orthoray.features.aggregate import aggregate
from orthoray.features.encoders import checkpoint_spec
from orthoray.pretrain.settings.probes import ProbeProtocol, ProbesConfig
from orthoray.progress import say

LINEAR = ProbeConfig(
    log10_c_min=-4.0, log10_c_max=1.0, c_steps=6, inner="cv", inner_folds=2, patience=1, max_iter=200, tol=1e-3
)
"""A linear probe that is quick rather than exact: six strengths of regularisation, two inner folds."""

CHUNK = 512
"""Images that are decoded at a time."""

BATCH = 64
"""Images that are encoded at a time."""

Row = dict[str, Any]


@dataclass(frozen=True)
class ProbeTask:
    """A task that can be probed: its card, samples and split, and the metric that it is judged by."""

    card: TaskCard
    samples: Samples
    split: pd.DataFrame
    metric: str


@dataclass(frozen=True)
class ProbeJob:
    """What a probe needs beside a checkpoint."""

    config: ProbesConfig
    tasks: list[ProbeTask]


def plan_probes(config: ProbesConfig) -> ProbeJob:
    """Check datasets, tasks and folds before a run begins.

    Raises:
        InputError: a dataset without labels, an unknown task or metric, or too few patients for the folds.
    """
    datasets = [Dataset(uri) for uri in config.datasets]
    indices = [dataset.index() for dataset in datasets]
    present = sorted({task for dataset in datasets for task in dataset.tasks()})
    tasks, left_out = [], []
    for name in present if config.tasks == "auto" else config.tasks:
        if name not in present:
            known = ", ".join(present) or "none"
            raise InputError(f"probes.tasks: no labels for '{name}'.{nearest(name, present)} There are: {known}.")
        try:
            tasks.append(_plan_task(config, load_task(name), datasets, indices))
        except InputError as error:
            if config.tasks != "auto":
                raise
            left_out.append(str(error))
            say(f"  probes: task {name} is left out: {error}")
    if not tasks:
        raise InputError(f"probes: no task can be probed. {' '.join(left_out) or 'The datasets have no labels.'}")
    return ProbeJob(config, tasks)


def _plan_task(config: ProbesConfig, card: TaskCard, datasets: list[Dataset], indices: list[pd.DataFrame]) -> ProbeTask:
    if card.kind == "survival":
        raise InputError(f"probes: {card.task} is a time-to-event task; probes tell classes apart, so leave it out.")
    metric = card.headline if config.metric == "auto" else config.metric
    allowed = [name for name in ALLOWED[card.kind] if name not in LOWER_IS_BETTER]
    if metric not in allowed:
        raise InputError(
            f"probes.metric: '{metric}' is not for the {card.kind} task {card.task}; allowed: {', '.join(allowed)}."
        )
    samples = gather_samples(card, datasets, indices)
    total = len(set(samples.patient_id))
    if config.patients is not None and config.patients < total:
        rows = training_subset(samples, np.arange(len(samples.label)), config.patients / total, config.seed)
        samples = subset(samples, rows)
        say(f"  probes: task {card.task} looks at {len(set(samples.patient_id))} of its {total} patients")
    check_foldable(card, samples, config.folds)
    return ProbeTask(card, samples, make_splits(samples.frame(), config.folds, config.seed), metric)


def subset(samples: Samples, rows: npt.NDArray[np.int64]) -> Samples:
    """Some samples of a task, by their rows in ascending order, with the images that belong to them."""
    place = np.full(len(samples.label), -1, np.int64)
    place[rows] = np.arange(len(rows))
    images = np.flatnonzero(place[samples.owner] >= 0)
    return Samples(
        sample_id=samples.sample_id[rows],
        patient_id=samples.patient_id[rows],
        label=samples.label[rows],
        image_id=samples.image_id[images],
        image_dataset=samples.image_dataset[images],
        owner=place[samples.owner[images]],
        plane=None if samples.plane is None else samples.plane[images],
        position=None if samples.position is None else samples.position[images],
    )


def probe_checkpoint(checkpoint: str, job: ProbeJob, threads: int = 1, device: str = "cpu") -> list[Row]:
    """Evaluate a checkpoint folder on all tasks of a job.

    Args:
        checkpoint: URI; see `orthoray.models.checkpoint`.
        job: from `plan_probes`.
        threads: of the processor.
        device: for the backbone.

    Returns:
        For every task and protocol ``task, protocol, metric, value, low, high`` (95 % by bootstrap over patients),
        ``n_patients, n_samples, seconds``. Predictions are out of fold, no patient is on both sides.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    rows: list[Row] = []
    with threadpool_limits(threads):
        for task in job.tasks:
            features = encode(checkpoint, task.samples, job.config, threads, device)
            for protocol in job.config.protocols:
                rows.append(_row(task, protocol, features, job.config))
    return rows


def encode(
    checkpoint: str, samples: Samples, config: ProbesConfig, threads: int, device: str
) -> npt.NDArray[np.float64]:
    """(N, D) features of a task's samples, those of their images averaged."""
    encoder = checkpoint_spec(checkpoint, config.pooling).build(threads, device)
    blocks, owners = [], []
    for place, uri in enumerate(config.datasets):
        mine = np.flatnonzero(samples.image_dataset == place)
        dataset = Dataset(uri)
        for start in range(0, len(mine), CHUNK):
            part = mine[start : start + CHUNK]
            ids = [str(name) for name in samples.image_id[part]]
            images = dataset.read_images(ids)
            for first in range(0, len(ids), BATCH):
                blocks.append(encoder.encode([images[name] for name in ids[first : first + BATCH]]))
            owners.append(samples.owner[part])
    return aggregate(np.concatenate(blocks), np.concatenate(owners), len(samples.label))


def _row(task: ProbeTask, protocol: ProbeProtocol, features: npt.NDArray[np.float64], config: ProbesConfig) -> Row:
    start = time.monotonic()
    samples = task.samples
    scores = out_of_fold(task, protocol, features, config)
    low, high = patient_interval(
        samples.label, scores, samples.patient_id, task.metric, resamples=config.resamples, seed=config.seed
    )
    return {
        "task": task.card.task,
        "protocol": protocol,
        "metric": task.metric,
        "value": compute([task.metric], samples.label, scores)[task.metric],
        "low": low,
        "high": high,
        "n_patients": len(set(samples.patient_id)),
        "n_samples": len(samples.label),
        "seconds": round(time.monotonic() - start, 3),
    }


def out_of_fold(
    task: ProbeTask, protocol: ProbeProtocol, features: npt.NDArray[np.float64], config: ProbesConfig
) -> npt.NDArray[np.float64]:
    """(N, K) class probabilities, each sample's by a probe that has seen no image of its patient."""
    samples, classes = task.samples, len(task.card.classes)
    scores = np.zeros((len(samples.label), classes))
    folds = [fold_rows(samples, task.split, fold) for fold in range(config.folds)]
    for train, test in folds:
        assert_disjoint(samples.patient_id, train, test)
    if protocol == "knn":
        for train, test in folds:
            known = samples.label[train]
            scores[test] = knn_scores(features[train], known, features[test], classes, config.k, config.temperature)
        return scores
    parts = [Part(train, inner_folds(samples, train, LINEAR, config.seed)) for train, _ in folds]
    probes = fit_probes(features, samples.label, parts, classes, LINEAR)
    for probe, (_, test) in zip(probes, folds, strict=True):
        scores[test] = probe.predict(features[test])
    return scores


def patient_interval(
    labels: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    patients: Sequence[str] | npt.NDArray[np.object_],
    metric: str,
    *,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """95 % percentile interval of a metric when patients, with all their samples, are drawn anew with replacement.

    A draw in which only one class occurs has no value; another is made in its place.
    """
    _, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    order = np.argsort(owner, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
    rng, values = np.random.default_rng((seed, 95)), list[float]()
    while len(values) < resamples:
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[place] for place in drawn])
        if len(np.unique(labels[rows])) > 1:
            values.append(compute([metric], labels[rows], scores[rows])[metric])
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
