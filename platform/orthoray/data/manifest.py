"""``manifest.json``: what a dataset is, and the account of everything that was read."""

from __future__ import annotations

import hashlib
from typing import Any

import pandas as pd

from orthoray import __version__
from orthoray.data.cards import DatasetCard
from orthoray.data.schema import VERSION
from orthoray.errors import RunError


def dataset_id(index: pd.DataFrame) -> str:
    """Content hash: equal images with equal ids make equal datasets, wherever and whenever they are written."""
    rows = sorted(zip(index["image_id"], index["sha256"], strict=True))
    text = f"{VERSION}\n" + "\n".join(f"{image} {digest}" for image, digest in rows)
    return "ds-" + hashlib.sha256(text.encode()).hexdigest()[:16]


def build_manifest(
    card: DatasetCard, key_id: str, read: dict[str, int], index: pd.DataFrame, excluded: pd.DataFrame
) -> dict[str, Any]:
    """The manifest of a dataset.

    Args:
        card: the source's card.
        key_id: name of the pseudonym key.
        read: counts before anything was excluded: ``files`` found, ``frames`` in them, ``images`` after films of two
            joints were split (a file that cannot be read counts as one frame and one image).
        index: rows of the images.
        excluded: rows of everything else that was read.

    Raises:
        RunError: something that was read is neither an image nor excluded, or is both.
    """
    n_read = read["images"]
    if n_read != len(index) + len(excluded) or index["image_id"].duplicated().any():
        raise RunError(
            f"the account does not add up: {n_read} read, {len(index)} images, {len(excluded)} excluded. "
            "Nothing was kept; this is a fault of the program."
        )
    return {
        "dataset_id": dataset_id(index),
        "name": card.name,
        "title": card.title,
        "licence": card.licence,
        "phi_source": card.phi_source,
        "key_id": key_id,
        "key": "secret" if card.phi_source else "public (the source is public; its ids hide nobody)",
        "code_version": __version__,
        "layout_version": VERSION,
        "n_files": read["files"],
        "n_read": n_read,
        "n_images": len(index),
        "n_excluded": len(excluded),
        "counts": counts(index),
        "funnel": funnel(read, excluded),
        "excluded": reasons(excluded),
        "card": card.model_dump(mode="json"),
    }


def funnel(read: dict[str, int], excluded: pd.DataFrame) -> list[dict[str, Any]]:
    """What there was after every stage, as ``[{stage, count}]``; counts may grow up to the splitting of films."""
    names = {"files": "files found", "frames": "frames read", "images": "images after splitting films"}
    steps: list[dict[str, Any]] = [{"stage": name, "count": read[key]} for key, name in names.items()]
    left = read["images"]
    for stage, name in STAGES.items():
        left -= int((excluded["stage"] == stage).sum())
        steps.append({"stage": name, "count": left, "stage_id": stage})
    return steps


STAGES = {
    "read": "with a readable header",
    "select": "of the wanted kind",
    "decode": "decoded",
    "quality": "showing something",
    "duplicates": "without duplicates",
}
"""Stages of exclusion in order, and what is left after them."""


def counts(index: pd.DataFrame) -> list[dict[str, Any]]:
    """Patients, studies, series and images of every source and modality."""
    return [
        {
            "source": part["source"].iloc[0],
            "modality": part["modality"].iloc[0],
            "patients": int(part["patient_id"].nunique()),
            "studies": int(part["study_id"].nunique()),
            "series": int(part["series_id"].nunique()),
            "images": len(part),
        }
        for _, part in index.groupby(["source", "modality"], sort=True)
    ]


def reasons(excluded: pd.DataFrame) -> list[dict[str, Any]]:
    """How many were excluded at which stage for which reason."""
    found = excluded.groupby(["stage", "reason"]).size().reset_index(name="count")
    return [{str(key): value for key, value in row.items()} for row in found.to_dict("records")]
