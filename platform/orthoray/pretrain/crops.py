"""Multi-crop for radiographs and MR slices: one affine warp per crop, uint8 in and out."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from orthoray.pretrain.settings.crops import MultiCropConfig, Scale
from orthoray.pretrain.settings.data import Modality

__all__ = ["MultiCrop", "MultiCropConfig"]

Grey: TypeAlias = npt.NDArray[np.uint8]

SHRINK_FIRST = 1.5
"""Downscaling beyond this factor reads an area-averaged copy, since a bilinear warp would alias."""

CHOICES = 6
"""Random numbers that a crop takes: area, ratio, left, top, angle, mirror."""

WARP = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}


class MultiCrop:
    """Cut the views of one image.

    Each crop has an area drawn uniformly from its scale range, an aspect ratio drawn log-uniformly, an angle and a
    place, and is resized to its size by one bilinear warp (after area averaging where it shrinks a lot).
    """

    def __init__(self, config: MultiCropConfig) -> None:
        self.config = config
        self.mirrored = 0.0 if config.flip == "off" else 0.5
        self.stretch, self.turn = math.log(config.aspect), config.rotation - -config.rotation

    def __call__(
        self, image: Grey, rng: np.random.Generator, modality: Modality | None = None, second: Grey | None = None
    ) -> tuple[Grey, Grey]:
        """Cut the crops of one image.

        Args:
            image: (H, W) uint8.
            rng: source of all choices; the same state gives the same crops.
            modality: decides the scales where they differ.
            second: (H, W) uint8, of which the second global crop is cut; None = the image itself.

        Returns:
            global crops (2, G, G) and local crops (n, L, L), uint8.
        """
        views, details = self.room(1)
        self.into(views[0], details[0], image, rng, modality, second)
        return views[0], details[0]

    def room(self, images: int) -> tuple[Grey, Grey]:
        """Uninitialised arrays for the crops of so many images: (images, 2, G, G) and (images, n, L, L) uint8."""
        made = self.config
        views = (images, made.n_global, made.global_size, made.global_size)
        details = (images, made.n_local, made.local_size, made.local_size)
        return np.empty(views, np.uint8), np.empty(details, np.uint8)

    def into(
        self,
        views: Grey,
        details: Grey,
        image: Grey,
        rng: np.random.Generator,
        modality: Modality | None = None,
        second: Grey | None = None,
    ) -> None:
        """As a call, but write the crops into ``views`` (2, G, G) and ``details`` (n, L, L), C-contiguous."""
        whole, close = self.config.scales(modality)
        choices = rng.random((len(views) + len(details), CHOICES)).tolist()
        pyramid = _Pyramid(image)
        self._cut(pyramid, views[0], whole, choices[0])
        self._cut(pyramid if second is None else _Pyramid(second), views[1], whole, choices[1])
        for view, chosen in zip(details, choices[2:], strict=True):
            self._cut(pyramid, view, close, chosen)

    def _cut(self, pyramid: _Pyramid, out: Grey, scale: Scale, chosen: list[float]) -> None:
        made = self.config
        height, width = pyramid.shape
        area = (scale[0] + (scale[1] - scale[0]) * chosen[0]) * height * width
        ratio = math.exp((-1.0 + 2.0 * chosen[1]) * self.stretch)
        crop_w, crop_h = min(math.sqrt(area * ratio), width), min(math.sqrt(area / ratio), height)
        left, top = (width - crop_w) * chosen[2], (height - crop_h) * chosen[3]
        angle = math.radians(-made.rotation + self.turn * chosen[4])
        size = out.shape[0]
        source, factor = pyramid.level(min(crop_w, crop_h) / size)
        step_x, step_y = (-crop_w if chosen[5] < self.mirrored else crop_w) / size, crop_h / size
        cosine, sine = math.cos(angle), math.sin(angle)
        matrix = np.empty((2, 3))
        matrix[0, 0], matrix[0, 1] = cosine * step_x / factor, -sine * step_y / factor
        matrix[1, 0], matrix[1, 1] = sine * step_x / factor, cosine * step_y / factor
        across, down = (matrix[:, :2] @ _middle(size)).tolist()
        matrix[0, 2] = (left + crop_w / 2) / factor - 0.5 - across
        matrix[1, 2] = (top + crop_h / 2) / factor - 0.5 - down
        cv2.warpAffine(source, matrix, (size, size), dst=out, **WARP)


class _Pyramid:
    """An image and its area-averaged copies, made when first needed."""

    def __init__(self, image: Grey) -> None:
        self.shape, self.least = image.shape, min(image.shape)
        self._levels = {1: image}

    def level(self, shrink: float) -> tuple[Grey, int]:
        """The copy to read for a crop that shrinks by ``shrink``, and by which whole factor it is smaller."""
        factor = 1
        while shrink / factor > SHRINK_FIRST and self.least // (2 * factor) >= 16:
            factor *= 2
        if factor not in self._levels:
            height, width = self.shape
            size = (width // factor, height // factor)
            whole = self._levels[1][: size[1] * factor, : size[0] * factor]
            self._levels[factor] = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
        return self._levels[factor], factor


@lru_cache(maxsize=16)
def _middle(size: int) -> npt.NDArray[np.float64]:
    """The middle of ``size`` pixels, twice."""
    return np.full(2, (size - 1) / 2)
