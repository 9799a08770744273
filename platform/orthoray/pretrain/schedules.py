"""Values that change over a run, as pure functions of the step."""

from __future__ import annotations

import math

from orthoray.pretrain.settings.optimiser import Schedule


def cosine(start: float, end: float, step: int, total: int) -> float:
    """Half a cosine from ``start`` at step 0 to ``end`` at step ``total`` (and after it)."""
    share = min(1.0, step / total) if total > 0 else 1.0
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def linear(start: float, end: float, step: int, total: int) -> float:
    """Straight line from ``start`` at step 0 to ``end`` at step ``total``, constant after it."""
    return end if step >= total else start + (end - start) * step / total


def warmup_then(schedule: Schedule, peak: float, end: float, step: int, warmup: int, total: int) -> float:
    """Linear from ``peak / warmup`` over ``warmup`` steps up to ``peak``, then by ``schedule`` down to ``end``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    after = linear if schedule == "linear" else cosine
    return after(peak, end, step - warmup, max(1, total - warmup))
