"""Which images are mirrored so that all joints look like right ones."""

from __future__ import annotations

import re

MIRRORED = "mirrored"

STATES = {
    MIRRORED: "left, mirrored",
    "right": "right",
    "both": "both sides in one image, left alone",
    "no_sides": "a view or plane that does not show sides, left alone",
    "unknown_side": "side unknown, left alone",
    "unknown_plane": "view or plane unknown, left alone",
}
"""What becomes of an image → how it is told."""

_FACING = re.compile(r"(AP|PA)\d*|frontal|skyline|long_leg")
"""Views of films whose columns run from one side of the body to the other; ``PA10``: the beam is tilted."""


def state(modality: str, laterality: str, plane: str, view: str) -> str:
    """What becomes of an image (a key of `STATES`) by its columns in the dataset.

    A coronal or axial slice and a frontal film of a left joint are the mirror image of a right one. A sagittal slice or
    a lateral film shows front and back instead: mirroring it would only exchange these.
    """
    shows = _shows_sides(modality, plane, view)
    if shows is False:
        return "no_sides"
    if laterality == "B":
        return "both"
    if laterality not in ("L", "R"):
        return "unknown_side"
    if shows is None:
        return "unknown_plane"
    return MIRRORED if laterality == "L" else "right"


def _shows_sides(modality: str, plane: str, view: str) -> bool | None:
    """Do the columns of an image run from left to right? None if that is not known."""
    if modality == "MR":
        return {"coronal": True, "axial": True, "sagittal": False}.get(plane)
    if view == "LAT":
        return False
    return True if _FACING.fullmatch(view) else None
