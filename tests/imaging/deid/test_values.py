"""Values that files hold and should not: wrong types, odd dates and ages, texts, character sets, bits."""

from datetime import date

import numpy as np
import pytest
from pydicom import DataElement, Dataset, config
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, JPEGLSLossless, MRImageStorage
from tests.imaging.deid.phi_object import item, minimal, read

from orthoray.imaging.deid import dates, deidentify, to_bytes
from orthoray.imaging.files import UnreadableImageError
from orthoray.imaging.pseudonyms import Pseudonyms

IDS = Pseudonyms(b"a key for tests only", "values")


def result_of(keyword_or_tag, vr, value, **beside):
    """What becomes of one element; None if it goes."""
    dataset = minimal(**beside)
    planted = DataElement(keyword_or_tag, vr, value, validation_mode=config.IGNORE)
    dataset[planted.tag] = planted
    result = deidentify(dataset, IDS)
    return result[planted.tag].value if planted.tag in result else None


def shifted(text):
    return dates.shifted_date(text, IDS.shift_days("P-1"))


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("DA", "2015.04.07", shifted("20150407")),
        ("DA", ["20150407", "20150408"], [shifted("20150407"), shifted("20150408")]),
        ("LO", "20150407", shifted("20150407")),
        ("DA", "20150431", None),
        ("DA", "7 April 2015", None),
        ("DA", "201504", None),
        ("DA", "00010101", None),
        ("DA", ["20150407", "JONES"], None),
        ("DA", "", ""),
        ("UN", b"20150407", shifted("20150407")),
    ],
)
def test_dates(vr, value, expected):
    found = result_of("StudyDate", vr, value)
    assert (list(found) if isinstance(expected, list) else found) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20150407", shifted("20150407")),
        ("20150407101112", shifted("20150407") + "101112"),
        ("20150407101112.123456+0800", shifted("20150407") + "101112.123456"),
        ("20150407-0500", shifted("20150407")),
        ("2015", None),
        ("20150407 JONES", None),
        ("20150407991112", None),
    ],
)
def test_datetimes(value, expected):
    assert result_of("AcquisitionDateTime", "DT", value) == expected


@pytest.mark.parametrize("value", ["10", "1011", "101112", "101112.1", "235960.999999"])
def test_times_stay(value):
    assert result_of("StudyTime", "TM", value) == value


def test_times_of_the_older_form_are_written_in_todays():
    assert result_of("StudyTime", "TM", "10:11:12.5") == "101112.5"


@pytest.mark.parametrize("value", ["25", "JONES", "101112.1234567", "1011.5", "9", "10:70"])
def test_malformed_times_go(value):
    assert result_of("StudyTime", "TM", value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("089Y", "089Y"),
        ("090Y", "090Y"),
        ("091Y", "090Y"),
        ("104Y", "090Y"),
        ("45", "045Y"),
        ("7M", "007M"),
        ("000Y", "000Y"),
        ("120M", "120M"),
        ("old", None),
        ("1000Y", None),
    ],
)
def test_ages(value, expected):
    assert result_of("PatientAge", "AS", value) == expected


@pytest.mark.parametrize(
    ("born", "seen", "expected"),
    [
        ("19510607", "20150606", "063Y"),
        ("19510607", "20150607", "064Y"),
        ("19520229", "20150228", "062Y"),
        ("19100101", "20150101", "090Y"),
        ("20141115", "20150414", "004M"),
        ("20150407", "20150101", None),
    ],
)
def test_age_is_computed_from_birth_and_study(born, seen, expected):
    result = deidentify(minimal(PatientBirthDate=born, StudyDate=seen), IDS)
    assert result.get("PatientAge") == expected
    assert result.PatientBirthDate == ""


def test_a_given_age_is_not_computed_again():
    assert (
        deidentify(minimal(PatientBirthDate="19510607", StudyDate="20150407", PatientAge="050Y"), IDS).PatientAge
        == "050Y"
    )


def test_shift_is_exact_over_leap_years():
    for days in (-4015, -1461, -365):
        moved = dates.parsed(dates.shifted_date("20160301", days))
        assert (date(2016, 3, 1) - moved).days == -days


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("EchoTime", "DS", "35.0 ANNA"),
        ("EchoTime", "LO", "ANNA JONES"),
        ("EchoTime", "SQ", Sequence([item(PatientName="JONES^ANNA")])),
        ("EchoTime", "OB", b"JONES^ANNA"),
        ("Rows", "UN", b"JONES^ANNA"),
        ("Rows", "SH", "JONES"),
        ("ImagePositionPatient", "DS", ["1.0", "2.0", "JONES"]),
        ("ReferencedImageSequence", "LO", "JONES^ANNA"),
        ("ReferencedImageSequence", "OB", b"JONES^ANNA"),
        ("SOPClassUID", "UI", "1.2.JONES"),
        ("PixelData", "LO", "JONES^ANNA"),
        ("LUTData", "LO", "JONES^ANNA"),
        ("PatientAge", "LO", "JONES"),
        ("PatientWeight", "LO", "JONES"),
        ("Manufacturer", "OB", b"JONES^ANNA"),
        ("PatientID", "OB", b"JONES^ANNA"),
        ("ScanOptions", "CS", ["FS", "JONES"]),
        ("ImageType", "CS", ["ORIGINAL", "PRIMARY", "M", "JONES"]),
        ("ImageType", "CS", ["JONES", "PRIMARY"]),
        ("BodyPartExamined", "CS", "KNEE JONES"),
        ("SpecificCharacterSet", "CS", "JONES"),
    ],
)
def test_no_value_of_a_wrong_kind_gets_through(keyword, vr, value):
    dataset = minimal()
    planted = DataElement(keyword, "LO", "", validation_mode=config.IGNORE)
    planted = DataElement(planted.tag, vr, "" if vr == "DS" else value, validation_mode=config.IGNORE)
    if vr == "DS":
        planted._value = value  # a parser would not have let it in
    dataset[planted.tag] = planted
    result = deidentify(dataset, IDS)
    assert b"JONES" not in to_bytes(result)
    assert "JONES" not in str(result)


def test_unknown_terms_are_left_out_and_the_known_ones_stay_in_place():
    assert result_of("ScanOptions", "CS", ["FS", "JONES"]) == "FS"
    assert list(result_of("ImageType", "CS", ["ORIGINAL", "PRIMARY", "JONES", "ND"])) == [
        "ORIGINAL",
        "PRIMARY",
        "OTHER",
        "ND",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "SIEMENS",
        "Siemens Healthineers",
        "Philips Medical Systems",
        "FUJI PHOTO FILM CO. LTD.",
        "Signa HDxt",
        "MAGNETOM_Skyra",
        "Achieva dStream",
        "Ingenia Elition X",
        "27\\LX\\MR Software release:RX27.2_R02_1853.a",
        "syngo MR XA30",
        "5.3.1.3",
    ],
)
def test_makers_words_and_version_codes_stay(value):
    values = value.split("\\")
    found = result_of("SoftwareVersions", "LO", values)
    assert ([found] if isinstance(found, str) else list(found)) == values


@pytest.mark.parametrize(
    "value",
    [
        "Skyra of Dr Jones",
        "Signa, St Joseph",
        "JONES^ANNA",
        "Skyra 20150407",
        "V 2015.04.07",
        "1234567",
        "a.jones@example.org",
        "Signa 0171 2345",
        "10.12.4.77",
        "Skyra\u00e9",
        "王小东",
        "X" * 65,
    ],
)
def test_other_texts_go(value):
    assert result_of("ManufacturerModelName", "LO", value, SpecificCharacterSet="ISO_IR 192") is None


@pytest.mark.parametrize(
    "value", ["0171 2345 678", "(0171) 2345-678", "192.168.4.7", "1.2.840.113619.2.353", "V 2015.04.07"]
)
def test_telephone_numbers_addresses_uids_and_dates_are_no_versions(value):
    assert result_of("SoftwareVersions", "LO", value) is None


@pytest.mark.parametrize(
    ("beside", "value"),
    [
        ({"StationName": "MR3T"}, "Skyra MR3T"),
        ({"PatientName": "AB12^ANNA"}, "Skyra ab12"),
        ({"RequestAttributesSequence": [item(RequestedProcedureID="R4711")]}, "Skyra R4711"),
        ({"StudyDate": "20150407"}, "2015 04 07"),
        ({"AccessionNumber": "4711"}, "Skyra 4711"),
        ({"PatientID": "T2004_X7"}, "Skyra X7"),
    ],
)
def test_a_code_that_identifies_elsewhere_in_the_file_goes(beside, value):
    assert result_of("ManufacturerModelName", "LO", value, **beside) is None
    if "StudyDate" not in beside:
        assert result_of("ManufacturerModelName", "LO", value) == value


def test_names_in_chinese_are_gone_and_no_character_set_is_declared():
    dataset = minimal(SpecificCharacterSet="GB18030", Manufacturer="SIEMENS")
    dataset.PatientName, dataset.StudyDescription = "Wang^XiaoDong=王^小东", "膝关节"
    content = to_bytes(deidentify(dataset, IDS))
    for text in ("Wang", "XiaoDong", "王", "小东", "膝关节"):
        assert text.encode("gb18030") not in content
        assert text.encode() not in content
    assert "SpecificCharacterSet" not in read(content)


def test_pseudonyms_do_not_depend_on_the_character_set():
    def patient(charset):
        dataset = minimal(SpecificCharacterSet=charset)
        dataset.PatientID = "病人-7"
        dataset.is_implicit_VR, dataset.is_little_endian = False, True
        content = to_bytes_of_original(dataset)
        return deidentify(read(content), IDS).PatientID

    assert patient("GB18030") == patient("ISO_IR 192") == IDS.make("patient", "病人-7")


def to_bytes_of_original(dataset):
    import io

    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def test_well_known_uids_stay_and_malformed_ones_are_mapped():
    assert result_of("FrameOfReferenceUID", "UI", "1.2.840.10008.1.4.1.1") == "1.2.840.10008.1.4.1.1"
    assert result_of("FrameOfReferenceUID", "UI", "JONES.1") == IDS.uid("JONES.1")
    assert result_of("SOPClassUID", "UI", MRImageStorage) == MRImageStorage
    assert result_of("SOPClassUID", "UI", "1.3.12.2.1107.5.9.1") == IDS.uid("1.3.12.2.1107.5.9.1")
    assert list(result_of("IrradiationEventUID", "UI", ["1.2.9", "1.2.8"])) == [IDS.uid("1.2.9"), IDS.uid("1.2.8")]


def test_sequences_below_the_deepest_level_go():
    innermost = item(EchoTime=35.0)
    for _ in range(40):
        innermost = item(ReferencedImageSequence=[innermost])
    result, depth = deidentify(minimal(ReferencedImageSequence=[innermost]), IDS), 0
    while "ReferencedImageSequence" in result:
        result, depth = result.ReferencedImageSequence[0], depth + 1
    assert depth == 16


def test_items_of_functional_groups_keep_their_places():
    frames = [
        item(FrameContentSequence=[item(StackID="1")]),
        item(),
        item(MREchoSequence=[item(EffectiveEchoTime=9.0)]),
    ]
    result = deidentify(minimal(PerFrameFunctionalGroupsSequence=frames), IDS)
    assert [len(frame) for frame in result.PerFrameFunctionalGroupsSequence] == [1, 0, 1]
    assert result.PerFrameFunctionalGroupsSequence[2].MREchoSequence[0].EffectiveEchoTime == 9.0


def image(words, **attributes):
    dataset = minimal(Rows=1, Columns=len(words), SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2")
    signed = int(words.dtype.kind == "i")
    bits = {"BitsAllocated": words.itemsize * 8, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed}
    for name, value in (bits | attributes).items():
        setattr(dataset, name, value)
    dataset.add_new("PixelData", "OW", words.tobytes())
    return dataset


@pytest.mark.parametrize(
    ("dtype", "words", "attributes", "expected"),
    [
        ("<u2", [0xF123, 0x0FFF, 0x1000], {}, [0x123, 0xFFF, 0]),
        ("<i2", [-5, 0x7123, 0x0FFB], {}, [-5, 0x123, -5]),
        ("<u2", [0xABCF], {"BitsStored": 12, "HighBit": 15}, [0xABC0]),
        ("<u2", [0xABCD], {"BitsStored": 8, "HighBit": 11}, [0x0BC0]),
        ("<u4", [0xFFFFF123], {}, [0x123]),
        ("<u2", [0xF123], {"HighBit": 3}, [0x123]),
        ("<i2", [0x7FFB], {"HighBit": 16}, [-5]),
        ("<u2", [0xABCD], {"BitsStored": 16, "HighBit": 15}, [0xABCD]),
        ("<u2", [0xABCD], {"BitsStored": 0}, [0xABCD]),
    ],
)
def test_bits_outside_the_pixel_are_cleared(dtype, words, attributes, expected):
    result = deidentify(image(np.array(words, dtype), **attributes), IDS)
    assert np.frombuffer(result.PixelData, dtype).tolist() == expected


def test_signed_words_with_their_sign_extended_are_clean():
    dataset = image(np.array([-5, 5, -2048, 2047], "<i2"))
    assert deidentify(dataset, IDS).PixelData is dataset.PixelData


def test_bits_are_found_in_big_endian_words_and_beyond_the_first_chunk(monkeypatch):
    from orthoray.imaging.deid import pixels

    monkeypatch.setattr(pixels, "CHUNK_WORDS", 3)
    dataset = image(np.array([1, 2, 3, 4, 0xF005], ">u2"))
    dataset.file_meta = item(TransferSyntaxUID=ExplicitVRBigEndian)
    assert np.frombuffer(deidentify(dataset, IDS).PixelData, ">u2").tolist() == [1, 2, 3, 4, 5]


def test_an_overlay_in_compressed_pixels_is_refused():
    dataset = image(np.zeros(4, "<u2"))
    dataset.file_meta = item(TransferSyntaxUID=JPEGLSLossless)
    dataset.add_new(0x60000102, "US", 12)
    with pytest.raises(UnreadableImageError) as caught:
        deidentify(dataset, IDS)
    assert caught.value.reason == "overlay_in_compressed_pixels"
    assert "PixelData" in deidentify(dataset, IDS, clean_graphics=False)


def test_bytes_after_the_last_frame_are_cut():
    dataset = image(np.array([1, 2], "<u2"))
    dataset["PixelData"].value += b"JONES^ANNA"
    assert deidentify(dataset, IDS).PixelData == np.array([1, 2], "<u2").tobytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SOPClassUID": ""}, "no_sop_class"),
        ({"SOPInstanceUID": ""}, "no_instance_uid"),
    ],
)
def test_objects_without_a_class_or_an_instance_are_refused(changes, reason):
    with pytest.raises(UnreadableImageError) as caught:
        deidentify(minimal(**changes), IDS)
    assert (caught.value.reason, caught.value.detail) == (reason, "")


def test_private_transfer_syntaxes_are_refused():
    dataset = minimal()
    dataset.file_meta = item(TransferSyntaxUID="1.2.840.113619.5.2")
    with pytest.raises(UnreadableImageError, match="transfer_syntax_unknown"):
        deidentify(dataset, IDS)


def test_a_data_set_that_cannot_be_written_is_refused_without_its_values():
    with pytest.raises(UnreadableImageError) as caught:
        to_bytes(Dataset())
    assert caught.value.reason == "not_writable"


def test_nothing_is_warned_or_logged(recwarn, caplog, capfd):
    dataset = minimal(SpecificCharacterSet="JONES", StudyDate="20150431")
    dataset["PatientName"] = DataElement("PatientName", "PN", "JONES^ANNA" * 20, validation_mode=config.IGNORE)
    to_bytes(deidentify(dataset, IDS))
    assert [str(warning.message) for warning in recwarn.list] == []
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_sop_classes_in_references_stay():
    reference = item(ReferencedSOPClassUID=MRImageStorage, ReferencedSOPInstanceUID="1.2.3.4")
    result = deidentify(minimal(ReferencedImageSequence=[reference]), IDS)
    assert result.ReferencedImageSequence[0].ReferencedSOPClassUID == MRImageStorage
    assert result.ReferencedImageSequence[0].ReferencedSOPInstanceUID == result.SOPInstanceUID
