"""Limits that hold before any work is done: what a file declares about itself is not to be trusted."""

from __future__ import annotations

from typing import Any

from orthoray.imaging.reasons import UnreadableImageError, refusing

MAX_PIXEL_BYTES = 512 << 20
"""Bytes of all frames of a file, decoded. A film of 43 x 35 cm at 0.1 mm and 16 bits has 30 million."""

MAX_FILE_BYTES = 2 << 30
"""Bytes of a file that is read as a whole."""

MAX_HEADER_BYTES = 64 << 20
"""Bytes of a deflated file that are inflated beside its declared pixels."""

MAX_FRAMES = 1 << 16
"""Frames of a file."""


def check_size(frames: int, rows: int, columns: int, sample_bytes: int) -> None:
    """UnreadableImageError ``too_large`` for more decoded pixels than the limits, ``no_pixels`` for none.

    Args:
        frames: number of frames.
        rows: height of a frame in pixels.
        columns: width of a frame in pixels.
        sample_bytes: bytes of a pixel, all its samples together.
    """
    if min(frames, rows, columns, sample_bytes) <= 0:
        raise UnreadableImageError("no_pixels", "the declared size is zero")
    size = frames * rows * columns * sample_bytes
    if size > MAX_PIXEL_BYTES or frames > MAX_FRAMES:
        raise UnreadableImageError("too_large", f"{frames} frames, {size >> 20} MiB declared")


def check_declared(dataset: Any) -> int:
    """Check what a DICOM header declares.

    Returns:
        Bytes of all frames together, decoded (PS3.3 C.7.6.3, C.7.6.6).

    Raises:
        UnreadableImageError: ``no_pixels`` without Rows or Columns, ``header_unreadable`` where they are no numbers,
            ``too_large`` beyond the limits.
    """
    with refusing("header_unreadable"):
        if not dataset.get("Rows") or not dataset.get("Columns"):
            raise UnreadableImageError("no_pixels", "the object holds no image")
        frames = int(dataset.get("NumberOfFrames") or 1)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        sample = int(dataset.get("SamplesPerPixel") or 1) * -(-int(dataset.get("BitsAllocated") or 16) // 8)
    check_size(frames, rows, columns, sample)
    return frames * rows * columns * sample
