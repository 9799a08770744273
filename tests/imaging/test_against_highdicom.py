"""Display values against highdicom's `Image.get_frame`, an implementation of PS3.3 C.11 that others wrote.

Left out are windows of LINEAR after a slope (highdicom 0.28 divides the width by the slope and only then takes one from
it, where C.11.2.1.2.1 takes one from the width), tables as tests/imaging/test_golden.py writes them (highdicom refuses
descriptors without an output of 8 or 16 bits), and headers with both a table and a window (it takes the window).
"""

import numpy as np
import pytest
from highdicom import imread
from tests.imaging.objects import item, lookup_table, save_dicom, save_enhanced
from tests.imaging.test_golden import GOLDEN, SHAPE, write

from orthoray.imaging import display_frames

ULP = 1e-6
COMPARED = [
    golden
    for golden in GOLDEN
    if golden.window
    and "VOILUTSequence" not in golden.header
    and "ModalityLUTSequence" not in golden.header
    and ("RescaleSlope" not in golden.header or "VOILUTFunction" in golden.header)
]


def theirs(path, frame):
    image = imread(path)
    return image.get_frame(
        frame + 1, apply_real_world_transform=False, apply_voi_transform=True, voi_output_range=(0.0, 1.0)
    )


def compare(path):
    frames = display_frames(str(path))
    for number, frame in enumerate(frames):
        assert frame.policy == "voi"
        np.testing.assert_allclose(frame.pixels, theirs(path, number), rtol=0, atol=ULP)
    return len(frames)


@pytest.mark.parametrize("golden", COMPARED, ids=[golden.name for golden in COMPARED])
def test_windows(tmp_path, golden):
    path, values = write(golden, tmp_path / "a.dcm")
    assert not golden.padding or golden.inverse  # shown black here and left alone there: the same if inverse
    assert compare(path) == len(values)


def test_there_is_something_to_compare():
    assert len(COMPARED) >= 14


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 16])
def test_tables(tmp_path, photometric, bits):
    stored = np.random.default_rng(0).integers(0, 4096, SHAPE).astype(np.uint16)
    top = 2**bits - 1
    curve = lookup_table(100, [round(top * (place / 3000) ** 0.5) for place in range(3001)], bits)
    path = save_dicom(
        tmp_path / "a.dcm",
        stored,
        BitsStored=12,
        HighBit=11,
        VOILUTSequence=[curve],
        PhotometricInterpretation=photometric,
    )
    assert compare(path) == 1


def test_frames_of_an_enhanced_object_with_slopes_and_windows_of_their_own(tmp_path):
    stored = np.random.default_rng(1).integers(0, 4096, (4, *SHAPE)).astype(np.uint16)
    groups = [(2.0, 0.0, None, 0.0, 10.0), (0.5, 5.0, None, 3.0, 10.0), (1.0, -9.0, None, 6.0, 10.0)]
    groups.append((0.01, 0.0, None, 9.0, 10.0))
    path = tmp_path / "a.dcm"
    save_enhanced(path, stored, groups, BitsStored=12, HighBit=11)
    windows = [(3000, 900, "SIGMOID"), (700, 300, "LINEAR_EXACT"), (2000, 1500, "LINEAR"), (20.0, 10.0, "LINEAR_EXACT")]
    _with_windows(path, windows)
    assert compare(path) == 4


def _with_windows(path, windows):
    from pydicom import dcmread
    from pydicom.sequence import Sequence

    dataset = dcmread(path)
    for group, (centre, width, function) in zip(dataset.PerFrameFunctionalGroupsSequence, windows, strict=True):
        window = item(WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
        group.FrameVOILUTSequence = Sequence([window])
    dataset.save_as(path)
