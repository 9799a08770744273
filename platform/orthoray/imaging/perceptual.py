"""Perceptual hash: equal for images that look alike."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

BITS = 64


def perceptual_hash(image: npt.NDArray[np.uint8]) -> int:
    """64-bit hash of an image's low frequencies.

    The image is averaged to 32 x 32; of its cosine transform (type II) the 8 x 8 lowest coefficients are compared with
    their median, row by row, most significant bit first. This is what ImageHash calls ``phash`` at its default size,
    with averages in place of Lanczos resampling, so single bits may differ from it. Scaling, moderate noise, another
    window or another codec change few bits; a mirrored or inverted image has another hash.

    Args:
        image: (H, W) grey.

    Returns:
        An unsigned integer below 2**64. The number of bits in which two hashes differ is their distance.
    """
    averages = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    lowest = cv2.dct(averages)[:8, :8]
    bits = np.packbits((lowest > np.median(lowest)).ravel())
    return int.from_bytes(bits.tobytes(), "big")
