"""What a rule does with an element: functions from an element and its place to a new element, or None to remove it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pydicom import config
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, empty_value_for_VR

from orthoray.imaging.deid import dates
from orthoray.imaging.deid.text import made_of
from orthoray.imaging.deid.vocabulary import TERMS

if TYPE_CHECKING:
    from orthoray.imaging.deid.scope import Scope

Action = Callable[[Any, "Scope"], "DataElement | None"]
"""(element of the original, its place) → element of the result. It checks the value's type: files hold wrong ones."""

NUMERIC_VRS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"})
LONGEST = {"SH": 16, "LO": 64}
"""Characters that a value may have (PS3.5 table 6.2-1)."""

DUMMY_TEXT = "REMOVED"
DUMMIES: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), DUMMY_TEXT),
    **dict.fromkeys(("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "DS", "IS", "AT"), 0),
    **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW", "UN"), bytes(8)),
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "urn:removed",
}
"""Value representation → the value that stands for one that must not be empty (code D)."""

_NUMBER = re.compile(r" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *")
_LONGEST_NUMBER = 24
_ORIENTATION = re.compile(r"[LRAPHF]{1,3}")
_LABEL = re.compile(r"\d{1,4}")


def remove(element: Any, scope: Scope) -> DataElement | None:
    """Code X: the element goes."""
    return None


def empty(element: Any, scope: Scope) -> DataElement | None:
    """Code Z: the element stays without a value."""
    return _made(element.tag, _vr(element), [] if _vr(element) == "SQ" else None)


def dummy(element: Any, scope: Scope) -> DataElement | None:
    """Code D: a fixed value of the attribute's value representation; a sequence keeps one empty item."""
    from pydicom import Dataset

    vr = _vr(element)
    return _made(element.tag, vr, [Dataset()] if vr == "SQ" else DUMMIES.get(vr, bytes(8)))


def number(element: Any, scope: Scope) -> DataElement | None:
    """Keep numbers (and tags) as they are; anything else goes."""
    if element.VR not in NUMERIC_VRS or not all(_is_number(value) for value in values(element)):
        return None
    return _again(element)


def date(element: Any, scope: Scope) -> DataElement | None:
    """Move DA and DT by the patient's days, keep TM; a malformed value takes the element away."""
    vr, days = _vr(element), scope.work.days
    found = [_moved(vr, value, days) for value in values(element) if value != ""]
    if None in found:
        return None
    scope.work.note(found)
    return _made(element.tag, vr, found)


def uid(element: Any, scope: Scope) -> DataElement | None:
    """Code U: replace UIDs by pseudonyms; those that the standard itself defines stay."""
    found = [value for value in values(element) if value != ""]
    if not all(isinstance(value, str) for value in found):
        return None
    return _made(element.tag, "UI", [value if value in UID_dictionary else scope.work.uid(value) for value in found])


def term(element: Any, scope: Scope) -> DataElement | None:
    """Keep defined terms; other values are left out."""
    return _kept(element, [value for value in values(element) if _is_term(value)])


def image_type(element: Any, scope: Scope) -> DataElement | None:
    """Keep defined terms in their places; other values after the second become OTHER (PS3.3 C.7.6.1.1.2)."""
    found = values(element)
    if not all(_is_term(value) for value in found[:2]):
        return None
    return _kept(element, [value if value == "" or _is_term(value) else "OTHER" for value in found])


def orientation(element: Any, scope: Scope) -> DataElement | None:
    """Keep Patient Orientation: at most three of the letters L, R, A, P, H, F a value (PS3.3 C.7.6.1.1.1)."""
    found = values(element)
    fits = all(isinstance(value, str) and (not value or _ORIENTATION.fullmatch(value.strip())) for value in found)
    return _kept(element, found) if fits else None


def label(element: Any, scope: Scope) -> DataElement | None:
    """Keep a label of up to four digits."""
    found = values(element)
    return _kept(element, found) if all(isinstance(value, str) and _LABEL.fullmatch(value) for value in found) else None


def sex(element: Any, scope: Scope) -> DataElement | None:
    """Keep M, F and O; anything else becomes empty."""
    return _made(element.tag, "CS", [value for value in values(element) if value in ("M", "F", "O")][:1] or None)


def age(element: Any, scope: Scope) -> DataElement | None:
    """Keep an age in its standard form, above 89 years as ``090Y``."""
    found = [dates.capped_age(value) if isinstance(value, str) else None for value in values(element)[:1]]
    return None if not found or found[0] is None else _made(element.tag, "AS", found)


def pseudonym(kind: str) -> Action:
    """The action that replaces a text by its pseudonym of the domain ``kind``, cut to the length of the VR."""

    def act(element: Any, scope: Scope) -> DataElement | None:
        found = values(element)
        if not all(isinstance(value, str) for value in found):
            return None
        vr = _vr(element)
        made = scope.work.pseudonym(kind, "\\".join(found), LONGEST[vr])
        return _made(element.tag, vr, made)

    return act


def text(accepts: Callable[[str, frozenset[str]], bool]) -> Action:
    """The action that keeps a device's text if ``accepts(text, needles)`` is true of each of its values."""

    def act(element: Any, scope: Scope) -> DataElement | None:
        found = values(element)
        if not all(isinstance(value, str) for value in found):
            return None
        if not all(not value or accepts(value, scope.work.needles) for value in found):
            return None
        scope.work.note(found)
        return _kept(element, found)

    return act


def words(vocabulary: frozenset[str]) -> Action:
    """The action that keeps a text all of whose words are in the vocabulary."""

    def act(element: Any, scope: Scope) -> DataElement | None:
        return _kept(
            element, [value for value in values(element) if isinstance(value, str) and made_of(value, vocabulary)]
        )

    return act


def code(element: Any, scope: Scope) -> DataElement | None:
    """Keep a code of a public dictionary; its meaning is written as the dictionary has it."""
    from orthoray.imaging.deid.codes import standard_meaning

    item = scope.dataset
    designator, value = (str(item.get(name, "")) for name in ("CodingSchemeDesignator", "CodeValue"))
    meaning = standard_meaning(designator, value)
    if meaning is None:
        return None
    return _made(
        element.tag, _vr(element), {"CodeValue": value, "CodeMeaning": meaning}.get(element.keyword, designator)
    )


def items(element: Any, scope: Scope) -> DataElement | None:
    """Apply all rules to the items of a sequence; items of a code that is not kept go."""
    if element.VR != "SQ" or not scope.may_go_deeper:
        return None
    cleaned = [(item, scope.clean(item)) for item in element.value]
    kept = [new for old, new in cleaned if len(new) or "CodeValue" not in old]
    return _made(element.tag, "SQ", kept) if kept or not cleaned else None


def lookup_table(descriptor: int) -> Action:
    """The action that keeps the data of a table whose size is what the descriptor (a tag) says (PS3.3 C.11.1.1.1)."""

    def act(element: Any, scope: Scope) -> DataElement | None:
        described = scope.dataset.get(descriptor)
        entries = (int(described.value[0]) or 65536) if described is not None else 0
        value = element.value
        size = len(value) // 2 if isinstance(value, bytes) else len(values(element))
        whole = isinstance(value, bytes) or all(isinstance(entry, int) for entry in values(element))
        return _again(element) if whole and entries in (size, 2 * size, 2 * size - 1) else None

    return act


def values(element: Any) -> list[Any]:
    """The values of an element, none for an empty one."""
    value = element.value
    if value is None or value == "":
        return []
    return (
        list(value)
        if isinstance(value, Iterable) and not isinstance(value, str | bytes) and element.VR != "PN"
        else [value]
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, str) or hasattr(value, "original_string"):
        text = str(value)
        return len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text) is not None
    return isinstance(value, int | float)


def _is_term(value: Any) -> bool:
    return isinstance(value, str) and value.strip().upper() in TERMS


def _moved(vr: str, value: Any, days: int) -> str | None:
    text = str(value).strip()
    if not isinstance(value, str) and vr not in type(value).__name__:
        return None
    if vr == "TM":
        return dates.clock(text)
    return dates.shifted_date(text, days) if vr == "DA" else dates.shifted_datetime(text, days)


def _vr(element: Any) -> str:
    """The VR that the standard gives the attribute, not what the file says."""
    try:
        return dictionary_VR(element.tag)[:2]
    except KeyError:
        return str(element.VR)


def _kept(element: Any, found: list[Any]) -> DataElement | None:
    """The element with these values; an element that had values and has none left goes."""
    return None if values(element) and not found else _made(element.tag, _vr(element), found)


def _again(element: Any) -> DataElement:
    value = element.value
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        value = list(value)
        return DataElement(element.tag, element.VR, value, validation_mode=config.IGNORE)
    return DataElement(element.tag, element.VR, value, already_converted=True, validation_mode=config.IGNORE)


def _made(tag: Any, vr: str, value: Any) -> DataElement:
    if isinstance(value, list) and vr != "SQ":
        value = value[0] if len(value) == 1 else (value or None)
    value = empty_value_for_VR(vr) if value is None else value
    return DataElement(tag, vr, value, validation_mode=config.IGNORE)
