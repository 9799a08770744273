"""What options that depend on columns will do to a run's images, counted before it begins."""

from __future__ import annotations

from collections import Counter

from orthoray.pretrain import sides
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.plan import Mixture, RowGroup
from orthoray.pretrain.row_group import Facts, columns_of
from orthoray.pretrain.shard_rows import read_columns

FILM, PAIRED, ALONE = "film", "paired", "alone"


class Census:
    """Counts of a run's images, each image once whatever its weight.

    ``sides``: key of `sides.STATES` → images; empty unless left joints are mirrored. ``seconds``: ``paired``, ``alone``
    (MR without a neighbour within reach in its row group) or ``film`` → images; empty unless the second global crop
    shows a neighbour.

    Raises:
        InputError: a shard lacks a column that is needed.
    """

    def __init__(self, mixture: Mixture, crops: MultiCropConfig) -> None:
        self.crops = crops
        self.sides: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        if not (crops.canonical_laterality or crops.second_view == "neighbour"):
            return
        by_file: dict[str, list[RowGroup]] = {}
        for group in mixture.groups:
            by_file.setdefault(group.file, []).append(group)
        for file, groups in by_file.items():
            columns = read_columns(file, columns_of(crops))
            for group in groups:
                _, found = columns[group.group]
                self._count(group, Facts({name: values.to_pylist() for name, values in found.items()}))

    def _count(self, group: RowGroup, facts: Facts) -> None:
        for row in map(int, group.rows):
            if self.crops.canonical_laterality:
                self.sides[facts.state(row)] += 1
            if self.crops.second_view == "neighbour":
                near = facts.neighbours(row, self.crops.max_gap_mm)
                paired = any(group.number(other) is not None for other in near)
                self.seconds[FILM if facts.modality(row) == "XR" else PAIRED if paired else ALONE] += 1

    def lines(self) -> list[str]:
        """What to tell before a run."""
        told = []
        if self.sides:
            told.append(
                "; ".join(f"{self.sides[key]:,} {text}" for key, text in sides.STATES.items() if self.sides[key])
            )
        if self.seconds:
            alone = f"{self.seconds[ALONE]:,} slices without one and {self.seconds[FILM]:,} films show themselves"
            told.append(f"second view: a neighbour for {self.seconds[PAIRED]:,} slices; {alone}")
        return told
