"""Which part of the body an image shows, as far as the header says so."""

from __future__ import annotations

from orthoray.imaging import vocabulary
from orthoray.imaging.frames import FrameHeader
from orthoray.imaging.laterality import SERIES_TEXTS, STUDY_TEXTS, code_of

REGIONS = {
    "knee": "72696002 49076000 T-D9200 T-15720 64234005 T-12730",
    "hip": "29836001 24136001 T-D2500 T-15710",
    "shoulder": "16982005 T-D2220",
    "ankle": "70258002 T-15750",
    "wrist": "74670003 T-15460",
    "elbow": "16953009 T-15430",
    "hand": "85562004 T-D8700",
    "foot": "56459004 T-D9700",
    "leg": "30021000 T-D9400 12611008 T-12740",
    "thigh": "68367000 T-D9100 71341001 T-12710",
    "extremity": "61685007 T-D9000",
    "pelvis": "816092008 T-D6000",
    "chest": "816094009 51185008 T-D3000",
    "head": "69536005 T-D1100 12738006 T-A0100 89546000 T-11100",
    "spine": "421060004 T-D04FF 122496007 T-11503 122494005 T-11501 122495006 T-11502",
    "neck": "45048000 T-D1600",
    "breast": "76752008 T-04000",
    "abdomen": "818981001 113345001 T-D4000",
}
_REGION_CODES = {code: part for part, codes in REGIONS.items() for code in codes.split()}
"""Codes of PS3.16 CID 4031 and its like, in SNOMED CT and in its older form."""


def read_body_part(frame: FrameHeader) -> tuple[str, bool]:
    """Body part, and whether BodyPartExamined and the series' texts contradict each other about it.

    BodyPartExamined decides, then the code, the texts of the series and those of the study. ``""`` if none names one.
    """
    examined = vocabulary.body_part(frame.text("BodyPartExamined"))
    codes = (code_of(item)[1] for item in frame.sequence("AnatomicRegionSequence"))
    coded = next((part for code in codes if (part := _REGION_CODES.get(code))), "")
    series = [vocabulary.body_part(frame.text(name)) for name in SERIES_TEXTS if name != "BodyPartExamined"]
    study = [vocabulary.body_part(frame.text(name)) for name in STUDY_TEXTS]
    found = next((part for part in (examined, coded, *series, *study) if part), "")
    told = next((part for part in series if part), "")
    return found, bool(examined and told and examined != told and "extremity" not in (examined, told))
