"""Real files: known identifiers are gone from the bytes, pixels are as before, and it is quick."""

import numpy as np
import pydicom
import pytest
from tests.imaging.deid.phi_object import read

from orthoray.imaging.deid import deidentify, to_bytes
from orthoray.imaging.files import UnreadableImageError, read_dicom
from orthoray.imaging.pseudonyms import Pseudonyms

pytestmark = pytest.mark.data

IDS = Pseudonyms(b"a key for tests only", "real")


@pytest.fixture(scope="module")
def knee(shared_data):
    files = sorted((shared_data("dicom-knee-mri") / "original").rglob("*.dcm"))
    assert len(files) == 192
    return files


def cleaned(path):
    return to_bytes(deidentify(read_dicom(str(path)), IDS))


def test_knee_series_loses_its_hospital_date_and_research_code(knee):
    for path in knee[::12]:
        before, content = path.read_bytes(), cleaned(path)
        for text in (
            b"JOSEPH",
            b"HAMILTON",
            b"20150407",
            b"T2004",
            b"07APR2015",
            b"0000009055",
            b"MALY",
            b"1.2.840.113619",
        ):
            assert text in before, text
            assert text not in content, text
        original, result = pydicom.dcmread(path), read(content)
        assert sum(tag.is_private for tag in list(original.keys())) == 218
        assert not any(tag.is_private for tag in list(result.keys()))


def test_knee_series_keeps_its_acquisition(knee):
    original, result = pydicom.dcmread(knee[0]), read(cleaned(knee[0]))
    names = [
        "Manufacturer",
        "ManufacturerModelName",
        "SoftwareVersions",
        "MagneticFieldStrength",
        "ScanningSequence",
        "SequenceVariant",
        "ScanOptions",
        "MRAcquisitionType",
        "RepetitionTime",
        "EchoTime",
        "EchoNumbers",
        "FlipAngle",
        "PixelBandwidth",
        "AcquisitionMatrix",
        "ReceiveCoilName",
        "ImagedNucleus",
        "SliceThickness",
        "SpacingBetweenSlices",
        "PixelSpacing",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PatientPosition",
        "PatientWeight",
        "WindowCenter",
        "BitsStored",
        "StackID",
        "InStackPositionNumber",
    ]
    assert {name: result.get(name) for name in names} == {name: original[name].value for name in names}


def test_knee_series_stays_one_series_of_one_frame_of_reference(knee):
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in knee[::8]]
    results = [deidentify(header, IDS) for header in headers]
    for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert len({result[name].value for result in results}) == 1
    assert len({result.SOPInstanceUID for result in results}) == len(results)
    assert len({item.ReferencedSOPInstanceUID for result in results for item in result.ReferencedImageSequence}) == len(
        {item.ReferencedSOPInstanceUID for header in headers for item in header.ReferencedImageSequence}
    )


def test_pixels_equal_those_of_the_authors_own_deidentified_copies(knee, shared_data):
    twins = [
        pydicom.dcmread(path) for path in sorted((shared_data("dicom-knee-mri") / "anonymised-echo1").rglob("*.dcm"))
    ]
    by_place = {float(twin.SliceLocation): twin for twin in twins}
    compared = 0
    for path in knee:
        if int(pydicom.dcmread(path, specific_tags=["EchoNumbers"]).EchoNumbers) == 1:
            result = read(cleaned(path))
            np.testing.assert_array_equal(result.pixel_array, by_place[float(result.SliceLocation)].pixel_array)
            compared += 1
    assert compared == len(twins) == 24


def test_wrist_and_character_set_files_lose_their_names(shared_data):
    wrist = cleaned(shared_data("dicom-wrist-mri") / "MR01.dcm")
    for text in (
        b"DOE",
        b"NELL",
        b"FREDERICK",
        b"MEMORIAL",
        b"583295",
        b"MOF5026",
        b"RP1026",
        b"20170716",
        b"1.113654",
    ):
        assert text not in wrist
    assert read(wrist).Manufacturer == "GENESIS_SIGNA"
    for path in sorted((shared_data("dicom-misc") / "charset").glob("*.dcm")):
        before, content = path.read_bytes(), cleaned(path)
        for text in ("Zhang", "Wang", "XiaoDong", "小东", "王", "张", "EXAMPLE", "Example", "CLUNIE"):
            for encoding in ("utf-8", "gb18030", "iso2022_kr"):
                try:
                    assert text.encode(encoding) not in content
                except UnicodeEncodeError:
                    continue
        assert b"XiaoDong" in before
        assert pydicom.dcmread(path).pixel_array.tobytes() == read(content).pixel_array.tobytes()


def test_all_files_are_cleaned_or_have_a_reason_and_decode_as_before(shared_data):
    reasons = {}
    for path in sorted(shared_data("dicom-misc").rglob("*.dcm")):
        try:
            original = read_dicom(str(path))
            content = to_bytes(deidentify(original, IDS))
        except UnreadableImageError as error:
            reasons[path.name] = error.reason
            continue
        result = read(content)
        assert to_bytes(deidentify(result, IDS)) == content, path.name
        before = pixels_of(original)
        if before is not None:
            np.testing.assert_array_equal(pixels_of(result), before, err_msg=path.name)
    assert set(reasons) <= {path.name for path in (shared_data("dicom-misc") / "broken").iterdir()}


def pixels_of(dataset):
    try:
        return dataset.pixel_array
    except Exception:
        return None
