"""``audit.json``: what people have decided about the images of a dataset, as the dataset keeps it."""

from __future__ import annotations

import json

from orthoray import storage
from orthoray.data.audit.decisions import Answers, Export, merge, parse_export
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError

RESULT = "audit.json"
"""Name of the findings' file, beside the dataset's manifest; ``audit-<dataset_id>….json`` are those of the past."""


def kept_exports(dataset: Dataset, name: str = RESULT) -> list[Export]:
    """The exports that were imported before; none without a file.

    Raises:
        InputError: the file is damaged, or of what the dataset was before.
    """
    target = storage.join(dataset.uri, name)
    if not storage.exists(target):
        return []
    try:
        found = storage.read_json(target)
        if found["dataset_id"] != dataset.manifest.get("dataset_id"):
            raise InputError(
                f"{target}: the audit of {found['dataset_id']}, which this dataset was before. Move it away first."
            )
        return [parse_export(json.dumps(item).encode()) for item in found["exports"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{target}: damaged ({type(error).__name__}). Move it away and import the exports again."
        ) from None


def answers_of(dataset: Dataset) -> Answers:
    """What every reader has decided last on every image.

    Also from findings that ingest has set aside since then, if they are of the same dataset_id: it stands for the same
    images with the same pixels, so what people saw in them holds.

    Raises:
        InputError: a file is damaged.
    """
    past = f"audit-{dataset.manifest.get('dataset_id')}"
    names = [name for name in _names(dataset) if name == RESULT or name.startswith(past)]
    return merge(export for name in names for export in kept_exports(dataset, name))


def findings_files(uri: str) -> list[str]:
    """Names of the files in a dataset's folder that hold findings, present and past ones; none without a folder."""
    if not storage.exists(storage.join(uri, "manifest.json")):
        return []
    return [name for name in _names(Dataset(uri)) if name == RESULT or name.startswith("audit-")]


def set_aside(dataset: Dataset, free: str) -> str:
    """Move ``audit.json`` to ``free`` (without its ``.json``), or to that name with the next free number; the name."""
    taken, number, name = set(_names(dataset)), 1, free
    while f"{name}.json" in taken:
        number += 1
        name = f"{free}-{number}"
    storage.rename(storage.join(dataset.uri, RESULT), storage.join(dataset.uri, f"{name}.json"))
    return f"{name}.json"


def _names(dataset: Dataset) -> list[str]:
    """Names of the dataset's own JSON files, without those in its folders."""
    found, path = storage.filesystem(dataset.uri)
    return sorted(name.rsplit("/", 1)[-1] for name in found.ls(path, detail=False) if name.endswith(".json"))
