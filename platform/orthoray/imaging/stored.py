"""Stored values: what the file holds, before any transformation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from orthoray.imaging.files import UnreadableImageError, is_raster, read_dicom, read_raster

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (PS3.3 C.7.6.3.1.2)."""


def read_stored(path: str | Path) -> list[np.ndarray]:
    """Read the stored pixel values of every frame.

    Args:
        path: DICOM, PNG, JPEG or TIFF file, local or on any fsspec filesystem.

    Returns:
        One (H, W) integer array per frame (PS3.3 C.7.6.3), bits outside BitsStored removed, signed where the file
        says so; colour is reduced to its luminance.

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """
    if is_raster(str(path)):
        return [read_raster(str(path))]
    return list(stored_frames(read_dicom(str(path))))


def stored_frames(dataset: Any) -> np.ndarray:
    """(F, H, W) stored values of a parsed file; UnreadableImageError if there are none or they cannot be decoded."""
    if "PixelData" not in dataset:
        raise UnreadableImageError("no_pixels", "the object holds no pixel data")
    try:
        array = np.asarray(dataset.pixel_array)
        if int(dataset.get("SamplesPerPixel", 1) or 1) == 3:
            array = np.rint(array.astype(np.float64) @ np.array(LUMINANCE)).astype(array.dtype)
        else:
            array = _own_bits(array, dataset)
    except Exception as error:
        raise UnreadableImageError("not_decodable", type(error).__name__) from None
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array[None] if array.ndim == 2 else array


def _own_bits(array: np.ndarray, dataset: Any) -> np.ndarray:
    """Remove bits that are not the pixel's (old files keep overlays there) and extend the sign (PS3.5 8.1.1)."""
    width = array.dtype.itemsize * 8
    stored = int(dataset.get("BitsStored", width))
    if array.dtype.kind not in "iu" or not 0 < stored < width:
        return array
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return np.asarray((native << (width - stored)) >> (width - stored))
