"""The pixel chain piece by piece; `test_golden` has the combinations.

Expected values are plain numpy after the formulas of PS3.3 C.11.
"""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom import dcmread, dcmwrite
from pydicom.sequence import Sequence
from tests.imaging.encodings import encode
from tests.imaging.objects import item, lookup_table, save_dicom, save_enhanced
from tests.imaging.test_golden import GOLDEN, write

from orthoray.imaging import UnreadableImageError, count_frames, display_frames, read_display, read_stored
from orthoray.imaging.chain import frame_chain
from orthoray.imaging.display import code_counts, percentiles, shade
from orthoray.imaging.files import read_dicom
from orthoray.imaging.stored import stored_frames

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
    expected = {text: "not_dicom", cut: "not_decodable", tmp_path / "empty.png": "empty", blank: "blank"}
    expected |= {rgb: "colour", tmp_path / "absent.dcm": "file_unreadable"}
    for path, reason in expected.items():
        with pytest.raises(UnreadableImageError) as error:
            read_display(path)
        assert error.value.reason == reason
        assert "DOE" not in str(error.value)
        assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("golden", [g for g in GOLDEN if g.allocated <= 16], ids=lambda golden: golden.name)
@pytest.mark.parametrize("window", ["header", "percentile"])
def test_the_table_gives_the_same_bits_as_arithmetic_on_the_image(tmp_path, golden, window):
    dataset = read_dicom(write(golden, tmp_path / "a.dcm")[0])
    for number, stored in enumerate(stored_frames(dataset)):
        chain = frame_chain(dataset, number)
        looked_up, direct = shade(stored, chain, window, table=True), shade(stored, chain, window, table=False)
        np.testing.assert_array_equal(looked_up.pixels, direct.pixels)
        assert looked_up.pixels.dtype == direct.pixels.dtype == np.float32
        np.testing.assert_array_equal(looked_up.grey, np.rint(direct.pixels * np.float32(255)).astype(np.uint8))
        np.testing.assert_array_equal(looked_up.grey, direct.grey)
        np.testing.assert_equal((looked_up.low, looked_up.high), (direct.low, direct.high))
        assert looked_up.policy == direct.policy


def test_a_film_is_looked_up_in_a_table(tmp_path):
    stored = np.random.default_rng(5).integers(-2000, 2000, (300, 300)).astype(np.int16)
    path = save_dicom(tmp_path / "a.dcm", stored, WindowCenter=0, WindowWidth=3000, PixelPaddingValue=-2000)
    (frame,) = display_frames(path)
    assert frame.table is not None
    expected = np.where(stored == -2000, 0.0, linear(stored.astype(float), 0, 3000))
    np.testing.assert_allclose(frame.pixels, expected, rtol=0, atol=TOLERANCE)


@given(
    arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6), unique=True),
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(0, 100), min_size=1, max_size=4),
)
def test_percentiles_of_counted_values_are_those_of_the_values(values, seed, points):
    counts = np.random.default_rng(seed).integers(1, 9, len(values))
    assert percentiles(values, counts, points) == list(np.percentile(np.repeat(values, counts), points))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("side", [300, 4500])
def test_codes_are_counted_exactly(dtype, side):
    """Beyond 2^24, float32 skips odd numbers."""
    codes = np.zeros((side, side), dtype)
    codes[0, :3] = 1, 1, 255
    counts = code_counts(codes)
    assert len(counts) == 1 << 8 * codes.itemsize
    assert (counts[0], counts[1], counts[255], counts.sum()) == (side * side - 3, 2, 1, side * side)


def test_padding_is_black_in_a_window_of_the_file(tmp_path, ramp):
    path = save_dicom(
        tmp_path / "a.dcm", ramp, PhotometricInterpretation="MONOCHROME1", WindowCenter=1000, WindowWidth=800,
        PixelPaddingValue=0, PixelPaddingRangeLimit=32,
    )  # fmt: skip
    shown = read_display(path)[0]
    assert shown.ravel()[:3].tolist() == [0, 0, 0]
    assert shown.ravel()[3] == 1.0


def test_padding_of_signed_images_may_have_been_written_as_unsigned(tmp_path):
    stored = np.random.default_rng(1).integers(0, 1000, (16, 16)).astype(np.int16)
    stored[:, :5] = -2000
    path = save_dicom(tmp_path / "a.dcm", stored)
    dataset = dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    dataset.save_as(path)
    (frame,) = display_frames(path)
    assert (frame.low, frame.high) == tuple(np.percentile(stored[:, 5:], [0.5, 99.5]))
    assert (frame.pixels[:, :5] == 0).all()


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_tables_written_as_bytes(tmp_path, little, packed):
    """LUT Data of VR OW: entries of 8 bits may be packed, others have the byte order of the file (C.11.1.1)."""
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8)
    curve = [255 - 3 * place for place in range(64)] if packed else [60000 - 900 * place for place in range(64)]
    table = lookup_table(0, curve, 8 if packed else 16)
    order = "<" if little else ">"
    data = np.array(curve, "u1" if packed else "<u2")
    table.add_new("LUTData", "OW", data.astype(data.dtype.newbyteorder(order)).tobytes())
    path = save_dicom(tmp_path / "a.dcm", stored, VOILUTSequence=Sequence([table]))
    if not little:
        encode(path, "big_endian")
    expected = np.array(curve).reshape(8, 8) / (255 if packed else 65535)
    np.testing.assert_allclose(read_display(path)[0], expected, rtol=0, atol=TOLERANCE)


def test_a_table_with_all_entries(tmp_path):
    """65536 entries are written as 0 (C.11.1.1)."""
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    curve = (np.arange(65536, dtype=np.int64) * 7919 % 65536).astype("<u2")
    table = lookup_table(0, [0])
    table.LUTDescriptor = [0, 0, 16]
    table.add_new("LUTData", "OW", curve.tobytes())
    path = save_dicom(tmp_path / "a.dcm", stored, VOILUTSequence=Sequence([table]))
    np.testing.assert_allclose(read_display(path)[0], curve.reshape(256, 256) / 65535, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("descriptor", "entries"), [([16, 0, 7], 16), ([16, 0, 32], 16), ([64, 0, 16], 16)])
def test_a_table_that_contradicts_itself_is_refused(tmp_path, ramp, descriptor, entries):
    table = lookup_table(0, range(entries))
    table.LUTDescriptor = descriptor
    path = save_dicom(tmp_path / "a.dcm", ramp, VOILUTSequence=Sequence([table]))
    with pytest.raises(UnreadableImageError, match="header_unreadable"):
        read_display(path)


def test_an_unknown_window_function_is_refused(tmp_path, ramp):
    path = save_dicom(tmp_path / "a.dcm", ramp, WindowCenter=100, WindowWidth=80, VOILUTFunction="LOG")
    with pytest.raises(UnreadableImageError, match="header_unreadable"):
        read_display(path)


def test_frames_have_tables_of_their_own(tmp_path):
    stored = np.arange(32, dtype=np.uint16).reshape(2, 4, 4)
    path = save_enhanced(tmp_path / "a.dcm", stored, [(1.0, 0.0, None, 0.0, 1.0), (1.0, 0.0, (20, 9), 1.0, 1.0)])
    dataset = dcmread(path)
    curve = [4095 - 100 * place for place in range(16)]
    window = item(VOILUTSequence=[lookup_table(0, curve, 12)], WindowCenter=3, WindowWidth=4)
    dataset.PerFrameFunctionalGroupsSequence[0].FrameVOILUTSequence = Sequence([window])
    dcmwrite(path, dataset)
    first, second = display_frames(path)
    np.testing.assert_allclose(first.pixels, np.array(curve).reshape(4, 4) / 4095, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(second.pixels, linear(stored[1].astype(float), 20, 9), rtol=0, atol=TOLERANCE)


def test_a_blank_frame_does_not_cost_the_others(tmp_path):
    stored = np.random.default_rng(4).integers(0, 900, (3, 16, 16)).astype(np.uint16)
    stored[0] = 7
    frames = display_frames(save_dicom(tmp_path / "a.dcm", stored, NumberOfFrames=3, PixelPaddingValue=7))
    assert [frame.policy for frame in frames] == ["blank", "percentile", "percentile"]
    assert (frames[0].pixels == 0).all()
    inverse = save_dicom(tmp_path / "b.dcm", stored, NumberOfFrames=3, PhotometricInterpretation="MONOCHROME1")
    assert (read_display(inverse)[0] == 0).all()
    assert read_display(inverse)[1].max() == 1


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "PALETTE COLOR"])
def test_colour_has_stored_values_but_is_not_displayed(tmp_path, photometric):
    colours = np.random.default_rng(6).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    path = tmp_path / "a.dcm"
    if photometric == "PALETTE COLOR":
        save_dicom(path, colours[..., 0], PhotometricInterpretation=photometric)
        np.testing.assert_array_equal(read_stored(path)[0], colours[..., 0])
    else:
        luminance = colours @ np.array([0.299, 0.587, 0.114])
        written = colours
        if photometric == "YBR_FULL":  # C.7.6.3.1.2
            blue, red = (colours[..., 2] - luminance) * 0.564 + 128, (colours[..., 0] - luminance) * 0.713 + 128
            written = np.rint(np.dstack([luminance, blue, red])).astype(np.uint8)
        save_dicom(
            path, colours[..., 0], SamplesPerPixel=3, PhotometricInterpretation=photometric, PlanarConfiguration=0,
            PixelData=written.tobytes(),
        )  # fmt: skip
        assert np.abs(read_stored(path)[0] - luminance).max() < (0.51 if photometric == "RGB" else 2)
    with pytest.raises(UnreadableImageError, match="colour"):
        read_display(path)


def tiff(images, photometric=1):
    """A TIFF of one strip per page; cv2 writes none whose zero is white."""
    content, places = b"II*\0\0\0\0\0", [4]
    for image in images:
        start, pixels = len(content), image.astype(image.dtype.newbyteorder("<")).tobytes()
        fields = [(256, image.shape[1]), (257, image.shape[0]), (258, image.itemsize * 8), (259, 1)]
        fields += [(262, photometric), (273, start), (277, 1), (278, image.shape[0]), (279, len(pixels))]
        content += pixels
        content = content[: places[-1]] + struct.pack("<I", len(content)) + content[places[-1] + 4 :]
        content += struct.pack("<H", len(fields)) + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in fields)
        places.append(len(content))
        content += bytes(4)
    return content


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("photometric", [0, 1])
def test_pages_of_a_tiff_are_frames(tmp_path, dtype, photometric):
    rng = np.random.default_rng(7)
    pages = [rng.integers(0, np.iinfo(dtype).max, (12, 10), endpoint=True).astype(dtype) for _ in range(3)]
    (tmp_path / "a").write_bytes(tiff(pages, photometric))
    upright = [page if photometric else ~page for page in pages]
    assert count_frames(str(tmp_path / "a")) == 3
    np.testing.assert_array_equal(read_stored(tmp_path / "a"), upright)
    shown = read_display(tmp_path / "a")
    assert all(np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99 for a, b in zip(shown, upright, strict=True))


def test_a_colour_picture_becomes_its_luminance(tmp_path):
    colours = np.random.default_rng(8).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1])
    luminance = colours @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read_stored(tmp_path / "a.png")[0] - luminance).max() < 1.5
