"""What a person sees while work runs: rich bars on a terminal, plain lines in logs and jobs."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any

PLAIN_INTERVAL_S = 5.0
"""Seconds between two plain progress lines."""


def is_terminal() -> bool:
    """True when standard output is an interactive terminal that understands control codes."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb" and "NO_COLOR" not in os.environ


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def heading(text: str) -> None:
    """Print the title of a stage."""
    if is_terminal():
        say(f"\n\033[1m{text}\033[0m")
    else:
        say(f"\n== {text}")


def outputs(files: dict[str, str], next_step: str | None = None) -> None:
    """Print where the outputs of a command are and what to do next."""
    width = max((len(name) for name in files), default=0)
    for name, uri in files.items():
        say(f"  {name:<{width}}  {uri}")
    if next_step:
        say(f"  next: {next_step}")


def clock(seconds: float) -> str:
    """Format a duration as ``m:ss`` or ``h:mm:ss``."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


class Progress:
    """Progress of one piece of work with rate and time left.

    Args:
        total: number of units, or None when unknown.
        description: what is being done.
        unit: name of one unit, for the rate ("img").

    Use as a context manager and call `advance`; keyword fields (``loss=3.2``) are shown behind the bar.
    """

    def __init__(self, total: int | None, description: str, unit: str = "it") -> None:
        self.total, self.description, self.unit = total, description, unit
        self.done = 0
        self.fields: dict[str, Any] = {}
        self._start = self._last = time.monotonic()
        self._first_done = 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        self._start = self._last = time.monotonic()
        if is_terminal():
            self._open_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            say(self._line())

    def start_at(self, done: int) -> None:
        """Set the count reached before, so that the rate counts only the work from now on."""
        self.done = self._first_done = done
        self._start = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def advance(self, n: int = 1, **fields: Any) -> None:
        """Count ``n`` more units as done and replace the shown fields by ``fields`` when any are given."""
        self.done += n
        if fields:
            self.fields = fields
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=self._rate_text(), extra=self._extra())
        elif time.monotonic() - self._last >= PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            say(self._line())

    @property
    def rate(self) -> float:
        """Units per second since the start of this run."""
        elapsed = time.monotonic() - self._start
        return (self.done - self._first_done) / elapsed if elapsed > 0 else 0.0

    def _rate_text(self) -> str:
        return f"{self.rate:.3g} {self.unit}/s" if self.rate < 100 else f"{self.rate:.0f} {self.unit}/s"

    def _extra(self) -> str:
        return "  ".join(f"{key} {_show(value)}" for key, value in self.fields.items())

    def _line(self) -> str:
        share = f"{self.done}/{self.total}" if self.total is not None else str(self.done)
        left = ""
        if self.total and self.rate > 0 and self.done < self.total:
            left = f"  ETA {clock((self.total - self.done) / self.rate)}"
        return f"  {self.description}: {share} {self.unit}  {self._rate_text()}{left}  {self._extra()}".rstrip()

    def _open_bar(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[extra]}"),
        )
        self._task = self._bar.add_task(self.description, total=self.total, rate="", extra="")
        self._bar.start()


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
