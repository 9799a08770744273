"""Everything that can be wrong with a study, found before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray import storage
from orthoray.data.dataset import Dataset
from orthoray.data.splits import check_disjoint, outer_folds
from orthoray.errors import InputError, RunError, nearest
from orthoray.evaluation.applicable import Gap, find_gaps, gap_lines
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.cross_joint import seen_in_pretraining
from orthoray.evaluation.parts import part_cards, part_name, shared_splits
from orthoray.evaluation.protocol import Samples, fold_rows
from orthoray.evaluation.registry import wanted_tasks
from orthoray.evaluation.schemes import Scheme, scheme_of
from orthoray.evaluation.tasks import TaskCard, load_task
from orthoray.evaluation.times import check_times, label_columns, not_applicable, times_of
from orthoray.features.encoders import EncoderSpec, checkpoint_spec, pixel_spec

PLACES = ("plane", "slice_index", "slice_count")
"""Columns of the index that say where a slice lies."""


@dataclass(frozen=True)
class PlannedTask:
    """A task that can be evaluated: its card, samples, and one split per seed.

    ``masked``: of a part of several labels, the samples of the other parts that it has no label for.
    """

    card: TaskCard
    samples: Samples
    splits: dict[int, pd.DataFrame]
    masked: int = 0


@dataclass(frozen=True)
class Plan:
    """A study that has passed all checks.

    ``overlap`` maps a checkpoint to the evaluated datasets that it was pretrained on, ``seen`` to the body parts that
    it saw then (None = not known). ``gaps``: protocols that do not apply to a task and model, which have no rows.
    ``missing``: baselines without weights, and where these are published.
    """

    datasets: list[Dataset]
    tasks: dict[str, PlannedTask]
    specs: dict[str, EncoderSpec]
    overlap: dict[str, list[str]]
    skipped: dict[str, str] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    seen: dict[str, list[str] | None] = field(default_factory=dict)


def plan_study(config: StudyConfig) -> Plan:
    """Check datasets, tasks, folds and checkpoints; raise InputError with numbers and a way out, or return the plan."""
    datasets = [Dataset(uri) for uri in config.datasets]
    ids = [str(dataset.manifest["dataset_id"]) for dataset in datasets]
    if len(set(ids)) != len(ids):
        raise InputError(f"datasets: two of them are the same dataset ({', '.join(ids)}); name it once.")
    wish = config.features
    specs = {
        model.name: pixel_spec()
        if model.kind == "pixels"
        else checkpoint_spec(str(model.checkpoint), wish.pooling, wish.resolution, wish.precision)
        for model in config.all_models()
    }
    tasks, skipped = _plan_tasks(config, datasets)
    overlap, body_parts = _pretraining(config, ids)
    saw = {name: seen for name, seen in overlap.items() if seen}
    if config.pretraining == "inductive" and saw:
        told = "; ".join(f"{name} saw {', '.join(seen)}" for name, seen in saw.items())
        raise InputError(
            f"pretraining=inductive: {told}. Evaluate on datasets that no model was pretrained on, leave those models "
            "out, or set pretraining=transductive, which the report then says."
        )
    gaps = find_gaps(config, {name: (task.card, task.samples) for name, task in tasks.items()})
    about = [gap for gap in gaps if gap.model == config.tested()]
    if len(about) == len(tasks) * len(config.protocols):
        raise InputError(
            f"protocols: none applies to the candidate {config.tested()}. {'; '.join(gap_lines(about))}. Add lp, for "
            "example, or name another candidate."
        )
    return Plan(datasets, tasks, specs, overlap, skipped, gaps, seen=body_parts)


def _plan_tasks(config: StudyConfig, datasets: Sequence[Dataset]) -> tuple[dict[str, PlannedTask], dict[str, str]]:
    present = sorted({task for dataset in datasets for task in dataset.tasks()})
    indices = [dataset.index() for dataset in datasets]
    tasks: dict[str, PlannedTask] = {}
    skipped: dict[str, str] = {}
    wanted = None if config.tasks == "auto" else wanted_tasks(config.tasks)
    for name in present if wanted is None else wanted.tasks:
        try:
            if (card := load_task(name)).kind == "multilabel":
                found, lacking = _plan_parts(card, present, config, datasets, indices)
                tasks, skipped = tasks | found, skipped | lacking
            else:
                tasks[name] = _plan_task(name, present, config, datasets, indices)
        except InputError as error:
            if wanted is not None and name not in wanted.suite:
                raise
            skipped[name] = str(error)
    if not tasks:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise InputError(f"No task can be evaluated. {reasons or 'The datasets hold no label table.'}")
    return tasks, skipped


def _plan_task(
    name: str,
    present: Sequence[str],
    config: StudyConfig,
    datasets: Sequence[Dataset],
    indices: Sequence[pd.DataFrame],
) -> PlannedTask:
    card, samples = _plan_samples(name, present, config, datasets, indices)
    scheme = scheme_of(config, card, [samples], indices)
    check_foldable(card, samples, scheme.patients_per_class)
    splits = {seed: _made(card, scheme, samples.frame(), seed) for seed in config.seeds}
    return _checked(card, samples, splits)


def _made(card: TaskCard, scheme: Scheme, labels: pd.DataFrame, seed: int) -> pd.DataFrame:
    try:
        return scheme.make(labels, seed)
    except InputError as error:
        raise InputError(f"Task '{card.task}': {error}") from None


def _plan_parts(
    group: TaskCard,
    present: Sequence[str],
    config: StudyConfig,
    datasets: Sequence[Dataset],
    indices: Sequence[pd.DataFrame],
) -> tuple[dict[str, PlannedTask], dict[str, str]]:
    """The parts of a task of several labels on one split, and those that cannot be evaluated, with reasons."""
    known: dict[str, tuple[TaskCard, Samples]] = {}
    skipped: dict[str, str] = {}
    for name in part_cards(group):
        try:
            known[name] = _plan_samples(name, present, config, datasets, indices)
        except InputError as error:
            skipped[part_name(group.task, name)] = str(error)
    if len(known) < 2:
        reasons = "; ".join(skipped.values())
        raise InputError(f"Task '{group.task}': {len(known)} of its parts can be evaluated, two are needed. {reasons}")
    parts = {name: samples for name, (_, samples) in known.items()}
    scheme = scheme_of(config, group, list(parts.values()), indices)
    for card, samples in known.values():
        check_foldable(card, samples, scheme.patients_per_class)
    splits, masked = shared_splits(parts, scheme.patients_per_class, config.seeds, scheme.make)
    tasks: dict[str, PlannedTask] = {}
    for name, (card, samples) in known.items():
        try:
            planned = _checked(card, samples, splits[name])
            tasks[part_name(group.task, name)] = replace(planned, masked=masked[name])
        except InputError as error:
            skipped[part_name(group.task, name)] = str(error)
    return tasks, skipped


def _plan_samples(
    name: str,
    present: Sequence[str],
    config: StudyConfig,
    datasets: Sequence[Dataset],
    indices: Sequence[pd.DataFrame],
) -> tuple[TaskCard, Samples]:
    """Card and samples of a task that has enough of them."""
    card = load_task(name)
    if name not in present:
        raise InputError(
            f"Task '{name}': no dataset of this study holds labels for it.{nearest(name, present)} "
            f"Label tables present: {', '.join(present) or 'none'}."
        )
    if config.features.modality not in (None, card.modality):
        raise InputError(
            f"Task '{name}' is on {card.modality} images, but features.modality is {config.features.modality}."
        )
    unfit = not_applicable(card, config)
    if len(unfit) == len(config.protocols):
        raise InputError(f"Task '{name}': {'; '.join(f'{which}: {why}' for which, why in unfit.items())}. Add lp.")
    return card, gather_samples(card, datasets, indices)


def _checked(card: TaskCard, samples: Samples, splits: dict[int, pd.DataFrame]) -> PlannedTask:
    """The task, if every fold of every split can be fitted and scored."""
    for seed, split in splits.items():
        check_disjoint(split)
        _check_folds(card, samples, split, seed)
        check_times(card, samples, split, seed)
    return PlannedTask(card, samples, splits)


def gather_samples(card: TaskCard, datasets: Sequence[Dataset], indices: Sequence[pd.DataFrame]) -> Samples:
    """Join a task's labels of all datasets with the images behind each sample.

    Raises:
        InputError: a sample twice, a sample without an image of the card's modality, a label outside the card's
            classes, or a patient id that contradicts the image index.
    """
    labels, images = [], []
    for position, (dataset, index) in enumerate(zip(datasets, indices, strict=True)):
        if card.task not in dataset.tasks():
            continue
        labels.append(dataset.labels(card.task)[label_columns(card)])
        columns = ["image_id", "patient_id", card.unit, *(name for name in PLACES if name in index.columns)]
        part = index.loc[index["modality"] == card.modality, columns]
        part = part.loc[:, ~part.columns.duplicated()]
        part = part.assign(sample=part[card.unit], dataset=position)
        images.append(part[part["sample"].isin(labels[-1]["sample_id"])])
    table = pd.concat(labels, ignore_index=True).sort_values("sample_id", ignore_index=True)
    members = pd.concat(images, ignore_index=True).sort_values(["sample", "image_id"], ignore_index=True)
    _check_table(card, table, members)
    row = {sample: position for position, sample in enumerate(table["sample_id"])}
    return Samples(
        sample_id=table["sample_id"].to_numpy(dtype=object),
        patient_id=table["patient_id"].to_numpy(dtype=object),
        label=table["label"].to_numpy(dtype=np.int64),
        image_id=members["image_id"].to_numpy(dtype=object),
        image_dataset=members["dataset"].to_numpy(dtype=np.int64),
        owner=members["sample"].map(row).to_numpy(dtype=np.int64),
        time=times_of(card, table),
        plane=members["plane"].fillna("none").to_numpy(dtype=object) if "plane" in members else None,
        position=_positions(members),
    )


def _positions(members: pd.DataFrame) -> npt.NDArray[np.float64] | None:
    """The middle of each slice along its series, 0..1."""
    if not {"slice_index", "slice_count"} <= set(members.columns):
        return None
    index, count = (members[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in PLACES[1:])
    return np.asarray((index + 0.5) / count)


def _check_table(card: TaskCard, table: pd.DataFrame, members: pd.DataFrame) -> None:
    twice = int(table["sample_id"].duplicated().sum())
    if twice:
        raise InputError(f"Task '{card.task}': {twice} samples have more than one label; keep one row per {card.unit}.")
    missing = set(table["sample_id"]) - set(members["sample"])
    if missing:
        raise InputError(
            f"Task '{card.task}': {len(missing)} of {len(table)} labelled samples have no {card.modality} image in the "
            f"dataset's index (unit {card.unit}). Ingest the images and labels together, or correct the card."
        )
    wrong = table.loc[~table["label"].isin(range(len(card.classes))), "label"]
    if len(wrong):
        raise InputError(
            f"Task '{card.task}': {len(wrong)} labels lie outside 0..{len(card.classes) - 1}, for example "
            f"{wrong.iloc[0]}; the card names {len(card.classes)} classes: {', '.join(card.classes)}."
        )
    owner = members["sample"].map(table.set_index("sample_id")["patient_id"])
    clash = int((owner != members["patient_id"]).sum())
    if clash:
        raise InputError(
            f"Task '{card.task}': {clash} images belong to another patient than their label says; ingest again."
        )


def check_foldable(card: TaskCard, samples: Samples, folds: int) -> None:
    """InputError unless patients and classes are enough for ``folds`` patient-grouped folds."""
    frame = samples.frame()
    patients = frame["patient_id"].nunique()
    if patients < folds:
        raise InputError(
            f"Task '{card.task}': {folds} folds need at least {folds} patients, but its {len(frame)} samples come from "
            f"{patients}. Add patients, or set folds={max(2, patients)}{' is not possible either' * (patients < 2)}."
        )
    counts = frame.groupby("label")["patient_id"].nunique()
    if len(counts) < 2:
        raise InputError(
            f"Task '{card.task}': all {len(frame)} samples have the class '{card.classes[int(counts.index[0])]}'; "
            "there is nothing to tell apart. Leave the task out, or add the other class."
        )
    rare = counts[counts < folds]
    if len(rare):
        named = ", ".join(f"'{card.classes[int(str(k))]}' {n}" for k, n in rare.items())
        way = f"set folds={int(rare.min())}" if rare.min() >= 2 else "add patients"
        raise InputError(
            f"Task '{card.task}': too few patients in a class for {folds} folds ({named}). "
            f"Leave the task out, {way}, or join classes in the task card."
        )


def _check_folds(card: TaskCard, samples: Samples, split: pd.DataFrame, seed: int) -> None:
    """InputError if a fold could not be fitted (a class missing from training) or scored (one class in the test)."""
    everything = set(samples.label)
    if len(split) != len(samples.label) or not outer_folds(split):
        raise RunError(f"Task '{card.task}': the split of seed {seed} does not cover all samples.")
    for fold in outer_folds(split):
        train, test = (set(samples.label[rows]) for rows in fold_rows(samples, split, fold))
        if train != everything or len(test) < 2:
            lacking = [card.classes[k] for k in sorted(everything - train)] or ["a second class"]
            side = "training" if train != everything else "test"
            raise InputError(
                f"Task '{card.task}', seed {seed}: the {side} part of fold {fold} lacks {', '.join(lacking)}. "
                "Its patients are too few or too uneven; use fewer folds or leave the task out."
            )


def _pretraining(config: StudyConfig, ids: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, list[str] | None]]:
    """By model name: evaluated datasets whose images it saw in pretraining, and `seen_in_pretraining`."""
    found: dict[str, list[str]] = {}
    body_parts: dict[str, list[str] | None] = {}
    for model in config.all_models():
        if model.kind != "checkpoint":
            continue
        card = storage.read_json(storage.join(str(model.checkpoint), "card.json"))
        seen = _trained_on(card)
        found[model.name] = [dataset_id for dataset_id in ids if dataset_id in seen]
        body_parts[model.name] = seen_in_pretraining(card)
    return found, body_parts


def _trained_on(card: dict[str, Any]) -> set[str]:
    """Dataset ids of a checkpoint card, if it has taken at least one training step."""
    provenance = card.get("provenance") or {}
    if not int(provenance.get("steps") or 0):
        return set()
    return {str(value) for value in provenance.get("dataset_ids") or []}
