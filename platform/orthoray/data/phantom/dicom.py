"""From drawn images to DICOM objects (Digital X-Ray for presentation, CR, MR Image; PS3.3 A.26, A.2, A.4)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from orthoray.data.phantom.cohort import Exam
from orthoray.data.phantom.config import PhantomConfig
from orthoray.data.phantom.drawing import Image

BITS = 12
MR_TOP = 1500
"""Stored value of a white MR pixel."""

MAKERS = ("Umbra Imaging", "Lattice Medical", "Northlight", "Corvid Systems", "Palladio", "Helios DX", "Merian", "Orlo")
IMPLEMENTATION = UID("2.25.302043790172249692526321623266752743501")
FIRST_DAY = np.datetime64("2010-01-04")
DAYS_PER_MONTH = 30.4375
FIELD_OF_VIEW_MM, DEPTH_MM, FILM_HEIGHT_MM = 160.0, 80.0, 220.0

Vector = tuple[float, float, float]
AXES: dict[str, tuple[Vector, Vector, Vector]] = {
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}
"""Plane → directions (LPS) of the rows, of the columns, and of the slices: the normal (row × column)."""


def uid(config: PhantomConfig, *parts: object) -> str:
    """A UID under 2.25 that follows from the cohort's seed and what it names."""
    text = "|".join(str(part) for part in (config.seed, *parts))
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], 'big')}"


def study_uid(exam: Exam, config: PhantomConfig) -> str:
    """UID of the examination."""
    return uid(config, "study", exam.patient.number, exam.modality, exam.body_part, exam.visit)


def film_object(film: Image, exam: Exam, config: PhantomConfig, *, inverted: bool, copy: int = 0) -> FileDataset:
    """A film; odd sites send CR, even ones DX.

    Args:
        film: (H, W) float32 in 0..1, bright bone.
        exam: what it shows.
        config: the cohort.
        inverted: store it as MONOCHROME1.
        copy: another number gives another identifier to the same pixels.
    """
    digital = exam.patient.site % 2 == 0
    sop_class = DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    dataset = _common(exam, config, sop_class, "film", copy)
    values = np.rint(film * (2**BITS - 1)).astype(np.uint16)
    _pixels(dataset, (2**BITS - 1) - values if inverted else values)
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.Modality, dataset.ViewPosition = ("DX" if digital else "CR"), "AP"
    dataset.ImageLaterality = "B" if len(exam.sides) == 2 else exam.sides
    dataset.ImagerPixelSpacing = [f"{FILM_HEIGHT_MM / config.film_height:.5g}"] * 2
    if digital:
        dataset.PresentationIntentType, dataset.PixelIntensityRelationship = "FOR PRESENTATION", "LOG"
        dataset.PixelIntensityRelationshipSign = -1 if inverted else 1
        dataset.LossyImageCompression, dataset.DetectorType = "00", ""
        dataset.AnatomicRegionSequence, dataset.AcquisitionContextSequence = [], []
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.WindowCenter, dataset.WindowWidth = str(2 ** (BITS - 1)), str(2**BITS)
    dataset.ImageType, dataset.PatientOrientation = ["ORIGINAL", "PRIMARY"], ["L", "F"]
    dataset.BurnedInAnnotation = "NO"
    return dataset


def slice_object(
    image: Image, exam: Exam, config: PhantomConfig, plane: str, index: int, *, kind: str = ""
) -> FileDataset:
    """One slice of a stack, (S, S) float32 in 0..1; ``kind="LOCALIZER"`` marks a planning image."""
    dataset = _common(exam, config, MRImageStorage, f"{plane}{kind}", index)
    _pixels(dataset, np.rint(image * MR_TOP).astype(np.uint16))
    across, down, normal = (np.array(axis) for axis in AXES[plane])
    between = DEPTH_MM / config.slices
    joint = np.array([60.0 if exam.sides == "L" else -60.0, 0.0, 0.0])
    corner = joint + normal * between * (index - (config.slices - 1) / 2) - (across + down) * FIELD_OF_VIEW_MM / 2
    dataset.Modality, dataset.Laterality, dataset.PhotometricInterpretation = "MR", exam.sides, "MONOCHROME2"
    dataset.SeriesNumber = str(list(AXES).index(plane) + 1 + (10 if kind else 0))
    dataset.SeriesDescription = f"{plane} {kind or 'PD'}".lower()
    dataset.ImageOrientationPatient = [f"{value:g}" for value in (*across, *down)]
    dataset.ImagePositionPatient = [f"{value:.3f}" for value in corner]
    dataset.PixelSpacing = [f"{FIELD_OF_VIEW_MM / config.mr_size:.5g}"] * 2
    dataset.SliceThickness = dataset.SpacingBetweenSlices = f"{between:.4g}"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", kind or "OTHER"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.MRAcquisitionType = "SE", "SK", "2D"
    dataset.ScanOptions, dataset.EchoTrainLength = "", "8"
    dataset.RepetitionTime, dataset.EchoTime, dataset.EchoNumbers = "3000", "35", "1"
    dataset.MagneticFieldStrength = "1.5" if exam.patient.site % 2 else "3"
    dataset.WindowCenter, dataset.WindowWidth = str(MR_TOP // 2), str(MR_TOP)
    dataset.FrameOfReferenceUID = uid(config, "frame", exam.patient.number, exam.body_part, exam.visit)
    dataset.PositionReferenceIndicator = ""
    return dataset


def save(dataset: FileDataset, folder: Path, config: PhantomConfig) -> Path:
    """Write below ``folder`` under a name that tells nothing."""
    name = hashlib.sha256(f"{config.seed}|{dataset.SOPInstanceUID}".encode()).hexdigest()
    path = folder / name[:2] / f"{name[2:18]}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def days_from_baseline(exam: Exam) -> int:
    """Days since the patient's first examination; an MRI follows the film by a week."""
    return round(exam.visit * DAYS_PER_MONTH) + (7 if exam.modality == "MR" else 0)


def _common(exam: Exam, config: PhantomConfig, sop_class: UID, series: str, instance: int) -> FileDataset:
    patient, study = exam.patient, study_uid(exam, config)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = UID(uid(config, "image", study, series, instance))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.PatientID, dataset.PatientName = patient.patient_id, f"Phantom^{patient.number:06d}"
    dataset.PatientSex, dataset.PatientAge = patient.sex, f"{patient.age + exam.visit // 12:03d}Y"
    dataset.PatientBirthDate, dataset.AccessionNumber, dataset.ReferringPhysicianName = "", "", ""
    dataset.StudyInstanceUID, dataset.StudyID = study, ""
    dataset.SeriesInstanceUID = uid(config, "series", study, series)
    dataset.SeriesNumber, dataset.InstanceNumber = "1", str(instance + 1)
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = _day(exam)
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
    dataset.Manufacturer, dataset.InstitutionName = MAKERS[patient.site], f"Phantom Site {patient.site}"
    dataset.BodyPartExamined = exam.body_part.upper()
    return dataset


def _day(exam: Exam) -> str:
    """Date of the examination, YYYYMMDD; made up from the patient's seed."""
    first = FIRST_DAY + np.timedelta64(exam.patient.seed % 700, "D")
    return str(first + np.timedelta64(days_from_baseline(exam), "D")).replace("-", "")


def _pixels(dataset: FileDataset, values: npt.NDArray[np.uint16]) -> None:
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, BITS, BITS - 1
    dataset.PixelData = values.astype("<u2").tobytes()
