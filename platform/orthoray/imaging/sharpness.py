"""Sharpness, frequencies and noise of one image."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SECTORS = 4
"""Directions told apart in the spectrum; camera shake takes the fine detail of one of them."""

COARSE, FINE, FINEST = (0.02, 0.08), (0.08, 0.16), 0.25
"""Bands of the spectrum, cycles per pixel: shapes of bones, their edges, and everything above half of Nyquist."""

LEAST = 32
"""Side (pixels) of the smallest square that has coefficients in all bands and sectors."""

SMALLEST = 1e-8
"""Smallest ratio whose logarithm is told apart."""


def edges(focus: Floats) -> dict[str, float]:
    """``laplacian`` and ``tenengrad``: log10 of their mean energy over the mean local variance (9 x 9).

    Both energies and the variance go with the square of the contrast, so any linear scaling of the grey levels
    cancels. The variance of the Laplacian is that of Pech-Pacheco et al. (ICPR 2000), the squared Sobel gradient that
    of Krotkov (Int. J. Comput. Vis. 1:223, 1988). NaN without any contrast.
    """
    mean, square = cv2.blur(focus, (9, 9)), cv2.blur(focus * focus, (9, 9))
    local = float((square - mean * mean).mean())
    if local < 1e-4:
        return {"laplacian": math.nan, "tenengrad": math.nan}
    across, down = cv2.Sobel(focus, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(focus, cv2.CV_32F, 0, 1, scale=0.125)
    gradient = float(cv2.norm(across, cv2.NORM_L2SQR) + cv2.norm(down, cv2.NORM_L2SQR)) / focus.size
    curvature = float(cv2.Laplacian(focus, cv2.CV_32F).var())
    return {"laplacian": logarithm(curvature / local), "tenengrad": logarithm(gradient / local)}


def noise_level(focus: Floats) -> float:
    """Standard deviation of white noise after Immerkaer (Comput. Vis. Image Underst. 64:300, 1996), grey levels."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = cv2.norm(cv2.filter2D(focus, cv2.CV_32F, kernel), cv2.NORM_L1)
    return float(math.sqrt(math.pi / 2) * response / (6.0 * focus.size))


def power_spectrum(small: npt.NDArray[np.uint8]) -> Floats:
    """(S, S // 2 + 1) power of the central square of S pixels, without its mean, under a Hann window."""
    from scipy import fft

    side = min(small.shape)
    top, left = (small.shape[0] - side) // 2, (small.shape[1] - side) // 2
    square = small[top : top + side, left : left + side].astype(np.float32)
    transformed = fft.rfft2((square - square.mean()) * _window(side))
    return np.asarray(transformed.real**2 + transformed.imag**2, np.float32)


def bands(power: Floats) -> dict[str, float]:
    """Logarithms of ratios of spectral energy; NaN without any, and for images below `LEAST` pixels.

    ``high_frequency``: above `FINEST` over all. ``detail``: `FINE` over `COARSE`, which noise hardly reaches.
    ``detail_least``: the same in the direction where it is least.
    """
    if len(power) >= LEAST:
        order, starts = _bins(len(power))
        energy = np.add.reduceat(power.ravel()[order], starts, dtype=np.float64)
    else:
        energy = np.zeros(2 * SECTORS + 3)
    total = float(energy.sum())
    if total <= 0.0:
        return dict.fromkeys(("high_frequency", "detail", "detail_least"), math.nan)
    coarse, fine = energy[3 : 3 + SECTORS], energy[3 + SECTORS :]
    ratios = [logarithm(float(b / a)) if a > 0.0 else math.nan for a, b in zip(coarse, fine, strict=True)]
    return {
        "high_frequency": logarithm(float(energy[2]) / total),
        "detail": logarithm(float(fine.sum() / coarse.sum())) if coarse.sum() > 0.0 else math.nan,
        "detail_least": float(np.nanmin(ratios)) if not np.isnan(ratios).all() else math.nan,
    }


@lru_cache(maxsize=4)
def frequencies(side: int) -> Floats:
    """(S, S // 2 + 1) distance of each coefficient from frequency zero, cycles per pixel."""
    distance = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    return np.asarray(distance, np.float32)


@lru_cache(maxsize=4)
def _window(side: int) -> Floats:
    window = np.hanning(side).astype(np.float32)
    return np.outer(window, window)


@lru_cache(maxsize=4)
def _bins(side: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Order that brings the coefficients of a bin together, and where each bin starts.

    Bins: 0 others, 1 between fine and finest, 2 finest, then the sectors of coarse, then those of fine.
    """
    radius = frequencies(side)
    angle = np.arctan2(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :] + 1e-12) / np.pi + 0.5
    sector = np.minimum((angle * SECTORS).astype(np.intp), SECTORS - 1)
    bins = np.where(radius >= FINE[1], 1, 0)
    bins = np.where(radius > FINEST, 2, bins)
    bins = np.where((radius >= COARSE[0]) & (radius < COARSE[1]), 3 + sector, bins)
    bins = np.where((radius >= FINE[0]) & (radius < FINE[1]), 3 + SECTORS + sector, bins)
    order = np.argsort(bins, axis=None, kind="stable")
    return order, np.searchsorted(bins.ravel()[order], np.arange(2 * SECTORS + 3))


def logarithm(ratio: float) -> float:
    """log10, not below that of `SMALLEST`."""
    return math.log10(max(ratio, SMALLEST))
