"""Labelled samples of a target dataset: those of training patients, each with the images behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.data.dataset import Dataset
from orthoray.data.task_cards import task_card
from orthoray.errors import InputError
from orthoray.features.aggregate import aggregate
from orthoray.features.store import read_features
from orthoray.transferability.config import Target

TRAINING = ("train", "val")
"""Roles of a split by the dataset's authors that are not for testing."""


@dataclass(frozen=True)
class Labelled:
    """The samples of a target.

    Attributes:
        dataset, task: where they are from; ``dataset_id`` names the dataset's content.
        sample, patient: (N,) ids. label: (N,) integers as the dataset has them.
        image, owner: (M,) image ids and the row of the sample that each belongs to.
        left_out: samples that are not used, by reason.
    """

    dataset: str
    dataset_id: str
    task: str
    sample: npt.NDArray[np.object_]
    patient: npt.NDArray[np.object_]
    label: npt.NDArray[np.int64]
    image: npt.NDArray[np.object_]
    owner: npt.NDArray[np.int64]
    left_out: dict[str, int]

    @property
    def name(self) -> str:
        """The task, which names a target within a ranking unless two datasets have it."""
        return self.task

    def features(self, folder: str) -> npt.NDArray[np.float64]:
        """(N, D) features; of a sample with several images their mean."""
        return aggregate(read_features(folder, self.image.tolist()), self.owner, len(self.sample))


def labelled(target: Target, most: int, seed: int) -> Labelled:
    """Gather a target's samples: all, or where the dataset has its authors' split for the task, the training part.

    Args:
        target: dataset and task.
        most: samples; above, whole patients are left out at random, classes in proportion.
        seed: of that choice.

    Raises:
        InputError: no such dataset or task, a sample without image, or one class alone.
    """
    dataset = Dataset(target.dataset)
    labels = dataset.labels(target.task)[["sample_id", "patient_id", "label"]]
    left_out: dict[str, int] = {}
    split = dataset.split(target.task)
    if split is not None and set(split["role"]) & set(TRAINING):
        chosen = set(split.loc[split["role"].isin(TRAINING), "sample_id"])
        mine = labels["sample_id"].isin(chosen)
        left_out["not of the training part"] = int((~mine).sum())
        labels = labels[mine]
    if labels["label"].nunique() < 2:
        raise InputError(
            f"{target.dataset}: task '{target.task}' has {labels['label'].nunique()} class(es) among {len(labels)} "
            "samples for training; a ranking needs two."
        )
    kept = _some(labels, most, seed)
    if len(kept) < len(labels):
        left_out[f"beyond max_samples={most}"] = len(labels) - len(kept)
    return _with_images(dataset, target, kept.sort_values("sample_id", ignore_index=True), left_out)


def _some(labels: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """At most ``most`` samples of whole patients."""
    if len(labels) <= most:
        return labels
    order = patients_in_turn(labels["patient_id"].to_numpy(), labels["label"].to_numpy(), seed)
    place = labels["patient_id"].map({patient: number for number, patient in enumerate(order)})
    size = labels.assign(place=place).sort_values("place", kind="stable")
    counts = size.groupby("place").size().cumsum()
    last = int((counts <= most).sum())
    return size[size["place"] < max(1, last)].drop(columns="place")


def patients_in_turn(patient: npt.NDArray[np.object_], label: npt.NDArray[np.int64], seed: int) -> list[object]:
    """All patients in a random order whose every beginning has the classes in proportion, as far as may be.

    Patients are shuffled within strata (`patient_classes`) and the strata are merged by their share
    done, so a beginning of k patients holds of every stratum its share of k, within one.
    """
    rng = np.random.default_rng(seed)
    places, ordered = [], []
    for patients in patient_classes(patient, label):
        members = rng.permutation(np.array(patients, dtype=object))
        ordered.extend(members.tolist())
        places.extend(((np.arange(len(members)) + rng.random()) / len(members)).tolist())
    return [ordered[at] for at in np.argsort(places, kind="stable")]


def patient_classes(patient: npt.NDArray[np.object_], label: npt.NDArray[np.int64]) -> list[list[object]]:
    """The patients, in order, of each class: the rarest that one of their samples has, so that no class is lost."""
    frame = pd.DataFrame({"patient": patient, "label": label})
    frame["often"] = frame["label"].map(frame["label"].value_counts())
    first = frame.sort_values(["often", "label"], kind="stable").drop_duplicates("patient").sort_values("patient")
    return [group["patient"].tolist() for _, group in first.groupby("label")]


def _with_images(dataset: Dataset, target: Target, labels: pd.DataFrame, left_out: dict[str, int]) -> Labelled:
    index = dataset.index()
    unit = str(task_card(target.task).get("unit") or _unit(index, labels))
    members = index[["image_id", unit]] if unit != "image_id" else index[["image_id"]]
    members = members.assign(sample=members[unit])
    members = members[members["sample"].isin(set(labels["sample_id"]))].sort_values("image_id", ignore_index=True)
    row = {sample: number for number, sample in enumerate(labels["sample_id"])}
    lost = len(row) - members["sample"].nunique()
    if lost:
        raise InputError(
            f"{target.dataset}: {lost} of {len(row)} labelled samples of task '{target.task}' have no image in the "
            f"dataset's index (unit {unit}). Ingest images and labels together."
        )
    return Labelled(
        dataset=target.dataset,
        dataset_id=str(dataset.manifest["dataset_id"]),
        task=target.task,
        sample=labels["sample_id"].to_numpy(dtype=object),
        patient=labels["patient_id"].to_numpy(dtype=object),
        label=labels["label"].to_numpy(dtype=np.int64),
        image=members["image_id"].to_numpy(dtype=object),
        owner=members["sample"].map(row).to_numpy(dtype=np.int64),
        left_out=left_out,
    )


def _unit(index: pd.DataFrame, labels: pd.DataFrame) -> str:
    """What the samples of a task without card are: images or studies."""
    first = labels["sample_id"].iloc[0]
    return "image_id" if first in set(index["image_id"]) else "study_id"
