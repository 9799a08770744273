"""Header facts: planes, order, echoes, sides, ages."""

import math
from datetime import date

import numpy as np
import pytest
from tests.imaging.objects import save_dicom, save_enhanced

from orthoray.imaging import UnreadableImageError, read_facts
from orthoray.imaging.facts import plane_of

PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([1, 0, 0, 0, 1, 0], "axial"),
        ([0.98, 0.17, 0, 0, 0, -1], "coronal"),
        ([0.7071, 0.7071, 0, 0, 0, -1], "oblique"),
    ],
)
def test_plane_from_orientation(orientation, plane):
    assert plane_of(orientation) == plane


def test_facts_of_a_slice(tmp_path):
    path = save_dicom(
        tmp_path / "a.dcm", PIXELS, "MR", ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        ImagePositionPatient=[-42.5, 1, 2], PixelSpacing=[0.5, 0.25], Laterality="L", BodyPartExamined="LT KNEE",
        StudyDate="20150407", PatientAge="063Y", PatientSex="F", MagneticFieldStrength="3", Manufacturer="Maker",
        InstanceNumber=4,
    )  # fmt: skip
    (facts,) = read_facts(path)
    assert (facts.modality, facts.body_part, facts.laterality, facts.plane) == ("MR", "knee", "L", "sagittal")
    assert abs(facts.position_mm) == 42.5
    assert (facts.row_spacing_mm, facts.col_spacing_mm) == (0.5, 0.25)
    assert (facts.day, facts.years, facts.sex, facts.field_strength_t) == (date(2015, 4, 7), 63.0, "F", 3.0)


def test_position_grows_along_the_normal(tmp_path):
    places = []
    for number, x in enumerate((-3.0, 0.0, 3.0)):
        path = save_dicom(
            tmp_path / f"{number}.dcm", PIXELS, "MR", ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
            ImagePositionPatient=[x, 50, -20],
        )  # fmt: skip
        places.append(read_facts(path)[0].position_mm)
    assert np.allclose(np.abs(np.diff(places)), 3.0)
    assert len({np.sign(step) for step in np.diff(places)}) == 1


def test_echoes_are_different_stacks(tmp_path):
    keys = [
        read_facts(save_dicom(tmp_path / f"{echo}.dcm", PIXELS, "MR", EchoTime=echo, EchoNumbers=1))[0].stack
        for echo in (10, 20)
    ]
    assert keys[0] != keys[1]


def test_enhanced_frames_have_their_own_place_and_echo(tmp_path):
    groups = [(1.0, 0.0, None, x, echo) for echo in (10.0, 20.0) for x in (0.0, 4.0)]
    pixels = np.zeros((4, 8, 8), np.uint16)
    facts = read_facts(save_enhanced(tmp_path / "a.dcm", pixels, groups))
    assert [fact.frame for fact in facts] == [0, 1, 2, 3]
    assert [abs(fact.position_mm) for fact in facts] == [0.0, 4.0, 0.0, 4.0]
    assert facts[0].stack == facts[1].stack != facts[2].stack == facts[3].stack
    assert facts[0].col_spacing_mm == 0.25


@pytest.mark.parametrize(
    ("header", "years"),
    [
        ({"PatientAge": "095Y"}, 90.0),
        ({"PatientAge": "006M"}, 0.5),
        ({"PatientAge": "000Y"}, math.nan),
        ({}, math.nan),
        ({"PatientBirthDate": "19500601", "StudyDate": "20200531"}, 69.0),
    ],
)
def test_age(tmp_path, header, years):
    (facts,) = read_facts(save_dicom(tmp_path / "a.dcm", PIXELS, **header))
    assert facts.years == years or (math.isnan(years) and math.isnan(facts.years))


@pytest.mark.parametrize(
    ("kind", "words"), [("localiser", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), ("derived", ["DERIVED", "SECONDARY"])]
)
def test_kind(tmp_path, kind, words):
    assert read_facts(save_dicom(tmp_path / "a.dcm", PIXELS, "MR", ImageType=words))[0].kind == kind


def test_other_modalities_have_no_name(tmp_path):
    assert read_facts(save_dicom(tmp_path / "a.dcm", PIXELS, "CT"))[0].modality == ""


def test_no_warning_quotes_the_header(tmp_path, recwarn):
    read_facts(save_dicom(tmp_path / "a.dcm", PIXELS, "MR", InstanceNumber=3, PatientAge="DOE^JOHN", StudyDate="DOE"))
    del recwarn.list[:]  # pydicom warned while the file was written
    (facts,) = read_facts(str(tmp_path / "a.dcm"))
    assert not [warning for warning in recwarn.list if "DOE" in str(warning.message)]
    assert facts.day is None


def test_unparsable_header_has_a_reason(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + b"DOE^JOHN" * 9)
    with pytest.raises(UnreadableImageError) as error:
        read_facts(str(path))
    assert "DOE" not in str(error.value)
