"""Reading lettering with RapidOCR, an optional extra. Its wheel holds the models: nothing is ever downloaded."""

from __future__ import annotations

from functools import cache
from importlib import import_module, util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.errors import InputError

NEEDS = ("rapidocr", "onnxruntime")
MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}
"""Part of RapidOCR → its model in the wheel. Given by path, it is not looked for elsewhere."""

LEAST_BOX, LEAST_SCORE = 0.3, 0.5
"""How sure RapidOCR is at least that there is lettering, and of what it read (0..1)."""


def require_ocr(wanted_by: str) -> None:
    """InputError with what to install if the extra is absent; ``wanted_by``: what asks for it."""
    absent = [name for name in NEEDS if util.find_spec(name) is None]
    if absent:
        raise InputError(
            f"{wanted_by} asks for `ocr: true`, which needs {' and '.join(absent)} on every machine that ingests: "
            "pip install 'orthoray[ocr]'. Or leave `ocr` out; lettering is then found by its strokes alone."
        )


def read_lines(image: npt.NDArray[np.uint8]) -> list[str]:
    """Lines of lettering, bright or dark, in no particular order; short lines may be misread texture.

    Letters are found from about 8 pixels high. Images are enlarged to a short side of 736 pixels, or reduced to a long
    side of 2000, and need 0.2 GiB (224 x 224 pixels) to 0.7 GiB (2500 x 2048) of memory.

    Args:
        image: (H, W) grey.
    """
    found: Any = _engine()(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), box_thresh=LEAST_BOX)
    return [str(line) for line in getattr(found, "txts", None) or ()]


@cache
def _engine() -> Any:
    """RapidOCR with one thread, without the step that turns lines upside down."""
    rapidocr = import_module("rapidocr")
    folder = Path(str(rapidocr.__file__)).parent / "models"
    one = dict.fromkeys(("intra_op_num_threads", "inter_op_num_threads"), 1)
    return rapidocr.RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.text_score": LEAST_SCORE,
            "Global.log_level": "critical",
            **{f"EngineConfig.onnxruntime.{name}": count for name, count in one.items()},
            **{f"{part}.model_path": str(folder / name) for part, name in MODELS.items()},
        }
    )
