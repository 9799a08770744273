"""What an image's header says: identity, modality, geometry, acquisition, time."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import date
from typing import Any

from orthoray.imaging import vocabulary
from orthoray.imaging.acquisition import Acquisition, read_acquisition
from orthoray.imaging.containers import hdf5_attributes
from orthoray.imaging.deid import dates
from orthoray.imaging.files import UnreadableImageError, read_dicom, sniff
from orthoray.imaging.films import pixel_scale, read_view
from orthoray.imaging.flags import image_words, kind_of, read_flags, read_modality
from orthoray.imaging.frames import FileHeader, FrameHeader
from orthoray.imaging.geometry import centre_of, is_orientation, plane_of, position_along
from orthoray.imaging.laterality import read_laterality
from orthoray.imaging.limits import MAX_FRAMES
from orthoray.imaging.regions import read_body_part
from orthoray.imaging.stored import count_frames

OLDEST = float(dates.OLDEST)

ORIENTATION = ("row_x", "row_y", "row_z", "column_x", "column_y", "column_z")
ORIGIN = ("origin_x_mm", "origin_y_mm", "origin_z_mm")
"""Fields that hold ImageOrientationPatient and ImagePositionPatient."""


@dataclass(frozen=True)
class ImageFacts(Acquisition):
    """Facts of one frame, in one flat row.

    ``patient``, the ``*_uid``, ``accession`` and ``day`` identify a person: the caller hashes them at once. All other
    text is of closed vocabularies, save the names of products. Numbers are NaN where unknown.

    Attributes:
        frame: index within its file. instance: InstanceNumber, 0 if unknown.
        modality: XR, MR, ``other``, or ``""`` where the header leaves it open, as `flags.read_modality`.
        body_part: a term of `vocabulary.BODY_PARTS`, or ``""``.
        body_part_conflict: BodyPartExamined and the series' description name different parts.
        laterality: L, R, B (both) or U (unknown); its source and confidence are those of `imaging.laterality`.
        view: of a film, as `films.read_view`.
        plane: sagittal, coronal, axial, oblique; ``none`` without orientation.
        position_mm: place along the normal (row x column).
        row_x … column_z, origin_x_mm …: ImageOrientationPatient and ImagePositionPatient.
        centre_x_mm: x of the image's centre; positive is towards the patient's left.
        row_spacing_mm, col_spacing_mm: size of a pixel; ``spacing_source`` as `films.PixelScale`.
        rows, columns: size of the frame in pixels.
        stack: opaque key. Images of a series with different keys are of different stacks; those of the same key are
            divided further when the whole series is known, by orientation and by the numbers that follow.
        temporal, echo, acquisition, in_stack: positions in time, among echoes, acquisitions and slices; 0 if unknown.
        day: study date; years: age at the study.
        kind: ``localiser`` or ``derived`` where the header says so, else ``""``.
        stitched, burned_in, overlay, screenshot, implant: as `flags.Flags`.
    """

    patient: str = ""
    study_uid: str = ""
    series_uid: str = ""
    image_uid: str = ""
    accession: str = ""
    frame: int = 0
    instance: int = 0
    modality: str = ""
    body_part: str = ""
    body_part_conflict: bool = False
    laterality: str = "U"
    laterality_source: str = ""
    laterality_confidence: float = 0.0
    view: str = ""
    plane: str = "none"
    position_mm: float = math.nan
    row_x: float = math.nan
    row_y: float = math.nan
    row_z: float = math.nan
    column_x: float = math.nan
    column_y: float = math.nan
    column_z: float = math.nan
    origin_x_mm: float = math.nan
    origin_y_mm: float = math.nan
    origin_z_mm: float = math.nan
    centre_x_mm: float = math.nan
    row_spacing_mm: float = math.nan
    col_spacing_mm: float = math.nan
    spacing_source: str = ""
    rows: int = 0
    columns: int = 0
    stack: str = ""
    temporal: int = 0
    echo: int = 0
    acquisition: int = 0
    in_stack: int = 0
    day: date | None = None
    years: float = math.nan
    sex: str = ""
    kind: str = ""
    stitched: bool = False
    burned_in: bool = False
    overlay: bool = False
    screenshot: bool = False
    implant: bool = False


Fields = dict[str, Any]


def read_facts(uri: str) -> list[ImageFacts]:
    """Facts of every frame of a file, from the header alone; pictures and arrays have next to none.

    Raises:
        UnreadableImageError: not an image, one with more frames than the limits, or a header that cannot be parsed.
    """
    kind = sniff(uri)
    if kind != "dicom":
        patient = hdf5_attributes(uri).get("patient_id", "") if kind == "hdf5" else ""
        return [ImageFacts(patient=patient, frame=frame, instance=frame) for frame in range(count_frames(uri))]
    dataset = read_dicom(uri, pixels=False)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise UnreadableImageError("no_pixels", "the object holds no image")
    try:
        return facts_of(dataset)
    except UnreadableImageError:
        raise
    except Exception as error:  # the message may quote the header: only its type goes on
        raise UnreadableImageError("header_unreadable", type(error).__name__) from None


def facts_of(dataset: Any) -> list[ImageFacts]:
    """Facts of every frame of a parsed data set."""
    file = FileHeader(dataset)
    first = FrameHeader(file, 0)
    count = max(1, first.integer("NumberOfFrames"))
    if count > MAX_FRAMES:
        raise UnreadableImageError("too_large", f"{count} frames")
    common = _identity(first)
    return [_frame_facts(FrameHeader(file, index), common) for index in range(count)]


def _frame_facts(frame: FrameHeader, common: Fields) -> ImageFacts:
    subject = frame.common(_subject, "FrameAnatomySequence")
    modality = subject["modality"]
    acquisition = read_acquisition(frame, modality)
    scale = pixel_scale(frame, modality, acquisition.magnification)
    kind = kind_of(frame, modality)
    rows, columns = frame.integer("Rows"), frame.integer("Columns")
    flags = read_flags(frame, modality, rows * scale.row_mm)
    spacing = (scale.row_mm, scale.column_mm)
    return ImageFacts(
        **common,
        **subject,
        **vars(acquisition),
        **_geometry(frame, modality, kind, spacing, (rows, columns)),
        **vars(flags),
        frame=frame.index,
        instance=frame.integer("InstanceNumber"),
        row_spacing_mm=spacing[0],
        col_spacing_mm=spacing[1],
        spacing_source=scale.source,
        rows=rows,
        columns=columns,
        stack=_stack_key(frame, spacing, (rows, columns)),
        temporal=frame.integer("TemporalPositionIndex", "TemporalPositionIdentifier"),
        echo=frame.integer("EchoNumbers"),
        acquisition=frame.integer("FrameAcquisitionNumber", "AcquisitionNumber"),
        in_stack=frame.integer("InStackPositionNumber"),
        kind=kind,
    )


def _identity(frame: FrameHeader) -> Fields:
    sex = frame.text("PatientSex").upper()
    return {
        "patient": frame.text("PatientID"),
        "study_uid": frame.text("StudyInstanceUID"),
        "series_uid": frame.text("SeriesInstanceUID"),
        "image_uid": frame.text("SOPInstanceUID"),
        "accession": frame.text("AccessionNumber"),
        "day": dates.parsed(frame.text("StudyDate")),
        "years": _years(frame),
        "sex": sex if sex in ("M", "F", "O") else "",
    }


def _subject(frame: FrameHeader) -> Fields:
    """What is shown, from which side."""
    modality = read_modality(frame)
    part, conflict = read_body_part(frame)
    side = read_laterality(frame, modality, part)
    return {
        "modality": modality,
        "body_part": part,
        "body_part_conflict": conflict,
        "laterality": side.side,
        "laterality_source": side.source,
        "laterality_confidence": side.confidence,
        "view": read_view(frame) if modality == "XR" else "",
    }


def _geometry(
    frame: FrameHeader, modality: str, kind: str, spacing: tuple[float, float], shape: tuple[int, int]
) -> Fields:
    orientation = frame.numbers("ImageOrientationPatient", 6)
    if orientation is None or not is_orientation(orientation):
        told = vocabulary.plane(frame.text("SeriesDescription")) if modality == "MR" and kind == "derived" else ""
        return {"plane": told or "none"}
    fields: Fields = dict(zip(ORIENTATION, orientation, strict=True)) | {"plane": plane_of(orientation)}
    position = frame.numbers("ImagePositionPatient", 3)
    if position is None:
        return fields
    fields |= dict(zip(ORIGIN, position, strict=True))
    fields["centre_x_mm"] = centre_of(orientation, position, spacing, shape)[0]
    return fields | {"position_mm": position_along(orientation, position)}


def _stack_key(frame: FrameHeader, spacing: tuple[float, float], shape: tuple[int, int]) -> str:
    """Images with different keys are of different stacks. The words behind it are hidden by a digest."""
    parts = [
        *shape,
        *(f"{value:.3f}" for value in spacing),
        f"{frame.number('EffectiveEchoTime', 'EchoTime'):.2f}",
        f"{frame.number('DiffusionBValue'):.0f}",
        *image_words(frame)[2:],
        frame.text("StackID"),
    ]
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:12]


def _years(frame: FrameHeader) -> float:
    """Age in years, at most `OLDEST`; NaN if unknown."""
    told = dates.years(frame.text("PatientAge"))
    born, seen = (dates.parsed(frame.text(name)) for name in ("PatientBirthDate", "StudyDate"))
    if math.isnan(told) and born and seen:
        return dates.years(dates.age_between(born, seen) or "")
    return told
