"""MR stacks in three planes: what all joints share. The anatomy is in `mr_knee` and `mr_joints`.

Everything is drawn as a right joint and mirrored for a left one in the planes that show left and right. Units: half of
the field of view, x right, y down, (0, 0) in the middle.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orthoray.data.phantom.cohort import Exam
from orthoray.data.phantom.config import PhantomConfig
from orthoray.data.phantom.drawing import Canvas, Image, Outline, Points, Pose, Rect, bias_field, ellipse, smooth
from orthoray.data.phantom.truth import draw_disc, draw_slice_code

PLANES = ("sagittal", "coronal", "axial")
FLUID, CARTILAGE, FAT, DARK = 0.95, 0.7, 0.62, 0.05
Box = tuple[str, Rect]


@dataclass(frozen=True)
class Look:
    """Contrast of an examination: grey of marrow and muscle, exponent, noise, strength of the bias field."""

    marrow: float
    muscle: float
    gamma: float
    level: float
    field: float
    grain: float


class Slice:
    """One slice under construction.

    ``place`` is -1 … 1 along the stack, ``medial`` the same from lateral to medial (sagittal planes only).
    """

    def __init__(self, exam: Exam, config: PhantomConfig, plane: str, index: int, pose: Pose, look: Look) -> None:
        self.canvas = Canvas(config.mr_size, config.mr_size, pose)
        self.exam, self.config, self.plane, self.look = exam, config, plane, look
        self.rng = np.random.default_rng((exam.patient.seed, _code(exam.body_part), _code(plane), index))
        self.place = (2 * index + 1) / config.slices - 1.0
        self.medial = -self.place if exam.sides == "R" else self.place
        self.boxes: list[Box] = []

    def has(self, name: str) -> int:
        """Class of the finding if a sign of it is to be drawn, else 0."""
        return self.exam.labels[self.exam.sides].get(name, 0) if self.config.strength(name) > 0 else 0

    def strength(self, name: str) -> float:
        """Opacity 0..1 of the finding's signs."""
        return min(1.0, self.config.strength(name))

    def where(self, name: str, count: int = 3) -> list[float]:
        """Numbers 0..1 that place something in all slices and planes of this examination alike."""
        rng = np.random.default_rng((self.exam.patient.seed, _code(self.exam.body_part), _code(name)))
        return [float(value) for value in rng.random(count)]

    def mottle(self, level: float, spread: float, size: float = 0.7) -> Image:
        """Uneven grey around ``level``."""
        return np.asarray(np.clip(level + spread * self.canvas.grain(self.rng, size), 0.0, 1.1), np.float32)

    def limb(self, rx: float, ry: float) -> None:
        """Skin, fat and muscle."""
        canvas = self.canvas
        canvas.paint(canvas.mask(ellipse(0, 0, rx, ry), 0.01), self.mottle(FAT, 0.03, 1.5))
        inner = canvas.mask(ellipse(0, 0, rx * 0.88, ry * 0.9), 0.03)
        canvas.paint(inner, self.mottle(self.look.muscle, 0.045, 1.6))

    def bone(self, outline: Outline, cortex: float = 0.035) -> Image:
        """Marrow with trabeculae in a dark cortex; returns its mask."""
        canvas = self.canvas
        mask = canvas.mask(outline)
        inside = np.clip(canvas.depth(mask) / cortex - 0.6, 0, 1)
        canvas.paint(mask, DARK)
        canvas.paint(np.asarray(inside * mask, np.float32), self.mottle(self.look.marrow, 0.035, 0.9))
        return np.asarray(inside, np.float32)

    def oedema(self, name: str, mask: Image, x: float, y: float, size: float) -> None:
        """Mottled fluid signal in the marrow around (x, y)."""
        if not self.has(name):
            return
        canvas = self.canvas
        area = canvas.mask(ellipse(x, y, size, size * 0.8), size * 0.25) * mask * np.float32(self.strength(name))
        canvas.paint(area, self.mottle(self.look.marrow + 0.03, 0.27, 1.1))
        self.remember(name, ellipse(x, y, size, size * 0.8), size * 0.25)

    def layer(self, name: str, line: Points, thickness: float = 0.06, visible: bool = True) -> None:
        """Cartilage on bone; a defect: a part of it is gone, rough and filled with fluid, the bone under it reacts."""
        canvas = self.canvas
        canvas.paint(canvas.line(line, thickness), self.mottle(CARTILAGE, 0.03))
        if not (name and self.has(name) and visible):
            return
        start = int(self.where(name)[0] * 0.45 * len(line))
        part = line[start : start + max(4, int(len(line) * 0.5))]
        canvas.paint(canvas.line(part, thickness * 1.9, 0.008) * np.float32(self.strength(name)), self.mottle(0.5, 0.4))
        self.remember(name, part, thickness)

    def wedge(self, name: str, outline: Outline, torn: bool) -> None:
        """A meniscus: a dark wedge; torn: bright clefts run through it and it is swollen."""
        canvas = self.canvas
        points = np.asarray(outline, np.float64)
        mask = canvas.mask(points, 0.006)
        canvas.paint(mask, self.mottle(DARK + 0.03, 0.02))
        if not (torn and self.has(name)):
            return
        swollen = points.mean(0) + (points - points.mean(0)) * 1.35
        around = canvas.mask(swollen, 0.02)
        opacity = np.float32(self.strength(name))
        canvas.paint(around * np.float32(0.75) * opacity, self.mottle(0.42, 0.32, 0.6))
        middle, angle = points.mean(0), self.where(name)[0] * np.pi
        reach = np.array([np.cos(angle), 0.5 * np.sin(angle)]) * 0.12
        canvas.paint(canvas.line([middle - reach, middle + reach], 0.035) * opacity, FLUID)
        self.remember(name, swollen)

    def band(self, name: str, outline: Outline, thickness: float = 0.07) -> None:
        """A ligament or tendon: dark fibres; torn: a gap filled with mottled fluid, wavy ends, oedema around."""
        canvas = self.canvas
        line = smooth(outline, 8, closed=False)
        canvas.paint(canvas.line(line, thickness, 0.006), self.mottle(DARK + 0.04, 0.03))
        if not (name and self.has(name)):
            return
        first = 0.2 + 0.2 * self.where(name)[0]
        part = line[int(first * len(line)) : int((first + 0.42) * len(line)) + 1]
        opacity = np.float32(self.strength(name))
        canvas.paint(canvas.line(part, thickness * 3.0, 0.03) * opacity, self.mottle(0.66, 0.25, 0.8))
        canvas.paint(canvas.line(part, thickness * 0.9, 0.01) * opacity, self.mottle(FLUID, 0.15, 0.6))
        self.remember(name, part, thickness * 1.5 + 0.02)

    def fluid(self, outline: Outline, amount: float) -> None:
        """Effusion that says nothing of any finding."""
        self.canvas.paint(self.canvas.mask(outline, 0.03) * np.float32(amount), FLUID)

    def remember(self, name: str, outline: Outline, margin: float = 0.04) -> None:
        """Keep the box of a lesion: what was painted reaches ``margin`` (units) beyond ``outline``."""
        self.boxes.append((name, self.canvas.rect(outline, margin)))


def draw_stack(exam: Exam, plane: str, config: PhantomConfig) -> list[tuple[Image, list[Box]]]:
    """Draw one stack.

    Returns:
        Per slice: (S, S) float32 in 0..1 and the boxes of its lesions (finding, pixels). Slices follow the normal of
        the plane (PS3.3 C.7.6.2): sagittal from the patient's left to the right, coronal from front to back, axial from
        feet to head.
    """
    from orthoray.data.phantom.mr_joints import JOINTS
    from orthoray.data.phantom.mr_knee import KNEE

    drawer: Callable[[Slice], None] = (KNEE if exam.body_part == "knee" else JOINTS[exam.body_part])[plane]
    rng = np.random.default_rng((exam.patient.seed, _code(exam.body_part), _code(plane)))
    pose = Pose.drawn(rng, 0.11, 0.13, 0.14, 0.025)
    look = _look(exam, config, rng)
    drawn = []
    for index in range(config.slices):
        one = Slice(exam, config, plane, index, pose, look)
        drawer(one)
        image, boxes = _finish(one), one.boxes
        if exam.sides == "L" and plane != "sagittal":
            image, boxes = np.ascontiguousarray(image[:, ::-1]), [_mirrored(box, config.mr_size) for box in boxes]
        draw_slice_code(image, index)
        if plane != "sagittal":
            draw_disc(image, "right")
        drawn.append((image, boxes))
    return drawn


def _look(exam: Exam, config: PhantomConfig, rng: np.random.Generator) -> Look:
    """Contrast: a site's own, changed a little per series."""
    site = np.random.default_rng((config.seed, exam.patient.site, 5))
    marrow, muscle = site.uniform(0.34, 0.56), site.uniform(0.22, 0.32)
    gamma, level, field, grain = (
        site.uniform(0.85, 1.2),
        site.uniform(0.02, 0.04),
        site.uniform(0.06, 0.16),
        site.random(),
    )
    change = rng.uniform(0.86, 1.16, 3)
    return Look(
        float(marrow * change[0]), float(muscle * change[1]), float(gamma * change[2]), float(level), float(field),
        float(grain),
    )  # fmt: skip


def _finish(one: Slice) -> Image:
    """Receiver field, contrast and Rician noise of magnitude images."""
    look, rng = one.look, one.rng
    image = np.clip(one.canvas.finished(), 0.0, None) ** np.float32(look.gamma)
    image = image * bias_field(rng, image.shape, look.field) * np.float32(rng.uniform(0.85, 0.98))
    level = np.float32(one.config.noise * look.level)
    real = image + level * rng.standard_normal(image.shape, dtype=np.float32)
    magnitude = np.hypot(real, level * rng.standard_normal(image.shape, dtype=np.float32))
    return np.asarray(np.clip(magnitude, 0.0, 1.0), np.float32)


def _mirrored(box: Box, size: int) -> Box:
    name, (x0, y0, x1, y1) = box
    return name, (size - x1, y0, size - x0, y1)


def _code(name: str) -> int:
    """A number that stands for a name in seeds."""
    return zlib.crc32(name.encode())
