"""Names that other programs rely on: columns of a dataset, written out here once more."""

import pyarrow as pa

from orthoray.data.labels import SCHEMA as LABELS
from orthoray.data.schema import EXCLUDED, IMAGES, INDEX
from orthoray.data.splits import COLUMNS as SPLITS

CONTRACT = [
    "image_id", "patient_id", "study_id", "series_id", "source", "site", "modality", "body_part", "laterality",
    "view", "plane", "slice_index", "slice_count", "row_spacing_mm", "col_spacing_mm", "height", "width", "codec",
    "pixels", "intensity_low", "intensity_high", "intensity_policy", "visit", "days_from_baseline", "age", "sex",
    "manufacturer", "field_strength_t", "quality", "sha256",
]  # fmt: skip


def test_every_agreed_column_is_there():
    assert set(CONTRACT) <= set(IMAGES.names)
    assert len(set(IMAGES.names)) == len(IMAGES.names)
    assert INDEX.names == [name for name in IMAGES.names if name != "pixels"]
    assert {*CONTRACT[:9], "stage", "reason", "detail"} <= set(EXCLUDED.names)
    assert {"sample_id", "patient_id", "label", "label_source", "boxes"} <= set(LABELS.names)
    assert {"sample_id", "patient_id", "fold", "role"} <= set(SPLITS)


def test_columns_have_the_kind_that_their_readers_expect():
    assert IMAGES.field("pixels").type == pa.binary()
    assert pa.types.is_struct(IMAGES.field("quality").type)
    for name in ("height", "width", "slice_index", "slice_count", "days_from_baseline"):
        assert pa.types.is_integer(IMAGES.field(name).type)
    for name in ("row_spacing_mm", "col_spacing_mm", "intensity_low", "intensity_high", "age", "field_strength_t"):
        assert pa.types.is_floating(IMAGES.field(name).type)
