"""The review sheet: one HTML file with pictures, code and styles, that asks nothing of a network."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orthoray.data.audit.decisions import REASONS
from orthoray.data.audit.measures import Measures
from orthoray.data.audit.sample import FORMAT, NOTHING, Plan, Tile
from orthoray.data.audit.tables import index_table, read_rejected, review_table
from orthoray.data.dataset import Dataset

SCRIPTS = ("digest.js", "store.js", "view.js", "audit.js")
SIDES = (512, 384, 256)
BUDGET = 32 << 20
"""Bytes of pictures that a sheet should stay below; the longest side goes down `SIDES` until it does."""
BLIND_SIDE = 256
"""Longest side of every picture of a blind sheet: a thumbnail of a rejected image must not stand out by its size."""
JPEG_QUALITY = 88

Grey = npt.NDArray[np.uint8]
LABELS = {"modality": "Modality", "plane": "Plane", "view": "View", "site": "Site", "body_part": "Joint"}
LABELS |= {"laterality": "Side"}
BLIND_LABELS = ("modality", "site", "body_part", "laterality")
"""Facts that accepted and rejected images have alike."""


@dataclass(frozen=True)
class Sheet:
    """A finished page: its text, and the longest side (pixels) of its pictures."""

    html: str
    side: int


def build_sheet(dataset: Dataset, plan: Plan) -> Sheet:
    """Draw the sheet of a plan; equal datasets and plans give equal bytes.

    A blind sheet holds neither arm, stratum, flag nor measure of any tile: what is not in the file cannot be seen.

    Raises:
        InputError: an image or thumbnail of the plan is missing.
        RunError: one is damaged.
    """
    index, excluded = index_table(dataset), dataset.excluded()
    rows = _rows(index, excluded, plan)
    pictures, side = _pictures(dataset, plan, rows)
    content: dict[str, Any] = {
        "format": FORMAT,
        "dataset_id": plan.dataset_id,
        "title": str(dataset.manifest.get("title") or dataset.manifest.get("name") or "Dataset"),
        "sheet": plan.sheet,
        "parameters": plan.parameters.model_dump(mode="json"),
        "reasons": [{"code": code, "label": label} for code, label in REASONS.items()],
    }
    measures = None if plan.parameters.blind else Measures(index, excluded, review_table(dataset), plan)
    tiles = [_tile(tile, rows[tile.image_id], measures) for tile in plan.tiles]
    content["tiles"] = [tile | picture for tile, picture in zip(tiles, pictures, strict=True)]
    content["distributions"] = {} if measures is None else measures.distributions
    return Sheet(render(content), side)


def render(content: dict[str, Any]) -> str:
    """The page around a sheet's content; its policy (CSP) lets these styles and scripts run and nothing be fetched."""
    import jinja2
    from markupsafe import Markup

    folder = resources.files("orthoray.data.audit") / "templates"
    style = (folder / "audit.css").read_text("utf-8")
    scripts = [(folder / name).read_text("utf-8") for name in SCRIPTS]
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {' '.join(_hash(script) for script in scripts)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    page = environment.from_string((folder / "audit.html").read_text("utf-8"))
    data = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return page.render(
        content | {"policy": policy, "style": Markup(style), "scripts": [Markup(s) for s in scripts]},
        data=Markup(data),
    )


def picture(image: Grey, row: dict[str, Any], side: int) -> Grey:
    """Reduce to at most ``side`` pixels with square pixels in millimetres where the spacing is known; never enlarge."""
    height, width = float(image.shape[0]), float(image.shape[1])
    tall, wide = (_positive(row.get(name)) for name in ("row_spacing_mm", "col_spacing_mm"))
    if tall and wide:
        height, width = height * max(1.0, tall / wide), width * max(1.0, wide / tall)
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (image.shape[1], image.shape[0]):
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def data_uri(image: Grey) -> str:
    """JPEG data URI of an (H, W) uint8 image."""
    done, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode("ascii")


def _rows(index: pa.Table, excluded: pd.DataFrame, plan: Plan) -> dict[str, dict[str, Any]]:
    """What the tables say about the images of a plan."""
    by_arm = {arm: [t.image_id for t in plan.tiles if t.arm == arm] for arm in ("accepted", "rejected")}
    accepted = index.filter(pc.is_in(index["image_id"], value_set=pa.array(by_arm["accepted"], pa.string())))
    rows: list[dict[str, Any]] = accepted.to_pylist()
    rejected = excluded[excluded["image_id"].isin(by_arm["rejected"])]
    rows += [{str(key): value for key, value in row.items()} for row in rejected.to_dict("records")]
    return {row["image_id"]: row for row in rows}


def _pictures(dataset: Dataset, plan: Plan, rows: dict[str, dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    by_arm = {arm: [t.image_id for t in plan.tiles if t.arm == arm] for arm in ("accepted", "rejected")}
    pixels = dataset.read_images(by_arm["accepted"]) | read_rejected(dataset, by_arm["rejected"])
    images = [(pixels[tile.image_id], rows[tile.image_id]) for tile in plan.tiles]
    sides = (BLIND_SIDE,) if plan.parameters.blind else SIDES
    drawn: list[dict[str, Any]] = []
    for side in sides:
        drawn = [
            {"image": data_uri(small), "width": small.shape[1], "height": small.shape[0]}
            for small in (picture(image, row, side) for image, row in images)
        ]
        if sum(len(item["image"]) for item in drawn) <= BUDGET:
            return drawn, side
    return drawn, sides[-1]


def _tile(tile: Tile, row: dict[str, Any], measures: Measures | None) -> dict[str, Any]:
    alike = " ".join(str(row[name]) for name in ("modality", "site") if _text(row.get(name)))
    facts = list(_facts(row, BLIND_LABELS if measures is None else tuple(LABELS)))
    shown = {"id": tile.image_id, "second": tile.second, "facts": facts, "label": alike or "image"}
    if measures is None:
        return shown
    if tile.arm == "accepted":
        shown["label"] = tile.stratum
        if row.get("slice_count") and row["slice_count"] > 1:
            facts.append(("Slice", f"{row['slice_index'] + 1} of {row['slice_count']}"))
    return shown | {"arm": tile.arm, "flag": measures.flag(tile), "measures": measures.of(tile, alike)}


def _facts(row: dict[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        if _text(row.get(name)):
            yield LABELS[name], str(row[name])


def _text(value: Any) -> bool:
    return isinstance(value, str) and value.lower() not in NOTHING


def _positive(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else 0.0


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
