"""Stored values: what the file holds, before any transformation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from orthoray.imaging.codestream import Declared, check_frame
from orthoray.imaging.containers import volume_frames, volume_of
from orthoray.imaging.files import ImageFile, UnreadableImageError, dicom_of, image_file
from orthoray.imaging.limits import check_declared
from orthoray.imaging.parsing import quieten
from orthoray.imaging.pictures import PICTURES, decode_picture, picture_frames
from orthoray.imaging.reasons import refusing

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (PS3.3 C.7.6.3.1.2)."""

BITS_ALLOCATED = (1, 8, 16, 32)
"""Widths of a pixel that are read. ACR-NEMA's 12 bits, two pixels in three bytes, are not."""

RUST_PANIC = "PanicException"
"""What a decoder written in Rust raises where it would read or write out of bounds; it is no `Exception`."""

RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4."
DECODERS = {
    JPEG + "50": ("pillow", "gdcm"),
    JPEG + "51": ("gdcm", "pillow", "pylibjpeg"),
    JPEG + "57": ("gdcm",),
    JPEG + "70": ("gdcm",),
    JPEG + "80": ("pyjpegls", "gdcm"),
    JPEG + "81": ("pyjpegls", "gdcm"),
    JPEG + "90": ("pylibjpeg", "gdcm"),
    JPEG + "91": ("pylibjpeg", "gdcm"),
    RLE: ("pylibjpeg",),  # pydicom's own decoder does not stop at the end of the frame
}
"""Transfer syntax → pydicom's decoding plug-ins, in order. One that is absent: any that pydicom has.

JPEG of 12 bits is read by pylibjpeg alone, where somebody has installed pylibjpeg-libjpeg (GPL) beside it. Both of JPEG
2000 use OpenJPEG; GDCM spreads a film over all processors, which takes a fifth more of their time."""

NEWER = {JPEG + "110": "JPEG XL Lossless", JPEG + "111": "JPEG XL JPEG Recompression", JPEG + "112": "JPEG XL"}
"""Transfer syntaxes that pydicom has no name for."""


def read_stored(path: str | Path) -> list[np.ndarray]:
    """Read the stored pixel values of every frame.

    Args:
        path: DICOM, PNG, JPEG, TIFF, fastMRI's HDF5 or NPY file, local or on any fsspec filesystem; what it is is
            decided by its content.

    Returns:
        One (H, W) array per frame. DICOM: integers (PS3.3 C.7.6.3), bits outside BitsStored removed, signed where the
        file says so; colour is reduced to its luminance, a palette is not applied. Pictures: uint8 or uint16, see
        `orthoray.imaging.pictures`. HDF5 and NPY: as they are, floating point too.

    Raises:
        UnreadableImageError: the file cannot be decoded; `orthoray.imaging.files.REASONS` lists why.
    """
    with image_file(str(path)) as file:
        if file.kind == "dicom":
            return stored_frames(dicom_of(file))
        if file.kind in PICTURES:
            return decode_picture(file.content(), file.kind)
        return list(volume_of(file.handle, file.kind, file.size))


def count_frames(uri: str) -> int:
    """Number of frames of a file, from its header alone.

    Raises:
        UnreadableImageError: not an image.
    """
    with image_file(uri) as file:
        if file.kind == "dicom":
            dataset = dicom_of(file, pixels=False)
            check_declared(dataset)
            return int(dataset.get("NumberOfFrames") or 1)
        if file.kind in PICTURES:
            return picture_frames(_start_of(file), file.kind)
        return volume_frames(file.handle, file.kind, file.size)


def _start_of(file: ImageFile) -> bytes:
    """Enough of a picture to read its header: TIFF directories may be anywhere."""
    return file.content() if file.kind == "tiff" else file.head


def stored_frames(dataset: Any) -> list[np.ndarray]:
    """(H, W) stored values of every frame of a parsed file.

    Raises:
        UnreadableImageError: ``no_pixels`` if the object is no image, ``too_large``, ``not_decodable``.
    """
    check_declared(dataset)
    quieten()
    with refusing("header_unreadable"):
        if not dataset.get("PixelData"):
            raise UnreadableImageError("not_decodable", "the pixel data are missing or cut off")
        if dataset.get("BitsAllocated") not in BITS_ALLOCATED:
            raise UnreadableImageError("not_decodable", "pixels are not stored in whole bytes")
        count = int(dataset.get("NumberOfFrames") or 1)
        _complete(dataset)
    try:
        frames = _decode(dataset, count)
    except UnreadableImageError:
        raise
    except NotImplementedError:
        raise UnreadableImageError("not_decodable", _syntax_name(dataset)) from None
    except BaseException as error:  # the message may quote the header: only its type goes on
        if not isinstance(error, Exception) and type(error).__name__ != RUST_PANIC:
            raise
        raise UnreadableImageError("not_decodable", f"{type(error).__name__}, {_syntax_name(dataset)}") from None
    if len(frames) < count:
        raise UnreadableImageError("not_decodable", "fewer frames than declared")
    return frames


def _complete(dataset: Any) -> None:
    """Fill in what ACR-NEMA files leave out because it could not be otherwise then."""
    for name, value in (
        ("SamplesPerPixel", 1),
        ("PhotometricInterpretation", "MONOCHROME2"),
        ("PixelRepresentation", 0),
    ):
        if dataset.get(name) in (None, ""):
            setattr(dataset, name, value)


def _decode(dataset: Any, count: int) -> list[np.ndarray]:
    """Decode with the first plug-in that can."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = get_decoder(syntax)
    if syntax.is_encapsulated:
        _check_frames(dataset, count)
    options = {"raw": dataset.SamplesPerPixel == 1, "correct_unused_bits": False}
    _quieten_gdcm()
    *others, last = [name for name in DECODERS.get(syntax, ()) if name in decoder.available_plugins] or [""]
    for plugin in others:
        with suppress(Exception):
            return _decoded(decoder.iter_array(dataset, decoding_plugin=plugin, **options), dataset, count)
    return _decoded(decoder.iter_array(dataset, decoding_plugin=last, **options), dataset, count)


@cache
def _quieten_gdcm() -> None:
    """GDCM writes to stderr what it meets in a file."""
    import gdcm

    for stream in ("Debug", "Warning", "Error"):
        getattr(gdcm.Trace, f"{stream}Off")()


def _decoded(frames: Iterator[Any], dataset: Any, count: int) -> list[np.ndarray]:
    return [_stored(frame, dataset) for frame, _ in islice(frames, count)]


def _check_frames(dataset: Any, count: int) -> None:
    from pydicom.encaps import generate_frames

    declared = Declared(int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))
    run_length = dataset.file_meta.TransferSyntaxUID == RLE
    frames = generate_frames(dataset.PixelData, number_of_frames=count)
    for frame in islice(frames, count):
        check_frame(frame, declared, -(-int(dataset.BitsAllocated) // 8), run_length=run_length)


def _stored(frame: np.ndarray, dataset: Any) -> np.ndarray:
    if frame.ndim == 3:
        return np.asarray(np.rint(frame.astype(np.float64) @ np.array(LUMINANCE)).astype(frame.dtype))
    return own_bits(frame, dataset)


def own_bits(frame: np.ndarray, dataset: Any) -> np.ndarray:
    """Remove bits that are not the pixel's (old files keep overlays there) and extend the sign (PS3.5 8.1.1).

    Files from before 2009 may hold the pixel in other bits than the lowest ones (HighBit above BitsStored - 1) where
    they are not compressed, or by run length.
    """
    native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    width = native.dtype.itemsize * 8
    bits = int(dataset.get("BitsStored") or width)
    if native.dtype.kind not in "iu" or not 0 < bits < width:
        return native
    high = int(dataset.get("HighBit") or bits - 1)
    syntax = dataset.file_meta.TransferSyntaxUID
    in_place = bits - 1 <= high < width and (not syntax.is_encapsulated or syntax == RLE)
    high = high if in_place else bits - 1
    if high == bits - 1 and _fits(native, bits):
        return native
    shifted = native << (width - 1 - high)
    shifted >>= width - bits
    return np.asarray(shifted)


def _fits(values: np.ndarray, bits: int) -> bool:
    """Are all values within the range of so many bits? Then there is nothing in the others."""
    signed = int(values.dtype.kind == "i")
    low, high = -signed << (bits - 1), (1 << (bits - signed)) - 1
    return values.size > 0 and bool(values.max() <= high) and bool(not signed or values.min() >= low)


def _syntax_name(dataset: Any) -> str:
    """The registered name of the transfer syntax; a UID that is none of the registered ones could say anything."""
    from pydicom._uid_dict import UID_dictionary

    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))
    known = UID_dictionary[syntax][0] if syntax in UID_dictionary else NEWER.get(syntax, "unknown transfer syntax")
    return str(known)
