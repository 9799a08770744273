"""Films shown as negatives are found; films shown as they should be are left alone."""

import csv

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from orthoray.data.phantom import PhantomConfig
from orthoray.data.phantom.cohort import exams
from orthoray.data.phantom.film import draw_film
from orthoray.imaging import display_frames
from orthoray.imaging.polarity import CERTAIN, CORNER, SIDE, STRIP, polarity

pytestmark = pytest.mark.slow


def limb(height=200, width=160, bone=180, soft=90, air=10, noise=4, seed=0):
    """A bone in soft tissue in air."""
    rng = np.random.default_rng(seed)
    across = np.abs(np.arange(width) - width / 2) / width
    profile = np.where(across < 0.15, bone, np.where(across < 0.38, soft, air)).astype(float)
    return np.clip(np.tile(profile, (height, 1)) + rng.normal(0, noise, (height, width)), 0, 255).astype(np.uint8)


def noise_image(seed):
    return np.random.default_rng(seed).integers(0, 40, (SIDE, SIDE)).astype(np.uint8)


def test_a_limb_in_air_and_its_negative():
    assert polarity(limb()).inverted is False
    assert polarity(255 - limb()).inverted is True


@given(seed=st.integers(0, 1000), steps=st.lists(st.integers(1, 4), min_size=60, max_size=60))
@settings(max_examples=30, deadline=None)
def test_the_score_is_the_effect_size_of_the_margin_and_ignores_the_window(seed, steps):
    image = noise_image(seed) + (np.arange(SIDE) > seed % SIDE).astype(np.uint8) * 20
    margin = np.zeros(image.shape, bool)
    margin[:, :STRIP] = margin[:, SIDE - STRIP :] = True
    for rows in (range(CORNER), range(SIDE - CORNER, SIDE)):
        margin[np.ix_(rows, [*range(CORNER), *range(SIDE - CORNER, SIDE)])] = True
    rest, edge = image[~margin], image[margin]
    expected = 2 * mannwhitneyu(rest, edge).statistic / (rest.size * edge.size) - 1
    assert polarity(image).score == pytest.approx(expected, abs=1e-6)
    assert polarity(255 - image).score == pytest.approx(-expected, abs=1e-6)
    assert polarity(np.cumsum(steps).astype(np.uint8)[image]).score == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("padding", [0, 255])
def test_padding_is_no_evidence(padding):
    for image in (noise_image(1), limb(SIDE, SIDE), 255 - limb(SIDE, SIDE)):
        padded = np.pad(image, ((9, 3), (20, 31)), constant_values=padding)
        assert polarity(padded) == polarity(image)


@pytest.mark.parametrize("image", [np.zeros((64, 64), np.uint8), np.full((1, 1), 7, np.uint8), limb(200, 10)])
def test_an_image_without_content_cannot_be_told(image):
    assert polarity(image).inverted is None
    assert polarity(image).score == 0.0


def test_uniform_noise_cannot_be_told():
    assert all(polarity(noise_image(seed)).inverted is None for seed in range(20))


def test_phantom_films_are_right_and_their_negatives_are_found():
    config = PhantomConfig(patients=40, modalities=("XR",), joints=("knee",))
    films = [np.rint(draw_film(exam, config)[0] * 255).astype(np.uint8) for exam in exams(config)]
    assert len(films) >= 40
    assert [polarity(film).inverted for film in films] == [False] * len(films)
    assert [polarity(255 - film).inverted for film in films] == [True] * len(films)


@pytest.fixture(scope="module")
def knees(shared_data):
    """Scores of the real knee films, whether they are negatives, and which patients' they are."""
    root = shared_data("knee-xray-kl")
    with (root / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = np.array([polarity(cv2.imread(str(root / row["file"]), cv2.IMREAD_GRAYSCALE)).score for row in rows])
    return scores, np.array([row["inverted"] == "1" for row in rows]), np.array([row["patient_id"] for row in rows])


@pytest.mark.data
def test_all_negatives_of_the_knee_films_are_found_and_nothing_else(knees):
    scores, negative, _ = knees
    assert negative.sum() == 18
    np.testing.assert_array_equal(scores <= -CERTAIN, negative)
    assert (np.abs(scores) >= CERTAIN).all()
    assert scores[~negative].min() - scores[negative].max() > 1.0


@pytest.mark.data
def test_a_threshold_chosen_on_half_of_the_patients_holds_for_the_others(knees):
    scores, negative, patients = knees
    unique, rng = np.unique(patients), np.random.default_rng(7)
    for _ in range(20):
        half = np.isin(patients, rng.permutation(unique)[: len(unique) // 2])
        threshold = (scores[half & negative].max() + scores[half & ~negative].min()) / 2
        np.testing.assert_array_equal(scores[~half] < threshold, negative[~half])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("CR-MONO1-10-chest.dcm", {False, None}),
        ("dx-dog-thorax-mono1.dcm", {False, None}),
        ("cr-siim-nih-chest.dcm", {False}),
        ("dx-nih-chest.dcm", {False}),
        ("fake-mono1-chest.dcm", {True}),
    ],
)
def test_tags_of_real_files_after_the_pixel_chain(shared_data, name, allowed):
    assert polarity(display_frames(str(shared_data("dicom-misc") / "xray" / name))[0].grey).inverted in allowed


@pytest.mark.data
@pytest.mark.parametrize("name", ["chest-pneumonia-kermany", "chest-pneumonia-nih", "chest-pneumothorax-nih"])
def test_chest_films_are_seldom_taken_for_negatives(shared_data, name):
    root = shared_data(name)
    with (root / "labels.csv").open(newline="") as file:
        films = [cv2.imread(str(root / row["file"]), cv2.IMREAD_GRAYSCALE) for row in csv.DictReader(file)]
    assert np.mean([polarity(film).inverted is True for film in films]) <= 0.01
