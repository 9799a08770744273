"""Which text of device attributes may stay: words of a closed vocabulary and short codes that occur nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orthoray.imaging.deid.vocabulary import DEVICE_WORDS

if TYPE_CHECKING:
    from pydicom import Dataset

LONGEST_TEXT = 64
IDENTIFYING_VRS = frozenset({"AE", "DA", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations whose words a retained text must not repeat."""

_ALLOWED = re.compile(r"[A-Za-z0-9 .,:;_/()&+*#-]+")
_DATE = re.compile(r"(19|20)\d\d[ ._/:-]?(0[1-9]|1[0-2])[ ._/:-]?(0[1-9]|[12]\d|3[01])")
_ADDRESS = re.compile(r"(?<!\d)(10|127|169|172|192)(\.\d{1,3}){3}(?!\d)")
_NUMBERS_IN_A_ROW = re.compile(r"\d[ /()+:-]+\d+[ /()+:-]+\d")
_CODE = re.compile(r"[A-Za-z]{1,2}|[A-Za-z]{0,3}\d{1,5}[A-Za-z]{0,2}")
_SEQUENCE = re.compile(
    r"\*{0,2}(tse|se|fl|tfl|tir|tirb|ep|epse|epfid|ep_b|de|dess|spc|spcir|spcR|gre|me|tfi|fi|h|hir|qfl|pc|ci|ps|ir|m|trufi)"
    r"[123]d\d{0,3}(_\d{1,4}){0,2}(_?[a-z]{1,2})?"
)
_WORDS = re.compile(r"[^\W_]+")


def words_of(text: str) -> Iterator[str]:
    """The runs of letters and digits of a text, in capitals."""
    return (word.upper() for word in _WORDS.findall(text))


def made_of(text: str, vocabulary: frozenset[str]) -> bool:
    """True if every word of the text is in the vocabulary (and there is one)."""
    words = list(words_of(text))
    return bool(words) and _ALLOWED.fullmatch(text) is not None and all(word in vocabulary for word in words)


def device_name(text: str, needles: frozenset[str]) -> bool:
    """True if the name of a maker, a model or a coil may stay: `harmless`, with at most six digits."""
    return harmless(text, needles, most_digits=6)


def software_version(text: str, needles: frozenset[str]) -> bool:
    """True if a version may stay: `harmless`, with at most twelve digits, unlike a telephone number."""
    return harmless(text, needles, most_digits=12) and not _NUMBERS_IN_A_ROW.search(text)


def sequence_name(text: str, needles: frozenset[str]) -> bool:
    """True for a pulse sequence's name: the form ``*tse2d1_15`` of one maker, else as `device_name`."""
    if _SEQUENCE.fullmatch(text):
        return not any(word in needles for word in [text.upper().lstrip("*"), *words_of(text)])
    return device_name(text, needles)


def harmless(text: str, needles: frozenset[str], most_digits: int) -> bool:
    """True if a device's text may stay.

    It has at most 64 characters of A–Z, a–z, 0–9 and simple punctuation, and is no date and no address of a network;
    each of its words is a word of `DEVICE_WORDS`, or a short code (one or two letters; up to five digits with at most
    three letters before and two after) that is not one of ``needles``.
    """
    if len(text) > LONGEST_TEXT or not _ALLOWED.fullmatch(text) or _DATE.search(text) or _ADDRESS.search(text):
        return False
    digits = re.sub(r"\D", "", text)
    if len(digits) > most_digits or any(needle in digits for needle in needles if len(needle) > 5 and needle.isdigit()):
        return False
    return all(word in DEVICE_WORDS or (_CODE.fullmatch(word) and word not in needles) for word in words_of(text))


def needles_of(dataset: Dataset, spared: frozenset[int]) -> frozenset[str]:
    """Words (two characters or more, in capitals) of all identifying values of a data set, nested ones included.

    Args:
        dataset: the original.
        spared: tags whose values are not collected, because they are the texts that will be compared.
    """
    texts = ((tag, words_of(text)) for tag, _, _, text in texts_of(dataset, IDENTIFYING_VRS))
    return frozenset(word for tag, words in texts if tag not in spared for word in words if len(word) > 1)


def texts_of(dataset: Dataset, vrs: frozenset[str]) -> Iterator[tuple[int, str, str, str]]:
    """Tag, keyword, value representation and value of the standard elements with one of ``vrs``, nested ones included.

    Elements whose values cannot be read are left out.
    """
    tags = list(dataset.keys())  # iterating over the data set itself would parse every value
    for tag in tags:
        if tag.is_private:
            continue
        try:
            element: Any = dataset.get_item(tag)
            if element.VR is not None and element.VR not in (*vrs, "SQ", "UN"):
                continue
            element = dataset[tag]
            if element.VR == "SQ":
                for item in element.value:
                    yield from texts_of(item, vrs)
            elif element.VR in vrs:
                values = element.value if element.VM > 1 else [element.value]
                yield from ((tag, element.keyword, element.VR, str(value)) for value in values if value)
        except Exception:  # a value that cannot be read is removed
            continue
