"""Coded entries (PS3.3 section 8): only codes of public dictionaries pass, with the dictionary's own meaning."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

SNOMED_NAMES = ("SRT", "SNM3", "99SDM")
"""Designators of SNOMED's older identifiers (PS3.16 section 8)."""


def standard_meaning(designator: str, value: str) -> str | None:
    """Meaning of a code in the dictionaries of DICOM (DCM, SNOMED, UCUM …); None for a code that is in none."""
    if designator in SNOMED_NAMES:
        designator, value = "SCT", mapping["SRT"].get(value, "")
    return _meanings().get((designator, value))


@cache
def _meanings() -> dict[tuple[str, str], str]:
    dictionaries: dict[str, Any] = concepts
    return {
        (designator, value): meaning[:64]
        for designator, words in dictionaries.items()
        for codes in words.values()
        for value, (meaning, _) in codes.items()
        if meaning.isascii()
    }
