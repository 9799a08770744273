"""Stacks of slices on the surveyed table: which images of a series belong together, in which order, on which side.

All functions are pure: they take the table and return columns with its index, whatever the order of its rows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.data.stack_rules import StackTable
from orthoray.imaging.facts import ORIENTATION
from orthoray.imaging.geometry import SAME_PLACE_MM, normal_of
from orthoray.imaging.laterality import side_of_position
from orthoray.imaging.vocabulary import PAIRED

OTHER_PLANE = math.cos(math.radians(15.0))
"""Cosine of the angle between normals from which on a series has planes of several directions."""

DUPLICATE = "duplicate_position"

FEW_SLICES = 6
LARGE_GAP = 2.0
"""A stack of fewer slices, and with steps of at least this many thicknesses, only serves to plan others."""

LARGE_STEP_MM = 10.0
"""The step that is large where the thickness is unknown."""


def find_stacks(rows: pd.DataFrame, series: str = "series_id") -> pd.DataFrame:
    """Assign every image to a stack and a place in it.

    Args:
        rows: one row per frame with the facts of `ImageFacts`.
        series: column that names the series.

    Returns:
        With the index of ``rows``, whatever their order:

        - ``stack``: key, unique within the series; it depends on the images of the series alone.
        - ``place``: ascends in the order of the slices: millimetres along the normal (row x column), time in a film of
          one position, else the number in the stack or the instance.
        - ``slice_spacing_mm``: from the positions; NaN for fewer than two.
        - ``geometry``: what to know about the stack, joined by ``+``: ``no_geometry`` (an MR image without position),
          ``duplicate_position``, ``shifted``, ``gapped``, ``uneven_spacing``, ``cine`` (one position over time),
          ``reversed`` (instances were numbered against the order of the slices).
        - ``ascends``: side of the patient towards which slices ascend (L, R, P, A, H, F), or ``""``.
    """
    found = pd.DataFrame(
        {"stack": "", "place": math.nan, "slice_spacing_mm": math.nan, "geometry": "", "ascends": ""}, index=rows.index
    )
    columns = {name: found[name].to_numpy(copy=True) for name in found}
    table = StackTable(rows)
    keys = rows["stack"].to_numpy()
    for members in rows.groupby([series, "stack"], sort=False).indices.values():
        for stack in table.stacks(np.asarray(members)):
            columns["stack"][stack.members] = f"{keys[stack.members[0]]}|{stack.name}"
            columns["place"][stack.members] = stack.place
            columns["slice_spacing_mm"][stack.members] = stack.spacing_mm
            columns["geometry"][stack.members] = "+".join(stack.notes)
            columns["ascends"][stack.members] = stack.ascends
    return pd.DataFrame(columns, index=rows.index)


def settled_geometry(geometry: str, places: npt.ArrayLike) -> str:
    """What to know about a stack once images have left it: duplicates that are gone are not told.

    Args:
        geometry: of the whole stack, as `find_stacks` says it.
        places: ``place`` of the images that are left.
    """
    notes = geometry.split("+")
    if DUPLICATE in notes and bool((np.diff(np.sort(np.asarray(places, np.float64))) > SAME_PLACE_MM).all()):
        notes.remove(DUPLICATE)
    return "+".join(notes)


def localisers(rows: pd.DataFrame, stacks: pd.DataFrame, series: str = "series_id") -> pd.Series:
    """Planning images by their geometry, where the header does not admit it.

    Args:
        rows: one row per frame; derived images are not judged, for reformats come in all directions.
        stacks: what `find_stacks` says of them.
        series: column that names the series, before stacks became series of their own.

    Returns:
        Per row ``several_planes`` (a series with normals that differ by 15 degrees or more), ``few_slices`` (2 … 5
        slices with gaps as wide as a slice), or ``""``.
    """
    judged = (rows["modality"] == "MR") & (rows["kind"] != "derived") & rows["row_x"].notna()
    turned = judged & rows[series].isin(_turned(rows[judged], series))
    slices = rows.groupby([rows[series], stacks["stack"]])["frame"].transform("size")
    step, thickness = stacks["slice_spacing_mm"], rows["slice_thickness_mm"]
    large = (step >= LARGE_GAP * thickness) | (thickness.isna() & (step >= LARGE_STEP_MM))
    few = judged & slices.between(2, FEW_SLICES - 1) & large
    return pd.Series(np.select([turned, few], ["several_planes", "few_slices"], ""), index=rows.index, dtype="str")


def place_sides(rows: pd.DataFrame, stack: pd.Series) -> pd.DataFrame:
    """Sides of MR stacks about which header and text are silent, by the mean x of their slices' centres.

    Args:
        rows: one row per frame.
        stack: per row a name of its stack, unique over all series.

    Returns:
        ``laterality, laterality_source, laterality_confidence`` of every row, changed where something was learnt.
        Images of parts of which there is one, and those whose sources contradict each other, stay as they are.
    """
    names = ["laterality", "laterality_source", "laterality_confidence"]
    sides = rows[names].copy()
    silent = (sides["laterality"] == "U") & (sides["laterality_source"] == "") & (rows["modality"] == "MR")
    silent &= rows["body_part"].isin([*PAIRED, ""])
    centres = rows["centre_x_mm"][silent].groupby(stack[silent]).mean()
    inferred = centres.map(side_of_position)
    learnt = stack[silent].map(inferred[inferred.map(lambda side: side.side != "U")]).dropna()
    for field, name in zip(("side", "source", "confidence"), names, strict=True):
        sides.loc[learnt.index, name] = learnt.map(lambda side, field=field: getattr(side, field))
    return sides


def _turned(rows: pd.DataFrame, series: str) -> list[str]:
    """Series whose normals have several directions."""
    distinct = rows[[series, *ORIENTATION]].drop_duplicates()
    several = distinct[distinct.duplicated(series, keep=False)]
    found = []
    for name, part in several.groupby(series):
        normals = np.array([normal_of(vector) for vector in part[list(ORIENTATION)].to_numpy()])
        if np.abs(normals @ normals.T).min() <= OTHER_PLANE:
            found.append(str(name))
    return found
