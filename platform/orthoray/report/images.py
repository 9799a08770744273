"""Images inside the page: small JPEG files as data URIs, and the grid of samples."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.errors import OrthoRayError
from orthoray.report.cohort import MODALITIES, Cohort, choose_images

SIDE = 224
"""Longest side of a picture on the page, in pixels."""


def data_uri(image: npt.NDArray[np.uint8], quality: int = 85) -> str:
    """JPEG data URI of an (H, W) grey or (H, W, 3) BGR image."""
    done, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(buffer.tobytes()).decode("ascii")


def fit(image: npt.NDArray[np.uint8], row: Any, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Resize to at most ``side`` pixels, with square pixels in millimetres where the spacing is known."""
    spacing = [_positive(row.get(name)) for name in ("row_spacing_mm", "col_spacing_mm")]
    height, width = float(image.shape[0]), float(image.shape[1])
    if spacing[0] and spacing[1]:
        height, width = height * spacing[0], width * spacing[1]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrinks = size[0] < image.shape[1]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8)


def _positive(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 and np.isfinite(value) else 0.0


def describe(row: Any) -> str:
    """What an image is, from its row of the index: modality, joint, side, plane or view."""
    words = [MODALITIES.get(str(row.get("modality")), str(row.get("modality")))]
    for name in ("body_part", "view", "plane"):
        value = row.get(name)
        if isinstance(value, str) and value not in ("", "none", "unknown"):
            words.append(value)
    side = {"L": "left", "R": "right", "B": "both sides"}.get(str(row.get("laterality")))
    return ", ".join([*words, side] if side else words)


def sample_grid(
    cohorts: list[Cohort], labels: Callable[[Any], list[str]], per_group: int = 6, most: int = 12
) -> tuple[list[dict[str, Any]], str]:
    """Pictures with captions for the page, and a note if there are none."""
    pictures: list[dict[str, Any]] = []
    readable = [cohort for cohort in cohorts if cohort.dataset is not None and len(cohort.index)]
    for cohort in readable:
        chosen = choose_images(cohort.index, per_group, max(1, most // len(readable)))
        for row, image in read_rows(cohort, chosen):
            small = fit(image, row)
            facts = {"uri": data_uri(small), "width": small.shape[1], "height": small.shape[0]}
            pictures.append({**facts, "caption": describe(row), "labels": labels(row)})
    return pictures, "" if pictures else "No images can be shown, because no dataset of this study could be read."


def read_rows(cohort: Cohort, rows: Any) -> list[tuple[Any, npt.NDArray[np.uint8]]]:
    """The index rows with their pixels, in order; an empty list if the images cannot be read."""
    if cohort.dataset is None:
        return []
    try:
        pixels = cohort.dataset.read_images([str(value) for value in rows["image_id"]])
    except (OrthoRayError, OSError, ValueError, KeyError):
        return []
    records = rows.to_dict("records")
    return [(row, pixels[row["image_id"]]) for row in records if row["image_id"] in pixels]
