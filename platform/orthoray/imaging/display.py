"""Display values: modality transformation, window, presentation (PS3.3 C.11; PS3.4 N.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orthoray.imaging.files import UnreadableImageError, is_raster, read_dicom, read_raster
from orthoray.imaging.stored import stored_frames

PERCENTILES = (0.5, 99.5)
"""Window where the file brings none: these percentiles of the values that are not padding."""


@dataclass(frozen=True)
class Display:
    """One frame ready to look at.

    Attributes:
        pixels: (H, W) float32 in 0..1, bright bone.
        low, high: the window, in values after the modality transformation; NaN for a lookup table.
        policy: ``voi`` (from the file), ``percentile``, or ``full_range`` (8-bit pictures; images with too few
            different values for percentiles).
    """

    pixels: np.ndarray
    low: float
    high: float
    policy: str


def read_display(path: str | Path) -> list[np.ndarray]:
    """Read every frame as it is meant to be looked at.

    Args:
        path: DICOM, PNG, JPEG or TIFF file, local or on any fsspec filesystem.

    Returns:
        One (H, W) float32 array in 0..1 per frame, after the whole pixel chain; bone is bright. Without a window in
        the file the values between the percentiles `PERCENTILES` are shown; padding is left out of the percentiles
        and shown black.

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """
    return [frame.pixels for frame in display_frames(str(path))]


def display_frames(uri: str, window: str = "header") -> list[Display]:
    """Like `read_display`, with the window that was used.

    Args:
        uri: the file.
        window: ``header`` = the file's own where it has one, else percentiles; ``percentile`` = always percentiles.
    """
    if is_raster(uri):
        return [_picture(read_raster(uri), window)]
    dataset = read_dicom(uri)
    if int(dataset.get("SamplesPerPixel", 1) or 1) != 1:
        raise UnreadableImageError("colour", "a colour image, most likely a screenshot")
    stored = stored_frames(dataset)
    try:
        return [_frame(dataset, number, values, window) for number, values in enumerate(stored)]
    except UnreadableImageError:
        raise
    except Exception as error:
        raise UnreadableImageError("not_decodable", type(error).__name__) from None


def _picture(image: np.ndarray, window: str) -> Display:
    if image.dtype == np.uint8 and window == "header":
        return Display((image / np.float32(255.0)).astype(np.float32), 0.0, 255.0, "full_range")
    return _by_percentiles(image.astype(np.float64), None, inverse=False)


def _frame(dataset: Any, number: int, stored: np.ndarray, window: str) -> Display:
    values = _modality(dataset, number, stored)
    inverse = _is_inverse(dataset)
    shown = _windowed(values, _groups(dataset, number, "FrameVOILUTSequence")) if window == "header" else None
    if shown is None:
        return _by_percentiles(values, _padding(dataset, stored), inverse=inverse)
    pixels, low, high = shown
    return Display((1.0 - pixels if inverse else pixels).astype(np.float32), low, high, "voi")


def _groups(dataset: Any, frame: int, sequence: str) -> list[Any]:
    """Where attributes of a frame may be: its own functional group, the shared one, the data set itself."""
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence", None) or [])[frame : frame + 1]
    shared = list(dataset.get("SharedFunctionalGroupsSequence", None) or [])
    return [*(item for group in frames + shared for item in group.get(sequence, None) or []), dataset]


def _modality(dataset: Any, frame: int, stored: np.ndarray) -> np.ndarray:
    """Modality transformation (PS3.3 C.11.1): a lookup table, or slope and intercept; float64."""
    from pydicom.pixels.processing import apply_modality_lut

    for group in _groups(dataset, frame, "PixelValueTransformationSequence"):
        slope = _first(group.get("RescaleSlope"))
        if group.get("ModalityLUTSequence"):
            return np.asarray(apply_modality_lut(stored, group), np.float64)
        if slope is not None:
            return stored.astype(np.float64) * slope + (_first(group.get("RescaleIntercept")) or 0.0)
    return stored.astype(np.float64)


def _windowed(values: np.ndarray, groups: list[Any]) -> tuple[np.ndarray, float, float] | None:
    """Apply the first lookup table or window (PS3.3 C.11.2) to values after the modality transformation.

    `highdicom.pixels.apply_voi_window` is used on these values, and not `highdicom.Image`, which in 0.28 moves the
    window to stored values (wrong by one stored value at slopes other than 1), takes LUTs of 8 and 16 bits only and
    does not invert composed LUTs. A window of width 1 or less would show two grey levels and is not used.

    Returns:
        Pixels in 0..1 and the limits of the window (NaN for a lookup table), or None without a usable window.
    """
    from highdicom.pixels import apply_voi_window
    from pydicom.pixels.processing import apply_voi

    for group in groups:
        if group.get("VOILUTSequence"):
            mapped = apply_voi(np.rint(values).astype(np.int64), group)
            return mapped / (2.0 ** int(group.VOILUTSequence[0].LUTDescriptor[2]) - 1.0), math.nan, math.nan
        centre, width = _first(group.get("WindowCenter")), _first(group.get("WindowWidth"))
        if centre is not None and width is not None and width > 1.0:
            function = str(group.get("VOILUTFunction") or "LINEAR")
            pixels = apply_voi_window(values, centre, width, function)
            return pixels, centre - width / 2, centre + width / 2 - (1.0 if function == "LINEAR" else 0.0)
    return None


def _padding(dataset: Any, stored: np.ndarray) -> np.ndarray | None:
    """(H, W) bool: stored values that the file calls padding (PS3.3 C.7.5.1.1.2); None without such values."""
    value, limit = _first(dataset.get("PixelPaddingValue")), _first(dataset.get("PixelPaddingRangeLimit"))
    if value is None:
        return None
    low, high = sorted((value, value if limit is None else limit))
    return np.asarray((stored >= low) & (stored <= high))


def _by_percentiles(values: np.ndarray, padding: np.ndarray | None, *, inverse: bool) -> Display:
    real = values if padding is None else values[~padding]
    if real.size == 0:
        raise UnreadableImageError("blank", "all pixels are padding")
    policy = "percentile"
    low, high = (float(limit) for limit in np.percentile(real, PERCENTILES))
    if high <= low:  # nearly all pixels are equal, as in a small bright part on black
        policy, low, high = "full_range", float(real.min()), float(real.max())
    if high <= low:
        raise UnreadableImageError("blank", "all pixels have the same value")
    pixels = np.clip((values - low) / (high - low), 0.0, 1.0)
    pixels = 1.0 - pixels if inverse else pixels
    if padding is not None:
        pixels = np.where(padding, 0.0, pixels)
    return Display(pixels.astype(np.float32), low, high, policy)


def _is_inverse(dataset: Any) -> bool:
    """Are bright and dark exchanged? PresentationLUTShape decides where it is given, else MONOCHROME1."""
    shape = dataset.get("PresentationLUTShape")
    if shape is not None:
        return str(shape) == "INVERSE"
    return str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1"


def _first(value: Any) -> float | None:
    """First of a possibly multi-valued number."""
    if value is None or value == "":
        return None
    try:
        return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
    except (TypeError, ValueError, IndexError):
        return None
