"""What a file is, by its first bytes and not by its name: archives of hospitals give DICOM files no suffix."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from orthoray.imaging.reasons import UnreadableImageError

Kind = Literal["dicom", "png", "jpeg", "tiff", "hdf5", "npy"]

HEAD_BYTES = 1 << 16
"""Bytes at the start of a file that the functions here look at."""

PREAMBLE = 128
DICOM_MAGIC = b"DICM"
PROGRAMS = (
    b"MZ",  # PE
    b"\x7fELF",
    b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe",  # Mach-O
    b"#!",
)  # fmt: skip
"""How programs start. A preamble may hold anything (PS3.10 7.1), so a file may be DICOM and a program at once."""

MAGIC: dict[bytes, Kind] = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"\x93NUMPY": "npy",
}
LONG_VALUES = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
"""Value representations whose length has four bytes (PS3.5 7.1.2)."""

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"


def kind_of(head: bytes) -> Kind:
    """The kind of a file.

    DICOM without the preamble is taken only where file meta information or group 0008 parses at the first byte.

    Args:
        head: the file's first `HEAD_BYTES` bytes, or all of it.

    Raises:
        UnreadableImageError: ``empty``, ``executable_preamble`` or ``not_dicom``.
    """
    if not head:
        raise UnreadableImageError("empty", "0 bytes")
    if head[PREAMBLE : PREAMBLE + 4] == DICOM_MAGIC:
        if head.startswith(PROGRAMS):
            raise UnreadableImageError("executable_preamble", "a program starts in the preamble")
        return "dicom"
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if _starts_with_elements(head):
        return "dicom"
    raise UnreadableImageError("not_dicom", "no known signature")


@dataclass(frozen=True)
class FileMeta:
    """File meta information (PS3.10 7.1): what is needed before the data set is touched.

    Attributes:
        syntax: TransferSyntaxUID, ``""`` if there is none.
        storage_class: MediaStorageSOPClassUID.
        syntax_at: where the bytes of the transfer syntax are.
        end: where the data set starts.
    """

    syntax: str
    storage_class: str
    syntax_at: slice
    end: int


def file_meta(head: bytes) -> FileMeta:
    """Parse the file meta information, which is always Explicit VR Little Endian; empty fields where there is none."""
    place = PREAMBLE + 4 if head[PREAMBLE : PREAMBLE + 4] == DICOM_MAGIC else 0
    found: dict[int, slice] = {}
    while (element := _explicit_element(head, place)) and element[0] == 2:
        _, number, start, length = element
        found[number] = slice(start, start + length)
        place = start + length
    syntax = found.get(0x10, slice(0, 0))
    return FileMeta(_uid(head[syntax]), _uid(head[found.get(0x02, slice(0, 0))]), syntax, place)


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def _explicit_element(head: bytes, place: int) -> tuple[int, int, int, int] | None:
    """Group, element, start of the value, length of the element at ``place``; None if there is none."""
    if place + 12 > len(head):
        return None
    group, element, kind, length = struct.unpack_from("<HH2sH", head, place)
    if not (kind.isalpha() and kind.isupper()):
        return None
    if kind in LONG_VALUES:
        return group, element, place + 12, struct.unpack_from("<I", head, place + 8)[0]
    return group, element, place + 8, length


def _starts_with_elements(head: bytes) -> bool:
    """Do three elements follow each other from the first byte on, the first in group 0002 or 0008?"""
    place, last = 0, (-1, -1)
    for count in range(3):
        element = _explicit_element(head, place)
        if element is None:
            if place + 8 > len(head):
                return False
            group, number, length = struct.unpack_from("<HHI", head, place)
            element = (group, number, place + 8, length)
        if element[:2] <= last or (count == 0 and element[0] not in (2, 8)):
            return False
        last, place = element[:2], element[2] + element[3]
        if place > len(head):
            return False
    return True
