"""PS3.15 table E.1-1: attributes and their codes in the Basic Profile, as the package dicom-anonymizer lists them."""

from __future__ import annotations

from functools import cache
from importlib import import_module

EDITION = "2026c"
"""Edition of the DICOM standard that the table is from."""

CATEGORIES = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}
"""List of the package → code of the table's column "Basic Prof."."""


@cache
def basic_profile() -> dict[int, str]:
    """Tag → code, for every attribute of the table that has one tag; repeating groups (50xx, 60xx) are left out."""
    module = import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    return {
        tag[0] << 16 | tag[1]: code
        for name, code in CATEGORIES.items()
        for tag in getattr(module, name)
        if len(tag) == 2
    }
