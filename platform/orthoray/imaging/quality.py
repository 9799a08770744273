"""Measures of one image's technical quality, cheap enough for every image of an ingest."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.imaging.foreground import find_foreground
from orthoray.imaging.layout import collimation, saturated_patches, seam_strength
from orthoray.imaging.mr_quality import MR_MEASURES, mr_measures
from orthoray.imaging.perceptual import perceptual_hash
from orthoray.imaging.sharpness import bands, edges, noise_level, power_spectrum
from orthoray.imaging.text_boxes import find_marks

Grey = npt.NDArray[np.uint8]

SMALL = 256
"""Short side (pixels) at which sharpness and frequencies are measured; smaller images are taken as they are."""


@dataclass(frozen=True)
class Quality:
    """Measures of one image; NaN where a measure does not apply.

    Inside the collimation means without padding and collimated borders (`orthoray.imaging.layout.collimation`); of
    images larger than `SMALL` every second row is counted there, or every third and so on.

    Attributes:
        mean, std: of the grey levels 0..255 of the whole image.
        levels: number of different grey levels inside the collimation, 1..256.
        entropy: of the histogram inside the collimation, bits, 0..8.
        contrast: 99th minus 1st percentile inside the collimation, grey levels.
        clipped_low, clipped_high: shares of the pixels inside the collimation at 0 and at 255.
        laplacian, tenengrad: log10 of edge energy over local variance (`orthoray.imaging.sharpness.edges`).
        high_frequency, detail, detail_least: log10 of ratios of spectral energy (`orthoray.imaging.sharpness.bands`).
        noise: standard deviation of the noise at `SMALL` pixels, as a share of `contrast`.
        foreground: share 0..1 of the image that shows something (`orthoray.imaging.foreground`).
        aspect: long side over short side.
        seam: how much one horizontal step stands out (`orthoray.imaging.layout.seam_strength`).
        implant: share of the image in saturated compact patches (`orthoray.imaging.layout.saturated_patches`).
        text_boxes, text_area: number of words and their share of the image (`orthoray.imaging.text_boxes`).
        graphics: number of drawn lines or arrows; NaN for MR, where fat and fluid look the same.
        snr: MR: log10 of the mean of the foreground over the standard deviation of the background.
        efc: MR: entropy focus criterion, 0 = all energy in one pixel, 1 = evenly spread.
        ghost: MR: correlation of the edges with those half the field of view aside, -1..1.
        streaks: MR: 90th minus 10th percentile of the background's averages over the foreground's mean.
        air: MR: log10 of the darkest tenth's over the brightest twentieth's level; movement fills the air.
        spike: MR: log10 of the strongest line of the spectrum, weighted by squared frequency, over its mean.
        shading: MR: log10 of the spread of the foreground's slow variation (90th over 10th percentile).
        phash: 64-bit perceptual hash (`orthoray.imaging.perceptual`); no part of `row`.
    """

    mean: float
    std: float
    levels: float
    entropy: float
    contrast: float
    clipped_low: float
    clipped_high: float
    laplacian: float
    tenengrad: float
    high_frequency: float
    detail: float
    detail_least: float
    noise: float
    foreground: float
    aspect: float
    seam: float
    implant: float
    text_boxes: float
    text_area: float
    graphics: float
    snr: float
    efc: float
    ghost: float
    streaks: float
    air: float
    spike: float
    shading: float
    phash: int

    def row(self) -> dict[str, float]:
        """The measures by name, without the hash: one value of the struct column ``quality``."""
        return {name: value for name, value in asdict(self).items() if name != "phash"}


MEASURES = tuple(field.name for field in fields(Quality) if field.name != "phash")
"""Names of the measures: the fields of the struct column ``quality``, all float32."""


def measure(image: Grey, modality: str) -> Quality:
    """Measure one image of the training tier.

    Args:
        image: (H, W) uint8 after windowing, bone and tissue bright. Of images below 32 pixels little can be told.
        modality: ``MR`` adds the measures of magnetic resonance; anything else leaves them NaN.
    """
    small, is_mr = _small(image), modality == "MR"
    inside, focus = _inside(image, small)
    histogram = _histogram(inside[:: max(1, min(image.shape) // SMALL)])
    low, high = (int(np.searchsorted(np.cumsum(histogram), share)) for share in (0.01, 0.99))
    seen = histogram[histogram > 0]
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(image))
    noise, power = noise_level(focus), power_spectrum(small)
    foreground, marks = find_foreground(small, noise), find_marks(image, graphics=not is_mr)
    magnetic = mr_measures(small, foreground, power) if is_mr else dict.fromkeys(MR_MEASURES, math.nan)
    return Quality(
        mean=mean,
        std=deviation,
        levels=float(len(seen)),
        entropy=abs(float((seen * np.log2(seen)).sum())),
        contrast=float(high - low),
        clipped_low=float(histogram[0]),
        clipped_high=float(histogram[255]),
        **edges(focus),
        **bands(power),
        noise=noise / (high - low) if high > low else math.nan,
        foreground=foreground.share,
        aspect=max(image.shape) / min(image.shape),
        seam=seam_strength(small),
        implant=saturated_patches(small),
        text_boxes=float(len(marks.words)),
        text_area=sum(width * height for _, _, width, height in marks.words) / image.size,
        graphics=math.nan if is_mr else float(len(marks.graphics)),
        **magnetic,
        phash=perceptual_hash(small),
    )


def _small(image: Grey) -> Grey:
    scale = min(image.shape) / SMALL
    if scale <= 1.0:
        return image
    size = (round(image.shape[1] / scale), round(image.shape[0] / scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _inside(image: Grey, small: Grey) -> tuple[Grey, npt.NDArray[np.float32]]:
    """The image and its reduced form inside the collimation."""
    top, bottom, left, right = collimation(small)
    down, across = image.shape[0] / small.shape[0], image.shape[1] / small.shape[1]
    inside = image[round(top * down) : round(bottom * down), round(left * across) : round(right * across)]
    return inside, small[top:bottom, left:right].astype(np.float32)


def _histogram(image: Grey) -> npt.NDArray[np.float64]:
    """(256,) shares of the grey levels."""
    counts = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel()
    return np.asarray(counts / image.size, np.float64)
