"""Which part of a batch is whose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """The part of every batch that one worker takes: slice ``rank`` of ``world`` equal slices of ``batch`` images."""

    rank: int
    world: int
    batch: int

    def holds(self, position: int) -> bool:
        """True if this worker takes the image at ``position`` of the run."""
        return position % self.batch // (self.batch // self.world) == self.rank
