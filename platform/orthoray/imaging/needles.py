"""The identifying values of a header in the ways in which they are written on images."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import date
from itertools import permutations
from typing import TYPE_CHECKING

from orthoray.imaging.deid.dates import parsed
from orthoray.imaging.deid.text import texts_of, words_of

if TYPE_CHECKING:
    from pydicom import Dataset

NUMBERS = frozenset(
    {
        "PatientID",
        "OtherPatientIDs",
        "AccessionNumber",
        "StudyID",
        "MedicalRecordLocator",
        "AdmissionID",
        "PatientTelephoneNumbers",
        "InsurancePlanIdentification",
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
        "RequestedProcedureID",
        "ScheduledProcedureStepID",
        "PerformedProcedureStepID",
        "ServiceEpisodeID",
    }
)
"""Attributes whose value is written as a whole."""

PLACES = frozenset(
    {
        "InstitutionName",
        "InstitutionAddress",
        "InstitutionalDepartmentName",
        "PatientAddress",
        "CurrentPatientLocation",
        "RequestingService",
        "IssuerOfPatientID",
    }
)
"""Attributes of which single words are written too."""

DATES = frozenset({"PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"})

TITLES = frozenset({"DR", "MR", "MRS", "MS", "MISS", "PROF", "PHD", "MD", "JR", "SR", "II", "III"})
"""Words in names that tell no one apart."""

SHORTEST_NAME, SHORTEST_PLACE, SHORTEST_NUMBER = 2, 4, 4
"""Characters from which a part of a name, a word of a place and a number tell somebody."""

STAFF = frozenset(["OperatorsName"])
"""Names whose parts count from `SHORTEST_PLACE` characters: radiographers put their initials on lead markers."""

_SPELT = str.maketrans({"Ä": "AE", "Ö": "OE", "Ü": "UE", "Ø": "OE", "Å": "AA", "Æ": "AE", "Ł": "L"})


def plain(text: str) -> str:
    """A text in capitals, without accents and in the usual width (NFKD)."""
    return "".join(mark for mark in unicodedata.normalize("NFKD", text.upper()) if not unicodedata.combining(mark))


def needles_of(dataset: Dataset) -> frozenset[str]:
    """What would identify somebody if it were read on an image of this header.

    Names of persons (parts, and family and given name in one), identifiers, words of institutions and addresses, and
    dates in the usual ways of writing them; in capitals, letters and digits only, nested sequences included.
    """
    vrs = frozenset({"PN", "DA", "LO", "SH", "ST", "LT"})
    return frozenset(
        needle for _, keyword, vr, text in texts_of(dataset, vrs) for needle in _written(keyword, vr, text)
    )


def _written(keyword: str, vr: str, text: str) -> Iterator[str]:
    if vr == "PN":
        least = SHORTEST_PLACE if keyword in STAFF else SHORTEST_NAME
        yield from (needle for needle in _of_person(text) if len(needle) >= least)
    elif keyword in DATES:
        if day := parsed(text):
            yield from _of_day(day)
    elif keyword in NUMBERS:
        parts = list(words_of(plain(text)))
        yield from (part for part in ("".join(parts), *parts) if len(part) >= SHORTEST_NUMBER)
    elif keyword in PLACES:
        parts = list(words_of(plain(text)))
        yield from (part for part in ("".join(parts), *parts) if len(part) >= SHORTEST_PLACE and not part.isdigit())


def _of_person(text: str) -> Iterator[str]:
    """Parts of a name (PS3.5 6.2.1.1), titles left out; alphabetic, ideographic and phonetic form alike."""
    for form in text.split("="):
        names = "^".join(form.split("^")[:3])  # what follows are titles
        for spelling in {plain(names), plain(names.upper().translate(_SPELT))}:
            parts = [word for word in words_of(spelling) if word not in TITLES]
            yield from parts
            yield from ("".join(pair) for pair in permutations(parts[:3], 2))
            yield "".join(parts)


def _of_day(day: date) -> Iterator[str]:
    """19510607 as 19510607, 07061951, 06071951, 761951, 671951, 070651, 060751, 510607, 07JUN1951, JUN071951 …"""
    year, short, month, number = f"{day.year:04}", f"{day.year % 100:02}", f"{day.month:02}", f"{day.day:02}"
    yield from (year + month + number, number + month + year, month + number + year)
    yield from (number + month + short, month + number + short, short + month + number)
    yield from (f"{day.day}{day.month}{year}", f"{day.month}{day.day}{year}")
    for name in (_MONTHS[day.month - 1], _MONTHS[day.month - 1][:3]):
        for written in (number, str(day.day)):
            yield from (f"{written}{name}{year}", f"{name}{written}{year}", f"{written}{name}{short}")


_MONTHS = (
    "JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER",
    "DECEMBER",
)  # fmt: skip
