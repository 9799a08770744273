"""Golden arrays: images times transfer syntaxes, against plain numpy after the formulas of PS3.3 C.7.6.3 and C.11.

Nothing here calls the package for an expected value. The reference works on single values in float64.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
from pydicom.sequence import Sequence
from tests.imaging.encodings import LOSSLESS, NATIVE, encode
from tests.imaging.objects import item, lookup_table, save_dicom, save_enhanced

from orthoray.imaging import display_frames, read_display, read_stored

ULP = 1e-6
SHAPE = (32, 40)
WORD_KEEPING = (*NATIVE, "rle")
"""Syntaxes that keep bits of the pixel word that are not the pixel's."""


@dataclass
class Golden:
    """An image, what its header says, and what has to come out."""

    name: str
    bits: int = 12
    allocated: int = 16
    signed: bool = False
    modality: object = None
    window: object = None
    inverse: bool = False
    padding: tuple = ()
    word: object = None
    high_bit: int | None = None
    header: dict = field(default_factory=dict)
    syntaxes: tuple = LOSSLESS
    frames: int = 1

    def values(self):
        """(frames, H, W) true stored values: both ends of the range, then random ones; padding in a corner."""
        low, high = (-(1 << self.bits - 1), (1 << self.bits - 1) - 1) if self.signed else (0, (1 << self.bits) - 1)
        rng = np.random.default_rng(sum(map(ord, self.name)))
        values = rng.integers(low, high, (self.frames, *SHAPE), endpoint=True)
        values[:, 0, :2] = low, high
        for column, number in enumerate(self.padding):
            values[:, 4:, column] = number
        return values


def rescale(slope, intercept):
    return lambda stored: stored * slope + intercept


def table(first, entries):
    """C.11.1.1: below the first value mapped the first entry, beyond the last one the last entry."""

    def look_up(values):
        places = [min(max(round(value) - first, 0), len(entries) - 1) for value in values.ravel()]
        return np.array([entries[place] for place in places], float).reshape(values.shape)

    return look_up


def linear(centre, width):
    """C.11.2.1.2.1, its three cases."""

    def shade(x):
        y = ((x - (centre - 0.5)) / (width - 1) + 0.5) * 1.0
        return np.where(x <= centre - 0.5 - (width - 1) / 2, 0.0, np.where(x > centre - 0.5 + (width - 1) / 2, 1.0, y))

    return shade


def exact(centre, width):
    """C.11.2.1.3.2."""
    return lambda x: np.where(
        x <= centre - width / 2, 0.0, np.where(x > centre + width / 2, 1.0, (x - centre) / width + 0.5)
    )


def sigmoid(centre, width):
    """C.11.2.1.3.1."""
    return lambda x: 1.0 / (1.0 + np.exp(-4.0 * (x - centre) / width))


def voi_table(first, entries, bits):
    return lambda x: table(first, entries)(x) / (2**bits - 1)


def percentile_window(values, padding):
    """The package's own policy: 0.5 to 99.5 per cent of what is not padding."""
    kept = np.sort(values[~padding].ravel())
    place = np.array([0.005, 0.995]) * (len(kept) - 1)
    below = np.floor(place).astype(int)
    low, high = kept[below] + (kept[np.minimum(below + 1, len(kept) - 1)] - kept[below]) * (place - below)
    return lambda x: np.clip((x - low) / (high - low), 0, 1)


def expected_display(golden, stored):
    padding = np.zeros(stored.shape, bool)
    if golden.padding:
        padding = (stored >= min(golden.padding)) & (stored <= max(golden.padding))
    values = golden.modality(stored.astype(float)) if golden.modality else stored.astype(float)
    shade = golden.window or percentile_window(values, padding)
    shown = 1.0 - shade(values) if golden.inverse else shade(values)
    return np.where(padding, 0.0, shown)


CURVE = [round(4095 * (place / 4095) ** 0.6) for place in range(4096)]
FALLING = list(range(1023, -1, -1))
BYTES = [round(255 * (place / 255) ** 2) for place in range(256)]

GOLDEN = [
    Golden("8 bits", bits=8, allocated=8, window=linear(100, 150), header={"WindowCenter": 100, "WindowWidth": 150}),
    Golden("8 bits, no window", bits=8, allocated=8),
    Golden("8 bits, signed", bits=8, allocated=8, signed=True, syntaxes=(*NATIVE, "rle", "jpeg_ls", "j2k")),
    Golden("8 of 16 bits", bits=8, window=linear(100, 150), header={"WindowCenter": 100, "WindowWidth": 150}),
    Golden("10 bits", bits=10, window=linear(500, 300), header={"WindowCenter": 500, "WindowWidth": 300}),
    Golden("12 bits", window=linear(2000, 1500), header={"WindowCenter": 2000, "WindowWidth": 1500}),
    Golden("12 bits, no window"),
    Golden("12 bits, first of two windows", window=linear(2000, 1500),
           header={"WindowCenter": [2000, 50], "WindowWidth": [1500, 20]}),
    Golden("12 bits, window of width one", header={"WindowCenter": 2000, "WindowWidth": 1}),
    Golden("12 bits, odd narrow window", window=linear(2000.5, 7), header={"WindowCenter": 2000.5, "WindowWidth": 7}),
    Golden("16 bits", bits=16, window=linear(30000, 40000), header={"WindowCenter": 30000, "WindowWidth": 40000}),
    Golden("16 bits, no window", bits=16),
    Golden("32 bits", bits=32, allocated=32, syntaxes=NATIVE),
    Golden("32 bits, signed", bits=32, allocated=32, signed=True, syntaxes=NATIVE),
    Golden("signed 12 bits", signed=True, window=linear(0, 2000), header={"WindowCenter": 0, "WindowWidth": 2000}),
    Golden("signed 16 bits", bits=16, signed=True, window=exact(-100, 9000),
           header={"WindowCenter": -100, "WindowWidth": 9000, "VOILUTFunction": "LINEAR_EXACT"}),
    Golden("signed with padding", bits=16, signed=True, padding=(-2000,), header={"PixelPaddingValue": -2000}),
    Golden("exact", window=exact(2000, 1500),
           header={"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT"}),
    Golden("sigmoid", window=sigmoid(2000, 1500),
           header={"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"}),
    Golden("MONOCHROME1", inverse=True, window=linear(2000, 1500),
           header={"WindowCenter": 2000, "WindowWidth": 1500, "PhotometricInterpretation": "MONOCHROME1"}),
    Golden("MONOCHROME1, shape inverse", inverse=True, window=linear(2000, 1500),
           header={"WindowCenter": 2000, "WindowWidth": 1500, "PhotometricInterpretation": "MONOCHROME1",
                   "PresentationLUTShape": "INVERSE"}),
    Golden("MONOCHROME1, no window", inverse=True, header={"PhotometricInterpretation": "MONOCHROME1"}),
    Golden("MONOCHROME2, shape inverse", inverse=True, header={"PresentationLUTShape": "INVERSE"}),
    Golden("slope", modality=rescale(2.5, -1024), window=linear(3000, 4000),
           header={"RescaleSlope": 2.5, "RescaleIntercept": -1024, "RescaleType": "US",
                   "WindowCenter": 3000, "WindowWidth": 4000}),
    Golden("small slope", modality=rescale(0.001, 0.25), window=linear(2.0, 3.0),
           header={"RescaleSlope": 0.001, "RescaleIntercept": 0.25, "RescaleType": "US",
                   "WindowCenter": 2.0, "WindowWidth": 3.0}),
    Golden("negative slope", modality=rescale(-1, 4095),
           header={"RescaleSlope": -1, "RescaleIntercept": 4095, "RescaleType": "US"}),
    Golden("slope, signed, MONOCHROME1, sigmoid", signed=True, inverse=True, modality=rescale(0.5, 100),
           window=sigmoid(200, 700),
           header={"RescaleSlope": 0.5, "RescaleIntercept": 100, "RescaleType": "US", "WindowCenter": 200,
                   "WindowWidth": 700, "VOILUTFunction": "SIGMOID", "PhotometricInterpretation": "MONOCHROME1"}),
    Golden("modality table", bits=10, modality=table(0, FALLING), window=linear(600, 500),
           header={"ModalityLUTSequence": [(0, FALLING, 10)], "WindowCenter": 600, "WindowWidth": 500}),
    Golden("modality table for signed values", bits=10, signed=True, modality=table(-200, CURVE[:400]),
           header={"ModalityLUTSequence": [(-200, CURVE[:400], 12)]}),
    Golden("table", window=voi_table(0, CURVE, 12), header={"VOILUTSequence": [(0, CURVE, 12)]}),
    Golden("table before window", window=voi_table(1000, CURVE[:2000], 16),
           header={"VOILUTSequence": [(1000, CURVE[:2000], 16)], "WindowCenter": 9, "WindowWidth": 9}),
    Golden("table of bytes for more than bytes", window=voi_table(1800, BYTES, 8),
           header={"VOILUTSequence": [(1800, BYTES, 8)]}),
    Golden("table after slope to negative values", modality=rescale(1, -1024), window=voi_table(-500, CURVE[:1000], 12),
           header={"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU",
                   "VOILUTSequence": [(-500, CURVE[:1000], 12)]}),
    Golden("table, MONOCHROME1", inverse=True, window=voi_table(0, CURVE, 12),
           header={"VOILUTSequence": [(0, CURVE, 12)], "PhotometricInterpretation": "MONOCHROME1"}),
    Golden("padding", padding=(0,), header={"PixelPaddingValue": 0}),
    Golden("padding, MONOCHROME1, window", padding=(4095,), inverse=True, window=linear(2000, 1500),
           header={"PixelPaddingValue": 4095, "PhotometricInterpretation": "MONOCHROME1",
                   "WindowCenter": 2000, "WindowWidth": 1500}),
    Golden("range of padding", padding=(4095, 3900),
           header={"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 3900}),
    Golden("overlay in high bits", word=lambda rng, values: values | rng.integers(0, 16, values.shape) << 12,
           syntaxes=WORD_KEEPING),
    Golden("overlay in high bits, signed", signed=True, syntaxes=WORD_KEEPING,
           word=lambda rng, values: (values & 0x0FFF) | rng.integers(0, 16, values.shape) << 12),
    Golden("pixel in the upper bits, overlay below", high_bit=15, syntaxes=WORD_KEEPING,
           word=lambda rng, values: (values << 4) | rng.integers(0, 16, values.shape)),
    Golden("seven frames", frames=7, window=linear(2000, 1500), header={"WindowCenter": 2000, "WindowWidth": 1500}),
]  # fmt: skip


def write(golden, path):
    """Write a golden image as Explicit VR Little Endian; return its path and its stored values."""
    values = golden.values()
    words = golden.word(np.random.default_rng(1), values) if golden.word else values
    kind = f"{'i' if golden.signed else 'u'}{golden.allocated // 8}"
    header = dict(golden.header)
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        if name in header:
            ((first, entries, bits),) = header[name]
            header[name] = Sequence([lookup_table(first, entries, bits)])
    if golden.frames > 1:
        header["NumberOfFrames"] = golden.frames
    high_bit = golden.bits - 1 if golden.high_bit is None else golden.high_bit
    words = words.astype(np.int64).astype(kind)
    saved = save_dicom(
        path, words if golden.frames > 1 else words[0], BitsStored=golden.bits, HighBit=high_bit, **header
    )
    return saved, values


CASES = [(golden, syntax) for golden in GOLDEN for syntax in golden.syntaxes]


def test_there_are_enough_golden_images():
    assert len(GOLDEN) >= 25
    assert len({golden.name for golden in GOLDEN}) == len(GOLDEN)
    assert {syntax for _, syntax in CASES} == set(LOSSLESS)


@pytest.mark.parametrize(("golden", "syntax"), CASES, ids=[f"{golden.name}-{syntax}" for golden, syntax in CASES])
def test_lossless(tmp_path, golden, syntax):
    path, values = write(golden, tmp_path / "a.dcm")
    encode(path, syntax)
    stored = read_stored(path)
    np.testing.assert_array_equal(np.array(stored), values)
    assert {frame.dtype.kind for frame in stored} == {"i" if golden.signed else "u"}
    shown = display_frames(path)
    assert {frame.policy for frame in shown} == {"voi" if golden.window else "percentile"}
    for frame, raw in zip(shown, values, strict=True):
        assert frame.pixels.dtype == np.float32
        np.testing.assert_allclose(frame.pixels, expected_display(golden, raw), rtol=0, atol=ULP)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("syntax", "tolerance"), [("jpeg_baseline", 3), ("jpeg_ls_near", 2)])
def test_lossy(tmp_path, photometric, syntax, tolerance):
    smooth = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8) * 3
    path = save_dicom(
        tmp_path / "a.dcm", smooth, PhotometricInterpretation=photometric, WindowCenter=120, WindowWidth=200
    )
    encode(path, syntax)
    (stored,), (shown,) = read_stored(path), read_display(path)
    assert np.abs(stored.astype(int) - smooth).max() <= tolerance
    expected = linear(120, 200)(smooth.astype(float))
    expected = 1 - expected if photometric == "MONOCHROME1" else expected
    np.testing.assert_allclose(shown, expected, atol=(tolerance + 0.01) / 199)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_enhanced_object_with_a_chain_per_frame(tmp_path, syntax):
    stored = np.random.default_rng(2).integers(0, 4096, (4, *SHAPE)).astype(np.uint16)
    groups = [(2.0, 0.0, (3000, 900), 0.0, 10.0), (0.5, 5.0, (700, 300), 3.0, 10.0), (1.0, -9.0, None, 6.0, 10.0)]
    groups.append((0.01, 0.0, (20.0, 10.0), 9.0, 10.0))
    path = save_enhanced(tmp_path / "a.dcm", stored, groups, BitsStored=12, HighBit=11)
    encode(path, syntax)
    np.testing.assert_array_equal(np.array(read_stored(path)), stored)
    for frame, raw, (slope, intercept, window, *_) in zip(display_frames(path), stored, groups, strict=True):
        values = raw * slope + intercept
        shade = linear(*window) if window else percentile_window(values, np.zeros(raw.shape, bool))
        np.testing.assert_allclose(frame.pixels, shade(values), rtol=0, atol=ULP)
        assert frame.policy == ("voi" if window else "percentile")


def test_enhanced_object_with_a_shared_chain(tmp_path):
    stored = np.random.default_rng(3).integers(0, 4096, (2, *SHAPE)).astype(np.uint16)
    groups = [(2.0, 1.0, (1000, 900), 0.0, 10.0)] * 2
    shared = {
        "PixelValueTransformationSequence": [item(RescaleSlope=3.0, RescaleIntercept=-7.0, RescaleType="US")],
        "FrameVOILUTSequence": [item(WindowCenter=4000, WindowWidth=5000, VOILUTFunction="SIGMOID")],
    }
    path = save_enhanced(tmp_path / "a.dcm", stored, groups, shared=shared, own=False)
    for frame, raw in zip(read_display(path), stored, strict=True):
        np.testing.assert_allclose(frame, sigmoid(4000, 5000)(raw * 3.0 - 7.0), rtol=0, atol=ULP)
