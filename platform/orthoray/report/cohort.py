"""The data behind a study: where it went (funnel, exclusions), who is in it, and a few of its images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from orthoray.data.dataset import Dataset
from orthoray.errors import OrthoRayError
from orthoray.report.load import Study, last_part, short

MODALITIES = {"XR": "X-ray", "MR": "MR"}


@dataclass
class Cohort:
    """One dataset as the page shows it. ``note`` says why parts are missing; ``dataset`` is None if it was not read."""

    name: str
    dataset_id: str
    note: str = ""
    dataset: Dataset | None = None
    index: pd.DataFrame = field(default_factory=pd.DataFrame)
    funnel: list[dict[str, Any]] = field(default_factory=list)
    excluded: list[dict[str, Any]] = field(default_factory=list)
    excluded_note: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    code_version: str = ""


def read_cohorts(study: Study) -> list[Cohort]:
    """All datasets of a study; one that has moved, changed or broken becomes a note."""
    return [_read(str(entry["uri"]), str(entry["dataset_id"])) for entry in study.facts["datasets"]]


def _read(uri: str, dataset_id: str) -> Cohort:
    cohort = Cohort(last_part(uri), dataset_id)
    try:
        dataset = Dataset(uri)
        manifest = dataset.manifest
        found = str(manifest.get("dataset_id"))
        if found != dataset_id:
            cohort.note = f"The folder now holds another dataset ({short(found)}), so nothing of it is shown."
            return cohort
        cohort.index = dataset.index()
    except (OrthoRayError, OSError, ValueError, KeyError) as error:
        cohort.note = f"The dataset is not where the study read it, or is damaged ({type(error).__name__})."
        return cohort
    cohort.dataset = dataset
    cohort.code_version = str(manifest.get("code_version", ""))
    cohort.funnel = _funnel(manifest.get("funnel"))
    cohort.rows = cohort_rows(cohort.index)
    try:
        cohort.excluded = excluded_rows(dataset.excluded())
    except (OrthoRayError, OSError, ValueError, KeyError) as error:
        cohort.excluded_note = f"The table of exclusions could not be read ({type(error).__name__})."
    return cohort


def _funnel(funnel: Any) -> list[dict[str, Any]]:
    if not isinstance(funnel, list):
        return []
    stages = [item for item in funnel if isinstance(item, dict) and {"stage", "count"} <= set(item)]
    most = max((int(item["count"]) for item in stages), default=0) or 1
    return [
        {
            "stage": str(item["stage"]).replace("_", " "),
            "count": int(item["count"]),
            "share": 100.0 * int(item["count"]) / most,
        }
        for item in stages
    ]


def excluded_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Number of excluded items per stage and reason, the largest first."""
    if table.empty:
        return []
    counts = table.groupby(["stage", "reason"]).size().reset_index(name="count")
    counts = counts.sort_values(["count", "stage", "reason"], ascending=[False, True, True])
    return [{str(key): value for key, value in row.items()} for row in counts.to_dict("records")]


def cohort_rows(index: pd.DataFrame) -> list[dict[str, Any]]:
    """Patients, studies, images, age and sex per source, modality and body part, and in all."""
    keys = [name for name in ("source", "modality", "body_part") if name in index]
    rows = []
    if keys:
        for values, part in index.groupby(keys, sort=True, dropna=False):
            named = dict(zip(keys, values, strict=True))
            rows.append({"label": _label(named), **_counts(part)})
    if len(rows) != 1:
        rows.append({"label": "All", **_counts(index)})
    return rows


def _label(named: dict[str, Any]) -> str:
    modality = MODALITIES.get(str(named.get("modality")), str(named.get("modality", "")))
    body = "" if named.get("body_part") is None else str(named["body_part"])
    source = "" if named.get("source") is None else f" ({named['source']})"
    return f"{modality} {body}".strip() + source


def _counts(part: pd.DataFrame) -> dict[str, Any]:
    people = part.drop_duplicates("patient_id")
    counts: dict[str, Any] = {
        "patients": len(people),
        "studies": part["study_id"].nunique(),
        "images": len(part),
        "age": "",
        "women": "",
    }
    ages = pd.to_numeric(people["age"], errors="coerce").dropna() if "age" in people else pd.Series(dtype=float)
    if len(ages):
        low, middle, high = ages.quantile([0.25, 0.5, 0.75])
        counts["age"] = f"{middle:.0f} ({low:.0f}–{high:.0f})"
    known = people["sex"].isin(["F", "M"]) if "sex" in people else pd.Series([False])
    if known.any():
        counts["women"] = f"{(people.loc[known, 'sex'] == 'F').mean():.0%}"
    return counts


def choose_images(index: pd.DataFrame, per_group: int, most: int) -> pd.DataFrame:
    """A fixed, arbitrary choice of images: of each modality and body part, different patients, middle slices.

    "Arbitrary" is by the hash of the image's id, so the same dataset always shows the same images and nobody picks
    those that look best.
    """
    table = index.copy()
    table["_order"] = [hashlib.sha256(str(value).encode()).hexdigest() for value in table["image_id"]]
    if {"slice_index", "slice_count"} <= set(table):
        middle = (table["slice_index"].fillna(0) - (table["slice_count"].fillna(1) - 1) / 2).abs()
        table["_off"] = middle.where(table["modality"] == "MR", 0.0)
    else:
        table["_off"] = 0.0
    table = table.sort_values(["_off", "_order"]).drop_duplicates(["patient_id", "modality"])
    table = table.sort_values("_order")
    keys = [name for name in ("modality", "body_part") if name in table]
    chosen = table.groupby(keys, sort=True, dropna=False).head(per_group)
    chosen = chosen.sort_values(["modality", "_order"], ascending=[False, True])
    if len(chosen) > most:
        turn = chosen.groupby(keys, dropna=False).cumcount()
        chosen = chosen.loc[turn.sort_values(kind="stable").index[:most]]
        chosen = chosen.sort_values(["modality", "_order"], ascending=[False, True])
    return chosen


def labels_of(study: Study) -> Callable[[Any], list[str]]:
    """A function: row of an index → its labels in words, from the predictions' label column."""
    table = study.predictions.drop_duplicates(["task", "sample_id"])
    known: dict[tuple[str, str], int] = {
        (str(row.task), str(row.sample_id)): int(str(row.label)) for row in table.itertuples()
    }

    def find(row: Any) -> list[str]:
        words = []
        for name, task in study.tasks.items():
            label = known.get((name, str(row[task["unit"]])))
            if label is not None:
                words.append(f"{task['title']}: {task['classes'][label]}")
        return words

    return find
