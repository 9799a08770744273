"""The tables that a study draws from its results and predictions, written beside them and told in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.evaluation.comparisons import compare, comparison_lines, draw_all, intervals
from orthoray.evaluation.efficiency import efficiency_lines, labels_needed
from orthoray.evaluation.macro import macro_lines, macro_table
from orthoray.evaluation.tasks import TaskCard


class Conclusions(NamedTuple):
    """Intervals of all values, tests of the candidate against all others, and the labels with which it matches them.

    ``macro``: means over the parts of tasks of several labels.
    """

    intervals: pd.DataFrame
    comparisons: pd.DataFrame
    efficiency: pd.DataFrame
    macro: pd.DataFrame

    def write(self, out: str) -> None:
        """Write a Parquet file of each table that has rows into the folder ``out``."""
        for name, table in self._asdict().items():
            if len(table):
                written = pa.Table.from_pandas(table, preserve_index=False)
                storage.write_table(written, storage.join(out, f"{name}.parquet"))

    def told(self, least: float) -> list[tuple[str, list[str]]]:
        """Headings and lines of plain text; ``least``: the smallest share of the training patients."""
        parts = [
            ("Differences: bootstrap over patients, 95 % interval", self.comparisons, comparison_lines),
            ("Label efficiency: 95 % interval over patients", self.efficiency, lambda t: efficiency_lines(t, least)),
            ("Macro AUROC over the parts of several labels: 95 % interval over patients", self.macro, macro_lines),
        ]
        return [(title, tell(table)) for title, table, tell in parts if len(table)]


def conclude(
    results: pd.DataFrame, predictions: pd.DataFrame, cards: Mapping[str, TaskCard], candidate: str, resamples: int
) -> Conclusions:
    """Compute all of them; see `comparisons` and `efficiency`."""
    headline = {name: card.headline for name, card in cards.items()}
    draws = draw_all(predictions, {name: card.metrics for name, card in cards.items()}, resamples)
    tests = compare(results, draws, headline, candidate)
    needed = labels_needed(draws, headline, candidate)
    return Conclusions(intervals(draws), tests, needed, macro_table(predictions, resamples))
