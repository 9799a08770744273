"""Numbers as text: three decimals, a true minus sign, and a dash for what is not known."""

from __future__ import annotations

from typing import Any

DIGITS = 3
NONE = "–"


def known(value: Any) -> bool:
    """Whether a cell of a table holds a number."""
    return value is not None and bool(value == value)


def decimal(value: Any) -> str:
    """``0.812``, ``−0.004`` or a dash."""
    return f"{value:.{DIGITS}f}".replace("-", "−") if known(value) else NONE


def signed(value: Any) -> str:
    """``+0.012``, ``−0.004`` or a dash."""
    return f"{value:+.{DIGITS}f}".replace("-", "−") if known(value) else NONE


def span(low: Any, high: Any, sign: bool = False) -> str:
    """``0.701 to 0.911``, with signs if asked for; ``unknown`` without ends."""
    tell = signed if sign else decimal
    return f"{tell(low)} to {tell(high)}" if known(low) and known(high) else "unknown"


def whole(value: Any) -> str:
    """``1,204`` or a dash."""
    return f"{int(value):,}" if known(value) else NONE
