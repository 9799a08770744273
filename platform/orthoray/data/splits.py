"""Folds: grouped by patient, stratified by label, written once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orthoray import storage
from orthoray.errors import InputError, RunError

COLUMNS = ["sample_id", "patient_id", "fold", "role"]
HASH_KEY = b"orthoray.sha256"

TRAINING = -1
"""``fold`` of samples that no fold tests: they are there to train (role "train")."""

UNUSED = -2
"""``fold`` of samples that neither train nor are tested, because of who their patient is (role "unused")."""


def make_splits(labels: pd.DataFrame, n_folds: int, seed: int) -> pd.DataFrame:
    """Assign every sample to the one fold in which it is tested.

    Args:
        labels: ``sample_id, patient_id, label``; one row per sample.
        n_folds: number of folds, at least 2.
        seed: decides the assignment; equal input and seed give equal folds, whatever the order of the rows.

    Returns:
        ``sample_id, patient_id, fold (0 … n_folds-1), role ("outer")``, sorted by sample. No patient is in two folds;
        the shares of the labels are as equal over the folds as grouping allows (scikit-learn's StratifiedGroupKFold).

    Raises:
        InputError: fewer patients, or fewer patients of a class, than folds; one class only; a sample listed twice.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    _check(labels, n_folds)
    ordered = labels.sort_values("sample_id", ignore_index=True)
    fold = np.full(len(ordered), -1, np.int64)
    splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(splitter.split(ordered, ordered["label"], ordered["patient_id"])):
        fold[test] = number
    split = ordered[["sample_id", "patient_id"]].assign(fold=fold, role="outer")
    check_disjoint(split)
    return split


def hold_out(labels: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """One draw of about ``share`` of the samples to test (fold 0); all others train. Several seeds repeat it.

    Raises:
        InputError: see `make_splits`, of whose ``round(1 / share)`` folds this is the first.
    """
    split = make_splits(labels, max(2, round(1.0 / share)), seed)
    tested = split["fold"] == 0
    return split.assign(fold=np.where(tested, 0, TRAINING), role=np.where(tested, "outer", "train"))


def leave_one_out(labels: pd.DataFrame, group: Mapping[str, str]) -> pd.DataFrame:
    """Test each group (a site, for example) by what was learnt from all others.

    Args:
        labels: as for `make_splits`.
        group: sample → its group; a sample that is not in it, and every sample of a patient of several groups, is
            unused, since the patient would be on both sides.

    Returns:
        As `make_splits`; folds are the groups in the order of their names.

    Raises:
        InputError: fewer than two groups.
    """
    ordered = labels.sort_values("sample_id", ignore_index=True)[["sample_id", "patient_id"]]
    own = ordered["sample_id"].map(dict(group))
    several = own.groupby(ordered["patient_id"]).transform("nunique") > 1
    known = own.where(~several)
    names = sorted(known.dropna().unique())
    if len(names) < 2:
        raise InputError(f"there are {len(names)} groups to leave out one by one ({', '.join(names)}); two are needed.")
    fold = known.map({name: at for at, name in enumerate(names)}).fillna(UNUSED).astype(np.int64)
    split = ordered.assign(fold=fold, role=np.where(fold == UNUSED, "unused", "outer"))
    check_disjoint(split)
    return split


def by_time(labels: pd.DataFrame, when: Mapping[str, float], since: float) -> pd.DataFrame:
    """Learn from samples before ``since``, test those from then on (fold 0).

    A patient who was seen before stays on that side: later samples of them are unused, as are samples without a time.

    Raises:
        InputError: one of both sides is empty.
    """
    ordered = labels.sort_values("sample_id", ignore_index=True)[["sample_id", "patient_id"]]
    time = ordered["sample_id"].map(dict(when)).astype(float)
    early = time < since
    known_before = early.groupby(ordered["patient_id"]).transform("any")
    fold = np.where(early, TRAINING, np.where((time >= since) & ~known_before, 0, UNUSED))
    for name, number in (("before", TRAINING), ("from then on", 0)):
        if not (fold == number).any():
            raise InputError(f"no sample {name} (since: {since:g}; times go from {time.min():g} to {time.max():g}).")
    roles = {TRAINING: "train", 0: "outer", UNUSED: "unused"}
    split = ordered.assign(fold=fold, role=[roles[int(number)] for number in fold])
    check_disjoint(split)
    return split


def outer_folds(split: pd.DataFrame) -> list[int]:
    """Numbers of the folds that are tested."""
    return sorted(int(fold) for fold in split["fold"].unique() if fold >= 0)


def inner_split(labels: pd.DataFrame, holdout: float, seed: int) -> pd.DataFrame:
    """Hold out about ``holdout`` of the samples for inner validation.

    Returns:
        ``sample_id, patient_id, fold, role``: fold 0 and role "val" for the held-out samples, else "train".
    """
    split = make_splits(labels, max(2, round(1.0 / holdout)), seed)
    return split.assign(role=np.where(split["fold"] == 0, "val", "train"))


def check_disjoint(split: pd.DataFrame) -> None:
    """RunError if a patient is in two folds (unused samples aside) or a sample is listed twice."""
    folds = split[split["fold"] != UNUSED].groupby("patient_id")["fold"].nunique()
    shared = int((folds > 1).sum())
    if shared or split["sample_id"].duplicated().any():
        raise RunError(
            f"leak: {shared} patient(s) are in more than one fold. Nothing was fitted; remove the split file."
        )


def write_splits(uri: str, split: pd.DataFrame) -> None:
    """Write a split file; RunError if another split is there already. The hash of its rows is kept in the file."""
    check_disjoint(split)
    digest = split_hash(split)
    if storage.exists(uri):
        if split_hash(read_splits(uri)) != digest:
            raise RunError(f"{uri} holds another split. Splits are never changed: choose another folder.")
        return
    table = pa.Table.from_pandas(split[COLUMNS], preserve_index=False)
    storage.write_table(table.replace_schema_metadata({HASH_KEY: digest.encode()}), uri)


def read_splits(uri: str) -> pd.DataFrame:
    """Read a split file; RunError if it was changed after it was written."""
    filesystem, path = storage.arrow_fs(uri)
    with filesystem.open_input_file(path) as handle:
        table = pq.read_table(handle)
    split: pd.DataFrame = table.to_pandas()
    if (table.schema.metadata or {}).get(HASH_KEY, b"").decode() != split_hash(split):
        raise RunError(f"{uri} was changed after it was written. Remove it and run the study again in another folder.")
    return split


def split_hash(split: pd.DataFrame) -> str:
    """SHA-256 of the rows, in the order of their samples."""
    rows = split[COLUMNS].sort_values("sample_id").astype({"fold": int}).to_numpy().tolist()
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _check(labels: pd.DataFrame, n_folds: int) -> None:
    if n_folds < 2:
        raise InputError(f"folds: {n_folds} is impossible; at least 2 are needed.")
    if labels["sample_id"].duplicated().any():
        raise InputError("a sample has two labels; every sample_id may occur once.")
    patients = labels["patient_id"].nunique()
    if patients < n_folds:
        raise InputError(
            f"{n_folds} folds need at least {n_folds} patients, the task has {patients}. Lower `folds` or add patients."
        )
    per_class = labels.groupby("label")["patient_id"].nunique()
    if len(per_class) < 2:
        raise InputError("all samples have the same label; nothing can be learned from one class.")
    if per_class.min() < n_folds:
        raise InputError(
            f"class {per_class.idxmin()} has {per_class.min()} patient(s), fewer than the {n_folds} folds. "
            "Lower `folds` or leave the task out."
        )
