"""A dataset with strata of unequal size, measures, excluded images with and without thumbnails; exports of it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.data.audit import Parameters
from orthoray.data.audit.decisions import FORMAT, Decision, Export, digest
from orthoray.data.audit.sample import make_plan
from orthoray.data.codec import encode
from orthoray.data.dataset import Dataset
from orthoray.data.manifest import dataset_id
from orthoray.data.schema import IMAGES

STRATA = {
    ("XR", "none", "AP", "north"): 40,
    ("XR", "none", "PA", "north"): 9,
    ("MR", "sagittal", "", "north"): 60,
    ("MR", "sagittal", "", "south"): 10,
    ("MR", "axial", "", "south"): 1,
}
EXCLUDED = {("quality", "blurred"): 12, ("quality", "graphics"): 5, ("read", "not_dicom"): 4, ("duplicates", "near"): 3}
"""The third kind has no thumbnail, the last one cannot be judged by looking at it."""

DETAILS = {"blurred": "z of sharpness, limit -3.5", "graphics": "drawn lines or arrows, limit 0; also exposure"}
REVIEW = {"i0000aa": ("implant", "share of saturated patches, limit 0.02", 0.5)}

QUALITY = pa.struct([(name, pa.float32()) for name in ("mean", "std", "tenengrad", "graphics")])
SCHEMA = pa.schema([field.with_type(QUALITY) if field.name == "quality" else field for field in IMAGES])


def bones(rng, shape=(96, 80)):
    """Two bright shafts with a gap on a dark ground, with noise."""
    image = rng.normal(30, 6, shape)
    middle = shape[0] // 2
    image[: middle - 3, shape[1] // 4 : -shape[1] // 4] += 150
    image[middle + 3 :, shape[1] // 4 : -shape[1] // 4] += 150
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.2) + rng.normal(0, 4, shape), 0, 255).astype(np.uint8)


def _accepted(rng):
    for number, (modality, plane, view, site) in enumerate(key for key, n in STRATA.items() for _ in range(n)):
        image = bones(rng, (320, 280) if modality == "XR" else (96, 80))
        yield {
            "image_id": f"i{number:04d}aa", "patient_id": f"p{number // 2:04d}", "study_id": "s1", "series_id": "r1",
            "source": "trial", "site": site, "modality": modality, "body_part": "knee", "laterality": "LR"[number % 2],
            "view": view, "plane": plane, "codec": "png", "height": image.shape[0], "width": image.shape[1],
            "quality": {"mean": 90.0 + number % 7, "std": 40.0, "tenengrad": 100.0 + number, "graphics": number % 3},
            "sha256": f"{number:064x}", "pixels": encode(image),
        }  # fmt: skip


def write_dataset(uri, *, thumbnails=True, seed=0):
    """Write the dataset; without ``thumbnails`` as an older version would have."""
    rng = np.random.default_rng(seed)
    rows = list(_accepted(rng))
    if seed:
        rows[0]["sha256"] = "f" * 64
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    storage.write_table(table, f"{uri}/images/shard-00000.parquet", row_group_size=32)
    storage.write_table(table.drop_columns(["pixels"]), f"{uri}/index.parquet")
    excluded = pd.DataFrame(
        {"image_id": f"x{number:04d}", "patient_id": "p0", "source": "trial", "modality": "XR", "site": "north",
         "body_part": "knee", "laterality": "L", "stage": stage, "reason": reason, "detail": DETAILS.get(reason, "")}
        for number, (stage, reason) in enumerate(key for key, n in EXCLUDED.items() for _ in range(n))
    )  # fmt: skip
    if thumbnails:
        excluded["value"] = np.arange(len(excluded), dtype=float)
        shown = excluded[excluded["stage"] != "read"]
        small = [cv2.GaussianBlur(bones(rng), (0, 0), 5) for _ in range(len(shown))]
        columns = {"image_id": shown["image_id"], "codec": "png", "pixels": [encode(image) for image in small]}
        storage.write_table(pa.Table.from_pandas(pd.DataFrame(columns)), f"{uri}/rejected/part-0.parquet")
        doubts = [{"image_id": i, "reason": r, "detail": d, "value": v} for i, (r, d, v) in REVIEW.items()]
        storage.write_table(pa.Table.from_pylist(doubts), f"{uri}/review.parquet")
    storage.write_table(pa.Table.from_pandas(excluded, preserve_index=False), f"{uri}/excluded.parquet")
    index = pd.DataFrame(rows)
    storage.write_json(f"{uri}/manifest.json", {"dataset_id": dataset_id(index), "title": "Trial <knees>"})
    return uri


def export_of(uri, answers, reviewer="AB", minute=0, **parameters):
    """An `Export` as a sheet would make it; ``answers``: tile → "accept", a reason, or None for undecided."""
    plan = make_plan(Dataset(uri), Parameters(**parameters))
    time = f"2026-03-01T10:{minute:02d}:00.000Z"
    decisions = []
    for tile in plan.tiles:
        given = answers(tile)
        if given:
            reason = None if given == "accept" else given
            verdict = "reject" if reason else "accept"
            decisions.append(Decision(image_id=tile.image_id, verdict=verdict, reason=reason, decided_at=time))
    facts = {
        "format": FORMAT, "dataset_id": plan.dataset_id, "sheet": plan.sheet, "parameters": plan.parameters,
        "reviewer": reviewer, "exported_at": time, "decisions": tuple(decisions),
    }  # fmt: skip
    return Export(**facts, digest=digest(Export.model_construct(**facts)))


def content_of(page):
    """The data inside a sheet."""
    text = page.read_text()
    start = text.index('id="sheet-data">') + len('id="sheet-data">')
    return json.loads(text[start : text.index("</script>", start)])
