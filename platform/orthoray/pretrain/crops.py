"""Multi-crop for radiographs and MR slices: one affine warp per crop, uint8 in and out."""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from orthoray.config import StrictModel

Grey: TypeAlias = npt.NDArray[np.uint8]
Share = Annotated[float, Field(gt=0.0, le=1.0)]

SHRINK_FIRST = 1.5
"""Downscaling beyond this factor reads an area-averaged copy, since a bilinear warp would alias."""


class MultiCropConfig(StrictModel):
    """Sizes in pixels, scales as shares of the image's area, rotation in degrees.

    Horizontal flips are off by default: they exchange medial and lateral.
    """

    global_size: int = Field(default=224, ge=16)
    global_scale: tuple[Share, Share] = (0.4, 1.0)
    n_global: int = Field(default=2, ge=2, le=2)
    local_size: int = Field(default=96, ge=8)
    local_scale: tuple[Share, Share] = (0.05, 0.4)
    n_local: int = Field(default=8, ge=0)
    aspect: float = Field(default=1.33, ge=1.0, description="Largest ratio of a crop's sides before resizing.")
    rotation: float = Field(default=0.0, ge=0.0, le=180.0, description="Largest angle, either way.")
    flip: float = Field(default=0.0, ge=0.0, le=1.0, description="Probability of a horizontal flip.")

    @model_validator(mode="after")
    def _consistent(self) -> MultiCropConfig:
        for name in ("global_scale", "local_scale"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the first number must not exceed the second")
        return self


class MultiCrop:
    """Cut the views of one image.

    Each crop has an area drawn uniformly from its scale range, an aspect ratio drawn log-uniformly, an angle and a
    place, and is resized to its size by one bilinear warp (after area averaging where it shrinks a lot).
    """

    def __init__(self, config: MultiCropConfig) -> None:
        self.config = config

    def __call__(self, image: Grey, rng: np.random.Generator) -> tuple[Grey, Grey]:
        """Cut the crops of one image.

        Args:
            image: (H, W) uint8.
            rng: source of all choices; the same state gives the same crops.

        Returns:
            global crops (2, G, G) and local crops (n, L, L), uint8.
        """
        made = self.config
        pyramid = _Pyramid(image)
        views = np.empty((made.n_global, made.global_size, made.global_size), np.uint8)
        for view in views:
            self._cut(pyramid, view, made.global_scale, rng)
        details = np.empty((made.n_local, made.local_size, made.local_size), np.uint8)
        for view in details:
            self._cut(pyramid, view, made.local_scale, rng)
        return views, details

    def _cut(self, pyramid: _Pyramid, out: Grey, scale: tuple[float, float], rng: np.random.Generator) -> None:
        made = self.config
        height, width = pyramid.shape
        area = rng.uniform(*scale) * height * width
        ratio = math.exp(rng.uniform(-1.0, 1.0) * math.log(made.aspect))
        crop_w, crop_h = min(math.sqrt(area * ratio), width), min(math.sqrt(area / ratio), height)
        left, top = rng.uniform(0.0, width - crop_w), rng.uniform(0.0, height - crop_h)
        angle = math.radians(rng.uniform(-made.rotation, made.rotation))
        mirror = -1.0 if rng.random() < made.flip else 1.0
        size = out.shape[0]
        source, factor = pyramid.level(min(crop_w, crop_h) / size)
        step_x, step_y = mirror * crop_w / size, crop_h / size
        cosine, sine = math.cos(angle), math.sin(angle)
        linear = np.array([[cosine * step_x, -sine * step_y], [sine * step_x, cosine * step_y]])
        centre = np.array([left + crop_w / 2, top + crop_h / 2])
        matrix = np.empty((2, 3))
        matrix[:, :2] = linear / factor
        matrix[:, 2] = centre / factor - 0.5 - matrix[:, :2] @ np.full(2, (size - 1) / 2)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(source, matrix, (size, size), dst=out, flags=flags, borderMode=cv2.BORDER_REPLICATE)


class _Pyramid:
    """An image and its area-averaged copies, made when first needed."""

    def __init__(self, image: Grey) -> None:
        self.shape = image.shape
        self._levels = {1: image}

    def level(self, shrink: float) -> tuple[Grey, int]:
        """The copy to read for a crop that shrinks by ``shrink``, and by which whole factor it is smaller."""
        factor = 1
        while shrink / factor > SHRINK_FIRST and min(self.shape) // (2 * factor) >= 16:
            factor *= 2
        if factor not in self._levels:
            height, width = self.shape
            size = (width // factor, height // factor)
            whole = self._levels[1][: size[1] * factor, : size[0] * factor]
            self._levels[factor] = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
        return self._levels[factor], factor
