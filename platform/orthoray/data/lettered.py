"""What OCR read, as the reports of shards have it: numbers, never words."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orthoray.imaging.ocr import NEEDS

Values = npt.NDArray[np.float64]


def lettered_ids(report: pa.Table) -> set[str]:
    """Images on whose frame a word was read that is no marker, or that identifies somebody."""
    words, identity = _numbers(report)
    return set(report["image_id"].filter(pa.array((words > 0) | (identity > 0))).to_pylist())


def clean_frames(report: pa.Table) -> dict[str, int]:
    """``file_key`` → how many frames of the file were read and hold nothing but markers."""
    words, identity = _numbers(report)
    clean = report.filter(pa.array((words == 0) & (identity == 0)))
    counted = clean.group_by("file_key").aggregate([("frame", "count_distinct")])
    return dict(zip(counted["file_key"].to_pylist(), counted["frame_count_distinct"].to_pylist(), strict=True))


def ocr_account(report: pa.Table) -> dict[str, Any]:
    """What the manifest says of OCR: with what, how many images were read, and on how many there was something."""
    words, identity = _numbers(report)
    return {
        "read_with": {name: version(name) for name in NEEDS},
        "images_read": int(np.isfinite(words).sum()),
        "with_words": int((words > 0).sum()),
        "with_identity": int((identity > 0).sum()),
    }


def _numbers(report: pa.Table) -> tuple[Values, Values]:
    quality = report["quality"].combine_chunks()
    words, identity = (
        pc.struct_field(quality, name).to_numpy(zero_copy_only=False) for name in ("ocr_words", "ocr_identity")
    )
    return words.astype(np.float64), identity.astype(np.float64)
