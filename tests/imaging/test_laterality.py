"""Sides: order of sources, contradictions, codes, text, position."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.imaging.headers import AXIAL, enhanced, header, item, one, slices

from orthoray.imaging.facts import facts_of
from orthoray.imaging.laterality import CONFIDENCE, Laterality, resolve, side_of_position


def code(value, scheme="SCT"):
    return item(CodeValue=value, CodingSchemeDesignator=scheme)


def region(value, scheme="SCT", name="AnatomicRegionModifierSequence"):
    return [item(CodeValue="72696002", CodingSchemeDesignator="SCT", **{name: [code(value, scheme)]})]


SOURCES = {
    "image_laterality": lambda side: {"ImageLaterality": side},
    "series_laterality": lambda side: {"Laterality": side},
    "frame_laterality": lambda side: {"FrameLaterality": side},
    "anatomic_modifier": lambda side: {"AnatomicRegionSequence": region({"L": "7771000", "R": "24028007"}[side])},
    "description": lambda side: {"SeriesDescription": {"L": "lt knee", "R": "rt knee"}[side]},
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("modality", ["MR", "CR"])
def test_each_source_alone(source, side, modality):
    facts = one(header(modality, **SOURCES[source](side)))
    assert (facts.laterality, facts.laterality_source) == (side, source)
    assert facts.laterality_confidence == CONFIDENCE[source]


@pytest.mark.parametrize(("better", "worse"), itertools.combinations(SOURCES, 2))
def test_the_better_source_is_named_and_a_contradiction_is_one(better, worse):
    facts = one(header("CR", **SOURCES[better]("L"), **SOURCES[worse]("L")))
    assert facts.laterality == "L"
    assert facts.laterality_confidence == max(CONFIDENCE[better], CONFIDENCE[worse])
    facts = one(header("CR", **SOURCES[better]("L"), **SOURCES[worse]("R")))
    assert (facts.laterality, facts.laterality_source, facts.laterality_confidence) == ("U", "conflict", 0.0)


@pytest.mark.parametrize(
    ("value", "scheme", "side"),
    [("7771000", "SCT", "L"), ("24028007", "SCT", "R"), ("51440002", "SCT", "B"), ("G-A101", "SRT", "L"),
     ("G-A100", "SNM3", "R"), ("G-A102", "99SDM", "B"), ("7771000", "LOCAL", "U"), ("66459002", "SCT", "U")],
)  # fmt: skip
def test_codes_of_the_anatomic_region(value, scheme, side):
    assert one(header("DX", SOPClassUID="", AnatomicRegionSequence=region(value, scheme))).laterality == side
    primary = region(value, scheme, "PrimaryAnatomicStructureModifierSequence")
    assert one(header("MR", PrimaryAnatomicStructureSequence=primary)).laterality == side


def test_frames_of_one_file_may_show_two_sides():
    groups = [{"FrameAnatomySequence": item(FrameLaterality=side)} for side in "LRR"]
    assert [facts.laterality for facts in facts_of(enhanced(groups))] == ["L", "R", "R"]


def test_both_contradicts_nothing():
    facts = one(header("CR", ImageLaterality="L", StudyDescription="XR both knees"))
    assert (facts.laterality, facts.laterality_source) == ("L", "image_laterality")
    assert one(header("CR", ImageLaterality="B", StudyDescription="left knee")).laterality == "B"
    assert one(header("CR", StudyDescription="XR both knees")).laterality == "B"
    assert one(header("MR", StudyDescription="MRI both knees")).laterality == "U"  # each series shows one


def test_text_is_not_believed_where_there_is_only_one_of_the_part():
    facts = one(header("CR", BodyPartExamined="THORAX", ProtocolName="RT", ImageLaterality="L"))
    assert (facts.laterality, facts.laterality_source) == ("L", "image_laterality")
    assert one(header("CR", BodyPartExamined="CHEST", SeriesDescription="L decubitus")).laterality == "U"


def test_study_and_series_that_name_different_sides_contradict_each_other():
    facts = one(header("MR", StudyDescription="LEFT KNEE", SeriesDescription="SAG PD RIGHT"))
    assert facts.laterality_source == "conflict"


@pytest.mark.parametrize(
    ("x", "side"), [(95.0, "L"), (-43.0, "R"), (19.9, "U"), (-19.9, "U"), (0.0, "U"), (float("nan"), "U")]
)
def test_side_by_position_is_weak(x, side):
    found = side_of_position(x)
    assert found.side == side
    assert found.confidence == (0.5 if side != "U" else 0.0)


@given(st.floats(-300, 300))
def test_mirrored_patients_have_the_other_side(x):
    swapped = {"L": "R", "R": "L", "U": "U"}
    assert side_of_position(-x).side == swapped[side_of_position(x).side]


@given(st.lists(st.tuples(st.sampled_from([*SOURCES, "position"]), st.sampled_from(["L", "R", "B", "U", ""]))))
def test_swapped_evidence_gives_the_other_side(evidence):
    swap = {"L": "R", "R": "L"}
    one_way = resolve(evidence)
    other = resolve([(source, swap.get(side, side)) for source, side in evidence])
    assert other == Laterality(swap.get(one_way.side, one_way.side), one_way.source, one_way.confidence)
    assert one_way.side in ("L", "R", "B", "U")
    assert (one_way.side == "U") == (one_way.confidence == 0.0)


def test_position_never_contradicts_a_strong_source():
    assert resolve([("position", "R"), ("description", "L")]) == Laterality(
        "L", "description", CONFIDENCE["description"]
    )


def test_x_of_an_axial_slice_is_that_of_its_middle():
    (dataset,) = slices([[60.0, 0, 0]], AXIAL, PixelSpacing=[1, 10])
    assert one(dataset).centre_x_mm == pytest.approx(60 + 3.5 * 10)
