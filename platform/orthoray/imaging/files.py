"""Opening image files of any kind on any filesystem."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np

from orthoray import storage

if TYPE_CHECKING:
    from pydicom import FileDataset

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Files that are read as pictures; all others are read as DICOM."""


class UnreadableImageError(Exception):
    """An image cannot be used. ``reason`` is a fixed word; neither it nor the message holds anything of the header."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def is_raster(uri: str) -> bool:
    """True if the file is a picture by its name."""
    return uri.lower().endswith(RASTER_SUFFIXES)


def read_raster(uri: str) -> np.ndarray:
    """Decode a picture to one channel: (H, W) uint8 or uint16; colour is reduced to its luminance."""
    try:
        content = np.frombuffer(storage.read_bytes(uri), np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE) if len(content) else None
    except OSError as error:
        raise UnreadableImageError("file_unreadable", type(error).__name__) from None
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise UnreadableImageError("not_decodable", "not a picture that can be decoded")
    return np.asarray(image)


def read_dicom(uri: str, *, pixels: bool = True) -> FileDataset:
    """Parse a DICOM file; UnreadableImageError if it is none or is cut off."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # its warnings would quote values
    try:
        if pixels:
            return pydicom.dcmread(io.BytesIO(storage.read_bytes(uri)))
        with storage.open_file(uri) as handle:
            return pydicom.dcmread(handle, stop_before_pixels=True)
    except OSError as error:
        raise UnreadableImageError("file_unreadable", type(error).__name__) from None
    except InvalidDicomError:
        raise UnreadableImageError("not_dicom", "no DICOM header") from None
    except Exception as error:
        raise UnreadableImageError("header_unreadable", type(error).__name__) from None
