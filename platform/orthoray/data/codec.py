"""How pixels are kept in a shard: 8-bit, one channel, lossless."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import numpy.typing as npt
from isal import igzip_lib, isal_zlib

from orthoray.errors import RunError

CODECS = ("png",)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
UP = 2
"""Filter of a row: the differences to the row above, modulo 256 (PNG specification, third edition, 9.2)."""

LEVEL = 1
"""Of igzip's deflate. Higher levels take longer and save less than 2 % of radiographs."""

PLAIN = (8, 0, 0, 0, 0)
"""Bit depth, colour type, compression, filter method and interlacing of a grey image of 8 bits, as in its IHDR."""

STRIPE = 16
"""Rows that are summed up at a time. Of 8, 16, 32 and 64 the quickest for 512 × 512 pixels."""

MOST_BYTES = 1 << 31
"""Of an image before it is compressed."""

Grey = npt.NDArray[np.uint8]


def encode(image: Grey, codec: str = "png") -> bytes:
    """Encode an (H, W) uint8 image; RunError for another shape, type or codec."""
    if codec not in CODECS or image.ndim != 2 or image.dtype != np.uint8:
        raise RunError(f"cannot encode {image.dtype} of shape {image.shape} as '{codec}'; expected (H, W) uint8 as png")
    return _png(image)


def decode(content: bytes, codec: str = "png") -> Grey:
    """Decode to (H, W) uint8, C-contiguous and writable.

    What `encode` wrote is inflated by igzip and summed up here, in under half the time that OpenCV takes. Any other PNG
    goes to OpenCV.

    Raises:
        RunError: the codec is unknown, or the bytes are damaged. Every checksum is checked: CRC-32 of each chunk, and
            Adler-32 of the pixels of grey images of 8 bits.
    """
    if codec not in CODECS:
        raise RunError(f"unknown codec '{codec}' in the dataset; this version reads: {', '.join(CODECS)}")
    header, data = _chunks(content)
    image = _grey(header, data) if tuple(header[8:]) == PLAIN else None
    if image is None:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        if found is None:
            raise _damaged("its pixels cannot be read")
        image = np.asarray(found, np.uint8)
    return image


def _chunks(content: bytes) -> tuple[bytes, memoryview | bytes]:
    """The header (13 bytes) and the compressed pixels of a PNG, after all of its chunks have been checked."""
    if content[:8] != SIGNATURE:
        raise _damaged("not a png")
    view, place, name, header = memoryview(content), len(SIGNATURE), b"", b""
    parts: list[memoryview] = []
    while name != b"IEND":
        end = place + 12 + int.from_bytes(view[place : place + 4])
        if end > len(content) or end < place + 12:
            raise _damaged("cut off")
        name = bytes(view[place + 4 : place + 8])
        if isal_zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise _damaged("a checksum differs")
        if name == b"IHDR":
            header = bytes(view[place + 8 : end - 4])
        elif name == b"IDAT":
            parts.append(view[place + 8 : end - 4])
        place = end
    if len(header) != 13 or not parts:
        raise _damaged("it holds no pixels")
    return header, parts[0] if len(parts) == 1 else b"".join(parts)


def _grey(header: bytes, data: memoryview | bytes) -> Grey | None:
    """Pixels of a plain grey image whose rows are all differences to the row above; None if they are not."""
    width, height = struct.unpack(">II", header[:8])
    size = height * (width + 1)
    if not (width and height and size < MOST_BYTES):
        raise _damaged("its header gives impossible sizes")
    inflater = isal_zlib.decompressobj()
    try:
        content = inflater.decompress(data, size)
    except igzip_lib.IsalError as error:  # type: ignore[misc]
        raise _damaged(str(error)) from None
    if len(content) != size or not inflater.eof or inflater.unused_data:
        raise _damaged("it holds more or fewer pixels than its header says")
    rows = np.frombuffer(content, np.uint8).reshape(height, width + 1)
    return _summed(rows[:, 1:]) if (rows[:, 0] == UP).all() else None


def _summed(rows: Grey) -> Grey:
    """Sums down the columns, modulo 256: out[i] = rows[0] + … + rows[i].

    The rows are cut into stripes of `STRIPE`. The n-th rows of all stripes are added to the rows before them in one
    call, then the last row of each stripe is carried to all later ones.
    """
    height, width = rows.shape
    stripes = height // STRIPE
    body = stripes * STRIPE
    out = np.empty((height, width), np.uint8)
    if stripes:
        source = rows[:body].reshape(stripes, STRIPE, width)
        sums = np.empty((STRIPE, stripes, width), np.uint8)
        sums[0] = source[:, 0]
        for row in range(1, STRIPE):
            np.add(sums[row - 1], source[:, row], out=sums[row])
        carried = np.zeros((stripes, width), np.uint8)
        for stripe in range(1, stripes):
            np.add(carried[stripe - 1], sums[-1, stripe - 1], out=carried[stripe])
        np.add(sums.transpose(1, 0, 2), carried[:, None], out=out[:body].reshape(stripes, STRIPE, width))
    for row in range(body, height):
        out[row] = rows[row] + out[row - 1] if row else rows[row]
    return out


def _damaged(why: str) -> RunError:
    return RunError(f"an image of the dataset is damaged ({why}). Ingest the dataset again.")


def _png(image: Grey) -> bytes:
    """Write 8-bit grey PNG: every row as its differences to the one above, deflated by igzip.

    A fifth of the time that OpenCV's fastest strategy takes, smaller, and quicker to decode. Within a process equal
    images give equal bytes; in another process igzip rarely takes a match at another place, so that bytes differ and
    pixels do not.
    """
    height, width = image.shape
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = UP
    rows[0, 1:] = image[0]
    np.subtract(image[1:], image[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, *PLAIN)
    content = isal_zlib.compress(rows.data.cast("B"), LEVEL)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", isal_zlib.crc32(body))
