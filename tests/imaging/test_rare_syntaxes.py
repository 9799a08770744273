"""Transfer syntaxes that nothing installed here can write: streams made once by another encoder, of one known image."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import JPEG2000, UID
from tests.imaging.objects import save_dicom

from orthoray.imaging import UnreadableImageError, count_frames, display_frames, read_facts, read_stored

STREAMS = Path(__file__).parent / "streams"
JPEG = "1.2.840.10008.1.2.4."
ROW, COLUMN = np.mgrid[0:24, 0:32]
IMAGE = (100 * ROW + 50 * COLUMN + ROW * COLUMN * 7 % 41).astype(np.uint16)
"""What every stream shows; 12 bits."""

HT = (
    ("201", "ht-lossless.j2c", 0),
    ("202", "ht-lossless.j2c", 0),  # its packets are in the order that this syntax asks for (RPCL)
    ("203", "ht-lossless.j2c", 0),
    ("203", "ht-lossy.j2c", 12),
)
JPEG_XL = ("110", "111", "112")
OLD = ("52", "53", "55", "58", "92", "93", "94")


def write(path, syntax, streams, pixels=IMAGE, bits=16, **attributes):
    """An MR object whose frames are the given streams."""
    save_dicom(path, pixels, "MR", WindowCenter=2000, WindowWidth=3000, **attributes)
    dataset = dcmread(path)
    dataset.BitsStored, dataset.HighBit, dataset.NumberOfFrames = bits, bits - 1, len(streams)
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(JPEG + syntax)
    dataset.preamble = bytes(128)
    dcmwrite(path, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    return path


def stream(name):
    return (STREAMS / name).read_bytes()


def shown(values):
    """C.11.2.1.2.1 with the window of `write`."""
    return np.clip((values - 1999.5) / 2999 + 0.5, 0, 1)


@pytest.mark.parametrize(("syntax", "name", "tolerance"), HT)
def test_high_throughput_jpeg_2000(tmp_path, syntax, name, tolerance):
    path = write(tmp_path / "a.dcm", syntax, [stream(name)] * 2)
    assert count_frames(str(path)) == len(read_facts(str(path))) == 2
    for frame, raw in zip(display_frames(str(path)), read_stored(path), strict=True):
        assert raw.dtype == np.uint16
        assert np.abs(raw.astype(int) - IMAGE).max() <= tolerance
        np.testing.assert_allclose(frame.pixels, shown(IMAGE.astype(float)), atol=(tolerance + 0.01) / 2999)


def test_high_throughput_jpeg_2000_of_signed_values(tmp_path):
    signed = (IMAGE.astype(int) - 1500).astype(np.int16)
    path = write(tmp_path / "a.dcm", "201", [stream("ht-signed.j2c")], signed)
    (raw,) = read_stored(path)
    assert raw.dtype == np.int16
    np.testing.assert_array_equal(raw, signed)


def test_a_high_throughput_stream_that_is_cut_off_is_refused(tmp_path):
    whole = stream("ht-lossless.j2c")
    refused(write(tmp_path / "a.dcm", "201", [whole[: len(whole) // 3]]), "High-Throughput JPEG 2000")


def test_a_high_throughput_stream_of_another_size_is_refused_before_it_is_decoded(tmp_path):
    path = write(tmp_path / "a.dcm", "201", [stream("ht-lossless.j2c")], np.zeros((48, 64), np.uint16))
    refused(path, "another size than the data set")


def test_jpeg_of_8_bits_under_the_extended_syntax(tmp_path):
    import cv2

    grey = (IMAGE >> 4).astype(np.uint8)
    coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    (raw,) = read_stored(write(tmp_path / "a.dcm", "51", [coded], grey, bits=8))
    assert np.abs(raw.astype(int) - grey).max() <= 3


def test_lossy_jpeg_2000(tmp_path):
    image = np.kron(IMAGE, np.ones((4, 4), np.uint16))
    path = Path(save_dicom(tmp_path / "a.dcm", image, "MR", BitsStored=12, HighBit=11))
    dataset = dcmread(path)
    dataset.compress(JPEG2000, j2k_cr=[8], generate_instance_uid=False)
    dataset.save_as(path)
    (raw,) = read_stored(path)
    error = np.abs(raw.astype(int) - image)
    assert 0 < error.max() <= 60
    assert error.mean() < 10


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "693_J2KI.dcm", "JPEGLSNearLossless_16.dcm"])
def test_lossy_files_of_other_makers(name):
    """As pydicom's own array, whichever decoder that comes from."""
    path = get_testdata_file(name, download=False)
    (raw,) = read_stored(path)
    np.testing.assert_array_equal(raw, dcmread(path).pixel_array)


@pytest.mark.parametrize(
    ("syntax", "name", "bits", "tolerance"),
    [("51", "extended-12.jpg", 12, 2), *((syntax, "xl-lossless.jxl", 16, 0) for syntax in JPEG_XL)],
)
def test_what_no_free_decoder_reads_is_refused_or_read_rightly(tmp_path, syntax, name, bits, tolerance):
    """JPEG of 12 bits and JPEG XL. A decoder that somebody adds, or that comes with pydicom, must give the image."""
    path = write(tmp_path / "a.dcm", syntax, [stream(name)] * 2, bits=bits)
    assert len(read_facts(str(path))) == 2
    frames, error = outcome(path)
    if error is None:
        assert all(np.abs(raw.astype(int) - IMAGE).max() <= tolerance for raw in frames)
    else:
        assert error.reason == "not_decodable"
        named = ("JPEG Extended (Process 2 and 4)",) if syntax == "51" else ("JPEG XL", "unknown transfer syntax")
        assert any(name in error.detail for name in named)


@pytest.mark.parametrize("syntax", OLD)
def test_retired_and_unusual_kinds_of_jpeg_are_refused_by_their_name(tmp_path, syntax):
    refused(write(tmp_path / "a.dcm", syntax, [stream("extended-12.jpg")], bits=12), UID(JPEG + syntax).name)


def test_no_decoder_under_the_gpl_is_needed():
    root = Path(__file__).resolve().parents[2]
    names = re.findall(r"[a-z][\w.-]*", (root / "constraints.txt").read_text().lower())
    needed = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    assert any("pylibjpeg-rle" in name for name in needed)
    assert not [name for name in (*names, *needed) if "libjpeg" in name.lower().removeprefix("pylibjpeg")]


def refused(path, words):
    with pytest.raises(UnreadableImageError) as error:
        read_stored(path)
    assert error.value.reason == "not_decodable"
    assert words in error.value.detail


def outcome(path):
    try:
        return read_stored(path), None
    except UnreadableImageError as error:
        return [], error
