"""Sections of a right hip, shoulder and ankle: lateral at the image's left, in sagittal ones the front."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orthoray.data.phantom.drawing import Outline, arc, ellipse, smooth
from orthoray.data.phantom.mr import DARK, FAT, Slice


def _hip_long(one: Slice) -> None:
    """Femoral head, neck and acetabulum, the labrum at its lateral (or front) rim."""
    one.limb(0.96, 1.3)
    one.canvas.paint(one.canvas.mask(ellipse(-0.75, 0.2, 0.2, 0.9), 0.06), FAT)
    pelvis = [(0.9, -0.7), (0.3, -0.9), (-0.3, -0.6), (-0.32, -0.38), (0.05, -0.44), (0.36, -0.2), (0.42, 0.1)]
    one.bone(smooth([*pelvis, (0.62, 0.2), (0.9, -0.1)]))
    if one.plane == "coronal":
        one.bone(
            smooth([(-0.02, 0.2), (-0.4, 0.4), (-0.3, 1.5), (-0.66, 1.5), (-0.68, 0.3), (-0.56, 0.02), (-0.3, -0.1)])
        )
    one.fluid(ellipse(0.0, 0.0, 0.38, 0.38), 0.4 + 0.5 * one.where("effusion")[0])
    one.bone(ellipse(0.0, 0.0, 0.33, 0.33))
    one.layer("", arc(0.0, 0.0, 0.37, 0.37, -2.6, 0.4))
    _labrum(one, [(-0.3, -0.46), (-0.36, -0.34), (-0.44, -0.16)])


def _hip_axial(one: Slice) -> None:
    one.limb(0.96, 0.9)
    one.bone(smooth([(0.3, -0.5), (0.5, -0.3), (0.46, 0.3), (0.3, 0.55), (0.7, 0.6), (0.8, 0.0), (0.6, -0.6)]))
    one.bone(smooth([(-0.5, 0.1), (-0.2, -0.14), (0.0, 0.2), (-0.4, 0.5), (-0.75, 0.45)]))
    one.fluid(ellipse(0.08, 0.0, 0.37, 0.37), 0.4 + 0.5 * one.where("effusion")[0])
    one.bone(ellipse(0.08, 0.0, 0.32, 0.32))
    one.layer("", arc(0.08, 0.0, 0.36, 0.36, -1.2, 1.2))
    _labrum(one, [(0.3, -0.52), (0.18, -0.42), (0.0, -0.4)])


def _labrum(one: Slice, line: Outline) -> None:
    """The labrum; torn with a cyst beside it."""
    one.band("labrum", line, 0.12)
    if one.has("labrum"):
        (x, y), size = np.asarray(line)[0], 0.06 + 0.05 * one.where("cyst")[0]
        outline = ellipse(x - 0.08, y - 0.06, size, size)
        cyst = one.canvas.mask(outline, 0.015) * np.float32(one.strength("labrum"))
        one.canvas.paint(cyst, one.mottle(0.9, 0.1))
        one.remember("labrum", outline)


def _cuff(one: Slice, line: Outline) -> None:
    """Supraspinatus tendon: dark; degenerated: thick and grey; torn: a gap filled with fluid."""
    canvas, grade = one.canvas, one.has("supraspinatus")
    if grade != 1:
        one.band("supraspinatus", line, 0.12)
        return
    curve = smooth(line, 8, closed=False)
    opacity = np.float32(one.strength("supraspinatus"))
    canvas.paint(canvas.line(curve, 0.12, 0.006), DARK + 0.04)
    canvas.paint(canvas.line(curve[: int(0.8 * len(curve))], 0.19, 0.015) * opacity, one.mottle(0.36, 0.09, 1.0))
    one.remember("supraspinatus", curve, 0.1)


def _shoulder_coronal(one: Slice) -> None:
    one.limb(0.96, 1.2)
    one.bone(smooth([(-0.45, 0.2), (0.1, 0.3), (-0.06, 0.6), (-0.1, 1.5), (-0.42, 1.5), (-0.44, 0.6)]))
    one.fluid(ellipse(-0.14, 0.06, 0.42, 0.42), 0.3 * one.where("effusion")[0])
    one.bone(ellipse(-0.14, 0.06, 0.38, 0.37))
    one.bone(smooth([(0.32, -0.2), (0.46, -0.24), (0.8, -0.05), (0.9, 0.5), (0.5, 0.5), (0.34, 0.3)]))
    one.layer("", arc(-0.14, 0.06, 0.41, 0.4, -1.2, 0.9))
    one.bone(smooth([(-0.5, -0.62), (0.2, -0.7), (0.3, -0.58), (-0.48, -0.5)]))
    _cuff(one, [(-0.56, -0.1), (-0.44, -0.3), (-0.1, -0.43), (0.3, -0.42), (0.75, -0.34)])


def _shoulder_sagittal(one: Slice) -> None:
    one.limb(0.95, 0.95)
    one.bone(ellipse(0.0, 0.12, 0.4, 0.42))
    one.bone(smooth([(-0.1, -0.66), (0.45, -0.6), (0.5, -0.48), (-0.08, -0.54)]))
    one.bone(ellipse(-0.56, -0.25, 0.12, 0.14))
    one.layer("", arc(0.0, 0.12, 0.43, 0.45, -2.4, -0.5))
    _cuff(one, arc(0.0, 0.12, 0.53, 0.54, -2.5, -0.7, 6))


def _shoulder_axial(one: Slice) -> None:
    one.limb(0.95, 0.9)
    one.bone(ellipse(-0.14, 0.0, 0.39, 0.39))
    one.bone(smooth([(0.32, -0.22), (0.46, -0.24), (0.6, 0.0), (0.9, 0.4), (0.7, 0.46), (0.34, 0.22)]))
    one.layer("", arc(-0.14, 0.0, 0.42, 0.42, -0.9, 0.9))
    one.band("", [(-0.1, -0.48), (0.2, -0.46), (0.7, -0.3)], 0.09)
    if one.place > 0:  # the upper slices cut the tendon where it meets the bone
        _cuff(one, arc(-0.14, 0.0, 0.47, 0.47, 2.2, 4.2, 6))


def _ankle_coronal(one: Slice) -> None:
    one.limb(0.78, 1.3)
    one.bone(
        smooth([(-0.3, -1.5), (0.3, -1.5), (0.32, -0.6), (0.52, -0.1), (0.38, -0.05), (0.3, -0.32), (-0.3, -0.32)])
    )
    one.bone(smooth([(-0.56, -1.5), (-0.42, -1.5), (-0.4, -0.4), (-0.4, 0.0), (-0.52, 0.06), (-0.6, -0.3)]))
    one.fluid(ellipse(0.0, -0.26, 0.34, 0.08), 0.3 + 0.5 * one.where("effusion")[0])
    one.bone(smooth([(-0.28, -0.22), (0.26, -0.22), (0.32, 0.02), (0.2, 0.18), (-0.22, 0.18), (-0.32, 0.02)]))
    one.bone(smooth([(-0.26, 0.28), (0.3, 0.26), (0.26, 0.6), (0.1, 0.86), (-0.2, 0.84), (-0.32, 0.56)]))
    one.layer("", np.array([(x, -0.26) for x in np.linspace(-0.26, 0.26, 10)]), 0.05)
    one.band("", [(0.46, -0.02), (0.38, 0.18), (0.3, 0.3)], 0.07)
    one.band("cfl", [(-0.5, 0.06), (-0.48, 0.28), (-0.36, 0.54)], 0.075)


def _ankle_axial(one: Slice) -> None:
    one.limb(0.72, 0.86)
    one.bone(smooth([(-0.26, -0.3), (0.0, -0.44), (0.26, -0.3), (0.3, 0.1), (0.1, 0.28), (-0.26, 0.14)]))
    one.bone(ellipse(-0.5, 0.1, 0.11, 0.17))
    one.bone(ellipse(0.48, -0.06, 0.1, 0.18))
    one.band("", [(-0.1, 0.66), (0.16, 0.66)], 0.12)
    one.band("", [(-0.44, 0.3), (-0.2, 0.24)], 0.06)
    one.band("atfl", [(-0.52, -0.08), (-0.44, -0.26), (-0.26, -0.38)], 0.075)
    if one.place < 0:
        one.band("cfl", [(-0.6, 0.2), (-0.52, 0.42), (-0.36, 0.52)], 0.07)


def _ankle_sagittal(one: Slice) -> None:
    one.limb(0.95, 1.1)
    one.bone(smooth([(-0.26, -1.4), (0.14, -1.4), (0.16, -0.6), (0.24, -0.3), (-0.06, -0.36), (-0.34, -0.28)]))
    one.bone(smooth([(-0.3, -0.2), (-0.04, -0.3), (0.24, -0.2), (0.3, 0.0), (0.0, 0.08), (-0.4, 0.14), (-0.5, 0.0)]))
    one.bone(smooth([(-0.36, 0.3), (0.1, 0.2), (0.62, 0.16), (0.72, 0.44), (0.2, 0.54), (-0.34, 0.5)]))
    one.layer("", arc(-0.04, -0.04, 0.29, 0.29, -2.4, -0.8))
    one.band("", [(0.5, -1.4), (0.56, -0.4), (0.68, 0.2)], 0.1)
    if one.medial < 0:  # the lateral slices hold the outer ligaments
        one.band("atfl", [(0.16, -0.14), (0.0, -0.04), (-0.24, 0.06)], 0.07)
        one.band("cfl", [(0.2, -0.1), (0.3, 0.1), (0.42, 0.3)], 0.07)


JOINTS: dict[str, dict[str, Callable[[Slice], None]]] = {
    "hip": {"sagittal": _hip_long, "coronal": _hip_long, "axial": _hip_axial},
    "shoulder": {"sagittal": _shoulder_sagittal, "coronal": _shoulder_coronal, "axial": _shoulder_axial},
    "ankle": {"sagittal": _ankle_sagittal, "coronal": _ankle_coronal, "axial": _ankle_axial},
}
"""Who draws a section of a joint in a plane."""
