"""The executor: walks a data set and lets the policy's rules decide about every element."""

from __future__ import annotations

import hmac
import io
import warnings
from typing import TYPE_CHECKING, Any

from pydicom import Dataset, FileDataset, dcmwrite
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from orthoray.imaging.deid import dates, marks
from orthoray.imaging.deid.actions import Action, remove
from orthoray.imaging.deid.policy import Policy, standard
from orthoray.imaging.deid.scope import Scope, Work
from orthoray.imaging.files import UnreadableImageError

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement

    from orthoray.imaging.pseudonyms import Pseudonyms

PREAMBLE = bytes(128)
SEEN = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
"""Dates from which an age is computed where the header gives none, the first that is there."""


def run(
    dataset: Dataset, ids: Pseudonyms, clean_pixels: bool, clean_graphics: bool, policy: Policy | None
) -> FileDataset:
    """See `orthoray.imaging.deid.deidentify`."""
    policy = policy or standard()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would quote values
            if claimed := marks.claimed_seal(dataset, ids.key_id):
                pixels = clean_pixels or marks.claims_clean_pixels(dataset)
                result, seal = _pass(dataset, ids, policy, (pixels, clean_graphics), sealed=True)
                if hmac.compare_digest(seal, claimed):
                    return result
            return _pass(dataset, ids, policy, (clean_pixels, clean_graphics), sealed=False)[0]
    except UnreadableImageError:
        raise
    except Exception as error:  # its message may quote the header
        raise UnreadableImageError("not_deidentifiable", type(error).__name__) from None


def written(dataset: Dataset) -> bytes:
    """See `orthoray.imaging.deid.to_bytes`."""
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.preamble = PREAMBLE
            dcmwrite(buffer, dataset, enforce_file_format=True)
    except Exception as error:
        raise UnreadableImageError("not_writable", type(error).__name__) from None
    return buffer.getvalue()


def _pass(
    dataset: Dataset, ids: Pseudonyms, policy: Policy, clean: tuple[bool, bool], *, sealed: bool
) -> tuple[FileDataset, str]:
    (clean_pixels, clean_graphics), syntax, texts = clean, _transfer_syntax(dataset), policy.texts()
    work = Work(dataset, ids, _patient(dataset), sealed, texts, syntax, clean_graphics)
    cleaned = _clean(Scope(dataset, work, 0, lambda scope: _clean(scope, policy)), policy)
    _add_age(dataset, cleaned)
    seal = work.seal()
    marks.mark(cleaned, ids, seal, clean_pixels=clean_pixels, clean_graphics=clean_graphics)
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    meta = marks.file_meta(*_identity(cleaned), syntax)
    return FileDataset("", cleaned, PREAMBLE, meta, implicit, little), seal


def _clean(scope: Scope, policy: Policy) -> Dataset:
    """A new data set (or item) of what the rules leave."""
    result = Dataset()
    tags = sorted(scope.dataset.keys())
    for tag in tags:
        action = policy.rule(tag).action
        if action is not remove and (made := _treated(scope, tag, action)) is not None:
            result.add(made)
    return result


def _treated(scope: Scope, tag: Any, action: Action) -> DataElement | None:
    """What the action makes of an element; None also if its value cannot be parsed or treated."""
    try:
        return action(scope.dataset[tag], scope)
    except UnreadableImageError:
        raise
    except Exception:
        return None


def _patient(dataset: Dataset) -> str:
    """What the date shift is made from: the patient's id or, where there is none, the study."""
    patient = _text(dataset, "PatientID")
    return patient or "\x1e".join(["", _text(dataset, "StudyInstanceUID") or _text(dataset, "SOPInstanceUID")])


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset.get(keyword, "") or "")
    except Exception:
        return ""


def _add_age(original: Dataset, cleaned: Dataset) -> None:
    """Compute the age, which goes with the birth date, where the header has none (``000Y`` stands for none)."""
    if cleaned.get("PatientAge", "000Y") not in ("", "000Y"):
        return
    born = dates.parsed(_text(original, "PatientBirthDate"))
    seen = next(filter(None, (dates.parsed(_text(original, name)) for name in SEEN)), None)
    if born and seen and (age := dates.age_between(born, seen)):
        cleaned.PatientAge = age


def _identity(cleaned: Dataset) -> tuple[str, str]:
    sop_class, instance = _text(cleaned, "SOPClassUID"), _text(cleaned, "SOPInstanceUID")
    if not sop_class:
        raise UnreadableImageError("no_sop_class")
    if not instance:
        raise UnreadableImageError("no_instance_uid")
    return sop_class, instance


def _transfer_syntax(dataset: Dataset) -> str:
    """Transfer syntax of the file meta information, else of how the data set was read."""
    meta = getattr(dataset, "file_meta", None)
    named = _text(meta, "TransferSyntaxUID") if meta is not None else ""
    if named:
        if named not in UID_dictionary or not UID(named).is_transfer_syntax:
            raise UnreadableImageError("transfer_syntax_unknown")
        return named
    implicit, little = dataset.original_encoding
    if implicit is None:
        return str(ExplicitVRLittleEndian)
    return str(ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian)
