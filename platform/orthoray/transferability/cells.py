"""One cell of a ranking: all scores of one backbone on one target, on the whole of it, on subsets and on resamples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orthoray import storage
from orthoray.features.store import read_features
from orthoray.transferability.checks import ScoreInputError
from orthoray.transferability.config import Estimator, uses_ped
from orthoray.transferability.ncti import TERMS
from orthoray.transferability.score import evaluate
from orthoray.transferability.targets import Labelled, patient_classes, patients_in_turn

FORMAT = 1
"""Part of every cell's digest; raised when the same input gives other numbers."""

RESAMPLED: tuple[Estimator, ...] = ("logme", "hscore")
"""Estimators of the bootstrap: cheap, without chance of their own, and sound with repeated samples."""

KEPT = ("balanced_accuracy", "accuracy", "auroc", *TERMS, "components", "dims", "n_used")
"""Details that a cell keeps."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CellJob:
    """What a cell is computed from.

    Attributes:
        target: the labelled samples.
        folder: features of the backbone for the target's dataset.
        generic: (folder, image ids) pairs of PED's generic images, features of the same backbone.
        columns: estimators.
        subsets, share, bootstraps, seed: see `RankConfig`.
        uri: where the cell is kept.
    """

    target: Labelled
    folder: str
    generic: list[tuple[str, list[str]]]
    columns: list[Estimator]
    subsets: int
    share: float
    bootstraps: int
    seed: int
    uri: str


def cell_name(name: str, job_facts: dict[str, Any], target: Labelled) -> str:
    """File name of a cell: it changes with everything that its numbers depend on."""
    ids = [target.sample.tolist(), target.patient.tolist(), target.label.tolist(), target.image.tolist()]
    text = json.dumps([FORMAT, job_facts, target.dataset_id, target.task, *ids, target.owner.tolist()], sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"


def run_cell(job: CellJob) -> None:
    """Compute a cell on one thread and write it; the same input gives the same bytes but for the seconds."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        storage.write_json(job.uri, cell(job))


def cell(job: CellJob) -> dict[str, Any]:
    """All numbers of a cell: ``scores`` of the whole target with flags, ``values`` of its subsets and resamples."""
    features, labels = job.target.features(job.folder), job.target.label
    generic = None
    if uses_ped(job.columns):
        generic = np.concatenate([read_features(folder, ids) for folder, ids in job.generic]).astype(np.float64)
    found = {
        "samples": len(labels),
        "patients": len(set(job.target.patient)),
        "classes": len(np.unique(labels)),
        "dim": features.shape[1],
        "generic_images": 0 if generic is None else len(generic),
        "scores": [_score(name, features, labels, generic, job.seed) for name in job.columns],
    }
    draws: list[dict[str, Any]] = []
    for number, rows in enumerate(subsets(job.target, job.subsets, job.share, job.seed)):
        for name in job.columns:
            draws.append({"draw": f"subset {number}", **_brief(name, features[rows], labels[rows], generic, job.seed)})
    for number, rows in enumerate(resamples(job.target, job.bootstraps, job.seed)):
        for name in RESAMPLED:
            draws.append({"draw": f"resample {number}", **_brief(name, features[rows], labels[rows], None, job.seed)})
    return {**found, "draws": draws}


def _score(name: Estimator, features: Any, labels: Any, generic: Any, seed: int) -> dict[str, Any]:
    """A score, or the reason why there is none."""
    base, _, second = name.partition("_")
    options: dict[str, Any] = {"base": second, "generic_features": generic} if base == "ped" else {}
    if name == "itm":
        options["repeats"] = 5
    try:
        found = evaluate(base, features, labels, seed=seed, **options)
    except ScoreInputError as error:
        return {"estimator": name, "value": None, "flags": [], "seconds": 0.0, "details": {}, "problem": str(error)}
    details = {key: value for key, value in found.details.items() if key in KEPT}
    return {
        "estimator": name,
        "value": found.value,
        "flags": list(found.flags),
        "seconds": round(found.seconds, 4),
        "details": details,
        "problem": "",
    }


def _brief(name: Estimator, features: Any, labels: Any, generic: Any, seed: int) -> dict[str, Any]:
    found = _score(name, features, labels, generic, seed)
    terms = [found["details"].get(key) for key in TERMS] if name == "ncti" else []
    return {"estimator": name, "value": found["value"], **({"terms": terms} if terms else {})}


def subsets(target: Labelled, count: int, share: float, seed: int) -> Iterator[Rows]:
    """Rows of ``count`` stratified subsets: a ``share`` of the patients each, the same for every backbone."""
    for number in range(count):
        order = patients_in_turn(target.patient, target.label, seed + 1 + number)
        chosen = set(order[: max(2, round(share * len(order)))])
        yield np.flatnonzero([patient in chosen for patient in target.patient])


def resamples(target: Labelled, count: int, seed: int) -> Iterator[Rows]:
    """Rows of ``count`` bootstrap samples: patients drawn with replacement, each class as often as it is."""
    rows_of: dict[Any, list[int]] = {}
    for row, patient in enumerate(target.patient):
        rows_of.setdefault(patient, []).append(row)
    strata = patient_classes(target.patient, target.label)
    rng = np.random.default_rng([seed, 7])
    for _ in range(count):
        drawn: list[int] = []
        for patients in strata:
            for place in rng.integers(0, len(patients), len(patients)):
                drawn.extend(rows_of[patients[place]])
        yield np.asarray(drawn, dtype=np.int64)
