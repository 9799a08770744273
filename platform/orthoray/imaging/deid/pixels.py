"""Pixel data: passed on as they are, but for bytes and bits that are not the pixels'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, ExplicitVRBigEndian

from orthoray.imaging.files import UnreadableImageError

if TYPE_CHECKING:
    from pydicom import Dataset

    from orthoray.imaging.deid.scope import Scope

CHUNK_WORDS = 1 << 20
"""Words that are looked at at a time, so that a clean image costs no memory."""


def pixels(element: Any, scope: Scope) -> DataElement | None:
    """Pixel Data of the image itself; that of nested icons goes.

    The same bytes object is passed on unless bytes follow the last frame of native pixel data, or (with
    ``clean_graphics``) bits outside BitsStored are in use: those are then cleared, or set as the sign says. Native
    pixel data whose size the header does not give are nobody's image, and go.

    Raises:
        UnreadableImageError: ``overlay_in_compressed_pixels``.
    """
    if scope.depth or not isinstance(element.value, bytes):
        return None
    dataset, value = scope.dataset, element.value
    syntax = UID(scope.work.syntax)
    if syntax.is_encapsulated:
        if scope.work.clean_graphics and _overlay_in_words(dataset):
            raise UnreadableImageError("overlay_in_compressed_pixels")
    else:
        if (frames := _frames(dataset, value)) is None:
            return None
        value = frames
        if scope.work.clean_graphics:
            value = _own_bits(dataset, value, ">" if syntax == ExplicitVRBigEndian else "<")
    vr = element.VR if element.VR in ("OB", "OW", "OF", "OD") else "OW"
    return DataElement(
        element.tag,
        vr,
        value,
        is_undefined_length=syntax.is_encapsulated,
        already_converted=True,
        validation_mode=config.IGNORE,
    )


def offsets(element: Any, scope: Scope) -> DataElement | None:
    """Extended Offset Table and its lengths: kept if they are one growing number a frame (PS3.3 C.7.6.3.1.8)."""
    value = element.value
    frames = int(scope.dataset.get("NumberOfFrames", 1) or 1)
    if scope.depth or not isinstance(value, bytes) or len(value) != 8 * frames:
        return None
    places = np.frombuffer(value, "<u8")
    size = len(scope.dataset.get("PixelData", b""))
    lengths = element.keyword == "ExtendedOffsetTableLengths"
    fits = int(places.max()) < size and (
        lengths or (int(places[0]) == 0 and bool((np.diff(places.astype(np.int64)) > 0).all()))
    )
    return DataElement(element.tag, "OV", value, already_converted=True) if fits else None


def _frames(dataset: Dataset, value: bytes) -> bytes | None:
    """Native pixel data without what follows the last frame; None if the header does not say how long they are."""
    try:
        expected = get_expected_length(dataset)
    except Exception:  # an attribute that gives the size is missing or wrong
        return None
    return value[: expected + expected % 2] if 0 < expected < len(value) - expected % 2 else value


def _overlay_in_words(dataset: Dataset) -> bool:
    """True if the header says that an overlay is kept in unused bits of the pixels."""
    tags = [tag for tag in list(dataset.keys()) if tag.group & 0xFF01 == 0x6000 and tag.element == 0x0102]
    return any(dataset[tag].value not in (None, "", 0) for tag in tags)


def _own_bits(dataset: Dataset, value: bytes, order: str) -> bytes:
    """Clear bits outside BitsStored (PS3.5 8.1.1); signed values keep their sign. The same object if all are clear.

    A HighBit that cannot be counts for nothing: the pixel is in the lowest bits, as `orthoray.imaging.stored` reads it.
    """
    try:
        width, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
        high, signed = int(dataset.get("HighBit", stored - 1)), int(dataset.PixelRepresentation) == 1
    except (AttributeError, TypeError, ValueError):
        return value
    if width not in (8, 16, 32) or not 0 < stored < width or len(value) % (width // 8):
        return value
    high = high if stored - 1 <= high < width else stored - 1
    words = np.frombuffer(value, f"{order}{'i' if signed else 'u'}{width // 8}")
    starts = range(0, len(words), CHUNK_WORDS)
    if all(_is_clean(words[start : start + CHUNK_WORDS], width, stored, high) for start in starts):
        return value
    return b"".join(
        _cleaned(words[start : start + CHUNK_WORDS], width, stored, high).astype(words.dtype).tobytes()
        for start in starts
    )


def _is_clean(words: np.ndarray, width: int, stored: int, high: int) -> bool:
    if words.dtype.kind == "u":
        foreign = ~(((1 << stored) - 1) << (high + 1 - stored)) & ((1 << width) - 1)
        return not int(np.bitwise_or.reduce(words)) & foreign
    return bool((_cleaned(words, width, stored, high) == words).all())


def _cleaned(words: np.ndarray, width: int, stored: int, high: int) -> np.ndarray:
    native = words.astype(words.dtype.newbyteorder("="), copy=False)
    above, below = width - 1 - high, high + 1 - stored
    return np.asarray(((native << above) >> (above + below)) << below)
