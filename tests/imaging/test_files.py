"""What a file is, by its content, and why one is refused."""

import ast
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import UID
from tests.imaging.encodings import LOSSLESS, encode
from tests.imaging.objects import item, save_dicom

import orthoray.imaging
from orthoray.imaging import (
    REASONS,
    UnreadableImageError,
    count_frames,
    read_display,
    read_facts,
    read_stored,
    sniff,
)
from orthoray.imaging.sniff import kind_of

RAMP = np.arange(0, 4096, 4, dtype=np.uint16).reshape(32, 32)
NAME = "DOE^PLANTED"


def reason_of(path, call=read_display):
    with pytest.raises(UnreadableImageError) as error:
        call(str(path))
    assert error.value.reason in REASONS
    assert "DOE" not in str(error.value)
    assert str(Path(path).parent) not in str(error.value)
    return error.value.reason


def error_of(call, argument):
    """The error that a call ends with, if it is the one that it may end with."""
    try:
        call(argument)
    except UnreadableImageError as error:
        return error
    return None


def headless(path, pixels=RAMP, implicit=True, drop=(), **attributes):
    """A data set alone: no preamble, no file meta information, as ACR-NEMA files are."""
    dataset = dcmread(save_dicom(path, pixels, **attributes))
    for name in drop:
        delattr(dataset, name)
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, True
    write_dataset(stream, dataset)
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize("suffix", ["", ".dcm", ".jpg"])
def test_the_name_of_a_file_does_not_matter(tmp_path, suffix):
    dicom = tmp_path / f"dicom{suffix}"
    save_dicom(dicom, RAMP)
    assert sniff(str(dicom)) == "dicom"
    np.testing.assert_array_equal(read_stored(dicom)[0], RAMP)
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for kind in ("png", "tiff", "jpeg"):
        path = tmp_path / f"{kind}{suffix}"
        path.write_bytes(cv2.imencode(f".{kind}", grey, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes())
        assert sniff(str(path)) == kind
        assert count_frames(str(path)) == 1
        assert np.abs(read_stored(path)[0].astype(int) - grey).max() <= (2 if kind == "jpeg" else 0)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_data_set_alone_is_read_if_it_is_an_image(tmp_path, implicit):
    path = headless(tmp_path / "a", implicit=implicit, WindowCenter=2000, WindowWidth=1000)
    assert sniff(str(path)) == "dicom"
    np.testing.assert_array_equal(read_stored(path)[0], RAMP)
    whole = save_dicom(tmp_path / "b", RAMP, WindowCenter=2000, WindowWidth=1000)
    np.testing.assert_array_equal(read_display(path)[0], read_display(whole)[0])


def test_old_data_sets_lack_what_could_not_be_otherwise(tmp_path):
    path = headless(tmp_path / "a", drop=["PhotometricInterpretation", "SamplesPerPixel", "PixelRepresentation"])
    np.testing.assert_array_equal(read_stored(path)[0], RAMP)


@pytest.mark.parametrize("missing", ["Rows", "Columns", "BitsAllocated", "PixelData"])
def test_a_data_set_alone_that_is_no_image_is_refused(tmp_path, missing):
    assert reason_of(headless(tmp_path / "a", drop=[missing])) == "not_dicom"


def test_file_meta_information_without_a_preamble(tmp_path):
    path = tmp_path / "a"
    content = Path(save_dicom(path, RAMP)).read_bytes()
    path.write_bytes(content[132:])
    np.testing.assert_array_equal(read_stored(path)[0], RAMP)


@pytest.mark.parametrize(
    "start",
    [b"MZ\x90\0", b"\x7fELF\x02", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xce", b"\xca\xfe\xba\xbe", b"#!/bin/sh\n"],
)
def test_a_program_in_the_preamble(tmp_path, start):
    path = Path(save_dicom(tmp_path / "a.dcm", RAMP))
    content = path.read_bytes()
    path.write_bytes(start + content[len(start) :])
    assert reason_of(path) == reason_of(path, read_facts) == "executable_preamble"


def test_a_tiff_header_in_the_preamble_is_allowed(tmp_path):
    path = Path(save_dicom(tmp_path / "a.dcm", RAMP))
    path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    np.testing.assert_array_equal(read_stored(path)[0], RAMP)


def test_files_without_an_image(tmp_path):
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "text.dcm").write_text(f"report of {NAME}")
    (tmp_path / "archive.zip").write_bytes(b"PK\x03\x04" + bytes(300))
    report = dcmread(save_dicom(tmp_path / "report.dcm", RAMP, PatientName=NAME))
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    report.save_as(tmp_path / "report.dcm")
    expected = {"empty.dcm": "empty", "text.dcm": "not_dicom", "archive.zip": "not_dicom", "report.dcm": "no_pixels"}
    expected["absent.dcm"] = "file_unreadable"
    for name, reason in expected.items():
        assert {reason_of(tmp_path / name, call) for call in (read_display, read_stored, read_facts)} == {reason}


def test_a_dicomdir(tmp_path):
    path = Path(save_dicom(tmp_path / "DICOMDIR", RAMP))
    dataset = dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.save_as(path)
    assert reason_of(path) == "dicomdir"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.DirectoryRecordSequence = [item(PatientName=NAME)]
    dataset.save_as(path, enforce_file_format=True)
    assert reason_of(path) == reason_of(path, read_facts) == "dicomdir"


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level"),
        ("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced"),
        ("1.2.840.10008.1.2.8.1", "unknown transfer syntax"),
        ("1.2.3.4." + "7" * 20, "unknown transfer syntax"),
    ],
)
def test_a_syntax_that_nothing_here_decodes_is_named(tmp_path, syntax, name):
    path = Path(save_dicom(tmp_path / "a.dcm", RAMP))
    encode(path, "rle")
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.preamble = bytes(128)
    dcmwrite(path, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    with pytest.raises(UnreadableImageError, match=f"not_decodable: .*{name}"):
        read_stored(path)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_files_that_are_cut_off(tmp_path, syntax, share):
    path = Path(save_dicom(tmp_path / "a.dcm", RAMP, PatientName=NAME, BitsStored=12, HighBit=11))
    encode(path, syntax)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    tag = b"\x7f\xe0\x00\x10" if syntax == "big_endian" else b"\xe0\x7f\x10\x00"
    in_header = tag not in path.read_bytes() and syntax != "deflated"
    assert reason_of(path) in (("header_unreadable", "no_pixels") if in_header else ("not_decodable",))


def test_frames_that_are_missing(tmp_path):
    path = save_dicom(tmp_path / "a.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=3)
    assert reason_of(path) == "not_decodable"
    path = Path(save_dicom(tmp_path / "b.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=2))
    encode(path, "jpeg_ls")
    dataset = dcmread(path)
    dataset.NumberOfFrames = 3
    dataset.save_as(path)
    assert reason_of(path) == "not_decodable"


def test_a_file_on_another_filesystem(tmp_path):
    import fsspec

    path = Path(save_dicom(tmp_path / "a.dcm", RAMP))
    with fsspec.open("memory://imaging/a", "wb") as file:
        file.write(path.read_bytes())
    np.testing.assert_array_equal(read_stored("memory://imaging/a")[0], RAMP)


def test_every_reason_that_is_raised_is_explained():
    raised = set()
    for source in Path(orthoray.imaging.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("UnreadableImageError", "refusing"):
                fixed = isinstance(node.args[0], ast.Constant)
                assert fixed or source.name in ("reasons.py", "guarded.py"), f"{source.name}: not a fixed word"
                raised.add(node.args[0].value if fixed else "blank")
    assert raised <= set(REASONS)
    assert all("\n" not in text and len(text) < 120 for text in REASONS.values())


NOISY = """
import sys
import logging
from orthoray.imaging import UnreadableImageError, read_display, read_facts
logging.basicConfig()
for path in sys.argv[1:]:
    for call in (read_facts, read_display):
        try:
            call(path)
        except UnreadableImageError as error:
            print(error)
"""


def test_nothing_of_a_header_is_printed(tmp_path):
    """Values that pydicom warns of, or fails on, while the process's own stderr is watched."""
    paths = []
    for number, syntax in enumerate(("explicit", "jpeg_ls", "jpeg_lossless_sv1", "rle", "deflated")):
        path = Path(save_dicom(tmp_path / f"{number}.dcm", RAMP, PatientName=NAME, BitsStored=12, HighBit=11))
        encode(path, syntax)
        content = path.read_bytes()
        paths += [path, tmp_path / f"{number}-cut.dcm"]
        paths[-1].write_bytes(content[: len(content) - 200])
    broken = dcmread(tmp_path / "1.dcm")
    (frame,) = generate_frames(broken.PixelData, number_of_frames=1)
    broken.PixelData = encapsulate([frame[: len(frame) // 4 * 2]])
    broken.save_as(tmp_path / "broken.dcm")
    paths.append(tmp_path / "broken.dcm")
    path = Path(save_dicom(tmp_path / "odd.dcm", RAMP, PatientName=NAME, PatientID="PLANTED" * 20, WindowWidth=10))
    odd = {"InstanceNumber": ("IS", "PLANTED1"), "WindowCenter": ("DS", "PLANTED2"), "StudyDate": ("DA", "PLANTED3")}
    elements = b"".join(
        struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, kind.encode(), 8) + text.encode()
        for tag, (kind, text) in sorted((tag_for_keyword(name), value) for name, value in odd.items())
    )
    head, study, rest = path.read_bytes().partition(struct.pack("<HH2s", 0x0020, 0x000D, b"UI"))
    path.write_bytes(head + elements + study + rest)
    paths.append(path)
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", NOISY, *map(str, paths)], capture_output=True, text=True, timeout=100,
        check=True,
    )  # fmt: skip
    assert b"PLANTED" in paths[-1].read_bytes()
    assert "not_decodable" in done.stdout
    for text in ("PLANTED", "DOE", "Warning", "Traceback", str(tmp_path)):
        assert text not in done.stdout + done.stderr


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_headers_end_with_a_reason(tmp_path, data):
    path = tmp_path / "a.dcm"
    content = bytearray(Path(save_dicom(path, RAMP[:4, :8], PatientName=NAME, NumberOfFrames=1)).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    errors = [error_of(call, str(path)) for call in (read_facts, read_stored, read_display, count_frames)]
    assert {error.reason for error in errors if error} <= set(REASONS)
    assert all("DOE" not in str(error) for error in errors)


@given(st.binary(max_size=400))
def test_any_bytes_are_something_or_refused(content):
    error = error_of(kind_of, content)
    assert error is None or error.reason in ("empty", "executable_preamble", "not_dicom")
