"""Opening image files of any kind on any filesystem."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from orthoray import storage
from orthoray.errors import InputError
from orthoray.imaging.limits import MAX_FILE_BYTES, MAX_PIXEL_BYTES
from orthoray.imaging.names import as_name
from orthoray.imaging.parsing import parse
from orthoray.imaging.reasons import REASONS, UnreadableImageError
from orthoray.imaging.sniff import HEAD_BYTES, Kind, kind_of

if TYPE_CHECKING:
    from pydicom import FileDataset

__all__ = [
    "REASONS",
    "ImageFile",
    "UnreadableImageError",
    "dicom_of",
    "image_file",
    "read_dicom",
    "sniff",
]


@dataclass(frozen=True)
class ImageFile:
    """An open file whose kind is known.

    Attributes:
        handle: the file, at its start.
        size: its length in bytes.
        head: its first bytes.
        kind: what it is by its content.
    """

    handle: IO[bytes]
    size: int
    head: bytes
    kind: Kind

    def content(self) -> bytes:
        """The whole file; UnreadableImageError ``too_large`` or ``file_unreadable``."""
        if self.size > MAX_FILE_BYTES:
            raise UnreadableImageError("too_large", f"{self.size >> 20} MiB")
        try:
            self.handle.seek(0)
            return bytes(self.handle.read(self.size))
        except MemoryError:
            raise UnreadableImageError("too_large", f"{self.size >> 20} MiB") from None
        except OSError as error:
            raise UnreadableImageError("file_unreadable", type(error).__name__) from None


@contextmanager
def image_file(uri: str) -> Iterator[ImageFile]:
    """Open a file and find out what it is.

    Args:
        uri: the file, in the words of the system or of `orthoray.imaging.names.as_text`.

    Raises:
        UnreadableImageError: ``file_unreadable``, ``empty``, ``executable_preamble`` or ``not_dicom``.
    """
    uri = as_name(uri)
    try:
        path = storage.local_path(uri)
        if path is not None and path.exists() and not path.is_file():  # reading a pipe could wait for ever
            raise UnreadableImageError("file_unreadable", "not a regular file")
        handle = storage.open_file(uri)
    except (OSError, ValueError, InputError) as error:  # the latter: names with NUL, or that look like a URI
        raise UnreadableImageError("file_unreadable", type(error).__name__) from None
    with handle:
        try:
            size = handle.seek(0, io.SEEK_END)
            handle.seek(0)
            head = bytes(handle.read(HEAD_BYTES))
            handle.seek(0)
        except OSError as error:
            raise UnreadableImageError("file_unreadable", type(error).__name__) from None
        yield ImageFile(handle, size, head, kind_of(head))


def sniff(uri: str) -> Kind:
    """What a file is by its content: ``dicom``, ``png``, ``jpeg``, ``tiff``, ``hdf5`` or ``npy``.

    Raises:
        UnreadableImageError: as `image_file`.
    """
    with image_file(uri) as file:
        return file.kind


def read_dicom(uri: str, *, pixels: bool = True) -> FileDataset:
    """Parse a DICOM file.

    Args:
        uri: the file.
        pixels: read the pixel data too; without it only what stands before is read.

    Raises:
        UnreadableImageError: as `image_file` and `orthoray.imaging.parsing.parse`; ``not_dicom`` for other kinds too.
    """
    with image_file(uri) as file:
        return dicom_of(file, pixels=pixels)


def dicom_of(file: ImageFile, *, pixels: bool = True) -> FileDataset:
    """`read_dicom` of an open file."""
    if file.kind != "dicom":
        raise UnreadableImageError("not_dicom", f"a file of kind {file.kind}")
    try:
        if pixels and file.size > MAX_PIXEL_BYTES:  # too much to read for a file that may be refused by its header
            parse(file.handle, file.head, pixels=False)
        source = io.BytesIO(file.content()) if pixels else file.handle
        return parse(source, file.head, pixels=pixels)
    except OSError as error:
        raise UnreadableImageError("file_unreadable", type(error).__name__) from None
