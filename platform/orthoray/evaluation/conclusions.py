"""The tables that a study draws from its results and predictions, written beside them and told in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.evaluation.calibrated import calibration_lines, trust
from orthoray.evaluation.comparisons import compare, comparison_lines, draw_all, intervals
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.cross_joint import cross_joint, cross_joint_lines
from orthoray.evaluation.curves import curve_lines, learning_curves
from orthoray.evaluation.efficiency import efficiency_lines, labels_needed
from orthoray.evaluation.macro import macro_lines, macro_table
from orthoray.evaluation.overall import rank_lines, rank_table
from orthoray.evaluation.subgroups import subgroup_lines, subgroup_table
from orthoray.evaluation.summary import summarise
from orthoray.evaluation.tasks import TaskCard

MOST = 500
"""Draws of patients for a subgroup."""


class Conclusions(NamedTuple):
    """Intervals of all values, tests of the candidate against all others, and the labels with which it matches them.

    ``ranks``: over tasks. ``curves``: power laws over the shares of labelled patients. ``calibration, reliability,
    decisions``: see `calibrated.Trust`. ``subgroups``: of the candidate. ``macro``: means over the parts of tasks of
    several labels.
    ``cross_joint``: comparisons on joints that the candidate never saw in pretraining.
    """

    intervals: pd.DataFrame
    comparisons: pd.DataFrame
    ranks: pd.DataFrame
    efficiency: pd.DataFrame
    curves: pd.DataFrame
    calibration: pd.DataFrame
    reliability: pd.DataFrame
    decisions: pd.DataFrame
    subgroups: pd.DataFrame
    macro: pd.DataFrame
    cross_joint: pd.DataFrame

    def write(self, out: str) -> None:
        """Write a Parquet file of each table that has rows into the folder ``out``; of the others none is left."""
        for name, table in self._asdict().items():
            file = storage.join(out, f"{name}.parquet")
            if len(table):
                storage.write_table(pa.Table.from_pandas(table, preserve_index=False), file)
            else:
                storage.remove_tree(file)

    def told(self, least: float, candidate: str) -> list[tuple[str, list[str]]]:
        """Headings and lines of plain text; ``least``: the smallest share of the training patients."""
        parts: list[tuple[str, pd.DataFrame, Callable[[pd.DataFrame], list[str]]]] = [
            ("Differences: bootstrap over patients, 95 % interval", self.comparisons, comparison_lines),
            ("Over all tasks: mean ranks", self.ranks, rank_lines),
            ("Cross-joint: gains on joints never seen in pretraining", self.cross_joint, cross_joint_lines),
            ("Label efficiency: 95 % interval over patients", self.efficiency, lambda t: efficiency_lines(t, least)),
            ("Learning curves: a power law over the shares", self.curves, lambda t: curve_lines(t, candidate)),
            ("Calibration: 95 % interval over patients", self.calibration, lambda t: calibration_lines(t, candidate)),
            ("Subgroups", self.subgroups, subgroup_lines),
            ("Macro AUROC over the parts of several labels: 95 % interval over patients", self.macro, macro_lines),
        ]
        return [(title, tell(table)) for title, table, tell in parts if len(table)]


def conclude(
    results: pd.DataFrame,
    predictions: pd.DataFrame,
    cards: Mapping[str, TaskCard],
    known: Mapping[str, pd.DataFrame],
    config: StudyConfig,
    seen: Sequence[str] | None = None,
) -> Conclusions:
    """Compute all of them from a study's two tables.

    Args:
        results: the rows of ``results.parquet``.
        predictions: the rows of ``predictions.parquet``.
        cards: of the tasks.
        known: task → `subgroups.attributes`.
        config: of the study.
        seen: body parts that the candidate saw in pretraining; None if that is not known.

    Raises:
        ValueError: a metric that is not defined for a task's predictions.
    """
    headline = {name: card.headline for name, card in cards.items()}
    candidate, resamples = config.tested(), config.resamples
    draws = draw_all(predictions, {name: card.metrics for name, card in cards.items()}, resamples)
    comparisons = compare(results, draws, headline, candidate)
    return Conclusions(
        intervals(draws),
        comparisons,
        rank_table(summarise(results, headline), candidate),
        labels_needed(draws, headline, candidate),
        learning_curves(draws, headline),
        *trust(results, predictions, cards),
        subgroup_table(predictions, known, headline, candidate, min(resamples, MOST), config.small_cell),
        macro_table(predictions, resamples),
        cross_joint(comparisons, {name: card.joint for name, card in cards.items()}, seen),
    )
