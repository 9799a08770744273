"""Marks of a de-identified object (PS3.15 E.1.1, PS3.3 C.12.1.1.1.1) and its file meta information."""

from __future__ import annotations

import hmac
import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from orthoray.imaging.deid.table import EDITION

if TYPE_CHECKING:
    from orthoray.imaging.pseudonyms import Pseudonyms

OPTIONS = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113103": "Clean Graphics Option",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
}
"""Codes of PS3.16 CID 7050 that are claimed, with their meanings."""

CLEAN_PIXELS, CLEAN_GRAPHICS = "113101", "113103"
IMPLEMENTATION_UID = UID("2.25.161846214364373276913208951871953829617")
_SEAL = re.compile(r"key ([0-9a-f]{8}); seal ([0-9a-f]{16})")


def mark(dataset: Dataset, ids: Pseudonyms, seal: str, *, clean_pixels: bool, clean_graphics: bool) -> None:
    """Write the marks into a cleaned data set."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [
        f"OrthoRay {_version()}; DICOM PS3.15 {EDITION} annex E",
        f"key {ids.key_id}; seal {seal}",
    ]
    left_out = [code for code, is_so in ((CLEAN_PIXELS, clean_pixels), (CLEAN_GRAPHICS, clean_graphics)) if not is_so]
    claimed = [code for code in OPTIONS if code not in left_out]
    if clean_pixels:
        dataset.BurnedInAnnotation = "NO"  # PS3.15 E.3.1
    dataset.DeidentificationMethodCodeSequence = [_coded(code) for code in claimed]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"


def claimed_seal(dataset: Dataset, key_id: str) -> str:
    """The seal that a data set says it has from the key; empty if it says nothing of the kind."""
    try:
        method: Any = dataset.get("DeidentificationMethod", "")
        parts = [method] if isinstance(method, str) else list(method or [])
        match = _SEAL.fullmatch(str(parts[-1])) if parts else None
    except Exception:  # a value that cannot be read claims nothing
        return ""
    return match[2] if match and hmac.compare_digest(match[1], key_id) else ""


def claims_clean_pixels(dataset: Dataset) -> bool:
    """Does a data set say that its pixel data are clean?"""
    try:
        codes = [str(item.get("CodeValue")) for item in dataset.get("DeidentificationMethodCodeSequence") or []]
    except Exception:  # a value that cannot be read claims nothing
        return False
    return CLEAN_PIXELS in codes


def file_meta(sop_class: str, instance: str, syntax: str) -> FileMetaDataset:
    """File meta information with nothing of the original's but its transfer syntax (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"ORTHORAY {_version()}"[:16]
    return meta


def _coded(code: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", OPTIONS[code]
    return item


def _version() -> str:
    try:
        return version("orthoray")
    except PackageNotFoundError:
        return "0"
