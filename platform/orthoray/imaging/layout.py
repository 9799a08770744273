"""Measures of how a film is laid out: collimation, seams, saturated patches."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]


def collimation(small: Grey) -> tuple[int, int, int, int]:
    """Rows and columns (top, bottom, left, right; ends excluded) inside padding and collimation.

    From every side, rows and then columns are taken off while they are flat (standard deviation below 2 levels) or
    much darker than usual (mean below a quarter of the median of all means); at most 40 % from each side.

    Args:
        small: (H, W) grey.
    """
    top, bottom = _ends(small)
    left, right = _ends(np.ascontiguousarray(small[top:bottom].T))
    return top, bottom, left, right


def _ends(image: Grey) -> tuple[int, int]:
    """First row that shows something and the one after the last."""
    mean = cv2.reduce(image, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
    square = cv2.reduce(image.astype(np.float32) ** 2, 1, cv2.REDUCE_AVG).ravel()
    shows = (square - mean * mean >= 4.0) & (mean >= 0.25 * float(np.median(mean)))
    most = int(0.4 * len(mean)) + 1
    first, last = (int(np.argmax(side)) if side.any() else 0 for side in (shows[:most], shows[::-1][:most]))
    return first, len(mean) - last


def seam_strength(small: Grey) -> float:
    """How much one horizontal step stands out.

    The product of two numbers, of the strongest step between two rows: the share of the columns that jump there (by
    more than 3 times the mean difference of rows), and the mean jump, smoothed along the row, over that of the rows
    above and below. Edges of bone are curved and cross part of the width; the edge between two exposures is straight
    and crosses all of it. The outer eighths, where collimation and film end, are left out.

    Args:
        small: (H, W) grey, without collimated columns.

    Returns:
        0 for an even image, about 0.5 for a film, 5 and more for one made of two exposures.
    """
    margin = len(small) // 8
    inner = small[margin : len(small) - margin].astype(np.float32)
    if min(inner.shape) < 24:
        return 0.0
    steps = cv2.absdiff(inner[1:], inner[:-1])
    limit = 3.0 * cv2.mean(steps)[0] + 2.0
    share = cv2.reduce(cv2.threshold(steps, limit, 1.0, cv2.THRESH_BINARY)[1], 1, cv2.REDUCE_AVG).ravel()
    even = cv2.blur(inner, (9, 1))
    jump = cv2.reduce(cv2.absdiff(even[1:], even[:-1]), 1, cv2.REDUCE_AVG).ravel()
    row = int(np.argmax(jump))
    around = np.concatenate([jump[max(0, row - 7) : max(0, row - 2)], jump[row + 3 : row + 8]])
    return float(share[max(0, row - 1) : row + 2].max() * jump[row] / max(0.5, float(around.mean())))


def saturated_patches(small: Grey) -> float:
    """Share of the image in bright patches with a steep edge that are neither thin nor most of the image: metal.

    Args:
        small: (H, W) grey.
    """
    peak = int(small.max())
    mask = cv2.threshold(small, max(0.96 * peak, 180.0), 1, cv2.THRESH_BINARY)[1]
    if not cv2.countNonZero(cv2.erode(mask, np.ones((3, 3), np.uint8))):
        return 0.0
    labels = cv2.connectedComponentsWithAlgorithm(mask, 8, cv2.CV_32S, cv2.CCL_SPAGHETTI)[1]
    share = np.bincount(labels[mask.view(np.bool_)]) / small.size
    total = 0.0
    for number in np.flatnonzero((share >= 0.002) & (share <= 0.3)):
        patch = (labels == number).astype(np.uint8)
        _, _, width, height = cv2.boundingRect(patch)
        ring = cv2.dilate(patch, np.ones((7, 7), np.uint8)) - cv2.dilate(patch, np.ones((5, 5), np.uint8))
        compact = share[number] * small.size >= 0.2 * width * height
        total += float(share[number]) if compact and cv2.mean(small, ring)[0] <= 0.8 * peak else 0.0
    return total
