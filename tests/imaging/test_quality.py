"""Measures of one image, against values that are known by construction or from an independent formula."""

import math
import string

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft
from tests.imaging import injections

from orthoray.imaging import read_display
from orthoray.imaging.foreground import find_foreground
from orthoray.imaging.layout import collimation, saturated_patches, seam_strength
from orthoray.imaging.perceptual import perceptual_hash
from orthoray.imaging.quality import MEASURES, measure
from orthoray.imaging.sharpness import bands, edges, noise_level, power_spectrum
from orthoray.imaging.text_boxes import find_marks

FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX)


def textured(seed=0, shape=(256, 256), level=110, spread=30):
    """Soft shapes with fine grain, as bone has."""
    rng = np.random.default_rng(seed)
    coarse = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), 12)
    fine = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), 1)
    image = level + spread * coarse / coarse.std() + 5 * fine / fine.std()
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def write(image, text, height, place, font=cv2.FONT_HERSHEY_SIMPLEX, level=255):
    thick = max(1, round(height / 9))
    scale = cv2.getFontScaleFromHeight(font, height, thick)
    drawn = image.copy()
    cv2.putText(drawn, text, place, font, scale, level, thick, cv2.LINE_AA)
    return drawn


def test_one_grey_level_has_no_contrast_and_no_sharpness():
    found = measure(np.full((300, 400), 77, np.uint8), "MR").row()
    assert tuple(found) == MEASURES
    assert (found["mean"], found["std"], found["levels"], found["entropy"], found["contrast"]) == (77, 0, 1, 0, 0)
    assert found["foreground"] == 0
    assert found["aspect"] == pytest.approx(4 / 3)
    for name in ("laplacian", "tenengrad", "high_frequency", "detail", "detail_least", "noise", "spike", "shading"):
        assert math.isnan(found[name]), name


@settings(deadline=None, max_examples=80)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 700),
    low=st.integers(0, 255),
    high=st.integers(0, 255),
    seed=st.integers(0, 99),
    modality=st.sampled_from(["XR", "MR"]),
)
def test_any_image_can_be_measured(height, width, low, high, seed, modality):
    low, high = sorted((low, high))
    image = np.random.default_rng(seed).integers(low, high + 1, (height, width), dtype=np.uint8)
    found = measure(image, modality)
    assert found.mean == pytest.approx(image.mean(), abs=1e-6)
    assert 0 <= found.entropy <= 8
    assert all(0 <= share <= 1 for share in (found.clipped_low, found.clipped_high, found.foreground, found.implant))
    assert not any(math.isinf(value) for value in found.row().values())
    assert 0 <= found.phash < 2**64


def test_the_histogram_is_counted_inside_the_collimation():
    inside = np.random.default_rng(0).choice(np.array([40, 80, 120, 160], np.uint8), (256, 256))
    framed = np.zeros((512, 512), np.uint8)
    framed[90:346, 60:316] = inside
    found = measure(framed, "XR")
    assert found.entropy == pytest.approx(2.0, abs=0.02)
    assert found.contrast == 120
    assert found.clipped_low < 0.02 < np.mean(framed == 0)
    assert found.mean == pytest.approx(framed.mean())


def test_collimation_takes_off_black_and_white_borders_and_nothing_of_the_film():
    film = textured()
    framed = np.full((320, 300), 255, np.uint8)
    framed[40:296, :] = 0
    framed[40:296, 20:276] = film
    assert collimation(framed) == (40, 296, 20, 276)
    assert collimation(film) == (0, 256, 0, 256)


@settings(deadline=None, max_examples=30)
@given(gain=st.floats(0.2, 1.0), offset=st.floats(0.0, 40.0), seed=st.integers(0, 9))
def test_sharpness_does_not_depend_on_brightness_or_contrast(gain, offset, seed):
    focus = textured(seed).astype(np.float32)
    before, after = edges(focus), edges(focus * np.float32(gain) + np.float32(offset))
    assert after == pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_each_blur_lowers_every_measure_of_sharpness(sigma):
    sharp, soft = textured(), cv2.GaussianBlur(textured(), (0, 0), sigma)
    for name in ("laplacian", "tenengrad"):
        assert edges(soft.astype(np.float32))[name] < edges(sharp.astype(np.float32))[name] - 0.1
    for name in ("high_frequency", "detail", "detail_least"):
        limit = 0.0 if name != "high_frequency" and sigma < 2 else -0.3
        assert bands(power_spectrum(soft))[name] < bands(power_spectrum(sharp))[name] + limit


def test_shake_is_seen_in_its_direction_only():
    sharp = textured()
    shaken = cv2.blur(sharp, (15, 1))
    before, after = bands(power_spectrum(sharp)), bands(power_spectrum(shaken))
    assert after["detail_least"] < before["detail_least"] - 0.8
    assert after["detail"] > before["detail"] - 0.8


@pytest.mark.parametrize("sigma", [2.0, 8.0, 25.0])
def test_noise_is_measured_in_grey_levels(sigma):
    smooth = cv2.GaussianBlur(textured(), (0, 0), 6).astype(np.float32)
    noisy = smooth + np.random.default_rng(1).normal(0, sigma, smooth.shape).astype(np.float32)
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.05)


def test_foreground_is_the_share_that_is_shown():
    rng = np.random.default_rng(0)
    image = np.abs(rng.normal(6, 4, (256, 256)))
    yy, xx = np.mgrid[:256, :256]
    fat, muscle = (xx - 128) ** 2 + (yy - 128) ** 2 < 100**2, (xx - 128) ** 2 + (yy - 128) ** 2 < 80**2
    image[fat], image[muscle] = 200, 70
    found = find_foreground(np.clip(image, 0, 255).astype(np.uint8), 4.0)
    assert found.share == pytest.approx(np.pi * 100**2 / 256**2, abs=0.02)
    noise = np.clip(rng.normal(60, 25, (256, 256)), 0, 255).astype(np.uint8)
    assert find_foreground(noise, noise_level(noise.astype(np.float32))).share == 0


def test_entropy_focus_runs_from_one_point_to_a_flat_image():
    point = np.zeros((256, 256), np.uint8)
    point[100, 100] = 255
    assert measure(point, "MR").efc == pytest.approx(0.0, abs=1e-9)
    assert measure(np.full((256, 256), 90, np.uint8), "MR").efc == pytest.approx(1.0, abs=1e-6)
    assert math.isnan(measure(textured(), "XR").efc)


def test_a_bad_point_of_k_space_is_a_line_of_the_spectrum():
    clean = textured()
    assert measure(injections.spiked(clean, 3, np.random.default_rng(0)), "MR").spike > measure(clean, "MR").spike + 0.8


def test_a_seam_is_a_straight_step_across_the_width_and_no_edge_of_bone():
    above, below = textured(1), textured(2)
    two = np.vstack([above[:120], np.clip(below[120:].astype(int) + 25, 0, 255).astype(np.uint8)])
    curved = above.copy()
    cv2.ellipse(curved, (128, 300), (170, 170), 0, 0, 360, 200, -1)
    assert seam_strength(two) > 5
    assert seam_strength(curved) < 1
    assert seam_strength(above) < 1


def test_metal_is_compact_bright_and_steep():
    film = textured(spread=15)
    metal = film.copy()
    cv2.rectangle(metal, (90, 60), (129, 109), 255, -1)
    assert saturated_patches(metal) == pytest.approx(40 * 50 / 256**2, rel=0.02)
    assert saturated_patches(film) == 0
    glow = np.clip(film + 200 * np.exp(-((np.mgrid[:256, :256] - 128.0) ** 2).sum(0) / 2 / 50**2), 0, 255)
    assert saturated_patches(glow.astype(np.uint8)) == 0


def test_the_hash_is_the_signs_of_the_lowest_cosines():
    image = textured(3)
    averages = image.reshape(32, 8, 32, 8).mean(axis=(1, 3)).round()
    lowest = fft.dctn(averages, type=2, norm="ortho")[:8, :8]
    bits = "".join("1" if value > np.median(lowest) else "0" for value in lowest.ravel())
    assert perceptual_hash(image) == int(bits, 2)


def test_the_hash_stays_with_the_scene_and_goes_with_the_side():
    def distance(other):
        return (perceptual_hash(image) ^ perceptual_hash(other)).bit_count()

    image = textured(4)
    assert distance(cv2.resize(image, (512, 512), interpolation=cv2.INTER_CUBIC)) <= 4
    assert distance(np.clip(image * 1.2, 0, 255).astype(np.uint8)) <= 6
    assert distance(image[:, ::-1]) > 12
    assert distance(255 - image) > 40


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("height", [12, 20, 34])
def test_words_are_found_where_they_are(font, height):
    film = textured(5, (512, 512), level=90)
    found = find_marks(write(film, "KNEE 0417", height, (60, 300), font)).words
    assert found
    for x, y, wide, high in found:
        assert x >= 55
        assert y >= 295 - 1.3 * height
        assert y + high <= 306 + 0.3 * height
        assert wide > 2 * height
    assert not find_marks(film).words


@settings(deadline=None, max_examples=120)
@given(
    text=st.sampled_from(["L", "R", "PA", "AP", "WB"]) | st.text(string.ascii_uppercase, min_size=2, max_size=3),
    height=st.integers(10, 48),
    x=st.integers(4, 330),
    y=st.integers(60, 500),
    level=st.integers(200, 255),
)
def test_markers_and_initials_are_allowed_anywhere(text, height, x, y, level):
    marks = find_marks(write(FILM, text, height, (x, y), level=level))
    assert not marks.words
    assert not marks.graphics


FILM = textured(6, (512, 512), level=80)


def test_an_arrow_is_a_graphic_and_a_letter_is_none():
    drawn = FILM.copy()
    cv2.arrowedLine(drawn, (100, 120), (190, 200), 255, 5, cv2.LINE_AA, tipLength=0.3)
    (box,) = find_marks(drawn).graphics
    assert box == pytest.approx((98, 118, 95, 85), abs=4)
    assert not find_marks(drawn, graphics=False).graphics
    assert not find_marks(FILM).graphics


def test_bone_that_is_clipped_to_white_is_no_graphic():
    rows = np.arange(512)[:, None] - 256 - 10 * np.sin(np.arange(512)[None] / 80)
    ridge = np.where(rows < 0, 60.0, 60 + 240 * np.exp(-np.clip(rows, 0, None) / 9))
    clipped = np.clip(FILM * 0.6 + ridge, 0, 255).astype(np.uint8)
    assert (clipped == 255).mean() > 0.002
    assert not find_marks(clipped).graphics


@pytest.mark.data
def test_text_in_a_real_image_without_the_header_flag(shared_data):
    path = shared_data("dicom-misc") / "burned-in" / "ct-rt-ankle-3d-burned-text.dcm"
    image = np.rint(read_display(path)[0] * 255).astype(np.uint8)
    found = measure(image, "CT")
    assert found.text_boxes >= 8
    assert 0.005 < found.text_area < 0.05


@pytest.mark.slow
@pytest.mark.data
def test_knee_films_carry_no_text_and_no_graphics(shared_data):
    files = sorted((shared_data("knee-xray-kl")).rglob("*.png"))
    assert len(files) == 1560
    marks = [find_marks(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)) for file in files]
    assert np.mean([bool(mark.words) for mark in marks]) <= 0.005
    assert np.mean([bool(mark.graphics) for mark in marks]) <= 0.005
    stretched = [find_marks(_percentiles(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))) for file in files[::3]]
    assert np.mean([bool(mark.words) for mark in stretched]) <= 0.005
    assert np.mean([bool(mark.graphics) for mark in stretched]) <= 0.01


def _percentiles(image):
    """The window that images without one get."""
    low, high = np.percentile(image, (0.5, 99.5))
    return np.clip((image - low) / (high - low) * 255, 0, 255).astype(np.uint8)
