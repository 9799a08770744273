"""Measures of magnetic resonance images, after those of MRQC and MRQy."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.imaging.foreground import Foreground
from orthoray.imaging.sharpness import frequencies

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

BACKGROUND = 0.05
"""With a smaller share of background nothing is measured in it."""

MR_MEASURES = ("snr", "efc", "ghost", "streaks", "air", "spike", "shading")


def mr_measures(image: Grey, found: Foreground, power: Floats) -> dict[str, float]:
    """The `MR_MEASURES`, as `orthoray.imaging.quality.Quality` describes them.

    Args:
        image: (H, W) grey, about 256 pixels on its short side.
        found: its foreground.
        power: its power spectrum (`orthoray.imaging.sharpness.power_spectrum`).
    """
    dark, bright = _levels(found.thumb, 0.1, 0.95)
    measures = {
        "efc": _focus(image),
        "ghost": _half_field_ghost(image),
        "air": math.log10((dark + 0.5) / max(1.0, bright)),
        "spike": _spike(power),
        "shading": _shading(found),
    }
    around = cv2.dilate(found.mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    if found.share == 0.0 or float((around == 0).mean()) < BACKGROUND:
        return measures | {"snr": math.nan, "streaks": math.nan}
    signal = float(found.thumb[found.mask].mean())
    behind = cv2.resize(1 - around, image.shape[::-1], interpolation=cv2.INTER_NEAREST)
    deviation = max(0.5, float(cv2.meanStdDev(image, mask=behind)[1][0, 0]))
    low, high = _levels(found.thumb[around == 0], 0.1, 0.9)
    return measures | {"snr": math.log10(signal / deviation), "streaks": (high - low) / signal}


def _levels(values: npt.NDArray[Any], *shares: float) -> list[float]:
    """Quantiles of values, the nearest rank."""
    places = [round(share * (values.size - 1)) for share in shares]
    return [float(level) for level in np.partition(values, places, axis=None)[places]]


def _focus(image: Grey) -> float:
    """Entropy focus criterion (Atkinson et al., IEEE Trans. Med. Imaging 16:903, 1997) over that of a flat image."""
    grey, pixels = np.arange(1.0, 256.0), image.size
    count = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()[1:].astype(np.float64)
    norm = math.sqrt(float(count @ grey**2))
    if norm == 0.0 or pixels < 2:
        return math.nan
    entropy = -float(count @ ((grey / norm) * np.log(grey / norm)))
    return entropy / (math.sqrt(pixels) * math.log(math.sqrt(pixels)))


def _half_field_ghost(image: Grey) -> float:
    """Do the edges come again half the field of view aside?

    Correlation of the edges with themselves, moved by half the height or half the width; the larger of the two. Edges
    count without their sign, because a ghost adds to what lies under it here and takes away there.
    """
    grey = cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = cv2.absdiff(grey, cv2.GaussianBlur(grey, (0, 0), 2.0))
    edges = cv2.subtract(detail, cv2.GaussianBlur(detail, (0, 0), 8.0))
    energy = float(np.vdot(edges, edges))
    moved = (np.roll(edges, 64, axis) for axis in (0, 1))
    return max(float(np.vdot(part, edges)) for part in moved) / energy if energy > 0.0 else 0.0


def _spike(power: Floats) -> float:
    """A bad point in k-space is a line of the spectrum; tissue falls with the square of the frequency."""
    flat = power * _weight(len(power))
    mean = float(flat.mean())
    return math.log10(float(flat.max()) / mean) if mean > 0.0 else math.nan


@lru_cache(maxsize=4)
def _weight(side: int) -> Floats:
    """Squared frequency above 0.1 cycles per pixel, 0 below."""
    squared = frequencies(side) ** 2
    return np.asarray(np.where(squared > 0.01, squared, 0.0), np.float32)


def _shading(found: Foreground) -> float:
    """Receiver field: ratio of the 90th to the 10th percentile of the foreground after strong smoothing."""
    weight = found.mask.astype(np.float32)
    if found.share < BACKGROUND:
        return math.nan
    slow = cv2.GaussianBlur(found.thumb * weight, (0, 0), 6.0) / (cv2.GaussianBlur(weight, (0, 0), 6.0) + 1e-3)
    low, high = _levels(slow[found.mask], 0.1, 0.9)
    return math.log10(high / max(1.0, low))
