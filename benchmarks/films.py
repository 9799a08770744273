"""DICOM files for the benchmarks of ingest: films of hospital size, and real MR slices where they are at hand."""

from __future__ import annotations

import shutil
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

FILMS = (ExplicitVRLittleEndian, JPEGLSLossless, JPEG2000Lossless)
"""Transfer syntaxes of films."""

SLICES_PER_FILM = 8
SHAPE, SLICE = (2500, 2048), (256, 256)
REAL = Path(__file__).parents[2] / "shared" / "data" / "dicom-knee-mri" / "original"


def write_mix(folder: Path, rounds: int) -> list[Path]:
    """Write films of each syntax and `SLICES_PER_FILM` times as many MR slices; return their files.

    The slices are the real ones beside this checkout as far as they go; without them, or beyond, synthetic ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    real = sorted(REAL.rglob("*.dcm")) if REAL.is_dir() else []
    films = [
        write(folder / f"xr-{number}-{syntax.keyword}.dcm", SHAPE, syntax, "DX", number)
        for number in range(rounds)
        for syntax in FILMS
    ]
    slices = []
    for number in range(SLICES_PER_FILM * len(films)):
        file = folder / f"mr-{number:05d}.dcm"
        if number < len(real):
            shutil.copyfile(real[number], file)
        else:
            write(file, SLICE, ExplicitVRLittleEndian, "MR", number)
        slices.append(file)
    return films + slices


def write(file: Path, shape: tuple[int, int], syntax: UID, modality: str, seed: int) -> Path:
    """One object with a window, 12 bits stored, smooth with grain."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage if modality == "MR" else DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    patient = seed if modality == "DX" else seed // SLICES_PER_FILM
    made.PatientID, made.Modality, made.PhotometricInterpretation = f"phantom-{patient}", modality, "MONOCHROME2"
    made.BodyPartExamined = "KNEE"
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
