"""The policy: for every tag the rule that decides about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, tag_for_keyword

from orthoray.imaging.deid import actions, retained
from orthoray.imaging.deid.actions import Action
from orthoray.imaging.deid.table import basic_profile

CODES: dict[str, Action] = {
    "X": actions.remove,
    "Z": actions.empty,
    "D": actions.dummy,
    "U": actions.uid,
    "Z/D": actions.empty,
    "X/Z": actions.empty,
    "X/D": actions.remove,
    "X/Z/D": actions.remove,
    "X/Z/U*": actions.items,
}
"""Code of the Basic Profile → action. Codes with a choice are settled for the objects of projection radiography and
MR, in which attributes of the codes X/D and X/Z/D are of type 3 and some of X/Z and Z/D are of type 2."""

DATE_VRS = ("DA", "DT", "TM")
NOT_IN_DATA_SETS = (0x0000, 0x0002)
"""Groups of messages and of file meta information: they have no place in a data set."""

Key = int | tuple[int, str] | str
"""What a rule is for: a tag, (group, value representation), or a name of `Policy`'s other rules."""


@dataclass(frozen=True)
class Rule:
    """What happens to an attribute, and why: a code of table E.1-1, of an option (PS3.16 CID 7050), or a purpose."""

    basis: str
    action: Action


@dataclass(frozen=True)
class Policy:
    """Rules by tag, then by group and value representation; what none of them covers is removed.

    Attributes:
        tags: tag → rule.
        groups: (group, value representation) → rule.
        others: rules named ``private`` (odd groups), ``curves`` (50xx), ``overlays`` (60xx), ``foreign`` (groups 0000
            and 0002), ``lengths`` (gggg,0000) and ``default``.
    """

    tags: Mapping[int, Rule]
    groups: Mapping[tuple[int, str], Rule]
    others: Mapping[str, Rule]

    def rule(self, tag: int) -> Rule:
        """The rule that decides about a tag."""
        group, element = tag >> 16, tag & 0xFFFF
        if group & 1:
            return self.others["private"]
        if group in NOT_IN_DATA_SETS:
            return self.others["foreign"]
        found = self.tags.get(tag)
        if found is not None:
            return found
        if group & 0xFF00 in (0x5000, 0x6000):
            return self.others["overlays" if group & 0xFF00 == 0x6000 else "curves"]
        return self.others["lengths"] if not element else self.groups.get((group, _vr(tag)), self.others["default"])

    def rules(self) -> Iterator[tuple[Key, Rule]]:
        """All rules with their keys."""
        yield from self.tags.items()
        yield from self.groups.items()
        yield from self.others.items()

    def with_action(self, key: Key, action: Action) -> Policy:
        """The same policy with another action in the rule ``key``."""
        parts = ("tags", "groups", "others")
        part = parts[0 if isinstance(key, int) else 1 if isinstance(key, tuple) else 2]
        rules = dict(getattr(self, part))
        rules[key] = replace(rules[key], action=action)
        return replace(self, **{part: rules})

    def texts(self) -> frozenset[int]:
        """Tags whose values are not among the file's identifying words: the texts that are compared, and the marks."""
        return frozenset(_tag(keyword) for keyword in (*retained.DEVICE_TEXTS, "DeidentificationMethod"))


@cache
def standard() -> Policy:
    """The policy of this project; docs/deidentification.md describes it."""
    table = {tag: code for tag, code in basic_profile().items() if tag >> 16 not in NOT_IN_DATA_SETS}
    tags = {tag: _of_table(tag, code) for tag, code in table.items()}
    for named in (retained.DEVICE_IDENTITY, retained.PATIENT, retained.ATTRIBUTES):
        tags.update({_tag(keyword): Rule(*entry) for keyword, entry in named.items()})
    tags.update({_tag(keyword): Rule("113103", actions.remove) for keyword in retained.GRAPHICS})
    open_keys = {(tag >> 16, _vr(tag)) for tag in DicomDictionary if tag not in tags}  # no rule that decides nothing
    groups = {
        (group, vr): Rule(*entry)
        for group, vrs in retained.GROUPS.items()
        for vr, entry in vrs.items()
        if (group, vr) in open_keys
    }
    names = {
        "private": "E.1-1 X",
        "curves": "113103",
        "overlays": "113103",
        "foreign": "PS3.10",
        "lengths": "PS3.5",
        "default": "default",
    }
    return Policy(tags, groups, {name: Rule(basis, actions.remove) for name, basis in names.items()})


def _of_table(tag: int, code: str) -> Rule:
    spared = {_tag(keyword) for keyword in retained.NEVER_DATES}
    if _vr(tag) in DATE_VRS and tag not in spared:
        return Rule("113107", actions.date)
    return Rule(f"E.1-1 {code}", actions.uid if code == "D" and _vr(tag) == "UI" else CODES[code])


@cache
def _vr(tag: int) -> str:
    """Value representation of a standard attribute (the first where there is a choice); empty for unknown tags."""
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return ""


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return int(tag)
