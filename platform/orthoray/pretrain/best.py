"""Which probed checkpoint is the best so far, and whether it is time to stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from orthoray.pretrain.settings.probes import ProbesConfig


@dataclass
class Best:
    """Keeps score of probes, in the order of their steps.

    Attributes:
        config: says which protocol decides, which gains count, and when patience is at an end.
        step: of the best probe; None before the first.
        score: its mean over the tasks.
        misses: probes in a row without a gain.
    """

    config: ProbesConfig
    step: int | None = None
    score: float = 0.0
    misses: int = 0
    _seen: set[int] = field(default_factory=set)

    def score_of(self, rows: Iterable[Mapping[str, Any]]) -> float:
        """Mean over the tasks of one probe, by the deciding protocol; larger is better for every metric."""
        return fmean(float(row["value"]) for row in rows if row["protocol"] == self.config.choose_by)

    def take(self, step: int, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Take in the rows of a probe; True if it is the best so far. The same step again changes nothing."""
        if step in self._seen:
            return step == self.step
        self._seen.add(step)
        score = self.score_of(rows)
        if self.step is not None and score <= self.score + self.config.min_gain:
            self.misses += 1
            return False
        self.step, self.score, self.misses = step, score, 0
        return True

    def verdict(self) -> str | None:
        """Why the run should stop, or None."""
        if self.config.patience is None or self.misses < self.config.patience:
            return None
        return (
            f"stopped early: {self.misses} probes in a row were no better than the one of step {self.step:,} "
            f"({self.config.choose_by} {self.score:.3f}, mean over the tasks)"
        )
