"""How the images of a series are divided into stacks, and where in it each one lies.

Images are of one stack if they share the key that `imaging.facts` makes (size, spacing, echo time, b-value, type) and
their orientation, within a degree. The numbers of temporal position, echo and acquisition divide further only where
they must: some scanners give every slice an acquisition number of its own, others interleave two acquisitions into one
volume. A number therefore counts only if without it two images of the stack would lie at one position (`passes`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from orthoray.imaging.facts import ORIENTATION, ORIGIN
from orthoray.imaging.geometry import direction_of, place_slices

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NUMBERS = ("temporal", "echo", "acquisition")
"""Facts that may divide a stack, in the order in which they are tried."""

PARALLEL = math.cos(math.radians(1.0))
"""Cosine of the angle up to which the rows (and the columns) of two images have the same direction."""


def passes(places: Sequence[int] | Integers, units: Sequence[int] | Integers) -> Integers:
    """Divide images by a number (of acquisition, echo or time) so that no position is visited twice, if that works.

    Units (images with the same number) are taken in ascending order. One that only visits positions that the pass lacks
    continues it; one that visits a position again opens the next pass. So slices with numbers of their own stay
    together, as do interleaved acquisitions, while a repeated volume is a pass of its own. If this takes more passes
    than the most visited position was visited (the scanner repeated slice by slice), the n-th visits of all positions
    form the n-th pass.

    Args:
        places: (n,) index of each image's position.
        units: (n,) number of each image.

    Returns:
        (n,) pass of each image, from 0. Images of one unit at one position stay in one pass.
    """
    places, units = np.asarray(places, np.int64), np.asarray(units, np.int64)
    visits = np.unique(np.stack([units, places], axis=1), axis=0)
    most = int(np.unique(visits[:, 1], return_counts=True)[1].max(initial=1))
    if most == 1:
        return np.zeros(len(places), np.int64)
    order: dict[int, int] = {}
    seen: set[int] = set()
    current = 0
    for unit in np.unique(units):
        visited = set(visits[visits[:, 0] == unit, 1].tolist())
        if seen & visited:
            current, seen = current + 1, set()
        seen |= visited
        order[int(unit)] = current
    if current + 1 == most:
        return np.array([order[unit] for unit in units.tolist()], np.int64)
    rank = {pair: nth for nth, pair in _nth_visits(visits)}
    return np.array([rank[pair] for pair in zip(units.tolist(), places.tolist(), strict=True)], np.int64)


def parallel(orientations: Floats) -> tuple[Integers, list[Floats]]:
    """Group images whose rows and columns have the same directions.

    Args:
        orientations: (n, 6) direction cosines.

    Returns:
        (n,) group of each image, and the orientation of each group. Neither depends on the order of the images, and no
        rounding tears apart what is nearly equal.
    """
    unique, inverse = np.unique(orientations, axis=0, return_inverse=True)
    chosen: list[Floats] = []
    group_of = np.zeros(len(unique), np.int64)
    for number, vector in enumerate(unique):
        near = [g for g, other in enumerate(chosen) if min(vector[:3] @ other[:3], vector[3:] @ other[3:]) >= PARALLEL]
        if not near:
            chosen.append(vector)
        group_of[number] = near[0] if near else len(chosen) - 1
    return group_of[inverse.reshape(-1)], chosen


class Stack:
    """Images of one stack and where they lie."""

    def __init__(self, members: Integers, name: str, place: Floats, *notes: str) -> None:
        self.members, self.name, self.place, self.notes = members, name, place, notes
        self.spacing_mm, self.ascends = math.nan, ""


class StackTable:
    """The columns that make a stack, as arrays."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.orientation = rows[list(ORIENTATION)].to_numpy(np.float64)
        self.origin = rows[list(ORIGIN)].to_numpy(np.float64)
        self.located = np.isfinite(self.orientation).all(axis=1) & np.isfinite(self.origin).all(axis=1)
        self.numbers = rows[list(NUMBERS)].to_numpy(np.int64)
        self.in_stack = rows["in_stack"].to_numpy(np.int64)
        self.serial = rows["instance"].to_numpy(np.int64) * (1 << 20) + rows["frame"].to_numpy(np.int64)
        self.instance = rows["instance"].to_numpy(np.float64)
        self.is_mr = (rows["modality"] == "MR").to_numpy()

    def stacks(self, members: Integers) -> list[Stack]:
        """Stacks of images with the same key."""
        located = members[self.located[members]]
        groups, orientations = parallel(self.orientation[located])
        lost = members[~self.located[members]]
        if len(lost) and len(orientations) <= 1:  # one image without a position: the others' do not help
            return [self._unplaced(members)]
        found = [self._unplaced(lost)] if len(lost) else []
        for group, orientation in enumerate(orientations):
            found += self._located(located[groups == group], orientation)
        return found

    def _unplaced(self, members: Integers) -> Stack:
        numbers = self.in_stack[members]
        numbered = len(members) > 1 and numbers.min() > 0 and len(np.unique(numbers)) == len(members)
        place = numbers.astype(np.float64) if numbered else self.instance[members]
        return Stack(members, "", place, *(["no_geometry"] if self.is_mr[members[0]] else []))

    def _located(self, members: Integers, orientation: Floats) -> list[Stack]:
        turn = ",".join(f"{value + 0.0:.2f}" for value in np.round(orientation, 2))
        places = place_slices(self.origin[members], orientation).place
        film = self._film(members, f"{turn}|film") if len(members) > 1 and not places.any() else None
        if film is not None:
            film.ascends = direction_of(orientation)
            return [film]
        found = []
        for label, chosen in _labelled(self._divided(members, places)):
            found.append(self._placed(members[chosen], f"{turn}|{label}", orientation))
        return found

    def _film(self, members: Integers, name: str) -> Stack | None:
        """One position seen at different times is one stack, in the order of time."""
        for column in (NUMBERS.index("temporal"), NUMBERS.index("acquisition")):
            times = self.numbers[members, column]
            if len(np.unique(times)) == len(times):
                return Stack(members, name, times.astype(np.float64), "cine")
        return None

    def _divided(self, members: Integers, places: Integers) -> Integers:
        """(n, 3) pass of each image by time, echo and acquisition, each within the ones before."""
        labels = np.zeros((len(members), len(NUMBERS)), np.int64)
        for column in range(len(NUMBERS)):
            for _, chosen in _labelled(labels[:, :column].copy()):
                labels[chosen, column] = passes(places[chosen], self.numbers[members[chosen], column])
        return labels

    def _placed(self, members: Integers, name: str, orientation: Floats) -> Stack:
        placement = place_slices(self.origin[members], orientation)
        order = np.argsort(placement.distance_mm, kind="stable")
        backwards = len(members) > 1 and bool((np.diff(self.serial[members][order]) < 0).all())
        notes = [*placement.reasons, *(["reversed"] if backwards else [])]
        stack = Stack(members, name, placement.distance_mm, *notes)
        stack.spacing_mm, stack.ascends = placement.spacing_mm, direction_of(orientation)
        return stack


def _labelled(labels: Integers) -> list[tuple[str, Integers]]:
    """Rows of each distinct label, in ascending order."""
    unique, inverse = np.unique(labels, axis=0, return_inverse=True)
    return [
        (".".join(map(str, label)), np.flatnonzero(inverse.reshape(-1) == number))
        for number, label in enumerate(unique.tolist())
    ]


def _nth_visits(visits: Integers) -> list[tuple[int, tuple[int, int]]]:
    """(how many units came to the position before, (unit, position)) of sorted (unit, position) pairs."""
    count: dict[int, int] = {}
    found = []
    for unit, place in visits.tolist():
        found.append((count.get(place, 0), (unit, place)))
        count[place] = count.get(place, 0) + 1
    return found
