"""What an image's header says: identity, modality, geometry, time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from orthoray.imaging.files import UnreadableImageError, is_raster, read_dicom

if TYPE_CHECKING:
    from pydicom import Dataset

MODALITIES = {"CR": "XR", "DX": "XR", "RG": "XR", "MR": "MR"}
BODY_PARTS = {"KNEE": "knee", "HIP": "hip", "SHOULDER": "shoulder", "ANKLE": "ankle", "LEG": "knee"}
AXIS_COSINE = 0.8
"""A stack belongs to a plane if its normal is this close to the axis (cosine)."""

OLDEST = 90.0
"""Ages above 89 years are given as 90, because few people are that old (45 CFR 164.514(b)(2)(i)(C))."""


@dataclass(frozen=True)
class ImageFacts:
    """Facts of one frame. The ``*_uid``, ``patient`` and ``day`` fields identify a person: they are hashed at once.

    Attributes:
        frame: index within its file.
        modality: XR or MR; ``""`` for anything else.
        laterality: L, R, B (both) or U (unknown).
        plane: sagittal, coronal, axial, oblique; ``none`` without orientation.
        position_mm: place along the normal of the stack; NaN without geometry.
        stack: key of images of one series that belong to one stack (size, spacing, orientation, echo, time …).
        day: study date; years: age at the study.
        kind: ``localiser`` or ``derived`` where the header says so, else ``""``.
    """

    patient: str = ""
    study_uid: str = ""
    series_uid: str = ""
    image_uid: str = ""
    frame: int = 0
    instance: int = 0
    modality: str = ""
    body_part: str = ""
    laterality: str = "U"
    view: str = ""
    plane: str = "none"
    position_mm: float = math.nan
    row_spacing_mm: float = math.nan
    col_spacing_mm: float = math.nan
    stack: str = ""
    day: date | None = None
    years: float = math.nan
    sex: str = ""
    manufacturer: str = ""
    field_strength_t: float = math.nan
    kind: str = ""


def read_facts(uri: str) -> list[ImageFacts]:
    """Facts of every frame of a file, from the header alone.

    Raises:
        UnreadableImageError: not an image, or a header that cannot be parsed.
    """
    if is_raster(uri):
        return [ImageFacts()]
    dataset = read_dicom(uri, pixels=False)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise UnreadableImageError("no_pixels", "the object holds no image")
    try:
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
        return [_frame_facts(dataset, index) for index in range(frames)]
    except Exception as error:  # the message may quote the header: only its type goes on
        raise UnreadableImageError("header_unreadable", type(error).__name__) from None


def plane_of(orientation: Sequence[float]) -> str:
    """Plane of a stack from ImageOrientationPatient (six direction cosines, LPS)."""
    normal = _normal(orientation)
    axis = int(np.argmax(np.abs(normal)))
    return ("sagittal", "coronal", "axial")[axis] if abs(normal[axis]) >= AXIS_COSINE else "oblique"


def _frame_facts(dataset: Any, frame: int) -> ImageFacts:
    group = _Group(dataset, frame)
    orientation = _numbers(group.find("ImageOrientationPatient"), 6)
    position = _numbers(group.find("ImagePositionPatient"), 3)
    spacing = _numbers(group.find("PixelSpacing") or group.find("ImagerPixelSpacing"), 2)
    located = orientation is not None and position is not None
    return ImageFacts(
        patient=str(dataset.get("PatientID", "") or ""),
        study_uid=str(dataset.get("StudyInstanceUID", "") or ""),
        series_uid=str(dataset.get("SeriesInstanceUID", "") or ""),
        image_uid=str(dataset.get("SOPInstanceUID", "") or ""),
        frame=frame,
        instance=int(dataset.get("InstanceNumber", 0) or 0),
        modality=MODALITIES.get(str(dataset.get("Modality", "")), ""),
        body_part=_body_part(dataset),
        laterality=_laterality(group),
        view=str(dataset.get("ViewPosition", "") or "").upper()[:8],
        plane=plane_of(orientation) if orientation is not None else "none",
        position_mm=float(np.dot(_normal(orientation), position)) if located else math.nan,  # type: ignore[arg-type]
        row_spacing_mm=spacing[0] if spacing else math.nan,
        col_spacing_mm=spacing[1] if spacing else math.nan,
        stack=_stack(dataset, group, orientation, spacing),
        day=_day(dataset.get("StudyDate")),
        years=_years(dataset),
        sex=sex if (sex := str(dataset.get("PatientSex", "") or "").upper()) in ("M", "F", "O") else "",
        manufacturer=str(dataset.get("Manufacturer", "") or "").strip()[:40],
        field_strength_t=_number(dataset.get("MagneticFieldStrength")),
        kind=_kind(dataset),
    )


class _Group:
    """Looks an attribute up in the frame's functional groups, the shared ones, then the data set itself."""

    def __init__(self, dataset: Dataset, frame: int) -> None:
        own = list(dataset.get("PerFrameFunctionalGroupsSequence", []))
        shared = list(dataset.get("SharedFunctionalGroupsSequence", []))
        groups = [*own[frame : frame + 1], *shared]
        self.places = [item for group in groups for element in group for item in _items(element)] + [dataset]

    def find(self, name: str) -> Any:
        for place in self.places:
            value = place.get(name)
            if value is not None and value != "":
                return value
        return None


def _items(element: Any) -> list[Any]:
    return list(element.value) if element.VR == "SQ" else []


def _normal(orientation: Sequence[float]) -> np.ndarray:
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    return np.cross(row, column)


def _stack(dataset: Any, group: _Group, orientation: list[float] | None, spacing: list[float] | None) -> str:
    """Images of one series with the same key form one stack; the key holds nothing that identifies a person."""
    turned = ",".join(f"{value + 0.0:.2f}" for value in orientation) if orientation else ""
    echo = group.find("EchoTime") or group.find("EffectiveEchoTime") or ""
    parts = [
        dataset.Rows,
        dataset.Columns,
        turned,
        echo,
        dataset.get("EchoNumbers", ""),
        dataset.get("AcquisitionNumber", ""),
        *[f"{value:.3f}" for value in spacing or ()],
    ]
    return "|".join(str(part) for part in [*parts, group.find("TemporalPositionIdentifier") or ""])


def _laterality(group: _Group) -> str:
    for name in ("ImageLaterality", "Laterality", "FrameLaterality"):
        value = str(group.find(name) or "").upper()
        if value in ("L", "R", "B"):
            return value
    return "U"


def _body_part(dataset: Any) -> str:
    text = str(dataset.get("BodyPartExamined", "") or "").upper()
    return next((name for word, name in BODY_PARTS.items() if word in text), text.lower()[:16])


def _kind(dataset: Any) -> str:
    words = [str(word).upper() for word in dataset.get("ImageType", []) or []]
    if "LOCALIZER" in words:
        return "localiser"
    return "derived" if words[:1] == ["DERIVED"] and MODALITIES.get(str(dataset.get("Modality", ""))) == "MR" else ""


def _years(dataset: Any) -> float:
    """Age in years, at most `OLDEST`; NaN if unknown (``000Y``, which stands for a removed age, counts as unknown)."""
    text = str(dataset.get("PatientAge", "") or "").strip()
    unit = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}.get(text[-1:].upper(), 1.0)
    digits = text.rstrip("YMWDymwd")
    if digits.isdigit() and int(digits) > 0:
        return min(OLDEST, float(int(digits) / unit))
    born, seen = _day(dataset.get("PatientBirthDate")), _day(dataset.get("StudyDate"))
    return min(OLDEST, float((seen - born).days // 365.25)) if born and seen and seen > born else math.nan


def _day(text: Any) -> date | None:
    digits = str(text or "").replace(".", "")
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _numbers(value: Any, count: int) -> list[float] | None:
    try:
        numbers = [float(item) for item in value]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
