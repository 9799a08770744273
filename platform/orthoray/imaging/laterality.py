"""Which side an image shows, where that was learnt, and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orthoray.imaging import vocabulary
from orthoray.imaging.frames import FrameHeader, Item

CONFIDENCE = {
    "table": 1.0,
    "image_laterality": 0.99,
    "series_laterality": 0.97,
    "frame_laterality": 0.97,
    "anatomic_modifier": 0.95,
    "description": 0.8,
    "position": 0.5,
    "conflict": 0.0,
    "": 0.0,
}
"""Source → how likely its side is right, as a judgement and not as a measurement; the order is that of preference.
``table`` is what a card's table of facts says in place of the header."""

STRONG = 0.8
"""Sources from this confidence on must not contradict each other."""

LEAST_OFFSET_MM = 20.0
"""A volume whose centre is nearer to the middle of the scanner than this says nothing of its side."""

SERIES_TEXTS = (
    "SeriesDescription",
    "ProtocolName",
    "PerformedProcedureStepDescription",
    "AcquisitionDeviceProcessingDescription",
    "BodyPartExamined",
)
STUDY_TEXTS = ("StudyDescription", "RequestedProcedureDescription")

_TAGS = (
    ("ImageLaterality", "image_laterality"),
    ("Laterality", "series_laterality"),
    ("FrameLaterality", "frame_laterality"),
)
_MODIFIERS = {
    ("SCT", "7771000"): "L", ("SCT", "24028007"): "R", ("SCT", "51440002"): "B",
    ("SRT", "G-A101"): "L", ("SRT", "G-A100"): "R", ("SRT", "G-A102"): "B",
}  # fmt: skip
"""Codes of PS3.16 CID 244, in SNOMED CT and in its older form (which SNM3 and 99SDM name too)."""


@dataclass(frozen=True)
class Laterality:
    """``side``: L, R, B or U (unknown); ``source``: a key of `CONFIDENCE`; ``confidence``: 0..1."""

    side: str = "U"
    source: str = ""
    confidence: float = 0.0


Evidence = tuple[str, str]
"""(source, side)."""


def resolve(evidence: Iterable[Evidence]) -> Laterality:
    """Weigh evidence.

    The most trusted source decides. If strong sources say left and right of the same image, the side is unknown and the
    source is ``conflict``: such an image belongs into quarantine. "Both" contradicts nothing, since a description of
    both knees goes with images of either.
    """
    known = [(source, side) for source, side in evidence if side in ("L", "R", "B")]
    strong = {side for source, side in known if CONFIDENCE[source] >= STRONG}
    if {"L", "R"} <= strong:
        return Laterality(source="conflict")
    if not known:
        return Laterality()
    source, side = max(known, key=lambda item: CONFIDENCE[item[0]])  # of equals the first
    return Laterality(side, source, CONFIDENCE[source])


def read_laterality(frame: FrameHeader, modality: str, body_part: str) -> Laterality:
    """Side of a frame by its header.

    Text is only believed for body parts of which there are two (or that are unknown): "RT" on a film of the chest means
    a projection.
    """
    paired = body_part in vocabulary.PAIRED or not body_part
    evidence = [*_coded(frame), *(_described(frame, modality) if paired else ())]
    return resolve(evidence)


def side_of_position(x_mm: float) -> Laterality:
    """Side by the mean x (LPS) of a volume's centre; weak, since the joint may lie in the middle of the scanner."""
    if math.isnan(x_mm) or abs(x_mm) < LEAST_OFFSET_MM:
        return Laterality()
    return Laterality("L" if x_mm > 0 else "R", "position", CONFIDENCE["position"])


def _coded(frame: FrameHeader) -> Iterator[Evidence]:
    for name, source in _TAGS:
        yield source, "".join(frame.words(name)[:1])
    for region, modifier in (
        ("AnatomicRegionSequence", "AnatomicRegionModifierSequence"),
        ("PrimaryAnatomicStructureSequence", "PrimaryAnatomicStructureModifierSequence"),
    ):
        for item in frame.sequence(region):
            for code in item.get(modifier) or ():
                yield "anatomic_modifier", _MODIFIERS.get(code_of(code), "")


def _described(frame: FrameHeader, modality: str) -> Iterator[Evidence]:
    for name in SERIES_TEXTS:
        yield "description", vocabulary.side(frame.text(name))
    for name in STUDY_TEXTS:
        side = vocabulary.side(frame.text(name))
        if side != "B" or modality != "MR":  # an MR study of both knees has series of either
            yield "description", side


def code_of(item: Item) -> tuple[str, str]:
    """(scheme, value) of an item of a code sequence; the older names of SNOMED are one scheme, SRT."""
    scheme = str(item.get("CodingSchemeDesignator") or "").strip().upper()
    value = str(item.get("CodeValue") or item.get("LongCodeValue") or "").strip().upper()
    return ("SRT" if scheme in ("SNM3", "99SDM") else scheme), value
