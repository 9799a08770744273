"""Looking attributes up where they apply: in a frame's functional groups, the shared ones, or the data set itself.

Enhanced objects keep per-frame attributes in functional group macros (PS3.3 C.7.6.16). Only the macro that defines an
attribute is asked for it: other sequences, private ones above all, repeat attributes with another meaning (the corner
of the image of some private groups is not the one of the Plane Position macro).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

T = TypeVar("T")

Item = Any
"""A data set or an item of a sequence, as pydicom reads it."""

MACROS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "StackID": "FrameContentSequence",
    "InStackPositionNumber": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "FrameLaterality": "FrameAnatomySequence",
    "AnatomicRegionSequence": "FrameAnatomySequence",
    "FrameType": "MRImageFrameTypeSequence",
    "AcquisitionContrast": "MRImageFrameTypeSequence",
    "VolumeBasedCalculationTechnique": "MRImageFrameTypeSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "RepetitionTime": "MRTimingAndRelatedParametersSequence",
    "EchoTrainLength": "MRTimingAndRelatedParametersSequence",
    "RFEchoTrainLength": "MRTimingAndRelatedParametersSequence",
    "FlipAngle": "MRTimingAndRelatedParametersSequence",
    "InversionTimes": "MRModifierSequence",
    "Spoiling": "MRModifierSequence",
    "SpectrallySelectedExcitation": "MRModifierSequence",
    "SpectrallySelectedSuppression": "MRImagingModifierSequence",
    "PixelBandwidth": "MRImagingModifierSequence",
    "DiffusionBValue": "MRDiffusionSequence",
}
"""Attribute → the functional group that holds it in enhanced objects."""

CONVERTED_SHARED = "UnassignedSharedConvertedAttributesSequence"
CONVERTED_FRAME = "UnassignedPerFrameConvertedAttributesSequence"
"""Where objects converted from single-frame ones keep attributes that have no functional group (C.7.6.16.2.25)."""


class FileHeader:
    """The header of a file; answers that hold for all frames are looked up once."""

    def __init__(self, dataset: Item) -> None:
        self.dataset = dataset
        self.groups = _items(dataset, "PerFrameFunctionalGroupsSequence")
        self.shared = next(iter(_items(dataset, "SharedFunctionalGroupsSequence")), None)
        self.known: dict[str, Any] = {}
        held = {tag for group in self.groups for tag in group.keys()}  # noqa: SIM118, a data set iterates its elements
        self.per_frame = {macro for macro in (*MACROS.values(), CONVERTED_FRAME) if _tag(macro) in held}

    def find(self, name: str) -> Any:
        """Value that holds for all frames; None if there is none, or one that cannot be parsed."""
        if name not in self.known:
            self.known[name] = self._look(name)
        return self.known[name]

    def _look(self, name: str) -> Any:
        places = [self.dataset]
        if self.shared is not None:
            places = [*_macro(self.shared, MACROS.get(name, "")), *_macro(self.shared, CONVERTED_SHARED), *places]
        return next((value for place in places if (value := _value(place, name)) is not None), None)


class FrameHeader:
    """The header as one frame sees it. ``index`` counts from 0."""

    def __init__(self, file: FileHeader, index: int) -> None:
        self.file, self.index = file, index
        self.group = file.groups[index] if index < len(file.groups) else None
        self.items: dict[str, list[Item]] = {}
        self.values: dict[str, Any] = {}

    def find(self, *names: str) -> Any:
        """Value of the first of the attributes that has one; None if none has, or none that can be parsed."""
        for name in names:
            if self.group is None:
                value = self.file.find(name)
            else:
                if name not in self.values:
                    own = self._own(name)
                    self.values[name] = self.file.find(name) if own is None else own
                value = self.values[name]
            if value is not None:
                return value
        return None

    def common(self, compute: Callable[[FrameHeader], T], *macros: str) -> T:
        """``compute`` of this frame; once per file if frames do not differ in the macros that it looks into."""
        if self.file.per_frame.isdisjoint((*macros, CONVERTED_FRAME)):
            key = compute.__qualname__
            if key not in self.file.known:
                self.file.known[key] = compute(self)
            return cast(T, self.file.known[key])
        return compute(self)

    def number(self, *names: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Number of the first attribute that has one between ``low`` and ``high``; NaN if there is none."""
        for name in names:
            value = number(self.find(name))
            if low <= value <= high:
                return value
        return math.nan

    def integer(self, *names: str) -> int:
        """Whole number of the first attribute that has a value; 0 if it is none."""
        value = number(self.find(*names))
        return int(value) if math.isfinite(value) and abs(value) < 2**31 else 0

    def numbers(self, name: str, count: int) -> list[float] | None:
        """Exactly ``count`` finite numbers, or None."""
        try:
            values = [float(item) for item in self.find(name)]
        except (TypeError, ValueError):
            return None
        return values if len(values) == count and all(map(math.isfinite, values)) else None

    def text(self, name: str) -> str:
        """Text as it stands in the header; free text must not leave this process."""
        value = self.find(name)
        return "" if value is None else str(value).strip()

    def words(self, name: str) -> tuple[str, ...]:
        """Values of a coded attribute (VR CS), in upper case."""
        value = self.find(name)
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else value
        try:
            return tuple(str(word).strip().upper() for word in values)
        except TypeError:
            return ()

    def sequence(self, name: str) -> list[Item]:
        """Items of a sequence; none if it is missing."""
        value = self.find(name)
        return list(value) if value is not None and not isinstance(value, str | bytes | int | float) else []

    def _own(self, name: str) -> Any:
        for macro in (MACROS.get(name, ""), CONVERTED_FRAME):
            if macro not in self.file.per_frame:
                continue
            if macro not in self.items:
                self.items[macro] = _macro(self.group, macro)
            for item in self.items[macro]:
                value = _value(item, name)
                if value is not None:
                    return value
        return None


def number(value: Any) -> float:
    """A finite number, or NaN."""
    try:
        converted = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return converted if math.isfinite(converted) else math.nan


@lru_cache(maxsize=512)
def _tag(name: str) -> Any:
    from pydicom.tag import Tag

    return Tag(name)


def _value(place: Item, name: str) -> Any:
    tag = _tag(name)
    try:
        value = place[tag].value if tag in place else None
    except Exception:  # whatever a broken element raises on conversion: it says nothing
        return None
    if value is None or (not isinstance(value, int | float) and len(value) == 0):
        return None
    return value


def _items(place: Item, name: str) -> list[Item]:
    value = _value(place, name)
    return [] if value is None else list(value)


def _macro(group: Item, macro: str) -> list[Item]:
    return _items(group, macro) if macro else []
