"""Smooth shapes and textures on a float canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Outline = Sequence[tuple[float, float]] | Points
Rect = tuple[float, float, float, float]
_SHIFT = 4


@dataclass(frozen=True)
class Pose:
    """How an anatomy lies in the image: shift (units), turn (radians), scale, and smooth bending of its shape."""

    dx: float = 0.0
    dy: float = 0.0
    angle: float = 0.0
    scale: float = 1.0
    bend: tuple[float, ...] = (0.0,) * 8

    @classmethod
    def drawn(cls, rng: np.random.Generator, shift: float, turn: float, size: float, bend: float) -> Pose:
        """A random pose: shift and turn up to the given values, scale within 1 ± ``size``, bending by ``bend``."""
        dx, dy = rng.uniform(-shift, shift, 2)
        angle, scale = rng.uniform(-turn, turn), 1.0 + rng.uniform(-size, size)
        waves = np.concatenate([rng.uniform(-bend, bend, 4), rng.uniform(0, 2 * np.pi, 4)])
        return cls(float(dx), float(dy), float(angle), float(scale), tuple(float(wave) for wave in waves))

    def apply(self, points: Points) -> Points:
        """Move points (N, 2)."""
        x, y = points[:, 0], points[:, 1]
        a, b = self.bend[:4], self.bend[4:]
        bent_x = x + a[0] * np.sin(3.0 * y + b[0]) + a[1] * np.sin(5.0 * x + b[1])
        bent_y = y + a[2] * np.sin(3.0 * x + b[2]) + 0.5 * a[3] * np.sin(4.0 * y + b[3])
        cosine, sine = np.cos(self.angle) * self.scale, np.sin(self.angle) * self.scale
        return np.stack([bent_x * cosine - bent_y * sine + self.dx, bent_x * sine + bent_y * cosine + self.dy], axis=1)


class Canvas:
    """Grey image drawn at twice its size in units of half its height: x right, y down, (0, 0) in the middle."""

    def __init__(self, height: int, width: int, pose: Pose, fine: int = 2) -> None:
        self.height, self.width, self.pose, self.fine = height, width, pose, fine
        self.unit = height * fine / 2
        self.pixels: Image = np.zeros((height * fine, width * fine), np.float32)

    def mask(self, outline: Outline, soft: float = 0.0) -> Image:
        """Coverage 0..1 of the inside of an outline; ``soft`` (units) blurs its edge."""
        raster = np.zeros(self.pixels.shape, np.uint8)
        cv2.fillPoly(raster, [self._raster(outline)], 255, cv2.LINE_AA, _SHIFT)
        return self._softened(raster, soft)

    def line(self, outline: Outline, thickness: float, soft: float = 0.0) -> Image:
        """Coverage 0..1 of an open line of ``thickness`` (units)."""
        raster = np.zeros(self.pixels.shape, np.uint8)
        weight = max(1, round(thickness * self.unit * self.pose.scale))
        cv2.polylines(raster, [self._raster(outline)], False, 255, weight, cv2.LINE_AA, _SHIFT)
        return self._softened(raster, soft)

    def paint(self, mask: Image, value: float | Image) -> None:
        """Replace by ``value`` where the mask covers."""
        self.pixels += mask * (np.asarray(value, np.float32) - self.pixels)

    def add(self, mask: Image, value: float | Image) -> None:
        """Add ``value`` where the mask covers."""
        self.pixels += mask * np.asarray(value, np.float32)

    def depth(self, mask: Image) -> Image:
        """Distance (units) to the outside of a mask, 0 outside."""
        inside = (mask > 0.5).astype(np.uint8)
        return np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 5) / np.float32(self.unit), np.float32)

    def grain(self, rng: np.random.Generator, size: float, stretch: float = 1.0) -> Image:
        """Texture over the whole canvas; ``size`` in pixels of the finished image."""
        return texture(rng, self.pixels.shape, size * self.fine, stretch)

    def finished(self) -> Image:
        """The image at its own size (H, W)."""
        return np.asarray(cv2.resize(self.pixels, (self.width, self.height), interpolation=cv2.INTER_AREA), np.float32)

    def place(self, outline: Outline) -> Points:
        """Points in pixels of the finished image."""
        moved = self.pose.apply(np.asarray(outline, np.float64))
        return np.asarray(moved * (self.height / 2) + (self.width / 2, self.height / 2))

    def rect(self, outline: Outline, margin: float = 0.04) -> Rect:
        """Box (x0, y0, x1, y1) around points in pixels of the finished image, ``margin`` in units."""
        points, more = self.place(outline), margin * self.height / 2
        limits = (self.width, self.height)
        low, high = np.clip(points.min(0) - more, 0, limits), np.clip(points.max(0) + more, 0, limits)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def _raster(self, outline: Outline) -> npt.NDArray[np.int32]:
        moved = self.pose.apply(np.asarray(outline, np.float64)) * self.unit
        middle = np.array(self.pixels.shape[1::-1]) / 2
        return np.asarray(np.rint((moved + middle - 0.5) * (1 << _SHIFT)), np.int32)

    def _softened(self, raster: npt.NDArray[np.uint8], soft: float) -> Image:
        image = raster.astype(np.float32) / np.float32(255.0)
        return np.asarray(cv2.GaussianBlur(image, (0, 0), soft * self.unit)) if soft > 0 else image


def smooth(outline: Outline, steps: int = 6, closed: bool = True) -> Points:
    """Catmull-Rom curve through the points; (N * steps, 2) for a closed one."""
    points = np.asarray(outline, np.float64)
    ends = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    around = np.concatenate([ends[0], points, ends[1]])
    p0, p1, p2, p3 = (around[shift : len(around) - 3 + shift, None, :] for shift in range(4))
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3)
    flat = curve.reshape(-1, 2)
    return np.asarray(flat if closed else np.concatenate([flat, points[-1:]]))


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0, n: int = 48) -> Points:
    """Outline of an ellipse; ``angle`` in radians."""
    turn = np.linspace(0.0, 2 * np.pi, n, endpoint=False)
    dx, dy = rx * np.cos(turn), ry * np.sin(turn)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([x + dx * cosine - dy * sine, y + dx * sine + dy * cosine], axis=1)


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, n: int = 24) -> Points:
    """Part of an ellipse from angle ``start`` to ``end`` (radians, clockwise from the right as y goes down)."""
    turn = np.linspace(start, end, n)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


def texture(rng: np.random.Generator, shape: tuple[int, ...], grain: float, stretch: float = 1.0) -> Image:
    """Random texture of mean 0 and standard deviation 1; ``grain`` (pixels across), ``stretch`` times that down."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    even = cv2.GaussianBlur(noise, (0, 0), max(0.3, grain), sigmaY=max(0.3, grain * stretch))
    return np.asarray((even - even.mean()) / (even.std() + 1e-6), np.float32)


def bias_field(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> Image:
    """Smooth multiplicative field around 1, as a surface coil makes it."""
    coarse = rng.standard_normal((3, 3)).astype(np.float32)
    field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.exp(np.float32(strength) * field), np.float32)
