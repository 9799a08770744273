"""Columns of a dataset, as the design fixes them."""

from __future__ import annotations

import pyarrow as pa

VERSION = 1
"""Version of the layout; part of every dataset_id."""

KEYS = ["image_id", "patient_id", "study_id", "series_id", "source", "site", "modality", "body_part", "laterality"]

QUALITY = pa.struct(
    [("mean", pa.float32()), ("std", pa.float32()), ("sharpness", pa.float32()), ("saturated", pa.float32())]
)
"""mean and std of the grey levels 0..255; sharpness = variance of the Laplacian; saturated = share at 0 or 255."""

INDEX = pa.schema(
    [
        *[(name, pa.string()) for name in KEYS],
        ("view", pa.string()),
        ("plane", pa.string()),
        ("slice_index", pa.int32()),
        ("slice_count", pa.int32()),
        ("row_spacing_mm", pa.float32()),
        ("col_spacing_mm", pa.float32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("codec", pa.string()),
        ("intensity_low", pa.float32()),
        ("intensity_high", pa.float32()),
        ("intensity_policy", pa.string()),
        ("visit", pa.string()),
        ("days_from_baseline", pa.int32()),
        ("age", pa.float32()),
        ("sex", pa.string()),
        ("manufacturer", pa.string()),
        ("field_strength_t", pa.float32()),
        ("quality", QUALITY),
        ("sha256", pa.string()),
    ]
)
"""Every column but pixels. sha256 is that of the decoded pixels, row by row, one byte each."""

IMAGES = pa.schema([*INDEX, ("pixels", pa.binary())])

EXCLUDED = pa.schema(
    [*[(name, pa.string()) for name in KEYS], ("stage", pa.string()), ("reason", pa.string()), ("detail", pa.string())]
)

REPORT = pa.schema([*INDEX, ("stage", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
"""What the writing of shards reports per image: a row of the index, or with a stage the reason of its exclusion."""
