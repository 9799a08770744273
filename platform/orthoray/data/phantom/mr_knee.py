"""Sections of a right knee. Sagittal: front at the image's left; coronal and axial: lateral at the image's left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orthoray.data.phantom.drawing import Points, arc, ellipse, smooth
from orthoray.data.phantom.mr import DARK, FAT, Slice


def _bruise(one: Slice) -> tuple[float, float, tuple[float, float], float]:
    """Place of a bone bruise: across (lateral to medial), front to back, heights in femur and tibia, and its size.

    The two bones are bruised where they hit each other, as after a pivot shift.
    """
    b, c, d, e = one.where("bone", 4)
    return (-0.3 if b < 0.5 else 0.3), -0.12 + 0.36 * d, (-0.22 - 0.18 * c, 0.36 + 0.14 * e), 0.24 + 0.08 * c


def sagittal(one: Slice) -> None:
    """Femur, tibia, patella; cruciate ligaments in the middle slices, menisci in the outer ones."""
    canvas, notch = one.canvas, abs(one.medial) < 0.45
    one.limb(0.86, 1.7)
    swell = 0.36 if notch else 0.4
    roof = -0.16 if notch else 0.08
    femur = [(-0.12, -1.6), (0.24, -1.6), (0.26, -0.8), (0.42, -0.55), (0.1 + swell * 1.1, -0.25), (0.38, 0.0)]
    femur += [(0.12, roof), (-0.14, roof - 0.04), (-0.3, -0.22), (-0.26, -0.5), (-0.14, -0.75)]
    tibia = [(-0.36, 0.24), (0.04, 0.2), (0.44, 0.24), (0.4, 0.42), (0.24, 0.7), (0.2, 1.6), (-0.18, 1.6), (-0.22, 0.7)]
    tibia += [(-0.38, 0.42)]
    swollen, amount, _ = one.where("effusion")
    one.fluid(ellipse(-0.34, -0.62, 0.07 + 0.1 * swollen, 0.22), amount)
    one.fluid(ellipse(0.05, 0.1, 0.34, 0.08), 0.5)
    canvas.paint(canvas.mask(smooth([(-0.52, -0.06), (-0.2, 0.06), (-0.3, 0.24), (-0.4, 0.36)]), 0.03), FAT)
    masks = one.bone(smooth(femur)), one.bone(smooth(tibia))
    one.bone(smooth([(-0.6, -0.42), (-0.46, -0.44), (-0.42, -0.2), (-0.52, -0.06), (-0.62, -0.2)]))
    across, back, heights, size = _bruise(one)
    if across * one.medial > 0 or notch:
        for mask, height in zip(masks, heights, strict=True):
            one.oedema("bone", mask, back, height, size)
    one.band("", [(-0.54, -0.45), (-0.42, -0.8), (-0.36, -1.5)], 0.06)
    one.band("", [(-0.56, -0.08), (-0.48, 0.16), (-0.37, 0.45)], 0.05)
    side = one.where("cartilage")[1] < 0.5
    if notch:
        one.band("pcl", [(0.02, -0.1), (0.22, -0.06), (0.36, 0.1), (0.42, 0.3)], 0.085)
        one.band("acl", [(0.22, -0.12), (0.06, 0.04), (-0.14, 0.2)], 0.085)
        return
    one.layer("cartilage", _condyle(swell), 0.06, visible=side == (one.medial > 0))
    one.layer("", np.array([(x, 0.19) for x in np.linspace(-0.3, 0.38, 12)]), 0.045)
    torn = (one.where("meniscus")[1] < 0.5) == (one.medial > 0)
    one.wedge("meniscus", [(0.46, 0.03), (0.46, 0.19), (0.16, 0.15)], torn)
    one.wedge("meniscus", [(-0.33, 0.02), (-0.33, 0.19), (-0.06, 0.15)], torn and one.where("meniscus")[2] < 0.5)


def _condyle(swell: float) -> Points:
    return arc(0.1, -0.27, swell, 0.35, 0.15, 2.9, 24)


def coronal(one: Slice) -> None:
    """Condyles, plateau, menisci and the collateral ligaments."""
    canvas = one.canvas
    one.limb(0.88, 1.7)
    half = [(0.2, -1.6), (0.22, -0.8), (0.5, -0.5), (0.56, -0.22), (0.46, 0.0), (0.2, 0.0), (0.08, -0.18)]
    femur = [*half, *((-x, y) for x, y in reversed(half))]
    half = [(0.06, 0.12), (0.14, 0.2), (0.5, 0.2), (0.54, 0.36), (0.28, 0.7), (0.2, 1.0), (0.2, 1.6)]
    tibia = [*half, *((-x, y) for x, y in reversed(half))]
    one.fluid(ellipse(0, 0.08, 0.5, 0.09), 0.55)
    masks = one.bone(smooth(femur)), one.bone(smooth(tibia))
    one.bone(smooth([(-0.6, 0.5), (-0.48, 0.48), (-0.44, 0.7), (-0.48, 1.6), (-0.6, 1.6), (-0.6, 0.7)]))
    across, _, heights, size = _bruise(one)
    for mask, height in zip(masks, heights, strict=True):
        one.oedema("bone", mask, across, height, size)
    medial = one.where("cartilage")[1] < 0.5
    for sign in (-1, 1):
        line = np.array([(sign * x, 0.035 - 0.5 * (x - 0.33) ** 2) for x in np.linspace(0.14, 0.52, 16)])
        one.layer("cartilage", line, 0.06, visible=(sign > 0) == medial)
        torn = (one.where("meniscus")[1] < 0.5) == (sign > 0)
        one.wedge("meniscus", [(sign * 0.58, 0.03), (sign * 0.58, 0.2), (sign * 0.28, 0.13)], torn)
    canvas.paint(canvas.line([(0.1, -0.1), (-0.08, 0.14)], 0.06, 0.01), DARK + 0.1)
    one.band("mcl", [(0.64, -0.4), (0.66, -0.05), (0.65, 0.3), (0.52, 0.72)], 0.055)
    one.band("lcl", [(-0.63, -0.36), (-0.7, 0.05), (-0.62, 0.5)], 0.055)


def axial(one: Slice) -> None:
    """The tibial plateau in the lowest slices; above it the trochlea, the patella and its medial ligament."""
    if one.place < -0.5:
        _plateau(one)
        return
    canvas = one.canvas
    one.limb(0.86, 0.84)
    shift = -0.24 * one.config.strength("pd") if one.has("pd") else 0.05 * (one.where("patella")[0] - 0.5)
    flat = 0.1 if one.has("pd") else 0.0
    half = [(0.5, 0.1), (0.56, 0.34), (0.4, 0.58), (0.2, 0.5), (0.06, 0.34)]
    femur = [(0.0, -0.1 - flat), (0.2, -0.22), (0.42, -0.16), *half, *((-x, y) for x, y in reversed(half))]
    femur += [(-0.44, -0.2), (-0.22, -0.26)]
    swollen, amount, _ = one.where("effusion")
    one.fluid(ellipse(0, -0.3, 0.5, 0.1 + 0.07 * swollen), amount)
    mask = one.bone(smooth(femur))
    knee_cap = [(-0.3, -0.44), (0.0, -0.3), (0.26, -0.46), (0.12, -0.58), (-0.14, -0.6)]
    patella = [(x + shift, y) for x, y in knee_cap]
    one.bone(smooth(patella))
    line = smooth([(x + shift, y + 0.03) for x, y in ((-0.26, -0.42), (0.0, -0.28), (0.22, -0.44))], 8, closed=False)
    one.layer("cartilage", line, 0.055, visible=one.where("cartilage")[2] < 0.5)
    across, back, _, size = _bruise(one)
    one.oedema("bone", mask, across, 0.12 + back * 0.6, size)
    if one.has("pd"):
        opacity = np.float32(one.strength("pd"))
        pool = ellipse(0.3, -0.4, 0.2, 0.09)
        canvas.paint(canvas.mask(pool, 0.03) * opacity, one.mottle(0.85, 0.15))
        one.remember("pd", [*patella, *pool.tolist(), (0.0, -0.1)])  # patella, fluid, and the flat trochlea
    one.band("mpfl", [(0.25 + shift, -0.47), (0.46, -0.42), (0.6, -0.18), (0.58, 0.0)], 0.05)


def _plateau(one: Slice) -> None:
    one.limb(0.84, 0.82)
    half = [(0.5, -0.2), (0.6, 0.05), (0.46, 0.36), (0.12, 0.3)]
    mask = one.bone(smooth([(0.0, -0.36), (0.3, -0.36), *half, *((-x, y) for x, y in reversed(half)), (-0.3, -0.36)]))
    one.bone(ellipse(-0.56, 0.46, 0.13, 0.12))
    one.band("", [(-0.14, -0.6), (0.14, -0.6)], 0.06)
    across, back, _, size = _bruise(one)
    one.oedema("bone", mask, across, back, size)


KNEE: dict[str, Callable[[Slice], None]] = {"sagittal": sagittal, "coronal": coronal, "axial": axial}
"""Who draws a section of the knee."""
