"""Display values: the window where the file brings none, and the arithmetic on whole images.

A stored value of up to 16 bits has at most 65536 cases, so the chain is worked out once for each of them that lies in
the image's range, in float64, and the image is looked up in that table: bit for bit the same result in a tenth of the
time or less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.imaging.chain import Chain, frame_chain
from orthoray.imaging.containers import volume_of
from orthoray.imaging.files import UnreadableImageError, dicom_of, image_file
from orthoray.imaging.pictures import PICTURES, decode_picture
from orthoray.imaging.reasons import refusing
from orthoray.imaging.stored import stored_frames

PERCENTILES = (0.5, 99.5)
"""Window where the file brings none: these percentiles of the values that are not padding."""

BLANK = "blank"
EXACT_COUNTS = 1 << 24
"""Up to so many pixels OpenCV's histogram, which counts in float32, is exact."""


@dataclass(frozen=True, eq=False)
class Display:
    """One frame ready to look at.

    Attributes:
        codes: (H, W) uint8 or uint16 indices into ``table``; without a table the pixels themselves, float32.
        table: (256,) or (65536,) float32 in 0..1, or None; 0 for codes outside of the image's range.
        low, high: the window, in values after the modality transformation; NaN for a lookup table.
        policy: ``voi`` (from the file), ``percentile``, ``full_range`` (8-bit pictures; images with too few different
            values for percentiles), or ``blank`` (a frame of one value among others that are not; it is black).
    """

    codes: np.ndarray
    table: npt.NDArray[np.float32] | None
    low: float
    high: float
    policy: str

    @cached_property
    def pixels(self) -> npt.NDArray[np.float32]:
        """(H, W) float32 in 0..1, bright bone."""
        return self.codes if self.table is None else _gather(self.codes, self.table)

    @cached_property
    def grey(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8: ``rint(255 * pixels)``, without making ``pixels``."""
        shades = np.rint((self.codes if self.table is None else self.table) * np.float32(255.0)).astype(np.uint8)
        return shades if self.table is None else _gather(self.codes, shades)


def read_display(path: str | Path) -> list[np.ndarray]:
    """Read every frame as it is meant to be looked at.

    Args:
        path: DICOM, PNG, JPEG, TIFF, fastMRI's HDF5 or NPY file, local or on any fsspec filesystem.

    Returns:
        One (H, W) float32 array in 0..1 per frame, after the whole pixel chain; bone is bright, padding black. Without
        a window in the file the values between the percentiles `PERCENTILES` are shown, padding left out: of the frame
        (DICOM, pictures) or of the whole volume (HDF5, NPY), so that its slices stay comparable. Eight-bit pictures
        and arrays are shown as they are.

    Raises:
        UnreadableImageError: the file cannot be decoded, or shows nothing (``blank``) or colours (``colour``);
            `orthoray.imaging.files.REASONS` lists why.
    """
    return [frame.pixels for frame in display_frames(str(path))]


def display_frames(uri: str, window: str = "header") -> list[Display]:
    """Like `read_display`, with the window that was used; floating-point pixels are made when they are asked for.

    Args:
        uri: the file.
        window: ``header`` = the file's own where it has one, else percentiles; ``percentile`` = always percentiles.
    """
    with image_file(uri) as file:
        if file.kind == "dicom":
            frames = _dicom(dicom_of(file), window)
        elif file.kind in PICTURES:
            frames = [_volume(image[None], window)[0] for image in decode_picture(file.content(), file.kind)]
        else:
            frames = _volume(volume_of(file.handle, file.kind, file.size), window)
    if all(frame.policy == BLANK for frame in frames):
        raise UnreadableImageError("blank", "all pixels have the same value or are padding")
    return frames


def _dicom(dataset: Any, window: str) -> list[Display]:
    with refusing("header_unreadable"):
        if int(dataset.get("SamplesPerPixel") or 1) != 1 or not _is_grey(dataset):
            raise UnreadableImageError("colour", "a colour image, most likely a screenshot")
    stored = stored_frames(dataset)
    with refusing("header_unreadable"):
        return [shade(values, frame_chain(dataset, number), window) for number, values in enumerate(stored)]


def _is_grey(dataset: Any) -> bool:
    return str(dataset.get("PhotometricInterpretation") or "MONOCHROME2").startswith("MONOCHROME")


def shade(stored: np.ndarray, chain: Chain, window: str = "header", *, table: bool | None = None) -> Display:
    """Put stored values through a chain.

    Args:
        stored: (H, W) integers.
        chain: the steps.
        window: as in `display_frames`.
        table: look the image up in a table; default: where it has at least as many pixels as there are codes.
    """
    width = 8 * stored.dtype.itemsize
    if table is None:
        table = width <= 16 and stored.size >= 1 << width
    codes = np.ascontiguousarray(stored).view(f"u{stored.dtype.itemsize}")
    cases = np.arange(int(stored.min()), int(stored.max()) + 1).astype(stored.dtype) if table else stored
    values = chain.modality(cases)
    padding = None if chain.padding is None else (cases >= chain.padding[0]) & (cases <= chain.padding[1])
    if chain.window is not None and window == "header":
        pixels, low, high, policy = chain.window.shade(values), chain.window.low, chain.window.high, "voi"
    else:
        counts = code_counts(codes)[cases.view(codes.dtype)] if table else np.ones(stored.shape, np.int64)
        low, high, policy = limits(values, counts if padding is None else np.where(padding, 0, counts))
        pixels = _linear(values, low, high)
    pixels = 1.0 - pixels if chain.inverse and policy != BLANK else pixels
    pixels = (pixels if padding is None else np.where(padding, 0.0, pixels)).astype(np.float32)
    if not table:
        return Display(pixels, None, low, high, policy)
    shades = np.zeros(1 << width, np.float32)
    shades[cases.view(codes.dtype)] = pixels
    return Display(codes, shades, low, high, policy)


def _volume(volume: np.ndarray, window: str) -> list[Display]:
    """Frames of a volume with one window for all; what is no number is black and counts for nothing."""
    if volume.dtype == np.uint8 and window == "header":
        table = (np.arange(256) / 255.0).astype(np.float32)
        low, high = int(volume.min()), int(volume.max())
        policy = BLANK if low == high else "full_range"
        return [Display(frame, table, 0.0, 255.0, policy) for frame in volume]
    finite = np.isfinite(volume)
    low_, high_, policy = limits(volume, finite)
    shown = (np.where(mask, _linear(frame, low_, high_), 0.0) for frame, mask in zip(volume, finite, strict=True))
    return [Display(frame.astype(np.float32), None, low_, high_, policy) for frame in shown]


def limits(values: np.ndarray, counts: np.ndarray) -> tuple[float, float, str]:
    """The window between `PERCENTILES`, its limits and how it was found.

    Args:
        values: numbers of any shape.
        counts: how often each of them occurs, of the same shape.

    Returns:
        Limits and ``percentile``, ``full_range`` or, with fewer than two different values, ``blank``.
    """
    seen = counts > 0
    kept, often = values[seen].astype(np.float64), counts[seen]
    if kept.size == 0:
        return 0.0, 0.0, BLANK
    low, high = percentiles(kept, often, PERCENTILES)
    policy = "percentile"
    if high <= low:  # nearly all pixels are equal, as in a small bright part on black
        policy, low, high = "full_range", float(kept.min()), float(kept.max())
    return low, high, policy if high > low else BLANK


def percentiles(values: np.ndarray, counts: np.ndarray, points: Sequence[float]) -> list[float]:
    """`numpy.percentile` (linear interpolation, the same to the last bit) of values that occur ``counts`` times."""
    if (counts == 1).all():
        return [float(value) for value in np.percentile(values, points)]
    order = np.argsort(values)
    ordered, until = values[order], np.cumsum(counts[order])
    return [_between(ordered, until, point) for point in points]


def _between(ordered: np.ndarray, until: np.ndarray, point: float) -> float:
    place = (until[-1] - 1) * (point / 100.0)
    below = int(place)
    lower, upper = ordered[np.searchsorted(until, [below, min(below + 1, until[-1] - 1)], side="right")]
    part = place - below
    return float(upper - (upper - lower) * (1.0 - part) if part >= 0.5 else lower + (upper - lower) * part)


def _linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:
        return np.zeros(values.shape)
    return np.asarray(np.clip((values - low) / (high - low), 0.0, 1.0))


def code_counts(codes: np.ndarray) -> npt.NDArray[np.int64]:
    """How often each code occurs: (256,) or (65536,)."""
    cases = 1 << 8 * codes.dtype.itemsize
    if codes.size > EXACT_COUNTS:
        return np.bincount(codes.ravel(), minlength=cases)
    return cv2.calcHist([codes], [0], None, [cases], [0, cases]).ravel().astype(np.int64)


def _gather(codes: np.ndarray, table: np.ndarray) -> Any:
    return cv2.LUT(codes, table)
