"""Images made worse on purpose, to see what a model's features are worth on such images.

Six kinds in five severities, after Hendrycks and Dietterich (ICLR 2019) and MedMNIST-C (Di Salvo et al. 2024), for one
grey channel: noise of the detector, blur, low contrast, brightness, compression, and coarse sampling.
"""

from __future__ import annotations

import io
import zlib
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Kind = Literal["noise", "blur", "contrast", "brightness", "compression", "sampling"]
KINDS: tuple[Kind, ...] = get_args(Kind)

STRENGTH: dict[Kind, tuple[float, float, float, float, float]] = {
    "noise": (0.04, 0.08, 0.12, 0.18, 0.26),  # SD of added normal noise, of the range 0..1
    "blur": (0.004, 0.008, 0.012, 0.018, 0.026),  # SD of a Gaussian, of the shorter side
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor about the mean
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # added, of the range 0..1
    "compression": (40, 20, 12, 7, 4),  # quality of JPEG
    "sampling": (0.6, 0.5, 0.4, 0.3, 0.2),  # factor of the resolution
}
"""What a severity of 1 to 5 means."""


def corrupt(image: Image, kind: Kind, severity: int) -> Image:
    """Make one image worse; the same image is always made the same.

    Args:
        image: (H, W) uint8.
        kind: of `KINDS`.
        severity: 1 (slight) to 5.

    Returns:
        (H, W) uint8.
    """
    strength = STRENGTH[kind][severity - 1]
    height, width = image.shape
    if kind == "compression":
        return _jpeg(image, int(strength))
    if kind == "sampling":
        small = (max(1, round(width * strength)), max(1, round(height * strength)))
        coarse = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    grey = image.astype(np.float32) / 255.0
    if kind == "noise":
        seed = zlib.crc32(image.tobytes())
        grey = grey + np.random.default_rng(seed).normal(0.0, strength, image.shape).astype(np.float32)
    elif kind == "blur":
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), max(0.3, strength * min(height, width))))
    elif kind == "contrast":
        grey = (grey - grey.mean()) * np.float32(strength) + grey.mean()
    else:
        grey = grey + np.float32(strength)
    return np.asarray(np.rint(np.clip(grey, 0.0, 1.0) * 255.0), dtype=np.uint8)


def _jpeg(image: Image, quality: int) -> Image:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Pillow.open(io.BytesIO(buffer.getvalue())), dtype=np.uint8)
