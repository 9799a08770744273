"""PNG, JPEG and TIFF: sizes first, from the header, then the pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from orthoray.imaging.codestream import jpeg_size
from orthoray.imaging.limits import MAX_FRAMES, check_size
from orthoray.imaging.reasons import UnreadableImageError
from orthoray.imaging.sniff import Kind

PICTURES: tuple[Kind, ...] = ("png", "jpeg", "tiff")
FLAGS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE

PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type → samples of a pixel (PNG specification, 11.2.1)."""

WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES, TILE_WIDTH, TILE_HEIGHT = 256, 257, 258, 262, 277, 322, 323
"""Tags of TIFF 6.0."""

INTEGERS = {1: "B", 3: "H", 4: "I"}
"""Types of TIFF fields that sizes may have: BYTE, SHORT, LONG."""


@dataclass(frozen=True)
class Page:
    """What a picture's header says of one page.

    Attributes:
        rows, columns: its size in pixels.
        sample_bytes: bytes of a pixel, all its samples together.
        zero_is_white: TIFF only, PhotometricInterpretation WhiteIsZero.
    """

    rows: int
    columns: int
    sample_bytes: int
    zero_is_white: bool = False


def decode_picture(content: bytes, kind: Kind) -> list[np.ndarray]:
    """Decode a picture.

    Args:
        content: the whole file.
        kind: ``png``, ``jpeg`` or ``tiff``.

    Returns:
        One (H, W) uint8 or uint16 array per page (TIFF may have several), bright where the picture is bright; colour
        reduced to its luminance, turned as EXIF says.

    Raises:
        UnreadableImageError: ``too_large`` by its header, or ``not_decodable``.
    """
    pages = _pages(content, kind)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it writes fields of the file to stderr
    data = np.frombuffer(content, np.uint8)
    images: list[Any]
    try:
        images = list(cv2.imdecodemulti(data, FLAGS)[1]) if kind == "tiff" else [cv2.imdecode(data, FLAGS)]
    except cv2.error:
        images = []
    good = all(image is not None and image.ndim == 2 and image.dtype in (np.uint8, np.uint16) for image in images)
    if len(images) != len(pages) or not good:
        raise UnreadableImageError("not_decodable", f"a damaged {kind}, or one of another depth than 8 or 16 bits")
    return [_upright(image, page) for image, page in zip(images, pages, strict=True)]


def picture_frames(content: bytes, kind: Kind) -> int:
    """Number of pages of a picture, from its header."""
    return len(_pages(content, kind))


def _upright(image: np.ndarray, page: Page) -> np.ndarray:
    """OpenCV inverts pictures whose zero is white where they have 8 bits, but not where they have 16."""
    return ~image if page.zero_is_white and image.dtype == np.uint16 else np.asarray(image)


def _pages(content: bytes, kind: Kind) -> list[Page]:
    """Every page's header, checked against the limits."""
    try:
        pages = {"png": _png, "jpeg": _jpeg, "tiff": _tiff}[kind](content)
    except (struct.error, KeyError, IndexError, OverflowError):
        pages = []
    if not pages:
        raise UnreadableImageError("not_decodable", f"a damaged {kind} header")
    check_size(
        len(pages), max(p.rows for p in pages), max(p.columns for p in pages), max(p.sample_bytes for p in pages)
    )
    return pages


def _png(content: bytes) -> list[Page]:
    columns, rows, depth, colour = struct.unpack_from(">IIBB", content, 16)
    return [Page(rows, columns, PNG_SAMPLES[colour] * -(-depth // 8))]


def _jpeg(content: bytes) -> list[Page]:
    size = jpeg_size(content)
    return [Page(size.rows, size.columns, size.samples)] if size else []


def _tiff(content: bytes) -> list[Page]:
    order = "<" if content[:2] == b"II" else ">"
    (place,) = struct.unpack_from(order + "I", content, 4)
    pages: list[Page] = []
    seen: set[int] = set()
    while place and place not in seen and len(pages) <= MAX_FRAMES:
        seen.add(place)
        fields = _fields(content, place, order)
        tile = fields.get(TILE_WIDTH, 0), fields.get(TILE_HEIGHT, 0)
        size = fields.get(SAMPLES, 1) * -(-fields.get(BITS, 1) // 8)
        check_size(1, max(1, tile[1]), max(1, tile[0]), size)
        pages.append(Page(fields[HEIGHT], fields[WIDTH], size, fields.get(PHOTOMETRIC) == 0))
        (count,) = struct.unpack_from(order + "H", content, place)
        (place,) = struct.unpack_from(order + "I", content, place + 2 + 12 * count)
    return pages


def _fields(content: bytes, place: int, order: str) -> dict[int, int]:
    """Tag → first value of the integer fields of a directory (TIFF 6.0, section 2)."""
    found = {}
    (count,) = struct.unpack_from(order + "H", content, place)
    for start in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", content, start)
        if kind in INTEGERS and number:
            code = order + INTEGERS[kind]
            inline = struct.calcsize(code) * number <= 4
            where = start + 8 if inline else struct.unpack_from(order + "I", content, start + 8)[0]
            found[tag] = struct.unpack_from(code, content, where)[0]
    return found
