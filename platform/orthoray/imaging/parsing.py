"""Parsing DICOM files: deflated ones within limits, old ones without file meta information, and no word on stderr."""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from typing import IO, TYPE_CHECKING, Any

from orthoray.imaging.limits import MAX_HEADER_BYTES, check_declared
from orthoray.imaging.reasons import UnreadableImageError
from orthoray.imaging.sniff import DICOMDIR_CLASS, FileMeta, file_meta

if TYPE_CHECKING:
    from pydicom import FileDataset

EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
STEP = 1 << 16

PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Float Pixel Data, Double Float Pixel Data, Pixel Data."""

MAX_ELEMENTS = 20_000
"""Elements of a data set outside of sequences; real ones have some hundreds. Zeros would be parsed as elements, too."""


def parse(source: IO[bytes], head: bytes, *, pixels: bool) -> FileDataset:
    """Parse a DICOM file.

    Args:
        source: the file, at its start.
        head: its first bytes.
        pixels: read the pixel data too, not only what stands before it.

    Returns:
        The data set. A deflated one says that it is Explicit VR Little Endian, which it is after inflating; one
        without file meta information (ACR-NEMA) says how it was parsed.

    Raises:
        UnreadableImageError: ``dicomdir``, ``header_unreadable``, ``not_dicom``, ``not_decodable`` if the pixel data
            are cut off, or ``too_large`` for an image whose declared size is over the limits.
    """
    quieten()
    meta = file_meta(head)
    if meta.storage_class == DICOMDIR_CLASS:
        raise UnreadableImageError("dicomdir", "a list of files")
    try:
        if meta.syntax == DEFLATED:
            dataset = _parse_deflated(source, head, meta, pixels=pixels)
        else:
            dataset = _read(source, pixels=pixels)
        _check(dataset, pixels=pixels)
    except (UnreadableImageError, OSError):
        raise
    except Exception as error:  # the message may quote the header: only its type goes on
        raise UnreadableImageError("header_unreadable", type(error).__name__) from None
    return dataset


def _check(dataset: FileDataset, *, pixels: bool) -> None:
    if "DirectoryRecordSequence" in dataset:
        raise UnreadableImageError("dicomdir", "a list of files")
    if not dataset.file_meta.get("TransferSyntaxUID"):
        _assume_syntax(dataset, pixels=pixels)
    if dataset.get("Rows") and dataset.get("Columns"):
        check_declared(dataset)


class _Stop:
    """Tells pydicom where to stop: before the pixel data or behind them, for nothing that follows is an image's."""

    def __init__(self, *, pixels: bool) -> None:
        self.pixels, self.behind, self.elements = pixels, False, 0

    def __call__(self, tag: int, representation: str | None, length: int) -> bool:
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise UnreadableImageError("header_unreadable", "too many elements")
        if self.behind:
            return True
        self.behind = tag in PIXEL_DATA
        return self.behind and not self.pixels


def _read(source: Any, *, pixels: bool) -> FileDataset:
    from pydicom.filereader import read_partial

    stop = _Stop(pixels=pixels)
    dataset = read_partial(source, stop, force=True)
    if not len(dataset):  # pydicom gives up what it has read where the file ends within an element
        if stop.behind:
            raise UnreadableImageError("not_decodable", "the pixel data are cut off")
        raise UnreadableImageError("header_unreadable", "the header is cut off")
    return dataset


def quieten() -> None:
    """Keep pydicom from writing: its warnings and log messages quote values of the header."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # a decoder's failure is logged with its message


def _parse_deflated(source: IO[bytes], head: bytes, meta: FileMeta, *, pixels: bool) -> FileDataset:
    """Parse a deflated file (PS3.5 A.5) without inflating more than its header and the pixels that it declares."""
    if meta.end > len(head):
        raise UnreadableImageError("header_unreadable", "the file meta information is too long")
    plain = bytearray(head[: meta.end])
    plain[meta.syntax_at] = EXPLICIT.encode().ljust(meta.syntax_at.stop - meta.syntax_at.start, b"\0")
    source.seek(meta.end)
    stream: Any = InflatedStream(bytes(plain), source, MAX_HEADER_BYTES)
    dataset = _read(stream, pixels=False)
    if not pixels or not dataset.get("Rows"):
        return dataset
    stream.limit += check_declared(dataset)
    stream.seek(0)
    return _read(stream, pixels=True)


class InflatedStream:
    """A readable, seekable stream that inflates a raw deflate stream as far as it is read and not further.

    Args:
        start: bytes that come before the inflated ones.
        source: the deflated bytes.
        limit: number of bytes, ``start`` included, beyond which reading raises UnreadableImageError ``too_large``.
    """

    name = None

    def __init__(self, start: bytes, source: IO[bytes], limit: int) -> None:
        self.limit = limit
        self._source, self._inflate = source, zlib.decompressobj(-zlib.MAX_WBITS)
        self._data, self._place = bytearray(start), 0

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes from the current place; all that is left for -1."""
        end = self.limit + 1 if size is None or size < 0 else self._place + size
        self._fill(end)
        found = bytes(memoryview(self._data)[self._place : end])
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place; from the end only after the whole stream was inflated."""
        if whence == io.SEEK_END:
            self._fill(self.limit + 1)
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place}.get(whence, len(self._data)))
        return self._place

    def tell(self) -> int:
        """The current place."""
        return self._place

    def close(self) -> None:
        """Nothing to close: the source belongs to the caller."""

    def _fill(self, end: int) -> None:
        while len(self._data) < end and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._source.read(STEP)
            inflated = self._inflate.decompress(packed, min(16 * STEP, self.limit + 1 - len(self._data)))
            if not packed and not inflated:  # the stream is cut off
                return
            self._data += inflated
            if len(self._data) > self.limit:
                raise UnreadableImageError("too_large", f"inflates to more than {self.limit >> 20} MiB")


def _assume_syntax(dataset: FileDataset, *, pixels: bool) -> None:
    """Note how a file without TransferSyntaxUID was parsed, if what came out can be an image; else ``not_dicom``.

    Such files (ACR-NEMA) are Implicit VR Little Endian unless the first element spells out its value representation.
    """
    from pydicom.uid import UID

    implicit, little = dataset.original_encoding
    complete = not pixels or _pixel_bytes(dataset) > 0
    if not (dataset.get("Rows") and dataset.get("Columns") and dataset.get("BitsAllocated") and complete):
        raise UnreadableImageError("not_dicom", "no transfer syntax and no plausible image")
    dataset.file_meta.TransferSyntaxUID = UID(IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN)


def _pixel_bytes(dataset: FileDataset) -> int:
    """Length of native pixel data; 0 if there are none or they are encapsulated."""
    if "PixelData" not in dataset or dataset["PixelData"].is_undefined_length:
        return 0
    return len(dataset.PixelData or b"")
