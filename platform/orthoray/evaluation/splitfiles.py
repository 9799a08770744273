"""The split files of a study: written once, the same ever after."""

from __future__ import annotations

import pandas as pd

from orthoray import storage
from orthoray.data.splits import read_splits, split_hash, write_splits
from orthoray.errors import InputError
from orthoray.evaluation.preflight import Plan


def split_uri(out: str, task: str, seed: int) -> str:
    """URI of the split file of a task and seed."""
    return storage.join(out, "splits", f"{task}-seed{seed}.parquet")


def check_existing_splits(out: str, plan: Plan) -> None:
    """InputError if the study's folder holds splits other than those that the plan would make."""
    for task, planned in plan.tasks.items():
        for seed, split in planned.splits.items():
            uri = split_uri(out, task, seed)
            if storage.exists(uri) and not _same(read_splits(uri), split):
                raise InputError(
                    f"{uri} was made from other labels or another number of folds. Splits are never changed: "
                    "choose another `out`, or go back to the former dataset and folds."
                )


def write_study_splits(out: str, plan: Plan) -> None:
    """Write the split files that are not there yet."""
    for task, planned in plan.tasks.items():
        for seed, split in planned.splits.items():
            uri = split_uri(out, task, seed)
            if not storage.exists(uri):
                write_splits(uri, split)


def split_digests(out: str) -> dict[str, str]:
    """Name of each split file (``task-seed0``) → hash of its rows."""
    files = storage.list_files(storage.join(out, "splits"), ".parquet")
    return {uri.rpartition("/")[2].removesuffix(".parquet"): split_hash(read_splits(uri))[:12] for uri in files}


def _same(left: pd.DataFrame, right: pd.DataFrame) -> bool:
    columns = ["sample_id", "patient_id", "fold", "role"]
    ordered = [table[columns].sort_values("sample_id", ignore_index=True) for table in (left, right)]
    return len(left) == len(right) and bool((ordered[0].to_numpy() == ordered[1].to_numpy()).all())
