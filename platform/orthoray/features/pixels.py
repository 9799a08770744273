"""The plainest baseline: the image itself, area-averaged to a small grey square."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

PIXEL_SIDE = 24
"""Side of the grey square; its 576 values are reduced by PCA on the training part (see `probe`)."""


def thumbnail(image: npt.NDArray[np.uint8], side: int = PIXEL_SIDE) -> npt.NDArray[np.float32]:
    """Resize one (H, W) uint8 image to (side, side) by area averaging; (side * side,) float32 in 0..1.

    The whole image is kept and squeezed to a square; an image smaller than ``side`` is interpolated.
    """
    return resize(image.astype(np.float32) / 255.0, side).reshape(-1)


def resize(image: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Resize (H, W) to (side, side): area averaging when shrinking, bilinear when growing; dtype kept."""
    shrinks = min(image.shape[:2]) >= side
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))
