"""What was read on an image: how much of it is no marker, and how much identifies somebody. Only numbers leave here."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt

from orthoray.imaging.deid.text import words_of
from orthoray.imaging.needles import plain
from orthoray.imaging.ocr import read_lines
from orthoray.imaging.text_boxes import MARKER_LETTERS

VIEWS = """
    AP PA LAT LATERAL MED MEDIAL OBL OBLIQUE AXIAL FRONTAL SKYLINE SUNRISE MERCHANT ROSENBERG TUNNEL SCHUSS
    WB NWB WEIGHT BEARING STANDING STAND STEHEND ERECT UPRIGHT SUPINE PRONE SITTING FLEX FLEXION EXT EXTENSION
    VARUS VALGUS STRESS KNEE KNEES KNIE PATELLA PORTABLE PREOP POSTOP LEFT RIGHT LINKS RECHTS BOTH
"""
"""Words that lead markers and captions say of the projection."""

_MARKER = re.compile(f"(?:[LR]?(?:{'|'.join(sorted(VIEWS.split(), key=len, reverse=True))})+[LR]?)|左|右")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_LETTERS = str.maketrans("01L58D2Q", "OIISBOZO")
_DIGITS = str.maketrans("OQDILSBZ", "00011582")
"""Characters that are easily taken for each other → one of them."""

TOLERANT = 5
"""Characters from which an identifying value may be found inside a line, and with one error of reading."""


@dataclass(frozen=True)
class Lettering:
    """Numbers of what was read; NaN where nothing tried to read.

    Attributes:
        ocr_words: words that are no allowed markers.
        ocr_identity: lines that hold an identifying value of the image's header.
    """

    ocr_words: float = math.nan
    ocr_identity: float = math.nan

    def row(self) -> dict[str, float]:
        """The numbers by name: fields of the struct column ``quality``."""
        return asdict(self)


READ = tuple(field.name for field in fields(Lettering))
"""Names of the numbers."""


def find_lettering(image: npt.NDArray[np.uint8], needles: Collection[str]) -> Lettering:
    """Read an image (`orthoray.imaging.ocr`) and judge what is found.

    Args:
        image: (H, W) grey, at the resolution at which it is shown.
        needles: of `orthoray.imaging.needles.needles_of`; none for files without a header.
    """
    return judged(read_lines(image), needles)


def judged(lines: Iterable[str], needles: Collection[str]) -> Lettering:
    """Count words that are no markers, and lines that hold a needle.

    Allowed are words of up to `MARKER_LETTERS` characters (initials, numbers on markers; not two ideographs), sides,
    `VIEWS` and what is put together from these. A needle is found also where it is an allowed word.
    """
    lines = list(lines)
    words = sum(not _is_marker(word) for line in lines for word in line.split())
    identity = sum(_names(list(words_of(plain(line))), needles) for line in lines)
    return Lettering(float(words), float(identity))


def _is_marker(word: str) -> bool:
    """Is a word (what stands between blanks) allowed? ``L-AP`` is, part by part; ``12.03.51`` is a word of six."""
    parts = list(words_of(plain(word)))
    apart = len(parts) > 1 and all(map(str.isalpha, parts)) and all(map(_is_short, parts))
    return apart or _is_short("".join(parts))


def _is_short(word: str) -> bool:
    if len(_IDEOGRAPH.findall(word)) > 1:
        return False
    return len(word) <= MARKER_LETTERS or _MARKER.fullmatch(word) is not None


def _names(parts: list[str], needles: Collection[str]) -> bool:
    """Does a line, given as its runs of letters and digits, hold a needle?

    Short needles must be one of the runs. Long ones may be anywhere in the line without its blanks, because names are
    read without blanks too and dates are written with and without dots; markers are left out of that search.
    """
    whole = "".join(part for part in parts if len(part) <= MARKER_LETTERS or not _MARKER.fullmatch(part))
    return any(
        _holds(whole, needle) if len(needle) >= TOLERANT else any(_same(part, needle) for part in parts)
        for needle in needles
    ) or any(part in needles for part in parts)


def _same(word: str, needle: str) -> bool:
    return len(word) == len(needle) and _holds(word, needle, errors=0)


def _holds(text: str, needle: str, errors: int = 1) -> bool:
    """Is a needle somewhere in a text, characters that look alike taken as equal?"""
    if needle.isdigit():
        return any(map(str.isdigit, text)) and _distance(needle, text.translate(_DIGITS)) <= errors
    return not text.isdigit() and _distance(needle.translate(_LETTERS), text.translate(_LETTERS)) <= errors


def _distance(needle: str, text: str) -> int:
    """Fewest insertions, deletions and replacements that make the needle a part of the text (Sellers 1980)."""
    before = [0] * (len(text) + 1)
    for length, wanted in enumerate(needle, start=1):
        now = [length]
        for place, found in enumerate(text):
            now.append(min(before[place] + (wanted != found), before[place + 1] + 1, now[place] + 1))
        before = now
    return min(before)
