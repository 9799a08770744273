"""Knee films: joint space, osteophytes, sclerosis and bone texture follow the KL grade."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from orthoray.data.phantom.cohort import Exam
from orthoray.data.phantom.config import PhantomConfig
from orthoray.data.phantom.drawing import Canvas, Image, Outline, Pose, Rect, bias_field, ellipse, smooth, texture
from orthoray.data.phantom.truth import draw_disc

MEDIAL = (0.115, 0.1, 0.075, 0.045, 0.014)
LATERAL = (0.12, 0.118, 0.112, 0.102, 0.08)
"""Joint space by KL grade in halves of the film's height; wider than in life, so that small films show it."""

HOLLOW = 0.0076
"""The medial plateau lies this much lower under the middle of the condyle."""

COARSE = 8.0
"""Contrast of the coarse trabeculae of a worn joint's bones, in those of a healthy one."""

SPURS = (0.0, 0.016, 0.036, 0.056, 0.08)
DISEASE = (0.0, 0.18, 0.42, 0.72, 1.0)
"""Sclerosis and coarsening of the bone by KL grade, 0..1."""

Spurs = list[Outline]


@dataclass(frozen=True)
class KneeTruth:
    """Where a knee's medial joint space is in the film (pixels), how wide it was drawn, and its box of disease."""

    side: str
    x: float
    y: float
    space: float
    box: Rect | None


def draw_film(exam: Exam, config: PhantomConfig) -> tuple[Image, list[KneeTruth]]:
    """Draw a film as the viewer sees it: the patient's right knee on the image's left.

    Returns:
        (H, W) float32 in 0..1, bright bone, and the truth of each knee in pixels of the film. W is
        ``film_width`` for both knees and half of it for one.
    """
    height, half = config.film_height, config.film_width // 2
    parts, truths = [], []
    for place, side in enumerate(exam.sides):
        image, truth = _knee(exam, config, side, height, half)
        if side == "L":
            image, truth = image[:, ::-1], _mirrored(truth, half)
        parts.append(image)
        truths.append(_shifted(truth, place * half))
    film = np.ascontiguousarray(np.hstack(parts))
    _expose(film, exam, config)
    _mark(film, exam.sides)
    return film, truths


def _knee(exam: Exam, config: PhantomConfig, side: str, height: int, width: int) -> tuple[Image, KneeTruth]:
    """A right knee, lateral on the image's left; a left one is its mirror image."""
    grade, signal = exam.labels[side]["kl"], config.strength("kl")
    anatomy = np.random.default_rng((exam.patient.seed, ord(side), 1))
    visit = np.random.default_rng((exam.patient.seed, ord(side), exam.visit, 2))
    pose = Pose.drawn(anatomy, 0.17, 0.13, 0.16, 0.012)
    again = Pose.drawn(visit, 0.03, 0.02, 0.02, 0.0)
    pose = Pose(pose.dx + again.dx, pose.dy + again.dy, pose.angle + again.angle, pose.scale * again.scale, pose.bend)
    canvas = Canvas(height, width, pose)
    medial, lateral = (max(0.012, table[0] + signal * (table[grade] - table[0])) for table in (MEDIAL, LATERAL))
    medial, lateral = medial + visit.normal(0, 0.0035), lateral + visit.normal(0, 0.004)
    medial = max(0.012, medial)
    wide, shaft = 0.43 * anatomy.uniform(0.94, 1.06), 0.185 * anatomy.uniform(0.88, 1.12)
    _soft_tissue(canvas, anatomy)
    spurs = _spurs(visit, wide, medial, SPURS[grade] * signal)
    trabeculae = canvas.grain(visit, 0.45, 2.6) * np.float32(0.7) + canvas.grain(visit, 1.2, 1.5) * np.float32(0.5)
    coarse = _near_joint(canvas) * canvas.grain(visit, 2.4, 1.3) * np.float32(COARSE * signal * DISEASE[grade])
    canvas.pixels += _bone(canvas, _femur(wide, shaft, medial, lateral), spurs[:2], 1.0, trabeculae, coarse)
    canvas.pixels += _bone(canvas, _tibia(wide, shaft, medial, lateral), spurs[2:], 0.95, trabeculae, coarse)
    canvas.pixels += _bone(canvas, _fibula(wide), [], 0.55, trabeculae, coarse)
    patella = canvas.mask(ellipse(anatomy.normal(0, 0.03), -0.36 + anatomy.normal(0, 0.04), 0.19, 0.22), 0.02)
    canvas.add(patella, 0.1 * anatomy.uniform(0.6, 1.3))
    _disease(canvas, grade, signal, wide, medial, visit)
    spot = canvas.place([(0.58 * wide, 0.0)])[0]
    extent = [(0.1, -0.12), (wide * 1.05, -0.12), (0.1, 0.12), (wide * 1.05, 0.12)]
    box = canvas.rect(extent, 0.0) if grade >= 2 and signal > 0 else None
    space = (medial + HOLLOW) * pose.scale * height / 2
    return canvas.finished(), KneeTruth(side, float(spot[0]), float(spot[1]), float(space), box)


def _soft_tissue(canvas: Canvas, rng: np.random.Generator) -> None:
    wide, calf = rng.uniform(0.56, 0.72), rng.uniform(0.46, 0.6)
    limb = [(-wide, -1.8), (wide, -1.8), (wide * 0.95, -0.5), (calf, 0.1), (calf * 1.05, 0.7), (calf * 0.95, 1.8)]
    limb += [(-calf * 0.95, 1.8), (-calf * 1.08, 0.6), (-calf, 0.1), (-wide * 0.95, -0.5)]
    thick = canvas.depth(canvas.mask(smooth(limb)))
    amount = 0.34 * rng.uniform(0.75, 1.3)
    canvas.pixels += np.asarray(amount * (1 - np.exp(-thick / 0.16)), np.float32)


def _near_joint(canvas: Canvas) -> Image:
    """1 in the ends of the bones, falling to 0 along the shafts; (H, 1) of the canvas."""
    rows = np.abs(np.linspace(-1, 1, canvas.pixels.shape[0], dtype=np.float32))[:, None]
    return np.asarray(np.clip((0.85 - rows) / 0.4, 0, 1), np.float32)


def _bone(canvas: Canvas, outline: Outline, spurs: Spurs, density: float, trabeculae: Image, coarse: Image) -> Image:
    """What a bone adds to the film: a dense rim (cortex), thick along the shaft, and trabeculae within.

    ``coarse``: those of a worn joint; they leave the rim as it is.
    """
    mask = canvas.mask(outline)
    for spur in spurs:
        mask = np.maximum(mask, canvas.mask(spur))
    depth = canvas.depth(mask)
    rows = np.abs(np.linspace(-1, 1, mask.shape[0], dtype=np.float32))[:, None]
    rim = 0.016 + 0.05 * np.clip((rows - 0.35) / 0.5, 0, 1)
    body = 0.3 * (1 - np.exp(-depth / 0.05)) - 0.1 * np.clip((rows - 0.4) / 0.5, 0, 1) * (depth > 0)
    cortex = 0.2 * np.exp(-((depth / rim) ** 2)) * mask
    edge = cv2.GaussianBlur(mask, (0, 0), 1.2)
    pattern = 0.035 * (trabeculae * (depth > 0.01) + coarse * np.clip((depth - 0.035) / 0.05, 0, 1))
    return np.asarray(density * (body + cortex + pattern) * edge, np.float32)


def _femur(wide: float, shaft: float, medial: float, lateral: float) -> Outline:
    m, k = medial / 2, lateral / 2
    half = [(shaft, -1.9), (shaft, -0.85), (shaft * 1.25, -0.58), (wide * 0.84, -0.4), (wide, -0.27), (wide, -0.15)]
    inner = [(0.84, 0.03), (0.56, 0.0), (0.3, 0.03)]
    right = [*half, *((wide * x, -m - y) for x, y in inner), (0.06, -0.17)]
    left = [*half, *((wide * x, -k - y) for x, y in inner), (0.06, -0.17)]
    return smooth([*right, *((-x, y) for x, y in reversed(left))])


def _tibia(wide: float, shaft: float, medial: float, lateral: float) -> Outline:
    m, k = medial / 2, lateral / 2
    plateau = [(0.38, 0.0), (0.62, 0.008), (0.84, 0.0), (0.985, 0.035), (0.97, 0.11)]
    low = [(wide * 0.74, 0.32), (shaft * 1.2, 0.56), (shaft * 0.98, 0.9), (shaft * 0.95, 1.9)]
    right = [(0.055, -0.05), (0.1, m - 0.012), *((wide * x, m + y) for x, y in plateau), *low]
    left = [(0.05, -0.035), (0.1, k - 0.012), *((wide * x, k + y) for x, y in plateau), *low]
    return smooth([(0.0, 0.005), *right, *((-x, y) for x, y in reversed(left))])


def _fibula(wide: float) -> Outline:
    right = [(0.8, 0.24), (0.72, 0.36), (0.78, 0.6), (0.8, 1.9)]
    left = [(0.99, 1.9), (0.98, 0.6), (1.1, 0.4), (1.12, 0.29), (0.97, 0.2)]
    return smooth([(-wide * x, y) for x, y in right + left])


def _spurs(rng: np.random.Generator, wide: float, medial: float, size: float) -> Spurs:
    """Osteophytes at the margins: femur medial and lateral, tibia medial and lateral."""
    spurs: Spurs = []
    for x, y, up in ((1, -medial / 2 - 0.055, 1), (-1, -0.115, 1), (1, medial / 2 + 0.045, -1), (-1, 0.1, -1)):
        long = size * rng.uniform(0.6, 1.3)
        tip = (x * (wide * 0.97 + long * 1.2), y + up * long * 0.35)
        spurs.append(smooth([(x * wide * 0.86, y - 0.05 * up), tip, (x * wide * 0.8, y + 0.04 * up)]))
    return spurs


def _disease(canvas: Canvas, grade: int, signal: float, wide: float, medial: float, rng: np.random.Generator) -> None:
    """Sclerosis along the medial joint line, coarse bone under it, and cysts in the worst knees."""
    amount = signal * DISEASE[grade]
    coarse = canvas.grain(rng, 1.1)
    for sign in (-1, 1):
        y = sign * (medial / 2 + 0.03)
        line = [(0.13, y), (wide * 0.9, y)]
        canvas.add(canvas.line(line, 0.05, 0.016), 0.11 * amount)
        area = canvas.line([(0.1, y + sign * 0.07), (wide * 0.85, y + sign * 0.07)], 0.17, 0.025)
        canvas.add(area, np.float32(0.075 * amount) * coarse)
        if grade >= 3 and rng.random() < 0.7:
            cyst = ellipse(rng.uniform(0.15, wide * 0.75), y + sign * rng.uniform(0.04, 0.09), 0.03, 0.025)
            canvas.add(canvas.mask(cyst, 0.008), -0.16 * signal)


def _expose(film: Image, exam: Exam, config: PhantomConfig) -> None:
    """Exposure, scatter, grain of the site and collimation, in place."""
    rng = np.random.default_rng((exam.patient.seed, exam.visit, 3))
    site = np.random.default_rng((config.seed, exam.patient.site, 4))
    grain, level = site.uniform(0.35, 1.0), site.uniform(0.016, 0.03)
    contrast, veil = site.uniform(1.5, 2.4), site.uniform(0.02, 0.09)
    film *= bias_field(rng, film.shape, 0.08)
    film[:] = veil + (1 - veil) * (1 - np.exp(-np.float32(contrast * rng.uniform(0.75, 1.3)) * film))
    np.clip(film, 0.0, 1.0, out=film)
    film[:] = film ** np.float32(rng.uniform(0.8, 1.3)) * np.float32(rng.uniform(0.8, 1.05))
    film += np.float32(config.noise * level) * texture(rng, film.shape, float(grain))
    np.clip(film, 0.0, 1.0, out=film)
    height, width = film.shape
    top, bottom, left, right = (int(share * height) for share in rng.uniform(0.0, 0.06, 4))
    shutter = np.full(film.shape, 0.12, np.float32)
    shutter[top : height - bottom, left : width - right] = 1.0
    film *= cv2.GaussianBlur(shutter, (0, 0), 0.7)


def _mark(film: Image, sides: str) -> None:
    """Lead letters at the outer edges and the disc on the patient's left, in place."""
    height, width = film.shape
    stamp = np.zeros(film.shape, np.uint8)
    size, weight = height / 400, max(1, round(height / 180))
    for letter, x in (("R", int(0.025 * height)), ("L", width - int(0.085 * height))):
        if letter in sides:
            place = (x, int(0.14 * height))
            cv2.putText(stamp, letter, place, cv2.FONT_HERSHEY_SIMPLEX, size, 255, weight, cv2.LINE_AA)
    np.maximum(film, stamp.astype(np.float32) / np.float32(255.0), out=film)
    draw_disc(film, "right")


def _mirrored(truth: KneeTruth, width: int) -> KneeTruth:
    box = (width - truth.box[2], truth.box[1], width - truth.box[0], truth.box[3]) if truth.box else None
    return KneeTruth(truth.side, width - truth.x, truth.y, truth.space, box)


def _shifted(truth: KneeTruth, by: int) -> KneeTruth:
    box = (truth.box[0] + by, truth.box[1], truth.box[2] + by, truth.box[3]) if truth.box else None
    return KneeTruth(truth.side, truth.x + by, truth.y, truth.space, box)
