"""The planted object: nothing identifying comes out, what research needs does, and nothing links without the key."""

import hashlib
import subprocess
import sys
from datetime import date

import numpy as np
import pydicom
import pytest
from pydicom.uid import MRImageStorage
from tests.imaging.deid.phi_object import (
    ACQUISITION,
    STUDY_DATE,
    TOKENS,
    leaks,
    minimal,
    planted,
    read,
    true_pixels,
)

from orthoray.imaging.deid import deidentify, to_bytes
from orthoray.imaging.pseudonyms import Pseudonyms

KEY = b"a key for tests only"
IDS = Pseudonyms(KEY, "knees")


@pytest.fixture(scope="module")
def original():
    return planted()


@pytest.fixture(scope="module")
def cleaned(original):
    return to_bytes(deidentify(read(original), IDS))


def test_every_token_is_in_the_original(original):
    assert leaks(original, TOKENS) == list(TOKENS)
    assert len(TOKENS) == 46


def test_no_token_is_in_the_result(cleaned):
    assert leaks(cleaned, TOKENS) == []


def test_no_private_graphic_or_padding_element_is_in_the_result(cleaned):
    tags = [element.tag for element in read(cleaned).iterall()]
    assert not [tag for tag in tags if tag.is_private or tag.group & 0xFF00 in (0x5000, 0x6000) or tag.group == 0xFFFC]


def test_acquisition_attributes_keep_their_values(original, cleaned):
    before, after = read(original), read(cleaned)
    assert len(ACQUISITION) >= 10
    assert {name: after.get(name) for name in ACQUISITION} == {name: before.get(name) for name in ACQUISITION}
    assert {name: after[name].VR for name in ACQUISITION} == {name: before[name].VR for name in ACQUISITION}


def test_pixels_keep_their_values_and_lose_what_is_not_theirs(cleaned):
    words = np.frombuffer(read(cleaned).PixelData, "<u2").reshape(true_pixels().shape)
    np.testing.assert_array_equal(words, true_pixels())


def test_the_file_holds_nothing_but_what_it_declares(cleaned):
    assert cleaned[:132] == bytes(128) + b"DICM"
    dataset = read(cleaned)
    assert cleaned.endswith(dataset.PixelData)
    assert {element.keyword for element in dataset.file_meta} == {
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    }
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert "SpecificCharacterSet" not in dataset


def test_uids_map_alike_wherever_they_are(original, cleaned):
    before, after = read(original), read(cleaned)
    assert after.SOPInstanceUID == IDS.uid(before.SOPInstanceUID) != before.SOPInstanceUID
    assert after.ReferencedImageSequence[1].ReferencedSOPInstanceUID == after.SOPInstanceUID
    referenced = after.ReferencedImageSequence[0].ReferencedSOPInstanceUID
    assert referenced == after.SourceImageSequence[0].ReferencedSOPInstanceUID == IDS.uid(TOKENS["referenced UID"])
    assert after.ReferencedImageSequence[0].ReferencedSOPClassUID == MRImageStorage
    names = ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"]
    assert len({after[name].value for name in names}) == 4
    assert all(len(after[name].value) <= 64 and after[name].value.is_valid for name in names)


def test_codes_of_public_dictionaries_stay_with_the_standard_meaning_and_local_ones_go(cleaned):
    after = read(cleaned)
    assert after.AnatomicRegionSequence[0].CodeValue == "72696002"
    assert "Knee" in after.AnatomicRegionSequence[0].CodeMeaning
    assert "PurposeOfReferenceCodeSequence" not in after.ReferencedImageSequence[0]


def day(text):
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def test_intervals_within_and_between_studies_are_exact():
    studies = [planted(StudyDate=when, AcquisitionDateTime=f"{when}235959") for when in ("20110228", "20150301")]
    first, second = (deidentify(read(study), IDS) for study in studies)
    assert (day(second.StudyDate) - day(first.StudyDate)).days == 1462
    assert (day(second.AcquisitionDateTime) - day(first.StudyDate)).days == 1462
    assert (day(second.SeriesDate) - day(second.StudyDate)).days == (day(STUDY_DATE) - day("20150301")).days
    assert (first.StudyTime, first.AcquisitionDateTime[8:]) == ("101112.25", "235959")
    assert (day(first.StudyDate) - day("20110228")).days == IDS.shift_days(TOKENS["PatientID"])


def test_shifts_are_whole_days_between_one_and_eleven_years_and_differ_between_patients():
    shifts = {IDS.shift_days(f"patient {number}") for number in range(20_000)}
    assert (min(shifts), max(shifts)) == (-4015, -365)
    assert len(shifts) > 3500


def test_without_a_patient_id_every_study_has_its_own_shift():
    one, same, other = (
        deidentify(minimal(PatientID="", StudyInstanceUID=uid, StudyDate=STUDY_DATE), IDS).StudyDate
        for uid in ("1.2.3", "1.2.3", "1.2.4")
    )
    assert one == same != other


def test_age_is_computed_before_the_birth_date_goes(cleaned):
    assert read(cleaned).PatientAge == "063Y"  # 7 June 1951 … 7 April 2015: not yet 64
    assert read(cleaned).PatientBirthDate == ""


def test_marks_say_what_was_done(cleaned):
    after = read(cleaned)
    assert after.PatientIdentityRemoved == "YES"
    assert after.LongitudinalTemporalInformationModified == "MODIFIED"
    assert "PS3.15 2026c" in after.DeidentificationMethod[0]
    assert IDS.key_id in after.DeidentificationMethod[1]
    found = [(item.CodeValue, item.CodingSchemeDesignator) for item in after.DeidentificationMethodCodeSequence]
    assert found == [(code, "DCM") for code in ("113100", "113103", "113105", "113107", "113108", "113109")]


def test_meanings_of_the_marks_are_those_of_the_standard(cleaned):
    from pydicom.sr.codedict import codes

    standard = [
        codes.DCM.BasicApplicationConfidentialityProfile,
        codes.DCM.CleanGraphicsOption,
        codes.DCM.CleanDescriptorsOption,
        codes.DCM.RetainLongitudinalTemporalInformationModifiedDatesOption,
        codes.DCM.RetainPatientCharacteristicsOption,
        codes.DCM.RetainDeviceIdentityOption,
    ]
    found = [(item.CodeValue, item.CodeMeaning) for item in read(cleaned).DeidentificationMethodCodeSequence]
    assert found == [(concept.value, concept.meaning) for concept in standard]


def test_a_second_pass_changes_nothing(cleaned):
    assert to_bytes(deidentify(read(cleaned), IDS)) == cleaned


def test_a_second_pass_with_another_key_replaces_the_ids_again(cleaned):
    again = deidentify(read(cleaned), Pseudonyms(b"another key for tests", "knees"))
    assert again.SOPInstanceUID != read(cleaned).SOPInstanceUID
    assert again.PatientID != read(cleaned).PatientID


def test_a_forged_mark_does_not_switch_the_rules_off(cleaned, original):
    forged = read(original)
    for name in ("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"):
        forged[name] = read(cleaned)[name]
    assert leaks(to_bytes(deidentify(forged, IDS)), TOKENS) == []


@pytest.mark.parametrize("name", ["StudyDate", "SOPInstanceUID", "AccessionNumber", "PatientID"])
def test_a_result_that_was_edited_is_treated_as_new(cleaned, name):
    edited = read(cleaned)
    edited[name].value = {"StudyDate": "20200101", "SOPInstanceUID": "1.2.3"}.get(name, "EDITED")
    assert deidentify(edited, IDS)[name].value != edited[name].value


@pytest.mark.slow
def test_ids_are_equal_in_other_processes(original, cleaned, tmp_path):
    file = tmp_path / "original.dcm"
    file.write_bytes(original)
    script = (
        "import hashlib, sys, pydicom\n"
        "from orthoray.imaging.deid import deidentify, to_bytes\n"
        "from orthoray.imaging.pseudonyms import Pseudonyms\n"
        f"result = deidentify(pydicom.dcmread(sys.argv[1]), Pseudonyms({KEY!r}, 'knees'))\n"
        "print(hashlib.sha256(to_bytes(result)).hexdigest())\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(file)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    assert [run.stdout.strip() for run in runs] == [hashlib.sha256(cleaned).hexdigest()] * 2
    assert [run.stderr for run in runs] == ["", ""]


def test_nothing_links_two_keys_or_two_sources(original):
    def mapped(ids):
        result = deidentify(read(original), ids)
        names = ("PatientID", "AccessionNumber", "DeviceSerialNumber", "StationName", "InstitutionName", "StudyDate")
        return {str(result[name].value) for name in names} | {
            str(element.value) for element in result.iterall() if element.VR == "UI" and element.value != MRImageStorage
        }

    own = mapped(IDS)
    assert not own & mapped(Pseudonyms(b"another key for tests", "knees"))
    assert not own & mapped(Pseudonyms(KEY, "hips"))
    assert own == mapped(Pseudonyms(KEY, "knees"))


def test_domains_do_not_share_pseudonyms():
    made = {IDS.make(kind, "X1")[1:] for kind in ("patient", "accession", "device", "institution", "study")}
    number = int(IDS.uid("X1").removeprefix("2.25."))
    assert len(made) == 5
    assert not [digits for digits in made if int(digits, 16) == number >> 48]
    assert (IDS.uid(""), IDS.make("patient", "")) == ("", "")
    assert 0 <= number < 1 << 128


def test_the_original_is_left_as_it_is(original):
    dataset, untouched = read(original), read(original)
    result = deidentify(dataset, IDS)
    assert dataset == untouched
    result.Rows, result.PixelSpacing[0] = 1, 9.0
    result.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2"
    assert dataset == untouched


def test_clean_pixel_data_pass_without_a_copy():
    value = bytes(2 * 4 * 4)
    dataset = minimal(Rows=4, Columns=4, BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=0)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.add_new("PixelData", "OW", value)
    assert deidentify(dataset, IDS).PixelData is value


def test_without_clean_graphics_the_words_stay_and_the_option_is_not_claimed(original):
    result = deidentify(read(original), IDS, clean_graphics=False)
    assert leaks(to_bytes(result), TOKENS) == ["overlay in pixel words"]
    assert "113103" not in [item.CodeValue for item in result.DeidentificationMethodCodeSequence]
    assert result.PixelData == read(original).PixelData


def test_meta_information_of_the_result_is_readable_by_others(cleaned, tmp_path):
    (tmp_path / "a.dcm").write_bytes(cleaned)
    assert pydicom.dcmread(tmp_path / "a.dcm").pixel_array.shape == true_pixels().shape


def test_clean_pixel_data_is_claimed_only_when_said_and_kept_by_a_second_pass(original):
    plain, clean = (deidentify(read(original), IDS, clean_pixels=said) for said in (False, True))
    codes = [[code.CodeValue for code in made.DeidentificationMethodCodeSequence] for made in (plain, clean)]
    assert sorted(codes[1]) == sorted([*codes[0], "113101"])
    assert clean.BurnedInAnnotation == "NO"
    assert "BurnedInAnnotation" not in plain
    content = to_bytes(clean)
    assert to_bytes(deidentify(read(content), IDS)) == content
    again = deidentify(read(content), Pseudonyms(b"another key for tests", "knees"))
    assert "113101" not in [code.CodeValue for code in again.DeidentificationMethodCodeSequence]
