"""Sizes that compressed frames declare, checked before a native decoder allocates for them."""

from __future__ import annotations

import struct
from typing import NamedTuple

from orthoray.imaging.reasons import UnreadableImageError

NO_FRAME_HEADER = {0xC4, 0xC8, 0xCC}
"""Markers in the range of JPEG frame headers that are none: DHT, JPG, DAC (ITU-T T.81 Table B.1)."""

JPEG_LS_FRAME = 0xF7
J2K_START = b"\xff\x4f\xff\x51"
RLE_HEADER = 64
RLE_EXPANSION = 64
"""Two bytes of run-length code give at most 128 (PS3.5 G.3.1)."""


class Declared(NamedTuple):
    """Size of a compressed frame by its own header."""

    rows: int
    columns: int
    samples: int


def check_frame(frame: bytes, declared: Declared, sample_bytes: int, *, run_length: bool) -> None:
    """UnreadableImageError ``not_decodable`` if a frame contradicts the data set that it belongs to.

    Args:
        frame: the compressed bytes.
        declared: what the data set says.
        sample_bytes: bytes of one sample.
        run_length: the frame is RLE (PS3.5 G), not JPEG, JPEG-LS or JPEG 2000.
    """
    if run_length:
        size = declared.rows * declared.columns * declared.samples * sample_bytes
        if len(frame) <= RLE_HEADER or (len(frame) - RLE_HEADER) * RLE_EXPANSION < size:
            raise UnreadableImageError("not_decodable", "too few run-length bytes for the declared size")
        return
    found = j2k_size(frame) or jpeg_size(frame)
    if found is not None and found != declared:
        raise UnreadableImageError("not_decodable", "the compressed frame has another size than the data set")


def jpeg_size(frame: bytes) -> Declared | None:
    """Size of a JPEG or JPEG-LS stream from its frame header (ITU-T T.81 B.2.2, T.87 C.2.2); None without one."""
    place = 2 if frame[:2] == b"\xff\xd8" else len(frame)
    while place + 4 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        if marker == JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in NO_FRAME_HEADER):
            if place + 10 > len(frame):
                return None
            rows, columns, samples = struct.unpack_from(">HHB", frame, place + 5)
            return Declared(rows, columns, samples)
        place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    return None


def j2k_size(frame: bytes) -> Declared | None:
    """Size of a JPEG 2000 stream from its SIZ segment (ITU-T T.800 A.5.1), in a JP2 file too; None without one."""
    place = frame.find(J2K_START, 0, 4096)
    if place < 0 or place + 42 > len(frame):
        return None
    width, height, left, top = struct.unpack_from(">4I", frame, place + 8)
    return Declared(height - top, width - left, struct.unpack_from(">H", frame, place + 40)[0])
