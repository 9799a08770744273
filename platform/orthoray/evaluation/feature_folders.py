"""Features of a study's images: where they are kept, made in one pass, and read in the order of a task's images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orthoray import storage
from orthoray.errors import RunError
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.preflight import Plan
from orthoray.evaluation.protocol import Samples
from orthoray.features.encoders import EncoderSpec
from orthoray.features.store import extract_all

Folders = Sequence[str | None]
"""Feature folder of each dataset of a study, in their order; None where no task has an image."""


def store_of(config: StudyConfig, out: str) -> str:
    """URI of the feature store of a study in folder ``out``."""
    return storage.join(out, "features") if config.features.store == "auto" else config.features.store


def make_folders(
    config: StudyConfig, plan: Plan, out: str, specs: Sequence[EncoderSpec]
) -> dict[EncoderSpec, list[str | None]]:
    """Make what is missing of the features of ``specs``, in one pass over each dataset with an image of a task."""
    wish, store = config.features, store_of(config, out)
    found: dict[EncoderSpec, list[str | None]] = {spec: [] for spec in specs}
    needed = {int(d) for task in plan.tasks.values() for d in task.samples.image_dataset}
    for position, dataset in enumerate(plan.datasets):
        folders: list[str | None] = [None] * len(found)
        if position in needed:
            folders = list(extract_all(list(found), dataset.uri, store, wish.modality, wish.batch_size))
        for spec, folder in zip(found, folders, strict=True):
            found[spec].append(folder)
    return found


def image_rows(
    samples: Samples, folders: Folders, read: Callable[[str, Sequence[str]], npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """What ``read`` (folder, image ids) gives for the images of a task, (M, …) in their order.

    Raises:
        RunError: a dataset with images of the task has no folder; see also ``read``.
    """
    whole: npt.NDArray[Any] | None = None
    for position, folder in enumerate(folders):
        mine = np.flatnonzero(samples.image_dataset == position)
        if not len(mine):
            continue
        if folder is None:
            raise RunError(f"no feature folder for dataset number {position + 1}.")
        found = read(folder, samples.image_id[mine].tolist())
        if len(mine) == len(samples.image_id):
            return found
        if whole is None:
            whole = np.empty((len(samples.image_id), *found.shape[1:]), found.dtype)
        whole[mine] = found
    if whole is None:
        raise RunError("a task without images has no features.")
    return whole
