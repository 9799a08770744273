"""Dates that move by whole days, and ages."""

from __future__ import annotations

import math
import re
from datetime import date, timedelta

OLDEST = 90
"""Years; greater ages are given as this, because few people are that old (45 CFR 164.514(b)(2)(i)(C))."""

_DATE = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")
_OLD_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d+)?)?")
_ZONE = re.compile(r"[+-]\d{4}$")
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_IN_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def parsed(text: str) -> date | None:
    """The day of a DA value, also in the form of ACR-NEMA (``2015.04.07``); None if it is malformed."""
    match = _DATE.fullmatch(text.strip())
    try:
        return date(int(match[1]), int(match[3]), int(match[4])) if match else None
    except ValueError:
        return None


def shifted_date(text: str, days: int) -> str | None:
    """A DA value moved by ``days``; None if it is malformed or leaves the calendar."""
    day = parsed(text)
    try:
        moved = day + timedelta(days=days) if day else None
    except OverflowError:
        return None
    return f"{moved.year:04}{moved.month:02}{moved.day:02}" if moved else None


def shifted_datetime(text: str, days: int) -> str | None:
    """A DT value moved by ``days``, its time kept and its offset from UTC dropped; None if the day is not complete."""
    local = _ZONE.sub("", text.strip())
    day, time = shifted_date(local[:8], days), local[8:]
    return day + time if day and (not time or clock(time) == time) else None


def clock(text: str) -> str | None:
    """A TM value as PS3.5 6.2 has it, also from the form of ACR-NEMA (``10:11:12``); None if it is malformed."""
    plain = text.strip()
    plain = plain.replace(":", "") if _OLD_TIME.fullmatch(plain) else plain
    return plain if _TIME.fullmatch(plain) else None


def capped_age(text: str) -> str | None:
    """An AS value in its standard form, ``090Y`` above 89 years; None if it is malformed."""
    number, unit = _age(text)
    if not unit:
        return None
    return f"{OLDEST:03}Y" if unit == "Y" and number > OLDEST else f"{number:03}{unit}"


def years(text: str) -> float:
    """An AS value in years, at most `OLDEST`; NaN if it is malformed or zero, as what stands for a removed age is."""
    number, unit = _age(text)
    return min(float(OLDEST), number / _IN_A_YEAR[unit]) if number else math.nan


def _age(text: str) -> tuple[int, str]:
    """Number and unit; 0 and ``""`` of a malformed value."""
    match = _AGE.fullmatch(text.strip().upper())
    return (int(match[1]), match[2] or "Y") if match else (0, "")


def age_between(born: date, seen: date) -> str | None:
    """Age as an AS value: in months below two years, else in years (at most ``090Y``); None before birth."""
    if seen < born:
        return None
    months = (seen.year - born.year) * 12 + seen.month - born.month - (seen.day < born.day)
    return capped_age(f"{months:03}M" if months < 24 else f"{min(months // 12, 999):03}Y")
