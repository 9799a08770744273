"""What kind of image it is and what may be wrong with it, as far as the header says so."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orthoray.imaging import vocabulary
from orthoray.imaging.frames import FrameHeader
from orthoray.imaging.laterality import SERIES_TEXTS, STUDY_TEXTS

MODALITIES = {"CR": "XR", "DX": "XR", "RG": "XR", "MR": "MR"}

SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "XR",  # Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1": "XR",  # Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1": "XR",  # Digital X-Ray, for processing
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.4": "MR",  # Legacy Converted Enhanced MR
}
STANDARD = "1.2.840.10008."
"""How UIDs of the standard begin."""

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture; its multi-frame kinds have a further component."""

LONGEST_FILM_MM, LONGEST_ASPECT = 600.0, 2.2
"""Films that are higher, or higher in proportion to their width, were put together from several."""

_PROJECTED = {"MPR", "MIP", "MINIP", "MPVR", "SUB", "SUBTRACTION", "PROJECTION", "PROJECTION IMAGE", "REFORMATTED"}
_PROJECTED |= {"CSA MPR", "MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER", "CURVED_MPR", "ADC", "FA"}
_PROJECTED |= {f"{name}{gap}MAP" for name in ("T1", "T2", "T2_STAR", "T1RHO", "B0", "B1", "FIELD") for gap in " _"}


@dataclass(frozen=True)
class Flags:
    """Signs of the header that an image is not what a study needs.

    Attributes:
        stitched: put together from several films, or of the whole leg.
        burned_in: the header says that there is text in the pixels.
        overlay: overlay planes or graphics come with the image.
        screenshot: secondary capture, screen save or colour.
        implant: texts speak of a replaced joint, metal or an operation; to be reviewed.
    """

    stitched: bool = False
    burned_in: bool = False
    overlay: bool = False
    screenshot: bool = False
    implant: bool = False


def read_modality(frame: FrameHeader) -> str:
    """XR for CR, DX and RG, MR for MR, ``other`` for what is neither, ``""`` where the header leaves it open.

    It is open without Modality, with OT, and for classes of makers; an object of the standard's other classes is
    neither, whatever it says. A secondary capture has the modality that it names.
    """
    named, sop_class = "".join(frame.words("Modality")[:1]), frame.text("SOPClassUID")
    captured = not sop_class or sop_class == SECONDARY_CAPTURE or sop_class.startswith(SECONDARY_CAPTURE + ".")
    modality, by_class = MODALITIES.get(named, ""), SOP_CLASSES.get(sop_class, "")
    if modality and (captured or by_class == modality):
        return modality
    if named not in (*MODALITIES, "OT", "") or (modality and by_class):
        return "other"
    return "" if captured or by_class or not sop_class.startswith(STANDARD) else "other"


def image_words(frame: FrameHeader) -> tuple[str, ...]:
    """FrameType of an enhanced object's frame, else ImageType."""
    return frame.words("FrameType") or frame.words("ImageType")


def kind_of(frame: FrameHeader, modality: str) -> str:
    """``localiser`` (a planning image), ``derived`` (computed from other images), or ``""``, by header and text.

    Most processed radiographs call themselves derived, so that word counts for MR only.
    """
    words = image_words(frame)
    texts = [frame.text("SeriesDescription"), frame.text("ProtocolName")]
    if "LOCALIZER" in words or "LOCALISER" in words:
        return "localiser"
    if modality != "MR":
        return ""
    if any(map(vocabulary.is_localiser, texts)):
        return "localiser"
    technique = "".join(frame.words("VolumeBasedCalculationTechnique")[:1])
    derived = words[:1] == ("DERIVED",) or not _PROJECTED.isdisjoint(words) or technique not in ("", "NONE")
    return "derived" if derived or any(map(vocabulary.is_derived, texts)) else ""


def read_flags(frame: FrameHeader, modality: str, height_mm: float) -> Flags:
    """Flags of a frame; ``height_mm``: Rows times their spacing, NaN if unknown."""
    words = image_words(frame)
    texts = [frame.text(name) for name in (*SERIES_TEXTS, *STUDY_TEXTS)]
    interpretation = frame.text("PhotometricInterpretation") or "MONOCHROME"
    colour = frame.integer("SamplesPerPixel") > 1 or not interpretation.startswith("MONOCHROME")
    return Flags(
        stitched=modality == "XR" and _is_long(frame, words, texts, height_mm),
        burned_in=frame.words("BurnedInAnnotation")[:1] == ("YES",),
        overlay=_has_overlay(frame),
        screenshot=colour or _is_captured(frame, words),
        implant=any(map(vocabulary.names_implant, texts)),
    )


def _is_long(frame: FrameHeader, words: tuple[str, ...], texts: list[str], height_mm: float) -> bool:
    rows, columns = frame.integer("Rows"), frame.integer("Columns")
    told = not {"STITCHED", "COMPOSED", "COMPOSITE"}.isdisjoint(words) or any(map(vocabulary.is_stitched, texts))
    tall = not math.isnan(height_mm) and height_mm > LONGEST_FILM_MM
    return told or tall or rows > LONGEST_ASPECT * columns


def _has_overlay(frame: FrameHeader) -> bool:
    """Any element of the groups 6000 … 60FE (PS3.3 C.9.2), or a sequence of graphics."""
    if "overlay" not in frame.file.known:
        dataset = frame.file.dataset
        planes = any(0x6000 <= tag.group <= 0x60FE and not tag.group % 2 for tag in dataset.keys())  # noqa: SIM118
        frame.file.known["overlay"] = planes or bool(frame.sequence("GraphicAnnotationSequence"))
    return bool(frame.file.known["overlay"])


def _is_captured(frame: FrameHeader, words: tuple[str, ...]) -> bool:
    sop_class = frame.text("SOPClassUID")
    screen = any(word.replace("_", " ") in ("SCREEN SAVE", "SCREENSHOT", "SCREEN SHOT") for word in words)
    return screen or sop_class == SECONDARY_CAPTURE or sop_class.startswith(SECONDARY_CAPTURE + ".")
