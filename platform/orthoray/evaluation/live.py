"""Results while a study runs: a line for every group of rows that is whole, and tables that can be read meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from orthoray.errors import describe_os_error
from orthoray.evaluation.results import collect, measure
from orthoray.evaluation.rows import Row, read_part, whole_groups
from orthoray.evaluation.tasks import TaskCard
from orthoray.progress import say

REFRESH_S = 30.0
"""Least seconds between two writings of the tables."""

MOST_TIMES = 20.0
"""They are written again after this many times what the last writing took, at the earliest."""

Group = tuple[str, str, str, float]
"""Task, model, protocol, fraction."""


class Live:
    """Told of rows that ended; tells the user.

    Args:
        out: the study's folder.
        rows: all rows of the study.
        done: those that have their part files already.
        cards: of the tasks.
        study: the study's name.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        out: str,
        rows: Sequence[Row],
        done: set[Row],
        cards: Mapping[str, TaskCard],
        study: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.out, self.rows, self.cards, self.study, self.clock = out, rows, cards, study, clock
        self.missing: dict[Group, set[Row]] = {}
        self.members: dict[Group, list[Row]] = {}
        for row in rows:
            self.members.setdefault(_group(row), []).append(row)
            if row not in done:
                self.missing.setdefault(_group(row), set()).add(row)
        self._last, self._wait = clock(), REFRESH_S

    def ended(self, rows: Sequence[Row]) -> None:
        """Some rows have their part files."""
        whole = []
        for row in rows:
            left = self.missing.get(_group(row), set())
            if row in left:
                left.discard(row)
                if not left:
                    whole.append(_group(row))
        for group in whole:
            say(f"  {self._line(group)}")
        if whole and self.clock() - self._last >= self._wait:
            began = self.clock()
            try:
                collect(self.study, self.out, whole_groups(self.rows, self.out), self.cards, "")
            except OSError as error:  # a full disk, say; the rows may still find room, and the end tells
                say(f"  the tables cannot be written now: {describe_os_error(error) or error}")
            self._last = self.clock()
            self._wait = max(REFRESH_S, MOST_TIMES * (self._last - began))

    def _line(self, group: Group) -> str:
        task, model, protocol, fraction = group
        card = self.cards[task]
        frames = [read_part(row.part(self.out))[0].to_pandas() for row in self.members[group]]
        values = [measure(frame, card, [card.headline])[card.headline] for frame in frames]
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        return f"{task}, {model}, {protocol}, {fraction:.0%}: {card.headline} {np.mean(values):.3f}{spread}"


def _group(row: Row) -> Group:
    return row.task, row.model, row.protocol, row.fraction
