"""Header facts: planes, order, echoes, sides, ages, films, acquisition, and what must not come out."""

import math
from dataclasses import asdict, fields
from datetime import date

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from tests.imaging.headers import CORONAL, SAGITTAL, enhanced, header, item, one
from tests.imaging.objects import save_dicom, save_enhanced

from orthoray.imaging import ImageFacts, UnreadableImageError, read_facts
from orthoray.imaging import frames as header_frames
from orthoray.imaging.facts import facts_of
from orthoray.imaging.geometry import plane_of

PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)
IDENTITIES = {"patient", "study_uid", "series_uid", "image_uid", "accession"}


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
    assert one(header(ImageOrientationPatient=orientation, SeriesDescription="MPR axial")).plane == plane


def test_facts_of_a_slice(tmp_path):
    path = save_dicom(
        tmp_path / "a.dcm", PIXELS, "MR", ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        ImagePositionPatient=[-42.5, 1, 2], PixelSpacing=[0.5, 0.25], Laterality="L", BodyPartExamined="LT KNEE",
        StudyDate="20150407", PatientAge="063Y", PatientSex="F", MagneticFieldStrength="3", Manufacturer="Maker",
        InstanceNumber=4, AccessionNumber="A-17",
    )  # fmt: skip
    (facts,) = read_facts(path)
    assert (facts.modality, facts.body_part, facts.laterality, facts.plane) == ("MR", "knee", "L", "sagittal")
    assert facts.position_mm == 42.5
    assert (facts.origin_x_mm, facts.origin_y_mm, facts.origin_z_mm) == (-42.5, 1, 2)
    assert (facts.row_y, facts.column_z, facts.row_x) == (1, -1, 0)
    assert (facts.row_spacing_mm, facts.col_spacing_mm, facts.spacing_source) == (0.5, 0.25, "pixel")
    assert (facts.day, facts.years, facts.sex, facts.field_strength_t) == (date(2015, 4, 7), 63.0, "F", 3.0)
    assert (facts.instance, facts.rows, facts.columns, facts.accession) == (4, 8, 8, "A-17")


def test_position_grows_along_the_normal(tmp_path):
    places = []
    for number, x in enumerate((-3.0, 0.0, 3.0)):
        path = save_dicom(
            tmp_path / f"{number}.dcm", PIXELS, "MR", ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
            ImagePositionPatient=[x, 50, -20],
        )  # fmt: skip
        places.append(read_facts(path)[0].position_mm)
    assert places == [3.0, 0.0, -3.0]


@pytest.mark.parametrize(
    "orientation", [[0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], [1, 0], "LEFT"], ids=["zero", "parallel", "short", "text"]
)
def test_an_orientation_that_is_none_gives_no_geometry(orientation):
    dataset = header(ImagePositionPatient=[1, 2, 3], SeriesDescription="sag")
    dataset.add_new("ImageOrientationPatient", "LO" if orientation == "LEFT" else "DS", orientation)
    facts = one(dataset)
    assert facts.plane == "none"
    assert math.isnan(facts.position_mm)
    assert math.isnan(facts.row_x)


def test_text_tells_the_plane_of_reformats_without_orientation_only():
    derived = {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}
    assert one(header(**derived, SeriesDescription="COR MPR")).plane == "coronal"
    assert one(header(SeriesDescription="COR PD")).plane == "none"
    assert one(header(**derived, SeriesDescription="COR MPR", ImageOrientationPatient=SAGITTAL)).plane == "sagittal"


@pytest.mark.parametrize(
    ("one_of", "other"),
    [
        ({"EchoTime": 10}, {"EchoTime": 20}),
        ({"PixelSpacing": [0.5, 0.5]}, {"PixelSpacing": [0.4, 0.5]}),
        ({"Columns": 8}, {"Columns": 16}),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}),
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 800.0}),
    ],
)
def test_key_of_a_stack_tells_these_apart(one_of, other):
    assert one(header(**one_of)).stack == one(header(**one_of)).stack != one(header(**other)).stack


@pytest.mark.parametrize("name", ["AcquisitionNumber", "EchoNumbers", "TemporalPositionIdentifier", "InstanceNumber"])
def test_numbers_alone_do_not_change_the_key(name):
    assert one(header(**{name: 1})).stack == one(header(**{name: 2})).stack


def test_enhanced_frames_have_their_own_place_and_echo(tmp_path):
    groups = [(1.0, 0.0, None, x, echo) for echo in (10.0, 20.0) for x in (0.0, 4.0)]
    pixels = np.zeros((4, 8, 8), np.uint16)
    facts = read_facts(save_enhanced(tmp_path / "a.dcm", pixels, groups))
    assert [fact.frame for fact in facts] == [0, 1, 2, 3]
    assert [abs(fact.position_mm) for fact in facts] == [0.0, 4.0, 0.0, 4.0]
    assert [fact.echo_time_ms for fact in facts] == [10.0, 10.0, 20.0, 20.0]
    assert facts[0].stack == facts[1].stack != facts[2].stack == facts[3].stack
    assert facts[0].col_spacing_mm == 0.25


def test_only_the_macro_of_an_attribute_is_asked_for_it():
    """Some makers put the single-frame header of each frame, with another corner, into a private sequence."""
    groups = [
        {
            "PlanePositionSequence": item(ImagePositionPatient=[x, 0, 0]),
            "PlaneOrientationSequence": item(ImageOrientationPatient=SAGITTAL),
            "FrameContentSequence": item(StackID="1", InStackPositionNumber=n + 1, TemporalPositionIndex=7),
        }
        for n, x in enumerate((5.0, 9.0))
    ]
    dataset = enhanced(groups, {"MRTimingAndRelatedParametersSequence": item(RepetitionTime=2450.0)})
    for group in dataset.PerFrameFunctionalGroupsSequence:
        private = item(ImagePositionPatient=[77, 7, 7], ImageOrientationPatient=CORONAL, InstanceNumber=99, EchoTime=4)
        group.add_new(Tag(0x2005, 0x0010), "LO", "MAKER DD 005")
        group.add_new(Tag(0x2005, 0x100F), "SQ", Sequence([private]))
    found = facts_of(dataset)
    assert [fact.origin_x_mm for fact in found] == [5.0, 9.0]
    assert {(fact.plane, fact.temporal, fact.repetition_time_ms) for fact in found} == {("sagittal", 7, 2450.0)}
    assert [fact.in_stack for fact in found] == [1, 2]
    assert all(math.isnan(fact.echo_time_ms) for fact in found)


def test_converted_objects_keep_attributes_without_a_macro():
    groups = [{"UnassignedPerFrameConvertedAttributesSequence": item(EchoTime=t, EchoNumbers=1)} for t in (5.0, 6.0)]
    shared = {"UnassignedSharedConvertedAttributesSequence": item(ScanningSequence="SE", AcquisitionNumber=3)}
    found = facts_of(enhanced(groups, shared, converted=True))
    assert [(fact.modality, fact.echo_time_ms, fact.acquisition) for fact in found] == [("MR", 5.0, 3), ("MR", 6.0, 3)]
    assert found[0].scanning_sequence == "SE"


def test_look_ups_grow_in_proportion_to_the_frames(monkeypatch):
    look_up, count = header_frames._value, 0

    def counting(place, name):
        nonlocal count
        count += 1
        return look_up(place, name)

    def look_ups(frames):
        nonlocal count
        groups = [
            {
                "PlanePositionSequence": item(ImagePositionPatient=[float(n), 0, 0]),
                "MREchoSequence": item(EffectiveEchoTime=float(n)),
            }
            for n in range(frames)
        ]
        dataset = enhanced(groups, {"PlaneOrientationSequence": item(ImageOrientationPatient=SAGITTAL)})
        count = 0
        assert len(facts_of(dataset)) == frames
        return count

    monkeypatch.setattr(header_frames, "_value", counting)
    few, more, many = look_ups(10), look_ups(20), look_ups(200)
    assert many - more == 18 * (more - few)
    assert more - few < 10 * 12  # a frame asks its own groups, not again what holds for all


def test_an_absurd_number_of_frames_is_refused():
    with pytest.raises(UnreadableImageError) as error:
        facts_of(header(NumberOfFrames=2**31 - 1))
    assert error.value.reason == "too_large"
    assert len(facts_of(header(NumberOfFrames="0"))) == 1


@pytest.mark.parametrize(
    ("header_of", "years"),
    [
        ({"PatientAge": "095Y"}, 90.0),
        ({"PatientAge": "006M"}, 0.5),
        ({"PatientAge": "000Y"}, math.nan),
        ({}, math.nan),
        ({"PatientAge": "99"}, 90.0),
        ({"PatientAge": "50 years"}, math.nan),
        ({"PatientBirthDate": "19500601", "StudyDate": "20200531"}, 69.0),
        ({"PatientBirthDate": "20010101", "StudyDate": "2002.01.01"}, 1.0),
        ({"PatientBirthDate": "19500601", "StudyDate": "20200601", "PatientAge": "000Y"}, 70.0),
        ({"PatientBirthDate": "19000101", "StudyDate": "20200101"}, 90.0),
        ({"PatientBirthDate": "20200101", "StudyDate": "20190101"}, math.nan),
    ],
)
def test_age(header_of, years):
    assert one(header(**header_of)).years == pytest.approx(years, nan_ok=True)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("localiser", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("localiser", {"SeriesDescription": "3-PLANE LOC"}),
        ("localiser", {"ProtocolName": "MP_LOCATOR_LEFT"}),
        ("localiser", {"ImageType": ["DERIVED", "PRIMARY", "MPR"], "SeriesDescription": "loc_MPR_cor"}),
        ("derived", {"ImageType": ["DERIVED", "SECONDARY"]}),
        ("derived", {"ImageType": ["ORIGINAL", "PRIMARY", "MPR"]}),
        ("derived", {"ImageType": ["ORIGINAL", "PRIMARY", "PROJECTION IMAGE"]}),
        ("derived", {"ImageType": ["ORIGINAL", "SECONDARY", "T2 MAP"]}),
        ("derived", {"SeriesDescription": "AX_MPR_LEFT"}),
        ("", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"], "SeriesDescription": "T2MAP"}),
        ("", {"StudyDescription": "knee with localizer"}),
    ],
)
def test_kind(kind, attributes):
    assert one(header(**attributes)).kind == kind


def test_processed_films_are_no_derived_images():
    assert one(header("CR", ImageType=["DERIVED", "PRIMARY"])).kind == ""


CLASS = "1.2.840.10008.5.1.4.1.1."


@pytest.mark.parametrize(
    ("sop_class", "modality", "expected"),
    [
        ("1", "CR", "XR"), ("1.1", "DX", "XR"), ("1.1.1", "DX", "XR"), ("1", "DX", "XR"), ("7", "RG", "XR"),
        ("4", "MR", "MR"), ("4.1", "MR", "MR"), ("4.4", "MR", "MR"), ("7", "MR", "MR"), (None, "MR", "MR"),
        ("2", "CT", "other"), ("4", "CT", "other"), ("2", "MR", "other"), ("1.2", "MG", "other"),
        ("1.2", "DX", "other"), ("4.2", "MR", "other"), ("11.1", "PR", "other"), ("1", "MR", "other"),
        ("6.1", "US", "other"), ("7", "CT", "other"),
        ("2", "OT", "other"), ("1", "OT", ""), ("7", "OT", ""), (None, "", ""), ("1", "", ""), ("1", "cr", "XR"),
    ],
)  # fmt: skip
def test_modalities_and_classes(sop_class, modality, expected):
    assert one(header(modality, SOPClassUID=CLASS + sop_class if sop_class else "")).modality == expected


def test_classes_of_makers_leave_the_modality_open():
    assert [one(header(name, SOPClassUID="1.3.46.1.1")).modality for name in ("MR", "CT")] == ["", "other"]


@pytest.mark.parametrize(
    ("attributes", "part"),
    [
        ({"BodyPartExamined": "KNEE"}, "knee"),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "knee"}, "chest"),
        ({"BodyPartExamined": "HAND"}, "hand"),
        ({"BodyPartExamined": "DOE JANE", "StudyDescription": "LEFT WRIST"}, "wrist"),
        ({"AnatomicRegionSequence": [item(CodeValue="T-D9200", CodingSchemeDesignator="SNM3")]}, "knee"),
        ({"AnatomicRegionSequence": [item(CodeValue="24136001", CodingSchemeDesignator="SCT")]}, "hip"),
        ({"BodyPartExamined": "ANKLE", "AnatomicRegionSequence": [item(CodeValue="T-D9200")]}, "ankle"),
        ({"AnatomicRegionSequence": [item(CodeValue="T-D9200")], "SeriesDescription": "hip"}, "knee"),
        ({"SeriesDescription": "PA Right Hand", "StudyDescription": "knee"}, "hand"),
        ({}, ""),
    ],
)
def test_body_part(attributes, part):
    assert one(header("CR", **attributes)).body_part == part


def test_header_and_description_of_different_parts_contradict_each_other():
    assert one(header("CR", BodyPartExamined="KNEE", SeriesDescription="PA Right Hand")).body_part_conflict
    assert not one(header("CR", BodyPartExamined="KNEE", SeriesDescription="Knie ap")).body_part_conflict
    assert not one(header("CR", BodyPartExamined="EXTREMITY", SeriesDescription="knee")).body_part_conflict


def view_code(value):
    return [item(CodeValue=value, CodingSchemeDesignator="SCT")]


@pytest.mark.parametrize(
    ("attributes", "view"),
    [
        ({"ViewPosition": "AP"}, "AP"),
        ({"ViewPosition": "LL"}, "LAT"),
        ({"ViewPosition": "DOE JANE"}, ""),
        ({"ViewPosition": "PA", "ViewCodeSequence": view_code("399348003")}, "PA"),
        ({"ViewCodeSequence": view_code("272479007")}, "PA"),
        ({"ViewCodeSequence": view_code("399198007")}, "LAT"),
        ({"ViewCodeSequence": view_code("R-10206")}, "AP"),
        ({"PatientOrientation": ["L", "F"]}, "frontal"),
        ({"PatientOrientation": ["A", "F"]}, "LAT"),
        ({"PatientOrientation": ["PL", "FA"]}, "LAT"),
        ({"PatientOrientation": ["L", "P"]}, "skyline"),
        ({"PatientOrientation": ["L", "F"], "SeriesDescription": "PA fixed flexion"}, "PA"),
        ({"ViewPosition": "AP", "SeriesDescription": "skyline"}, "skyline"),
        ({"ViewPosition": "AP", "SeriesDescription": "full leg standing"}, "long_leg"),
        ({"SeriesDescription": "knee lat", "StudyDescription": "knee ap"}, "LAT"),
        ({"StudyDescription": "knee ap/lat"}, ""),
        ({}, ""),
    ],
)
def test_view(attributes, view):
    assert one(header("CR", **attributes)).view == view
    assert one(header("MR", **attributes)).view == ""


SPACED = {"PixelSpacing": [0.1, 0.2]}
DETECTOR = {"ImagerPixelSpacing": [0.12, 0.24]}
ENLARGED = {"EstimatedRadiographicMagnificationFactor": 1.2}


@pytest.mark.parametrize(
    ("attributes", "spacing", "source"),
    [
        (SPACED | DETECTOR, (0.1, 0.2), "calibrated"),
        (SPACED | {"PixelSpacingCalibrationType": "FIDUCIAL"}, (0.1, 0.2), "calibrated"),
        (SPACED, (0.1, 0.2), "uncertain"),
        (DETECTOR, (0.12, 0.24), "detector"),
        (DETECTOR | {"PixelSpacing": [0.12, 0.24]}, (0.12, 0.24), "detector"),
        (DETECTOR | {"PixelSpacing": [0.12, 0.24]} | ENLARGED, (0.1, 0.2), "magnification"),
        (DETECTOR | ENLARGED, (0.1, 0.2), "magnification"),
        (SPACED | DETECTOR | ENLARGED, (0.1, 0.2), "calibrated"),
        (DETECTOR | {"EstimatedRadiographicMagnificationFactor": 0.0}, (0.12, 0.24), "detector"),
        ({"NominalScannedPixelSpacing": [0.17, 0.17]}, (0.17, 0.17), "nominal"),
        ({"PixelSpacing": [0, 0]}, (math.nan, math.nan), ""),
        ({}, (math.nan, math.nan), ""),
        (ENLARGED, (math.nan, math.nan), ""),
    ],
)
def test_spacing_of_a_film_says_where_it_comes_from(attributes, spacing, source):
    facts = one(header("DX", SOPClassUID="", **attributes))
    assert (facts.row_spacing_mm, facts.col_spacing_mm) == pytest.approx(spacing, nan_ok=True)
    assert facts.spacing_source == source
    documented = attributes.get("EstimatedRadiographicMagnificationFactor", 0) >= 1
    assert facts.magnification == pytest.approx(1.2 if documented else math.nan, nan_ok=True)


@pytest.mark.parametrize(
    ("flag", "attributes"),
    [
        ("stitched", {"ImageType": ["DERIVED", "PRIMARY", "STITCHED"]}),
        ("stitched", {"ImageType": ["DERIVED", "PRIMARY", "", "COMPOSED"]}),
        ("stitched", {"SeriesDescription": "scanogram"}),
        ("stitched", {"StudyDescription": "双下肢全长拼接"}),
        ("stitched", {"Rows": 4300, "Columns": 3000, "ImagerPixelSpacing": [0.14, 0.14]}),
        ("stitched", {"Rows": 2300, "Columns": 1000}),
        ("burned_in", {"BurnedInAnnotation": "YES"}),
        ("screenshot", {"SOPClassUID": CLASS + "7"}),
        ("screenshot", {"SOPClassUID": CLASS + "7.4"}),
        ("screenshot", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}),
        ("screenshot", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}),
        ("screenshot", {"PhotometricInterpretation": "PALETTE COLOR"}),
        ("implant", {"StudyDescription": "s/p TKA"}),
        ("overlay", {"GraphicAnnotationSequence": [Dataset()]}),
        ("", {"Rows": 4200, "Columns": 3000, "ImagerPixelSpacing": [0.14, 0.14]}),
        ("", {"Rows": 1000, "Columns": 2500}),
        ("", {"BurnedInAnnotation": "NO", "StudyDescription": "knee pain"}),
    ],
)
def test_flags_of_a_film(flag, attributes):
    facts = one(header("CR", **attributes))
    names = ("stitched", "burned_in", "overlay", "screenshot", "implant")
    assert [name for name in names if getattr(facts, name)] == ([flag] if flag else [])


def test_overlay_planes_of_any_group_are_seen():
    dataset = header("CR")
    dataset.add_new(Tag(0x601C, 0x0010), "US", 8)
    assert one(dataset).overlay


@pytest.mark.parametrize(("told", "tesla"), [("15015", 1.5015), ("3", 3.0), ("30000", 3.0), ("0", math.nan)])
def test_field_strength_in_gauss(told, tesla):
    assert one(header(MagneticFieldStrength=told)).field_strength_t == pytest.approx(tesla, nan_ok=True)


def test_acquisition_of_a_slice():
    facts = one(
        header(
            EchoTime="35", RepetitionTime="3000", EchoTrainLength="8", FlipAngle="150", SliceThickness="3",
            SpacingBetweenSlices="3.3", InversionTime="150", PixelBandwidth="200", ScanningSequence="SE",
            SequenceVariant=["SK", "SP"], ScanOptions=["FS", "ACC_GEMS"], MRAcquisitionType="2D",
            Manufacturer="SIEMENS", ManufacturerModelName="MAGNETOM Vida",
        )
    )  # fmt: skip
    assert (facts.echo_time_ms, facts.repetition_time_ms, facts.echo_train_length) == (35, 3000, 8)
    assert (facts.flip_angle_deg, facts.slice_thickness_mm, facts.spacing_between_slices_mm) == (150, 3, 3.3)
    assert (facts.inversion_time_ms, facts.bandwidth_hz_per_px) == (150, 200)
    assert (facts.scanning_sequence, facts.sequence_variant, facts.scan_options) == ("SE", "SK+SP", "FS")
    assert (facts.family, facts.weighting, facts.fat_suppression, facts.acquisition_type) == ("TSE", "PD", "yes", "2D")
    assert (facts.manufacturer, facts.model) == ("Siemens", "MAGNETOM Vida")


def test_acquisition_of_a_film():
    facts = one(
        header(
            "DX", SOPClassUID="", KVP="60", Exposure="4", ExposureInuAs="4200", ExposureIndex="250",
            DeviationIndex="-3.2", DistanceSourceToDetector="1150", EstimatedRadiographicMagnificationFactor="1.1",
        )
    )  # fmt: skip
    assert (facts.kvp, facts.exposure_mas, facts.exposure_index, facts.deviation_index) == (60, 4.2, 250, -3.2)
    assert (facts.sid_mm, facts.magnification) == (1150, 1.1)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"SequenceName": "*tse2d1_9"}, ("TSE", "")),
        ({"SequenceName": "*de3d1"}, ("DESS", "")),
        ({"SequenceName": "*fl3d1_ns"}, ("FLASH", "")),
        ({"ScanningSequence": "GR"}, ("GRE", "")),
        ({"ScanningSequence": "GR", "SequenceVariant": "SP"}, ("FLASH", "")),
        ({"ScanningSequence": "SE", "EchoTime": "12", "RepetitionTime": "600"}, ("SE", "T1")),
        ({"ScanningSequence": "SE", "EchoTime": "80", "RepetitionTime": "3000"}, ("SE", "T2")),
        ({"ScanningSequence": "GR", "EchoTime": "12", "RepetitionTime": "600"}, ("GRE", "")),
        ({"SeriesDescription": "SAG T2* MEDIC"}, ("GRE", "T2*")),
        ({"SeriesDescription": "SAG PD TSE", "EchoTime": "80", "RepetitionTime": "3000"}, ("TSE", "PD")),
    ],
)
def test_sequence_family_and_weighting(attributes, expected):
    facts = one(header(**attributes))
    assert (facts.family, facts.weighting) == expected


def test_implausible_numbers_are_unknown():
    facts = one(header(EchoTime="-4", RepetitionTime="1e9", FlipAngle="720", SliceThickness="0"))
    for name in ("echo_time_ms", "repetition_time_ms", "flip_angle_deg", "slice_thickness_mm"):
        assert math.isnan(getattr(facts, name))


def test_other_modalities_have_no_name(tmp_path):
    assert read_facts(save_dicom(tmp_path / "a.dcm", PIXELS, "CT"))[0].modality == "other"


TOKEN = "QXDOEJANE"
TEXT_VRS = {
    "AE": TOKEN, "CS": TOKEN, "LO": TOKEN, "SH": TOKEN, "LT": TOKEN, "ST": TOKEN, "UT": TOKEN, "UC": TOKEN,
    "PN": f"{TOKEN}^X", "UI": f"2.25.{TOKEN}",
}  # fmt: skip


def test_no_text_of_the_header_comes_out_but_identifiers():
    """A token in every text attribute of the dictionary, alone and beside known words."""
    from pydicom.datadict import DicomDictionary

    plain, beside = header(), header("CR")
    for tag, (vr, *_, retired, keyword) in DicomDictionary.items():
        if vr in TEXT_VRS and not retired and keyword and keyword not in ("Modality", "SOPClassUID"):
            plain.add_new(tag, vr, TEXT_VRS[vr])
            beside.add_new(tag, vr, f"KNEE {TEXT_VRS[vr]} LEFT")
    assert len(plain) > 500
    for dataset in (plain, beside):
        row = asdict(one(dataset))
        leaked = {name for name, value in row.items() if TOKEN.lower() in str(value).lower()}
        assert leaked <= IDENTITIES
    assert leaked == IDENTITIES  # the test looks where they are


def test_values_that_cannot_be_parsed_cost_themselves_only(tmp_path):
    path = save_dicom(tmp_path / "a.dcm", PIXELS, "MR", EchoTime="12", InstanceNumber=3, SliceThickness="12",
                      PixelSpacing=[0.5, 0.5])  # fmt: skip
    content = (tmp_path / "a.dcm").read_bytes()
    for tag in (b"\x18\x00\x81\x00DS\x02\x00", b"\x18\x00\x50\x00DS\x02\x00", b"\x20\x00\x13\x00IS\x02\x00"):
        at = content.index(tag) + len(tag)
        content = content[:at] + b"zz" + content[at + 2 :]
    (tmp_path / "a.dcm").write_bytes(content)
    (facts,) = read_facts(path)
    assert math.isnan(facts.echo_time_ms)
    assert math.isnan(facts.slice_thickness_mm)
    assert (facts.instance, facts.row_spacing_mm) == (0, 0.5)


def test_facts_are_plain_values_of_the_types_that_tables_know():
    assert {str(field.type) for field in fields(ImageFacts)} == {"str", "int", "float", "bool", "date | None"}
    for dataset in (header(), header("CR", ImagerPixelSpacing=[0.1, 0.1]), header(ImageOrientationPatient=SAGITTAL)):
        for field in fields(ImageFacts):
            value = getattr(one(dataset), field.name)
            expected = {"str": str, "int": int, "float": (float, int), "bool": bool, "date | None": (date, type(None))}
            assert isinstance(value, expected[str(field.type)]), field.name


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
