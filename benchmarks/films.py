"""Synthetic DICOM of hospital size for the benchmarks of ingest."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    generate_uid,
)

FILMS = [(ExplicitVRLittleEndian, 2), (JPEGLSLossless, 2), (JPEG2000Lossless, 1)]
"""Transfer syntax and number of films; as many times eight MR slices go along."""

SHAPE, SLICE = (2500, 2048), (384, 384)


def write_films(folder: Path, kinds: list[tuple[UID, int]]) -> list[Path]:
    """Write films and slices; return their files."""
    files = []
    for syntax, count in kinds:
        for number in range(count):
            files.append(write(folder / f"xr-{syntax.keyword}-{number}.dcm", SHAPE, syntax, "DX", number))
            files += [write(folder / f"mr-{syntax.keyword}-{number}-{k}.dcm", SLICE, syntax, "MR", k) for k in range(8)]
    return files


def write(file: Path, shape: tuple[int, int], syntax: UID, modality: str, seed: int) -> Path:
    """One object with a window, 12 bits stored, smooth with grain."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage if modality == "MR" else DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.PatientID, made.Modality, made.PhotometricInterpretation = "phantom", modality, "MONOCHROME2"
    made.Rows, made.Columns, made.SamplesPerPixel = *shape, 1
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.WindowCenter, made.WindowWidth = 2048, 3600
    made.PixelData = texture(shape, seed).tobytes()
    if syntax != ExplicitVRLittleEndian:
        made.compress(syntax)
    made.save_as(file, enforce_file_format=True)
    return file


def texture(shape: tuple[int, int], seed: int) -> npt.NDArray[np.uint16]:
    """Smooth values of 12 bits with grain, about as compressible as films."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((9, 9), dtype=np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 1.2)
    return np.clip(3200 * coarse + 60 * fine + 300, 0, 4095).astype(np.uint16)
