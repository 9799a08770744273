"""From stored values to values on a screen, one frame at a time (PS3.3 C.11; PS3.4 N.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from orthoray.imaging.reasons import UnreadableImageError


@dataclass(frozen=True)
class Window:
    """A VOI transformation.

    Attributes:
        shade: values after the modality transformation (any shape) → 0..1, float64.
        low, high: its limits in such values; NaN for a lookup table.
    """

    shade: Callable[[np.ndarray], np.ndarray]
    low: float
    high: float


@dataclass(frozen=True)
class Chain:
    """The steps from stored values to the screen, as the header of one frame gives them.

    Attributes:
        modality: stored values (any shape) → float64 values (PS3.3 C.11.1).
        window: the VOI transformation (PS3.3 C.11.2), None without a usable one.
        inverse: bright and dark are exchanged, last.
        padding: lowest and highest stored value that stands for no pixel (PS3.3 C.7.5.1.1.2), None without.
    """

    modality: Callable[[np.ndarray], np.ndarray]
    window: Window | None
    inverse: bool
    padding: tuple[float, float] | None


def frame_chain(dataset: Any, frame: int) -> Chain:
    """The chain of one frame of a parsed file; attributes of the frame come before shared ones and the data set's."""
    modality = _modality(dataset, _places(dataset, frame, "PixelValueTransformationSequence"))
    window = _window(dataset, _places(dataset, frame, "FrameVOILUTSequence"), modality)
    return Chain(modality, window, _is_inverse(dataset), _padding(dataset))


def _places(dataset: Any, frame: int, sequence: str) -> list[Any]:
    """Where attributes of a frame may be: its own functional group, the shared one, the data set itself."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    groups = [*([frames[frame]] if frame < len(frames) else []), *shared]
    return [*(item for group in groups for item in group.get(sequence) or []), dataset]


def _modality(dataset: Any, places: list[Any]) -> Callable[[np.ndarray], np.ndarray]:
    for place in places:
        if place.get("ModalityLUTSequence"):
            table = LookupTable.read(place.ModalityLUTSequence[0], dataset, signed=dataset.PixelRepresentation == 1)
            return table.look_up
        slope = first(place.get("RescaleSlope"))
        if slope is not None and slope != 0.0:
            intercept = first(place.get("RescaleIntercept")) or 0.0
            return lambda stored: stored.astype(np.float64) * slope + intercept
    return lambda stored: stored.astype(np.float64)


def _window(dataset: Any, places: list[Any], modality: Callable[[np.ndarray], np.ndarray]) -> Window | None:
    """The first lookup table or window; one of width 1 or less would show two grey levels and is not used."""
    for place in places:
        if place.get("VOILUTSequence"):
            table = LookupTable.read(place.VOILUTSequence[0], dataset, signed=_may_be_negative(dataset, modality))
            return Window(table.look_up_share, math.nan, math.nan)
        centre, width = first(place.get("WindowCenter")), first(place.get("WindowWidth"))
        if centre is not None and width is not None and width > 1.0:
            return _formula(str(place.get("VOILUTFunction") or "LINEAR"), centre, width)
    return None


def _formula(function: str, centre: float, width: float) -> Window:
    """PS3.3 C.11.2.1.2 (LINEAR), C.11.2.1.3.2 (LINEAR_EXACT) and C.11.2.1.3.1 (SIGMOID)."""
    low, high = centre - width / 2.0, centre + width / 2.0
    if function == "LINEAR":
        return Window(lambda values: np.clip((values - low) / (width - 1.0), 0.0, 1.0), low, high - 1.0)
    if function == "LINEAR_EXACT":
        return Window(lambda values: np.clip((values - low) / width, 0.0, 1.0), low, high)
    if function == "SIGMOID":
        return Window(lambda values: _sigmoid(4.0 * (values - centre) / width), low, high)
    raise UnreadableImageError("header_unreadable", "an unknown window function")


def _sigmoid(exponent: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp(large) is infinite, and one over it zero
        return np.asarray(1.0 / (1.0 + np.exp(-exponent)))


@dataclass(frozen=True)
class LookupTable:
    """A lookup table (PS3.3 C.11.1.1, C.11.2.1.1).

    Attributes:
        first: the value that the first entry is for; lower values have it too, those beyond the last entry the last.
        entries: (n,) float64.
        brightest: the largest value that entries can have.
    """

    first: int
    entries: np.ndarray
    brightest: float

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """Values of any shape → their entries, float64; values between integers are rounded."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[index])

    def look_up_share(self, values: np.ndarray) -> np.ndarray:
        """Like `look_up`, as shares of the brightest value that entries can have."""
        return self.look_up(values) / self.brightest

    @classmethod
    def read(cls, item: Any, dataset: Any, *, signed: bool) -> LookupTable:
        """Read an item of a LUT sequence.

        Args:
            item: the item.
            dataset: the data set that it is in, for the byte order.
            signed: the values that are looked up may be negative, and so may the first of them.
        """
        count, start, bits = (int(number) for number in item.LUTDescriptor)
        count = count % 65536 or 65536  # zero stands for 2^16, and a count over 32767 may have been read as signed
        start = start - 65536 if signed and start > 32767 else start
        if not 8 <= bits <= 16:
            raise UnreadableImageError("header_unreadable", f"a lookup table of {bits} bits")
        data: Any = item.LUTData
        if isinstance(data, bytes):
            order = "<" if dataset.original_encoding[1] is not False else ">"
            kind = "u1" if bits == 8 and len(data) < 2 * count else order + "u2"
            data = np.frombuffer(data, kind, count)
        entries = np.atleast_1d(np.asarray(data, np.float64))
        if len(entries) < count:
            raise UnreadableImageError("header_unreadable", "a lookup table that is cut off")
        return cls(start, entries[:count], 2.0**bits - 1.0)


def _may_be_negative(dataset: Any, modality: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Can values after the modality transformation be negative, by the range of stored values?"""
    bits, signed = int(dataset.BitsStored), dataset.PixelRepresentation == 1
    ends = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return bool((modality(np.array(ends)) < 0).any())


def _padding(dataset: Any) -> tuple[float, float] | None:
    """Range of the padding values; ones of signed images that were read as unsigned are wrapped."""
    numbers = [first(dataset.get(name)) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if numbers[0] is None:
        return None
    half = 1 << (int(dataset.BitsAllocated) - 1)
    known = [number for number in numbers if number is not None]
    if dataset.PixelRepresentation == 1:
        known = [number - 2 * half if half <= number < 2 * half else number for number in known]
    return min(known), max(known)


def _is_inverse(dataset: Any) -> bool:
    """PresentationLUTShape decides where it is given (PS3.3 C.11.6), else MONOCHROME1 (PS3.3 C.7.6.3.1.2)."""
    shape = dataset.get("PresentationLUTShape")
    if shape:
        return str(shape) == "INVERSE"
    return str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1"


def first(value: Any) -> float | None:
    """First of a possibly multi-valued number; None if there is none."""
    if value is None or value == "":
        return None
    try:
        number = float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
    except (TypeError, ValueError, IndexError):
        return None
    return number if math.isfinite(number) else None
