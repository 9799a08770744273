"""Columns of a dataset, as the design fixes them."""

from __future__ import annotations

from dataclasses import fields

import pandas as pd
import pyarrow as pa

from orthoray.imaging.acquisition import Acquisition
from orthoray.imaging.lettering import READ
from orthoray.imaging.quality import MEASURES

VERSION = 3
"""Version of the layout; part of every dataset_id."""

COPIED = ["image_id", "patient_id", "study_id", "series_id", "site", "modality", "body_part", "laterality", "view"]
COPIED += ["plane", "visit", "sex", "manufacturer", "file_key", "frame", "part", "laterality_source", "geometry"]
COPIED += ["spacing_source"]
"""Columns that images take over from the arranged rows as they are."""

NUMBERS = ["row_spacing_mm", "col_spacing_mm", "slice_spacing_mm", "age", "field_strength_t", "laterality_confidence"]
"""Columns of numbers taken over; NaN there is null here."""

KEYS = ["image_id", "patient_id", "study_id", "series_id", "source", "site", "modality", "body_part", "laterality"]

QUALITY = pa.struct([(name, pa.float32()) for name in (*MEASURES, *READ)])
"""The measures of `orthoray.imaging.quality.Quality`; and what OCR found (`orthoray.imaging.lettering`), else null."""

ACQUISITION = pa.struct(
    [
        (field.name, pa.string() if field.type == "str" else pa.float32())
        for field in fields(Acquisition)
        if field.name not in ("manufacturer", "field_strength_t")
    ]
)
"""The parameters of `orthoray.imaging.acquisition.Acquisition` that are no columns of their own."""

FLAGS = ("stitched", "burned_in", "overlay", "screenshot", "implant", "body_part_conflict")
"""Signs of the header that screening judges by (`orthoray.imaging.flags.Flags`)."""

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
        ("polarity", pa.float32()),
        ("laterality_source", pa.string()),
        ("laterality_confidence", pa.float32()),
        ("slice_spacing_mm", pa.float32()),
        ("spacing_source", pa.string()),
        ("geometry", pa.string()),
        ("acquisition", ACQUISITION),
        ("study_year", pa.int32()),
    ]
)
"""Every column but pixels. ``polarity`` of films as in `orthoray.imaging.polarity`; ``slice_spacing_mm`` and
``geometry`` as in `orthoray.data.stacks.find_stacks`; sha256 is that of the decoded pixels, row by row, a byte each."""

IMAGES = pa.schema([*INDEX, ("pixels", pa.binary())])

_REASON = [("stage", pa.string()), ("reason", pa.string()), ("detail", pa.string())]

EXCLUDED = pa.schema([*[(name, pa.string()) for name in KEYS], *_REASON, ("value", pa.float64())])
"""``value``: the measure that led to the exclusion, where there is one."""

REVIEW = pa.schema(
    [
        ("image_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("value", pa.float64()),
        ("other_id", pa.string()),
    ]
)
"""Images of the dataset that a person should look at; ``other_id``: the image of another patient that is the same."""

REJECTED = pa.schema([("image_id", pa.string()), ("codec", pa.string()), ("pixels", pa.binary())])
"""Thumbnails of images that were decoded and then excluded."""

REPORT = pa.schema(
    [
        *INDEX,
        ("file_key", pa.string()),
        ("frame", pa.int32()),
        ("part", pa.string()),
        ("phash", pa.uint64()),
        *((flag, pa.bool_()) for flag in FLAGS),
        ("made_from", pa.string()),
        ("scale", pa.float64()),
        *_REASON,
    ]
)
"""What the writing of shards reports per image: a row of the index, or with a stage the reason of its exclusion.

``made_from``: hash of the file's version and of how its image was made; an image with the same one is not made again.
``scale``: by how much a pixel grew.
"""


def as_table(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The columns of ``schema`` of a frame, without pandas' metadata; further columns are left out."""
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    return table.replace_schema_metadata(None)
