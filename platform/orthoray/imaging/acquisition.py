"""How an image was acquired: numbers within plausible bounds, and words of closed vocabularies."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orthoray.imaging import vocabulary
from orthoray.imaging.deid.text import device_name, words_of
from orthoray.imaging.frames import FrameHeader

SERIES_TEXTS = ("SeriesDescription", "ProtocolName", "PerformedProcedureStepDescription")
"""Where people write what a series is; more than one word of it may be wrong, so it only fills gaps."""

IDENTITIES = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "DeviceSerialNumber",
)
"""Attributes of which no word may be part of a device's name."""

GAUSS = 50.0
"""Field strengths above this are no teslas but gausses, as ACR-NEMA had them; 1 T = 10 000 G."""

_SCANNING = {"SE", "IR", "GR", "EP", "RM"}
_VARIANTS = {"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "TOF"}
_OPTIONS = {"PER", "RG", "CG", "PPG", "FC", "PFF", "PFP", "SP", "FS"}
_SEQUENCE_NAMES = {
    "tse": "TSE", "spc": "TSE", "tir": "TSE", "h": "TSE", "se": "SE", "de": "DESS", "fl": "FLASH", "fi": "GRE",
    "me": "GRE", "ci": "GRE", "ep": "EPI",
}  # fmt: skip
_SEQUENCE_NAME = re.compile(rf"\*?q?({'|'.join(sorted(_SEQUENCE_NAMES, key=len, reverse=True))})[23]d")
"""How one maker's sequence names begin, e.g. ``*tse2d1_9``, ``*de3d1``."""


@dataclass(frozen=True)
class Acquisition:
    """Parameters of the acquisition. Numbers are NaN where the header is silent or implausible, words ``""``.

    Attributes:
        field_strength_t: magnetic flux density in tesla (0.01 … 25).
        echo_time_ms: effective echo time (0 … 5000); 0 is what some scanners write for computed maps.
        repetition_time_ms: 0 … 100 000.
        inversion_time_ms: 0 … 100 000.
        echo_train_length: echoes per excitation (0 … 2000).
        flip_angle_deg: 0 … 360.
        b_value_s_per_mm2: diffusion weighting (0 … 20 000).
        bandwidth_hz_per_px: 1 … 10 000 000.
        slice_thickness_mm: 0.01 … 200.
        spacing_between_slices_mm: as the header says (0.01 … 200); the truth comes from the positions.
        kvp: peak voltage in kV (10 … 300).
        exposure_mas: tube current times time in mAs (0 … 10 000).
        exposure_index, deviation_index: of IEC 62494-1 (0 … 100 000, -100 … 100).
        sid_mm: distance from source to detector (100 … 5000).
        magnification: EstimatedRadiographicMagnificationFactor (1 … 5), where the header documents it.
        manufacturer: usual name of the maker, else its name if `orthoray.imaging.deid.text.device_name` lets it stay.
        model: the product's name on the same condition.
        scanning_sequence, sequence_variant, scan_options: terms of PS3.3 C.8.3.1, joined by ``+``.
        acquisition_type: 2D or 3D.
        family: kind of pulse sequence (SE, TSE, GRE, DESS, FLASH, EPI).
        weighting: PD, T1, T2 or T2*.
        fat_suppression: yes or no.
    """

    field_strength_t: float = math.nan
    echo_time_ms: float = math.nan
    repetition_time_ms: float = math.nan
    inversion_time_ms: float = math.nan
    echo_train_length: float = math.nan
    flip_angle_deg: float = math.nan
    b_value_s_per_mm2: float = math.nan
    bandwidth_hz_per_px: float = math.nan
    slice_thickness_mm: float = math.nan
    spacing_between_slices_mm: float = math.nan
    kvp: float = math.nan
    exposure_mas: float = math.nan
    exposure_index: float = math.nan
    deviation_index: float = math.nan
    sid_mm: float = math.nan
    magnification: float = math.nan
    manufacturer: str = ""
    model: str = ""
    scanning_sequence: str = ""
    sequence_variant: str = ""
    scan_options: str = ""
    acquisition_type: str = ""
    family: str = ""
    weighting: str = ""
    fat_suppression: str = ""


Fields = dict[str, Any]


def read_acquisition(frame: FrameHeader, modality: str) -> Acquisition:
    """Read a frame's acquisition from its header.

    Args:
        frame: the frame.
        modality: XR or MR; of others only the device is read.
    """
    fields = _device(frame)
    if modality == "MR":
        fields |= _mr_numbers(frame) | _mr_words(frame)
    elif modality == "XR":
        fields |= _xr_numbers(frame)
    return Acquisition(**fields)


def tesla(value: float) -> float:
    """Field strength in tesla of a header's number, which may be in gauss; NaN outside 0.01 … 25 T."""
    field = value / 10_000 if value > GAUSS else value
    return field if 0.01 <= field <= 25.0 else math.nan


def weighting_of(echo_ms: float, repetition_ms: float) -> str:
    """Weighting of a spin echo image by its times; ``""`` between the usual ranges and where a time is missing.

    Short repetition (< 1000 ms) and echo (< 30 ms) times weight by T1; with repetition times from 1500 ms on, echo
    times up to 45 ms weight by proton density, and from 60 ms on by T2.
    """
    if repetition_ms < 1000 and echo_ms < 30:
        return "T1"
    if repetition_ms >= 1500:
        return "PD" if echo_ms <= 45 else "T2" if echo_ms >= 60 else ""
    return ""


def _device(frame: FrameHeader) -> Fields:
    known = frame.file.known
    if "device" not in known:
        needles = frozenset(word for name in IDENTITIES for word in words_of(frame.text(name)) if len(word) > 1)
        names = (" ".join(frame.text(name).split()) for name in ("Manufacturer", "ManufacturerModelName"))
        maker, model = (name if device_name(name, needles) else "" for name in names)
        known["device"] = {"manufacturer": vocabulary.manufacturer(frame.text("Manufacturer")) or maker, "model": model}
    return dict(known["device"])


def _mr_numbers(frame: FrameHeader) -> Fields:
    inversion = frame.find("InversionTimes")
    several = inversion is not None and not isinstance(inversion, int | float)
    return {
        "field_strength_t": tesla(frame.number("MagneticFieldStrength")),
        "echo_time_ms": frame.number("EffectiveEchoTime", "EchoTime", low=0, high=5000),
        "repetition_time_ms": frame.number("RepetitionTime", low=0, high=1e5),
        "inversion_time_ms": math.nan if several else frame.number("InversionTimes", "InversionTime", low=0, high=1e5),
        "echo_train_length": _echo_train(frame),
        "flip_angle_deg": frame.number("FlipAngle", low=0, high=360),
        "b_value_s_per_mm2": frame.number("DiffusionBValue", low=0, high=2e4),
        "bandwidth_hz_per_px": frame.number("PixelBandwidth", low=1, high=1e7),
        "slice_thickness_mm": frame.number("SliceThickness", low=0.01, high=200),
        "spacing_between_slices_mm": frame.number("SpacingBetweenSlices", low=0.01, high=200),
    }


def _xr_numbers(frame: FrameHeader) -> Fields:
    micro = frame.number("ExposureInuAs", low=0, high=1e7)
    return {
        "kvp": frame.number("KVP", low=10, high=300),
        "exposure_mas": micro / 1000 if micro > 0 else frame.number("ExposureInmAs", "Exposure", low=0, high=1e4),
        "exposure_index": frame.number("ExposureIndex", low=0, high=1e5),
        "deviation_index": frame.number("DeviationIndex", low=-100, high=100),
        "sid_mm": frame.number("DistanceSourceToDetector", low=100, high=5000),
        "magnification": frame.number("EstimatedRadiographicMagnificationFactor", low=1, high=5),
    }


def _echo_train(frame: FrameHeader) -> float:
    pulses = frame.number("RFEchoTrainLength", low=1, high=2000)
    return frame.number("EchoTrainLength", low=0, high=2000) if math.isnan(pulses) else pulses


def _mr_words(frame: FrameHeader) -> Fields:
    scanning = _terms(frame, "ScanningSequence", _SCANNING)
    variant = _terms(frame, "SequenceVariant", _VARIANTS)
    options = _terms(frame, "ScanOptions", _OPTIONS)
    kind = frame.words("MRAcquisitionType")[:1]
    texts = [text for name in SERIES_TEXTS if (text := frame.text(name))]
    family = _first(vocabulary.family, texts) or _family(frame, scanning, variant)
    return {
        "scanning_sequence": "+".join(scanning),
        "sequence_variant": "+".join(variant),
        "scan_options": "+".join(options),
        "acquisition_type": kind[0] if kind and kind[0] in ("2D", "3D") else "",
        "family": family,
        "weighting": _weighting(frame, texts, family),
        "fat_suppression": _first(vocabulary.fat_suppression, texts) or _fat(frame, options),
    }


def _terms(frame: FrameHeader, name: str, allowed: set[str]) -> list[str]:
    return sorted(set(frame.words(name)) & allowed)


def _first(reader: Callable[[str], str], texts: list[str]) -> str:
    return next((term for text in texts if (term := reader(text))), "")


def _family(frame: FrameHeader, scanning: list[str], variant: list[str]) -> str:
    named = _SEQUENCE_NAME.match(frame.text("SequenceName").lower())
    if named:
        return _SEQUENCE_NAMES[named.group(1)]
    pulses = "".join(frame.words("EchoPulseSequence")[:1])  # enhanced objects, C.8.13.4
    spoiled = "SP" in variant or "".join(frame.words("Spoiling")[:1]) in ("RF", "RF_AND_GRADIENT")
    if "EP" in scanning or frame.words("EchoPlanarPulseSequence") == ("YES",):
        return "EPI"
    if "GR" in scanning or pulses == "GRADIENT":
        return "FLASH" if spoiled else "GRE"
    if "SE" in scanning or pulses == "SPIN":
        return "TSE" if _echo_train(frame) > 1 else "SE"
    return ""


def _weighting(frame: FrameHeader, texts: list[str], family: str) -> str:
    told = _first(vocabulary.weighting, texts)
    if told:
        return told
    contrast = "".join(frame.words("AcquisitionContrast")[:1])
    if contrast in ("T1", "T2", "PROTON_DENSITY", "T2_STAR"):
        return {"PROTON_DENSITY": "PD", "T2_STAR": "T2*"}.get(contrast, contrast)
    echo, repetition = frame.number("EffectiveEchoTime", "EchoTime"), frame.number("RepetitionTime")
    return weighting_of(echo, repetition) if family in ("SE", "TSE") else ""


def _fat(frame: FrameHeader, options: list[str]) -> str:
    excited = "".join(frame.words("SpectrallySelectedExcitation")[:1])
    suppressed = "".join(frame.words("SpectrallySelectedSuppression")[:1])
    if "FS" in options or excited == "WATER" or suppressed in ("FAT", "FAT_AND_WATER"):
        return "yes"
    return "no" if suppressed == "NONE" else ""
