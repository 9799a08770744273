"""How pixels are kept in a shard: 8-bit, one channel, lossless."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.errors import RunError

CODECS = ("png",)

PNG = (
    (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    (cv2.IMWRITE_PNG_COMPRESSION, 1),
)
"""Differences to the row above, runs and Huffman codes: half the time of OpenCV's defaults to decode, and smaller."""


def encode(image: npt.NDArray[np.uint8], codec: str = "png") -> bytes:
    """Encode an (H, W) uint8 image; RunError for another shape, type or codec."""
    if codec not in CODECS or image.ndim != 2 or image.dtype != np.uint8:
        raise RunError(f"cannot encode {image.dtype} of shape {image.shape} as '{codec}'; expected (H, W) uint8 as png")
    done, content = cv2.imencode(".png", image, [number for pair in PNG for number in pair])
    if not done:
        raise RunError("the image could not be encoded as png")
    return content.tobytes()


def decode(content: bytes, codec: str = "png") -> npt.NDArray[np.uint8]:
    """Decode to (H, W) uint8; RunError if the bytes are damaged or the codec is unknown."""
    if codec not in CODECS:
        raise RunError(f"unknown codec '{codec}' in the dataset; this version reads: {', '.join(CODECS)}")
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise RunError("an image of the dataset is damaged (not a png). Ingest the dataset again.")
    return np.asarray(image, np.uint8)
