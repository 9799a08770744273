"""Volumes in one array: fastMRI's HDF5 (Zbontar et al. 2018) and MRNet's NPY (Bien et al. 2018)."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from orthoray.imaging.files import image_file
from orthoray.imaging.limits import check_size
from orthoray.imaging.reasons import UnreadableImageError, refusing
from orthoray.imaging.sniff import Kind

RECONSTRUCTIONS = ("reconstruction_rss", "reconstruction_esc")
"""Names of fastMRI's reconstructed images: root sum of squares (multicoil), emulated single coil."""

MAX_ATTRIBUTE = 256
"""Characters of an attribute's text; longer ones are no label and left out."""

NPY_HEADER = 10_000
"""Bytes of an NPY header that are parsed."""


def volume_of(handle: IO[bytes], kind: Kind, size: int) -> np.ndarray:
    """Read a volume.

    Args:
        handle: the file, at its start.
        kind: ``hdf5`` or ``npy``.
        size: length of the file in bytes.

    Returns:
        (frames, H, W) as stored: float32 in units of the scanner's own for fastMRI, uint8 for MRNet.

    Raises:
        UnreadableImageError: ``no_pixels`` where an HDF5 file has none of `RECONSTRUCTIONS`, ``colour``,
            ``too_large`` by its declared shape, ``not_decodable``.
    """
    if kind == "npy":
        return _read_npy(handle, size)
    with _hdf5(handle) as file:
        return np.asarray(_reconstruction(file)[()])


def volume_frames(handle: IO[bytes], kind: Kind, size: int) -> int:
    """Number of frames of a volume, from its declared shape; raises as `volume_of`."""
    if kind == "npy":
        return _npy_shape(handle, size)[0][0]
    with _hdf5(handle) as file:
        return int(_reconstruction(file).shape[0])


def hdf5_attributes(uri: str) -> dict[str, str]:
    """Attributes at the root of an HDF5 file that are one text or one number, as text.

    fastMRI gives ``acquisition``, ``patient_id`` (identifies a person: make a pseudonym of it at once), ``max`` and
    ``norm``. Longer texts than `MAX_ATTRIBUTE` characters are left out.

    Raises:
        UnreadableImageError: no HDF5 file, or a damaged one.
    """
    with image_file(uri) as file:
        if file.kind != "hdf5":
            raise UnreadableImageError("not_decodable", f"a file of kind {file.kind}, not hdf5")
        with _hdf5(file.handle) as content:
            values = {str(name): _text(content.attrs[name]) for name in content.attrs}
    return {name: text for name, text in values.items() if text is not None}


def _text(value: Any) -> str | None:
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = str(value) if isinstance(value, str | int | float | np.integer | np.floating) else None
    return text if text is not None and len(text) <= MAX_ATTRIBUTE else None


@contextmanager
def _hdf5(handle: IO[bytes]) -> Iterator[Any]:
    """Open an HDF5 file; whatever goes wrong inside is ``not_decodable``."""
    import h5py

    with refusing("not_decodable"), h5py.File(handle, "r") as file:
        yield file


def _reconstruction(file: Any) -> Any:
    """The data set of the images. Links and data sets that lead into other files are refused, not followed."""
    import h5py

    names = set(file)
    name = next((name for name in RECONSTRUCTIONS if name in names), None)
    if name is None:
        raise UnreadableImageError("no_pixels", "no reconstruction")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise UnreadableImageError("not_decodable", "a link instead of an image")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise UnreadableImageError("not_decodable", "pixels outside of the file")
    _check_array(found.shape, found.dtype)
    if found.chunks:
        check_size(1, 1, math.prod(found.chunks), found.dtype.itemsize)
    return found


def _check_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "uif" or len(shape) != 3:
        raise UnreadableImageError("not_decodable", f"{len(shape)} dimensions of type '{dtype.kind}'")
    if shape[2] in (3, 4):
        raise UnreadableImageError("colour", "the last axis holds colours")
    check_size(*shape, dtype.itemsize)


def _npy_shape(handle: IO[bytes], size: int) -> tuple[tuple[int, int, int], int]:
    """Shape of an NPY file as (frames, H, W), and where its data end; nothing but its header is read."""
    with refusing("not_decodable"):
        version = np.lib.format.read_magic(handle)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(handle, max_header_size=NPY_HEADER)
    shape = (1, *shape) if len(shape) == 2 else shape
    _check_array(shape, dtype)
    frames, rows, columns = shape
    end = handle.tell() + math.prod(shape) * dtype.itemsize
    if end > size:
        raise UnreadableImageError("not_decodable", "the array is cut off")
    return (frames, rows, columns), end


def _read_npy(handle: IO[bytes], size: int) -> np.ndarray:
    shape, end = _npy_shape(handle, size)
    handle.seek(0)
    with refusing("not_decodable"):
        array = np.load(io.BytesIO(handle.read(end)), allow_pickle=False)
        return np.asarray(array).reshape(shape)
