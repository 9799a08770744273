"""Where slices lie: plane, direction, order and spacing, from positions and orientations alone.

Coordinates are DICOM's (LPS: x towards the patient's left, y towards the back, z towards the head; PS3.3 C.7.6.2.1.1).
Slices ascend along the normal, row x column: x along the row, y down the column and slices then form a right-handed
system (highdicom's index convention ``RD``; its default counts the other way). Which way that is in the body follows
from the orientation: `direction_of` tells. A standard sagittal stack ascends to the right, a coronal one to the back,
an axial one to the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Vector = Sequence[float] | Floats

AXIS_COSINE = 0.8
"""A stack belongs to a plane if its normal is this close to the axis (cosine); else it is oblique."""

UNIT_TOLERANCE = 0.01
"""By how much the lengths and the angle (as a cosine) of direction cosines may be off."""

SAME_PLACE_MM = 0.01
"""Slices that are nearer to each other than this lie at the same position."""

STEP_TOLERANCE = 0.01
"""Share of the spacing by which a step between slices may differ from it."""

SHIFT_TOLERANCE = 1e-3
"""By how much the cosine between the normal and the line through two slices may differ from 1."""


@dataclass(frozen=True)
class Placement:
    """Where each slice of a stack lies.

    Attributes:
        distance_mm: (n,) position along the normal.
        place: (n,) index on the grid of slices, 0 for the first; gaps are counted, slices at one position share it.
        spacing_mm: distance between neighbours; NaN for fewer than two positions.
        reasons: what keeps the slices from being a volume: ``duplicate_position``, ``shifted`` (slices are moved within
            their plane), ``gapped`` (slices are missing), ``uneven_spacing``. None for a regular stack.
    """

    distance_mm: Floats
    place: Integers
    spacing_mm: float
    reasons: tuple[str, ...]


def is_orientation(orientation: Vector) -> bool:
    """Are these six numbers two unit vectors at a right angle, as ImageOrientationPatient must be?"""
    vectors = np.asarray(orientation, np.float64)
    if vectors.shape != (6,) or not np.isfinite(vectors).all():
        return False
    row, column = vectors[:3], vectors[3:]
    off = (np.linalg.norm(row) - 1, np.linalg.norm(column) - 1, row @ column)
    return bool(np.abs(off).max() <= UNIT_TOLERANCE)


def normal_of(orientation: Vector) -> Floats:
    """Unit normal, row x column, of six direction cosines (rows' direction, then columns')."""
    rx, ry, rz, cx, cy, cz = map(float, orientation)
    x, y, z = ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx
    length = math.sqrt(x * x + y * y + z * z) or 1.0
    return np.array([x / length, y / length, z / length])


def plane_of(orientation: Vector) -> str:
    """``sagittal``, ``coronal``, ``axial`` or ``oblique``, by the normal of ImageOrientationPatient."""
    normal = np.abs(normal_of(orientation))
    axis = int(np.argmax(normal))
    return ("sagittal", "coronal", "axial")[axis] if normal[axis] >= AXIS_COSINE else "oblique"


def direction_of(orientation: Vector) -> str:
    """Towards which side of the patient the slices ascend: L, R, P, A, H or F (the nearest of them)."""
    normal = normal_of(orientation)
    axis = int(np.argmax(np.abs(normal)))
    return ("LR", "PA", "HF")[axis][0 if normal[axis] > 0 else 1]


def position_along(orientation: Vector, position: Vector) -> float:
    """Millimetres along the normal at which a slice with this ImagePositionPatient lies."""
    normal = normal_of(orientation)
    return float(normal[0] * position[0] + normal[1] * position[1] + normal[2] * position[2])


def centre_of(
    orientation: Vector, position: Vector, spacing: Vector, shape: Sequence[int]
) -> tuple[float, float, float]:
    """Centre of a slice in patient coordinates (mm).

    Args:
        orientation: direction cosines of the rows, then of the columns.
        position: centre of the first pixel.
        spacing: distance between rows, then between columns (PixelSpacing).
        shape: number of rows, then of columns.
    """
    along = spacing[1] * (shape[1] - 1) / 2
    down = spacing[0] * (shape[0] - 1) / 2
    x, y, z = (position[i] + orientation[i] * along + orientation[i + 3] * down for i in range(3))
    return x, y, z


def place_slices(positions: Floats, orientation: Vector) -> Placement:
    """Order and spacing of parallel slices.

    Args:
        positions: (n, 3) ImagePositionPatient, n >= 1, in any order.
        orientation: their common direction cosines.

    Returns:
        The placement. Its spacing is the mean step of an evenly spaced stack, else the smallest usual one: what
        SliceThickness, SpacingBetweenSlices and z alone say is not looked at.
    """
    positions = np.asarray(positions, np.float64).reshape(-1, 3)
    normal = normal_of(orientation)
    distance = positions @ normal
    order = np.argsort(distance, kind="stable")
    new = np.diff(distance[order]) > SAME_PLACE_MM
    group = np.zeros(len(order), np.int64)
    group[order] = np.concatenate([[0], np.cumsum(new)])
    first = order[np.concatenate([[True], new])]
    reasons = ["duplicate_position"] if len(first) < len(order) else []
    if _shifted(positions, first, normal, distance, group):
        reasons.append("shifted")
    spacing, grid, trouble = _grid(np.diff(distance[first]))
    return Placement(distance, grid[group], spacing, (*reasons, *trouble))


def _shifted(positions: Floats, first: Integers, normal: Floats, distance: Floats, group: Integers) -> bool:
    """Do slices lie beside the normal through the first one?"""
    spans = positions - positions[first[0]]
    aside = np.linalg.norm(spans - np.outer(spans @ normal, normal), axis=1)
    tangent = math.sqrt(1 / (1 - SHIFT_TOLERANCE) ** 2 - 1)
    allowed = np.abs(distance - distance[first[0]]) * tangent
    return bool((aside > np.where(group == 0, SAME_PLACE_MM, np.maximum(allowed, SAME_PLACE_MM))).any())


def _grid(steps: Floats) -> tuple[float, Integers, tuple[str, ...]]:
    """Spacing, index of each position, and what is wrong, from the steps between positions."""
    even = np.arange(len(steps) + 1)
    if not len(steps):
        return math.nan, even, ()
    mean = float(steps.mean())
    if _near(steps, mean):
        return mean, even, ()
    unit = float(np.median(steps[steps < 1.5 * steps.min()]))
    multiples = np.rint(steps / unit)
    if not _near(steps, multiples * unit, unit):
        return unit, even, ("uneven_spacing",)
    unit = float(steps.sum() / multiples.sum())
    return unit, np.concatenate([[0], np.cumsum(multiples)]).astype(np.int64), ("gapped",)


def _near(steps: Floats, expected: Floats | float, unit: float | None = None) -> bool:
    return bool((np.abs(steps - expected) <= STEP_TOLERANCE * (expected if unit is None else unit)).all())
