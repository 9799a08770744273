"""The pixel chain against plain numpy after the formulas of PS3.3 C.11."""

import cv2
import numpy as np
import pytest
from pydicom.sequence import Sequence
from tests.imaging.objects import lookup_table, save_dicom, save_enhanced

from orthoray.imaging import UnreadableImageError, display_frames, read_display, read_stored

TOLERANCE = 1e-6


def linear(values, centre, width):
    """PS3.3 C.11.2.1.2.1, written with its three cases."""
    low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    inside = (values - (centre - 0.5)) / (width - 1) + 0.5
    return np.where(values <= low, 0.0, np.where(values > high, 1.0, inside))


@pytest.fixture
def ramp():
    return np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


def test_linear_window(tmp_path, ramp):
    path = save_dicom(tmp_path / "a.dcm", ramp, WindowCenter=1000, WindowWidth=800)
    (frame,) = display_frames(path)
    assert frame.pixels.dtype == np.float32
    np.testing.assert_allclose(frame.pixels, linear(ramp.astype(float), 1000, 800), atol=TOLERANCE)
    assert (frame.low, frame.high, frame.policy) == (600.0, 1399.0, "voi")


def test_exact_and_sigmoid_windows(tmp_path, ramp):
    exact = save_dicom(tmp_path / "a.dcm", ramp, WindowCenter=1000, WindowWidth=800, VOILUTFunction="LINEAR_EXACT")
    values = ramp.astype(float)
    np.testing.assert_allclose(read_display(exact)[0], np.clip((values - 1000) / 800 + 0.5, 0, 1), atol=TOLERANCE)
    sigmoid = save_dicom(tmp_path / "b.dcm", ramp, WindowCenter=1000, WindowWidth=800, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(read_display(sigmoid)[0], 1 / (1 + np.exp(-4 * (values - 1000) / 800)), atol=TOLERANCE)


def test_the_first_of_several_windows_is_used(tmp_path, ramp):
    path = save_dicom(tmp_path / "a.dcm", ramp, WindowCenter=[1000, 9], WindowWidth=[800, 9])
    np.testing.assert_allclose(read_display(path)[0], linear(ramp.astype(float), 1000, 800), atol=TOLERANCE)


@pytest.mark.parametrize(("slope", "intercept", "centre", "width"), [(2.5, -10, 0, 100), (0.01, 0, 0.2, 1.4)])
def test_rescale_comes_before_the_window(tmp_path, slope, intercept, centre, width):
    stored = np.arange(-50, 50, dtype=np.int16).reshape(10, 10)
    path = save_dicom(
        tmp_path / "a.dcm", stored, RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US",
        WindowCenter=centre, WindowWidth=width,
    )  # fmt: skip
    np.testing.assert_allclose(read_display(path)[0], linear(stored * slope + intercept, centre, width), atol=TOLERANCE)
    np.testing.assert_array_equal(read_stored(path)[0], stored)


@pytest.mark.parametrize("shape", [None, "INVERSE"])
def test_monochrome1_is_inverted_once_after_the_window(tmp_path, ramp, shape):
    extra = {"PresentationLUTShape": shape} if shape else {}
    path = save_dicom(
        tmp_path / "a.dcm", ramp, PhotometricInterpretation="MONOCHROME1", WindowCenter=1000, WindowWidth=800, **extra
    )
    np.testing.assert_allclose(read_display(path)[0], 1 - linear(ramp.astype(float), 1000, 800), atol=TOLERANCE)
    np.testing.assert_array_equal(read_stored(path)[0], ramp)


def test_monochrome1_without_a_window_is_inverted_once(tmp_path, ramp):
    dark = save_dicom(tmp_path / "a.dcm", ramp, PhotometricInterpretation="MONOCHROME1")
    bright = save_dicom(tmp_path / "b.dcm", ramp)
    np.testing.assert_allclose(read_display(dark)[0], 1 - read_display(bright)[0], atol=TOLERANCE)


def test_presentation_shape_inverts_monochrome2(tmp_path, ramp):
    path = save_dicom(tmp_path / "a.dcm", ramp, PresentationLUTShape="INVERSE")
    assert read_display(path)[0][0, 0] == 1.0


def test_lookup_tables(tmp_path):
    stored = np.arange(16, dtype=np.uint16).reshape(4, 4)
    squares = [value * value for value in range(16)]
    modality = save_dicom(
        tmp_path / "a.dcm", stored, ModalityLUTSequence=Sequence([lookup_table(0, squares)]), WindowCenter=100,
        WindowWidth=120,
    )  # fmt: skip
    np.testing.assert_allclose(read_display(modality)[0], linear(stored.astype(float) ** 2, 100, 120), atol=TOLERANCE)
    curve = np.linspace(0, 4095, 12).round()
    voi = save_dicom(tmp_path / "b.dcm", stored, VOILUTSequence=Sequence([lookup_table(2, curve, bits=12)]))
    expected = curve[np.clip(stored.astype(int) - 2, 0, 11)] / 4095
    (frame,) = display_frames(voi)
    np.testing.assert_allclose(frame.pixels, expected, atol=TOLERANCE)
    assert frame.policy == "voi"
    assert np.isnan(frame.low)


def test_percentile_window_without_one_in_the_file(tmp_path):
    stored = np.random.default_rng(0).integers(100, 3000, (64, 64)).astype(np.uint16)
    low, high = np.percentile(stored, [0.5, 99.5])
    path = save_dicom(tmp_path / "a.dcm", stored)
    (frame,) = display_frames(path)
    np.testing.assert_allclose(frame.pixels, np.clip((stored - low) / (high - low), 0, 1), atol=TOLERANCE)
    assert (frame.low, frame.high, frame.policy) == (low, high, "percentile")
    narrow = save_dicom(tmp_path / "b.dcm", stored, WindowCenter=500, WindowWidth=1)
    assert display_frames(narrow)[0].policy == "percentile"


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("padding", "limit"), [(0, None), (65535, None), (65000, 65535)])
def test_padding_is_out_of_the_percentiles_and_black(tmp_path, photometric, padding, limit):
    stored = np.random.default_rng(1).integers(1000, 3000, (64, 64)).astype(np.uint16)
    stored[:, :40] = padding
    if limit:
        stored[:5, :5] = limit
    extra = {"PixelPaddingRangeLimit": limit} if limit else {}
    path = save_dicom(
        tmp_path / "a.dcm", stored, PhotometricInterpretation=photometric, PixelPaddingValue=padding, **extra
    )
    low, high = np.percentile(stored[:, 40:], [0.5, 99.5])
    (frame,) = display_frames(path)
    assert (frame.low, frame.high) == (low, high)
    assert (frame.pixels[:, :40] == 0).all()
    expected = np.clip((stored[:, 40:].astype(float) - low) / (high - low), 0, 1)
    expected = 1 - expected if photometric == "MONOCHROME1" else expected
    np.testing.assert_allclose(frame.pixels[:, 40:], expected, atol=TOLERANCE)


def test_bits_above_bits_stored_are_removed(tmp_path):
    clean = np.arange(256, dtype=np.uint16).reshape(16, 16)
    path = save_dicom(tmp_path / "a.dcm", clean | np.uint16(0xF000), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_stored(path)[0], clean)


def test_sign_is_extended_from_bits_stored(tmp_path):
    values = np.arange(-32, 32, dtype=np.int16).reshape(8, 8)
    path = save_dicom(tmp_path / "a.dcm", values & np.int16(0x0FFF), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_stored(path)[0], values)


def test_enhanced_object_has_a_window_and_slope_per_frame(tmp_path):
    stored = np.random.default_rng(2).integers(0, 1000, (2, 8, 8)).astype(np.uint16)
    groups = [(2.0, 0.0, (900, 700), 3.0, 10.0), (0.5, 5.0, (200, 300), 6.0, 10.0)]
    frames = display_frames(save_enhanced(tmp_path / "a.dcm", stored, groups))
    assert len(frames) == 2
    for frame, raw, (slope, intercept, window, *_) in zip(frames, stored, groups, strict=True):
        np.testing.assert_allclose(frame.pixels, linear(raw * slope + intercept, *window), atol=TOLERANCE)
        assert frame.low == window[0] - window[1] / 2


def test_private_class_and_odd_geometry_do_not_matter(tmp_path, ramp):
    path = save_dicom(
        tmp_path / "a.dcm", ramp, WindowCenter=1000, WindowWidth=800, SOPClassUID="1.3.46.670589.11.0.0.12.1",
        PixelSpacing=[0.5, 0.5],
    )  # fmt: skip
    np.testing.assert_allclose(read_display(path)[0], linear(ramp.astype(float), 1000, 800), atol=TOLERANCE)


@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg"])
def test_pictures(tmp_path, suffix):
    image = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 100] if suffix == "jpg" else [])
    tolerance = 3 if suffix == "jpg" else 0
    assert np.abs(read_stored(path)[0].astype(int) - image).max() <= tolerance
    np.testing.assert_allclose(read_display(path)[0], image / 255, atol=(tolerance + 0.01) / 255)


def test_sixteen_bit_picture_gets_a_percentile_window(tmp_path):
    image = np.random.default_rng(3).integers(0, 5000, (32, 32)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(read_stored(tmp_path / "a.png")[0], image)
    assert display_frames(str(tmp_path / "a.png"))[0].policy == "percentile"


def test_what_cannot_be_read_has_a_reason_without_identity(tmp_path, ramp):
    text = tmp_path / "text.dcm"
    text.write_text("DOE^JOHN")
    cut = tmp_path / "cut.dcm"
    save_dicom(cut, ramp, PatientName="DOE^JOHN")
    cut.write_bytes(cut.read_bytes()[:-100])
    (tmp_path / "empty.png").write_bytes(b"")
    blank = save_dicom(tmp_path / "blank.dcm", np.full((8, 8), 7, np.uint16))
    colour = np.zeros((8, 8, 3), np.uint8)
    rgb = save_dicom(
        tmp_path / "rgb.dcm", colour[..., 0], SamplesPerPixel=3, PhotometricInterpretation="RGB",
        PlanarConfiguration=0, PixelData=colour.tobytes(),
    )  # fmt: skip
    expected = {text: "not_dicom", cut: "not_decodable", tmp_path / "empty.png": "not_decodable", blank: "blank"}
    expected |= {rgb: "colour", tmp_path / "absent.dcm": "file_unreadable"}
    for path, reason in expected.items():
        with pytest.raises(UnreadableImageError) as error:
            read_display(path)
        assert error.value.reason == reason
        assert "DOE" not in str(error.value)
        assert str(tmp_path) not in str(error.value)
