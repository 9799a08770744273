"""What an image says of itself: a bar code of the slice number, a disc on the patient's left.

Both are placed by shares of the image, so that they can be read after windowing and moderate resizing.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.data.phantom.drawing import Image

BITS = 6
CELL = 1 / 24
"""Side of a cell of the bar code, as a share of the width (across) and the height (down)."""

CODE_LEFT = 0.5 - CELL * (BITS + 2) / 2
DISC = 1 / 32
"""Radius of the disc as a share of the height; it touches a dark square of twice its size in the corner."""


def draw_slice_code(image: Image, number: int) -> None:
    """Write ``number`` (0 … 63) along the top edge: a bright cell, six bits (lowest first), a bright cell.

    Args:
        image: (H, W) float32 in 0..1; changed in place.
        number: slice number.

    Raises:
        ValueError: the number does not fit.
    """
    if not 0 <= number < 1 << BITS:
        raise ValueError(f"slice number {number} does not fit into {BITS} bits")
    height, width = image.shape
    cells = [1, *((number >> bit) & 1 for bit in range(BITS)), 1]
    edges = [round((CODE_LEFT + place * CELL) * width) for place in range(-1, BITS + 4)]
    down = round(CELL * height)
    image[: round(1.6 * CELL * height), edges[0] : edges[-1]] = 0.0
    for place, cell in enumerate(cells):
        image[:down, edges[place + 1] : edges[place + 2]] = float(cell)


def read_slice_code(image: npt.NDArray[Any]) -> int:
    """Read the bar code of a slice.

    Args:
        image: (H, W) grey, any type and size at which a cell is still two pixels wide.

    Returns:
        The slice number, 0 … 63.

    Raises:
        ValueError: there is no bar code.
    """
    cells = [_share_mean(image, CODE_LEFT + (place + 0.5) * CELL) for place in range(-1, BITS + 3)]
    quiet, bright = max(cells[0], cells[-1]), min(cells[1], cells[-2])
    if bright - quiet < 0.3 * max(1e-6, float(image.max()) - float(image.min())):
        raise ValueError("no slice bar code in this image")
    middle = (quiet + bright) / 2
    return sum(int(cell > middle) << bit for bit, cell in enumerate(cells[2:-2]))


def draw_disc(image: Image, side: str = "right") -> None:
    """Draw a bright disc on a dark square in the lower corner at the image's ``left`` or ``right``; in place."""
    height, width = image.shape
    radius = DISC * height
    x, y = _disc_centre(height, width, side)
    corner = int(2 * y - height)
    image[corner:, (0 if side == "left" else int(2 * x - width)) : (int(2 * x) if side == "left" else width)] = 0.0
    stamp = np.zeros(image.shape, np.uint8)
    cv2.circle(stamp, (round(x * 16), round(y * 16)), round(radius * 16), 255, -1, cv2.LINE_AA, 4)
    np.maximum(image, stamp.astype(np.float32) / 255.0, out=image)


def disc_side(image: npt.NDArray[Any]) -> str:
    """Where the disc is in a grey image (H, W): ``left``, ``right``, or ``none``."""
    height, width = image.shape
    contrast = 0.5 * max(1e-6, float(image.max()) - float(image.min()))
    found = []
    for side in ("left", "right"):
        x, y = _disc_centre(height, width, side)
        reach = max(1, round(0.4 * DISC * height))
        inside = image[round(y) - reach : round(y) + reach, round(x) - reach : round(x) + reach]
        far = -1.5 * DISC * height * (-1 if side == "left" else 1)
        corners = [_at(image, x + far, y + sign * 1.4 * DISC * height) for sign in (-1, 1)]
        corners += [_at(image, x - far * 0.8, y + sign * 1.4 * DISC * height) for sign in (-1, 1)]
        if float(inside.mean()) - max(corners) > contrast:
            found.append(side)
    return found[0] if len(found) == 1 else "none"


def _disc_centre(height: int, width: int, side: str) -> tuple[float, float]:
    away = 2 * DISC * height
    return (away if side == "left" else width - away), height - away


def _at(image: npt.NDArray[Any], x: float, y: float) -> float:
    row = min(image.shape[0] - 1, max(0, int(y)))
    return float(image[row, min(image.shape[1] - 1, max(0, int(x)))])


def _share_mean(image: npt.NDArray[Any], x: float) -> float:
    """Mean of the middle of the code's cell around ``x`` (share of the width)."""
    height, width = image.shape
    left, right = round((x - CELL / 4) * width), round((x + CELL / 4) * width)
    return float(image[: max(1, round(0.6 * CELL * height)), left : max(left + 1, right)].mean())
