"""The collapse doctor: reads the rows of a run's history, names what is wrong, why, and what to do.

Pure: rows in, findings out. A rule (`orthoray.pretrain.doctor_rules`) looks for a sign in a row; the sign must be there
in every row for some time. Signs that a sound run shows while it begins count from the end of the warm-up. Of several
causes that would explain the same collapse only the first is named. A measure that a row does not have shows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from orthoray.pretrain.doctor_facts import Facts, Reading, Row
from orthoray.pretrain.doctor_rules import RULES, Cause, Rule
from orthoray.pretrain.settings.doctor import DoctorConfig

LEAST_ROWS = 3
"""Rows that a sign must be in, however few steps they stand for."""

SHORT_STEPS = 20
"""Steps over which the surest signs must last."""

GROWTH = 100.0
"""Gradients of this many times their usual norm, and of ten times the clipping norm, count as exploding."""


@dataclass(frozen=True)
class Finding:
    """What the doctor found.

    Attributes:
        cause: the rule's name.
        step: of the row that settled it.
        text: cause and remedy, one to three sentences.
        stops: the run is lost, and ``doctor.action: stop`` ends it.
    """

    cause: Cause
    step: int
    text: str
    stops: bool


class Doctor:
    """Examines a history as it grows, and tells every cause once.

    Args:
        facts: of the run.
        config: patience and what to do.
    """

    def __init__(self, facts: Facts, config: DoctorConfig) -> None:
        self.facts, self.config = facts, config
        self.findings: list[Finding] = []

    def examine(self, history: Sequence[Row]) -> list[Finding]:
        """What is new since the last call.

        Args:
            history: all rows of the run so far, oldest first, each with ``step`` and `MEASURES` of the learner; the
                measures of `orthoray.pretrain.diagnostics.Diagnostics`, ``teacher_temp``, ``teacher_momentum``,
                ``position_sensitivity`` and ``grad_norm_<part>`` where there are any.
        """
        if not history or self.config.action == "off":
            return []
        told = {finding.cause for finding in self.findings}
        collapsed = any(rule.collapse and rule.cause in told for rule in RULES)
        new: list[Finding] = []
        newest = Reading(history[-1], self.facts)
        for rule in RULES:
            if rule.cause in told or (rule.collapse and collapsed) or not self._lasts(rule, history):
                continue
            new.append(Finding(rule.cause, newest.step, rule.words(newest), rule.stops))
            collapsed = collapsed or rule.collapse
        if not collapsed and "lr_too_high" not in told and (part := self._exploding(history)):
            new.append(Finding("lr_too_high", newest.step, self._growth(part, history), stops=False))
        self.findings.extend(new)
        return new

    def must_stop(self) -> Finding | None:
        """The finding that ends the run, if there is one and the configuration says so."""
        lost = [finding for finding in self.findings if finding.stops]
        return lost[0] if lost and self.config.action == "stop" else None

    def _lasts(self, rule: Rule, history: Sequence[Row]) -> bool:
        """True if a rule's sign is in every row of the span that the rule asks for."""
        if rule.span == "once":
            return rule.sign(Reading(history[-1], self.facts))
        steps = self.config.patience if rule.span == "long" else min(SHORT_STEPS, self.config.patience)
        begin = self.facts.settled if rule.span == "long" else 0
        end = history[-1]["step"]
        if end - begin < steps:
            return False
        recent = _since(history, end - steps)
        if len(recent) < LEAST_ROWS or recent[0]["step"] <= begin:
            return False
        return all(rule.sign(Reading(row, self.facts)) for row in recent)

    def _exploding(self, history: Sequence[Row]) -> str | None:
        """The part of the network whose gradients have grown beyond all measure in the newest rows."""
        recent, before = history[-LEAST_ROWS:], history[:-LEAST_ROWS]
        for part in Reading(history[-1], self.facts).gradients():
            usual = _usual(before, part)
            limit = max(GROWTH * usual, 10.0 * self.facts.clip) if usual else float("inf")
            if all(row.get(f"grad_norm_{part}", 0.0) > limit for row in recent):
                return part
        return None

    def _growth(self, part: str, history: Sequence[Row]) -> str:
        now, usual = history[-1][f"grad_norm_{part}"], _usual(history[:-LEAST_ROWS], part)
        return (
            f"The gradients of the {part} explode: their norm is {now:.1e}, and was {usual:.1e}. Lower optimiser.lr or "
            "raise optimiser.warmup, before the loss follows."
        )


def explain_divergence(step: int, facts: Facts) -> str:
    """What to tell where a loss that is not finite ends the run, before any row of it."""
    rule = next(rule for rule in RULES if rule.cause == "diverged")
    return rule.words(Reading({"step": step, "loss": float("nan")}, facts))


def _since(history: Sequence[Row], step: float) -> Sequence[Row]:
    """The rows after ``step``, at least the newest `LEAST_ROWS`."""
    count = 0
    while count < len(history) and (count < LEAST_ROWS or history[-1 - count]["step"] > step):
        count += 1
    return history[len(history) - count :]


def _usual(history: Sequence[Row], part: str) -> float:
    """Median norm of a part's gradients; 0 where too few rows have one."""
    norms = [row[f"grad_norm_{part}"] for row in history if row.get(f"grad_norm_{part}", 0.0) > 0.0]
    return median(norms) if len(norms) >= 2 * LEAST_ROWS else 0.0
