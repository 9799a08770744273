"""What holds for radiographs alone: the view, and the size of a pixel, which no film knows for sure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orthoray.imaging import vocabulary
from orthoray.imaging.frames import FrameHeader
from orthoray.imaging.laterality import SERIES_TEXTS, STUDY_TEXTS, code_of

LEAST_SPACING_MM, LARGEST_SPACING_MM = 1e-3, 20.0

_POSITIONS = {"LL": "LAT", "RL": "LAT", "LLD": "frontal", "RLD": "frontal", "RLO": "OBL", "LLO": "OBL"}
"""Defined terms of View Position (PS3.3 C.8.11.5.1.1) beside AP and PA."""

_VIEWS = {
    "AP": "399348003 R-10206",
    "PA": "272479007 R-40888 R-10214",
    "LAT": "399067008 R-102CD 399198007 R-10232 399173006 R-10236 399260004 R-10224 399352003 R-10228",
    "OBL": "399182000 R-102C1 399236003 R-10234 399184004 R-10238 260427002 R-40783 260426006 R-40782 "
    "399059000 R-10216 399312000 R-10208",
    "skyline": "399110001 R-102C2 399061009 R-10241",
    "frontal": "399033003 R-10202",
}
_AXES = {"L": "x", "R": "x", "A": "y", "P": "y", "H": "z", "F": "z"}
_CODES = {code: view for view, codes in _VIEWS.items() for code in codes.split()}
"""Codes of PS3.16 CID 4010 (DX View), in SNOMED CT and in its older form; tangential and axial mean the patella."""


@dataclass(frozen=True)
class PixelScale:
    """Millimetres between rows and columns (NaN = unknown) and where they come from.

    ``source``: ``pixel`` (in the plane of the slice, MR), ``calibrated`` (corrected for magnification by the maker or
    by a known object), ``magnification`` (of the detector, divided by the documented magnification), ``detector`` (of
    the detector: things look larger than they are), ``uncertain`` (PixelSpacing of a film that does not say which of
    these it is), ``nominal`` (of a scanner for films), or ``""``.
    """

    row_mm: float = math.nan
    column_mm: float = math.nan
    source: str = ""


def pixel_scale(frame: FrameHeader, modality: str, magnification: float) -> PixelScale:
    """Size of a pixel (PS3.3 10.7.1.3); never a guess.

    PixelSpacing of a film is calibrated if it says so or differs from that of the detector. The detector's is divided
    by the magnification if the header documents one (above 1).
    """
    pixel = _pair(frame, "PixelSpacing")
    if modality != "XR":
        return PixelScale(*pixel, "pixel") if pixel else PixelScale()
    detector = _pair(frame, "ImagerPixelSpacing")
    kind = "".join(frame.words("PixelSpacingCalibrationType")[:1])
    if pixel and (kind in ("GEOMETRY", "FIDUCIAL") or (detector and not _equal(pixel, detector))):
        return PixelScale(*pixel, "calibrated")
    if detector and magnification > 1:
        return PixelScale(detector[0] / magnification, detector[1] / magnification, "magnification")
    if detector:
        return PixelScale(*detector, "detector")
    if pixel:
        return PixelScale(*pixel, "uncertain")
    scanned = _pair(frame, "NominalScannedPixelSpacing")
    return PixelScale(*scanned, "nominal") if scanned else PixelScale()


def read_view(frame: FrameHeader) -> str:
    """View of a film: AP, PA, LAT, OBL, skyline, long_leg, frontal (AP or PA), or ``""``.

    ViewPosition decides, then ViewCodeSequence, PatientOrientation, the texts of the series and of the study. Series'
    texts that speak of a skyline view or of the whole leg win, because ViewPosition only tells where the beam came
    from; ``frontal`` gives way to anything that is more particular.
    """
    series = [vocabulary.view(frame.text(name)) for name in SERIES_TEXTS]
    particular = next((view for view in series if view in ("skyline", "long_leg")), "")
    if particular:
        return particular
    study = [vocabulary.view(frame.text(name)) for name in STUDY_TEXTS]
    found = [_position(frame), _coded(frame), _oriented(frame), *series, *study]
    found = [view for view in found if view]
    return next((view for view in found if view != "frontal"), found[0] if found else "")


def _position(frame: FrameHeader) -> str:
    word = "".join(frame.words("ViewPosition")[:1])
    return _POSITIONS.get(word) or vocabulary.view(word)


def _coded(frame: FrameHeader) -> str:
    return next((view for item in frame.sequence("ViewCodeSequence") if (view := _CODES.get(code_of(item)[1]))), "")


def _oriented(frame: FrameHeader) -> str:
    """View by the directions of rows and columns (PS3.3 C.7.6.1.1.1)."""
    row, column, *_ = [*(_AXES.get(word[:1], "") for word in frame.words("PatientOrientation")), "", ""]
    return {"xz": "frontal", "yz": "LAT", "xy": "skyline"}.get(row + column, "")


def _pair(frame: FrameHeader, name: str) -> tuple[float, float] | None:
    values = frame.numbers(name, 2)
    if values is None or not all(LEAST_SPACING_MM <= value <= LARGEST_SPACING_MM for value in values):
        return None
    return values[0], values[1]


def _equal(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(one, other, strict=True))
