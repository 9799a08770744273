"""How often the images of a row group come: whole passes, and a rotating share of them for the fractional part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from orthoray.errors import InputError

FINEST = 1_000_000
"""Weights are exact fractions with a denominator of at most this, so sums over epochs are of whole numbers."""

Places = range | npt.NDArray[np.int32]
"""Positions within the chosen rows of a row group, ascending."""


@dataclass(frozen=True)
class Part:
    """Images of one row group with the same weight, which is ``whole + up / down``.

    In every epoch all ``members`` come ``whole`` times. For the rest they stand in a circle (`rotation`), of which each
    epoch takes the next ``size · up / down``: what it has to round is settled later. So after E epochs an image has
    come E · weight times, give or take two. ``phase`` / ``down`` of an image is carried over from the part before, so
    that the parts of a run round up in different epochs.
    """

    members: Places
    whole: int
    up: int
    down: int
    phase: int

    def rest_before(self, epoch: int) -> int:
        """Images that the fractional part had taken before an epoch."""
        return (epoch * len(self.members) * self.up + self.phase) // self.down

    def of_epoch(self, epoch: int, key: Sequence[int]) -> Iterator[int]:
        """Positions that come in an epoch, repeated as often as they do; ``key`` seeds the circle."""
        for _ in range(self.whole):
            yield from (int(place) for place in self.members)
        begin, end = self.rest_before(epoch), self.rest_before(epoch + 1)
        if end > begin:
            size = len(self.members)
            circle = np.random.default_rng(key).permutation(size)
            yield from (int(self.members[circle[number % size]]) for number in range(begin, end))


class Divider:
    """Divides row groups into parts and hands the fractions of an image on from part to part."""

    def __init__(self) -> None:
        self._carried: dict[Fraction, int] = {}

    def divide(self, weights: Sequence[Fraction] | Fraction, rows: int) -> tuple[Part, ...]:
        """The parts of a row group of ``rows`` images with these weights (or one for all); none with weight 0."""
        if isinstance(weights, Fraction):
            return (self._part(range(rows), weights),) if weights else ()
        values = sorted(set(weights) - {Fraction(0)})
        if len(values) == 1 and len(weights) == rows and weights.count(values[0]) == rows:
            return (self._part(range(rows), values[0]),)
        places = {value: [at for at, weight in enumerate(weights) if weight == value] for value in values}
        return tuple(self._part(np.array(places[value], np.int32), value) for value in values)

    def _part(self, members: Places, weight: Fraction) -> Part:
        whole, rest = divmod(weight, 1)
        phase = self._carried.get(rest, 0)
        self._carried[rest] = (phase + len(members) * rest.numerator) % rest.denominator
        return Part(members, int(whole), rest.numerator, rest.denominator, phase)


def fraction(*factors: float) -> Fraction:
    """The product of weights as they were written (0.1 is a tenth), to a millionth; InputError if it is smaller."""
    product = Fraction(1)
    for factor in factors:
        product *= Fraction(str(factor))
    if 0 < product < Fraction(1, FINEST):
        factors_told = " × ".join(f"{factor:g}" for factor in factors)
        raise InputError(f"data: a weight of {factors_told} is less than a millionth. Give 0 to leave such images out.")
    return product.limit_denominator(FINEST)


class Counts:
    """How many images of each row group come in an epoch.

    Args:
        parts: the parts of every row group.
    """

    def __init__(self, parts: Sequence[Sequence[Part]]) -> None:
        flat = [(number, part) for number, group in enumerate(parts) for part in group]
        self._groups = len(parts)
        self._group = np.array([number for number, _ in flat], np.int64)
        self._size = np.array([len(part.members) for _, part in flat], np.int64)
        self._whole, self._up, self._down, self._phase = (
            np.array([getattr(part, name) for _, part in flat], np.int64) for name in ("whole", "up", "down", "phase")
        )
        self._fixed = not self._up.any()

    def of_epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        """(row groups,) images of an epoch."""
        count = self._size * self._whole
        if not self._fixed:
            taken = [(e * self._size * self._up + self._phase) // self._down for e in (epoch, epoch + 1)]
            count = count + taken[1] - taken[0]
        return np.bincount(self._group, count, self._groups).astype(np.int64)

    def mean(self) -> float:
        """Images of an average epoch."""
        return float((self._size * (self._whole + self._up / self._down)).sum())
