"""Who trains and who is tested: folds, inner validation and training fractions, all grouped by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.data.splits import UNUSED, inner_split, make_splits
from orthoray.errors import RunError
from orthoray.evaluation.config import ProbeConfig

Indices = npt.NDArray[np.int64]

PLANES = ("sagittal", "coronal", "axial", "oblique", "none")
"""Planes that a slice may have."""


@dataclass(frozen=True)
class Samples:
    """The samples of one task, row by row, and the images that each is made of.

    ``image_dataset`` is the position of the image's dataset in the study's list, ``owner`` the row of the sample
    that the image belongs to. ``time``: of a time-to-event task, (N,) days to the event (label 1) or to the end of
    observation (label 0). ``plane`` and ``position`` (0..1 along its series, the middle of the slice; NaN if unknown)
    of each image are None where a dataset's index does not tell.
    """

    sample_id: npt.NDArray[np.object_]
    patient_id: npt.NDArray[np.object_]
    label: npt.NDArray[np.int64]
    image_id: npt.NDArray[np.object_]
    image_dataset: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]
    time: npt.NDArray[np.float64] | None = None
    plane: npt.NDArray[np.object_] | None = None
    position: npt.NDArray[np.float64] | None = None

    def frame(self, rows: Indices | None = None) -> pd.DataFrame:
        """``sample_id, patient_id, label`` of all samples or of the given rows."""
        chosen = np.arange(len(self.label)) if rows is None else rows
        return pd.DataFrame(
            {
                "sample_id": self.sample_id[chosen],
                "patient_id": self.patient_id[chosen],
                "label": self.label[chosen],
            }
        )

    def without_images(self, rows: Indices) -> Samples:
        """Some of the samples, for fits on features that are there already."""
        nothing = np.zeros(0, np.int64)
        return Samples(
            sample_id=self.sample_id[rows],
            patient_id=self.patient_id[rows],
            label=self.label[rows],
            image_id=np.zeros(0, dtype=object),
            image_dataset=nothing,
            owner=nothing,
        )


def fold_rows(samples: Samples, splits: pd.DataFrame, fold: int) -> tuple[Indices, Indices]:
    """Row indices (train, test) of one outer fold; RunError if the split does not name exactly these samples."""
    assigned = dict(zip(splits["sample_id"], splits["fold"], strict=True))
    if len(assigned) != len(splits) or set(assigned) != set(samples.sample_id):
        raise RunError(
            f"the split names {len(assigned)} samples, the task has {len(samples.label)}, and they are not the same. "
            "Labels changed after the split was made: choose another `out`."
        )
    folds = np.array([assigned[sample] for sample in samples.sample_id])
    return np.flatnonzero((folds != fold) & (folds != UNUSED)), np.flatnonzero(folds == fold)


def assert_disjoint(patient_id: npt.NDArray[np.object_], *parts: Indices) -> None:
    """RunError if a patient occurs in two of the parts. Called before every single fit."""
    seen: set[str] = set()
    for part in parts:
        patients = set(patient_id[part])
        shared = seen & patients
        if shared:
            raise RunError(
                f"leak: {len(shared)} patient(s) are on both sides of a split. Nothing was fitted; remove the study's "
                "splits/ folder and run again."
            )
        seen |= patients


def training_subset(samples: Samples, train: Indices, fraction: float, seed: int) -> Indices:
    """A share of the training patients, stratified by label, nested: a smaller fraction is inside a larger one.

    Patients are put in one random order per stratum (the largest label that a patient has) that depends on ``seed``
    only, and the first ``ceil(fraction * n)`` of each stratum are taken, with all their samples.
    """
    if fraction >= 1.0:
        return train
    kept = [patients[: int(np.ceil(fraction * len(patients)))] for patients in _drawn(samples, train, seed)]
    return _of_patients(samples, train, kept)


def few_shots(samples: Samples, train: Indices, shots: int, seed: int) -> Indices:
    """The samples of ``shots`` training patients of each class (of the largest label that a patient has); nested.

    Raises:
        RunError: a class has fewer patients.
    """
    drawn = _drawn(samples, train, seed)
    fewest = min(len(patients) for patients in drawn)
    if fewest < shots:
        raise RunError(f"{shots} shots: a class has {fewest} training patients.")
    return _of_patients(samples, train, [patients[:shots] for patients in drawn])


def most_shots(samples: Samples, train: Indices) -> int:
    """Patients of the class that has the fewest; 0 if some class has none."""
    largest = samples.frame(train).groupby("patient_id")["label"].max()
    return 0 if largest.nunique() < len(set(samples.label)) else int(largest.value_counts().min())


def _drawn(samples: Samples, train: Indices, seed: int) -> list[npt.NDArray[np.object_]]:
    """The training patients of each stratum in an order that depends on ``seed`` only."""
    table = samples.frame(train).groupby("patient_id", sort=True)["label"].max()
    rng = np.random.default_rng((seed, 7919))
    found = []
    for stratum in sorted(table.unique()):
        patients = np.array(sorted(table.index[table == stratum]), dtype=object)
        found.append(patients[rng.permutation(len(patients))])
    return found


def _of_patients(samples: Samples, train: Indices, patients: Sequence[npt.NDArray[np.object_]]) -> Indices:
    kept = {str(name) for some in patients for name in some}
    return np.array([row for row in train if samples.patient_id[row] in kept], dtype=np.int64)


def inner_folds(samples: Samples, train: Indices, config: ProbeConfig, seed: int) -> list[tuple[Indices, Indices]]:
    """Inner validation inside ``train``: pairs of positions (fit, validate) into ``train``, grouped by patient.

    Small training parts get a grouped, stratified k-fold (a single 15 % of a few hundred samples is too noisy to
    choose by); large ones a single grouped hold-out. With fewer patients in the rarest class than ``inner_folds``,
    k is lowered to that number, but not below two.
    """
    frame = samples.frame(train)
    position = {sample: row for row, sample in enumerate(frame["sample_id"])}
    if config.inner == "cv" or (config.inner == "auto" and len(train) < config.cv_below):
        rarest = int(frame.groupby("label")["patient_id"].nunique().min())
        splits = make_splits(frame, max(2, min(config.inner_folds, rarest)), seed)
        pairs = [_positions(splits, splits["fold"] == fold, position) for fold in sorted(splits["fold"].unique())]
    else:
        splits = inner_split(frame, config.holdout, seed)
        pairs = [_positions(splits, splits["role"] == "val", position)]
    for fit, validate in pairs:
        assert_disjoint(frame["patient_id"].to_numpy(dtype=object), fit, validate)
    return pairs


def _positions(splits: pd.DataFrame, held: pd.Series, position: dict[str, int]) -> tuple[Indices, Indices]:
    def rows(names: Sequence[str]) -> Indices:
        return np.array(sorted(position[name] for name in names), dtype=np.int64)

    return rows(list(splits.loc[~held, "sample_id"])), rows(list(splits.loc[held, "sample_id"]))
