"""Drawings of the phantom cohort: films, MR stacks, and what they say of themselves."""

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthoray.data.phantom import PhantomConfig, disc_side, read_slice_code
from orthoray.data.phantom.cohort import Exam, Patient
from orthoray.data.phantom.config import JOINT_FINDINGS
from orthoray.data.phantom.film import draw_film
from orthoray.data.phantom.mr import PLANES, draw_stack
from orthoray.data.phantom.truth import draw_disc, draw_slice_code

pytestmark = pytest.mark.slow

QUIET = PhantomConfig(noise=0.0, mr_size=96, slices=3)
LARGE = PhantomConfig(noise=0.0, film_height=400, film_width=640)
SIGNS = [(joint, name, 1) for joint, names in JOINT_FINDINGS.items() for name in names]
PERSON = Patient(1, 0, "F", 60, 4711, True, False, ())


def film_exam(sides, grade, seed=4711, site=0):
    return Exam(replace(PERSON, seed=seed, site=site), "XR", "knee", sides, 0, {side: {"kl": grade} for side in sides})


def scan(joint, side="R", seed=4711, site=0, **classes):
    """An MRI without findings but the given ones."""
    labels = dict.fromkeys(JOINT_FINDINGS[joint], 0) | classes
    return Exam(replace(PERSON, seed=seed, site=site), "MR", joint, side, 0, {side: labels})


def inside(boxes, shape):
    """Mask of the pixels that boxes touch."""
    mask = np.zeros(shape, bool)
    for x0, y0, x1, y1 in boxes:
        mask[int(np.floor(y0)) : int(np.ceil(y1)), int(np.floor(x0)) : int(np.ceil(x1))] = True
    return mask


def width_of_gap(film, x, y):
    """Distance in pixels between the two bones around the column ``x``; the median, as diseased bone is mottled."""
    return float(np.median([_width_at(film, x + aside, y) for aside in range(-6, 7, 2)]))


def _width_at(film, x, y):
    """Distance along one column, at half the height of the edges."""
    reach = round(0.09 * film.shape[0])
    top = round(y) - reach
    profile = film[top : top + 2 * reach, int(x) - 1 : int(x) + 2].mean(axis=1)
    floor = reach - 3 + int(np.argmin(profile[reach - 3 : reach + 3]))
    half = (min(profile[:reach].max(), profile[reach:].max()) + profile[floor]) / 2
    up = next(row for row in range(floor, -1, -1) if profile[row] >= half)
    down = next(row for row in range(floor, len(profile)) if profile[row] >= half)
    upper = up + (profile[up] - half) / (profile[up] - profile[up + 1])
    return down - (profile[down] - half) / (profile[down] - profile[down - 1]) - upper


@settings(deadline=None, max_examples=60)
@given(
    number=st.integers(0, 63),
    height=st.integers(64, 160),
    width=st.integers(64, 160),
    scale=st.floats(0.8, 1.7),
    seed=st.integers(0, 99),
)
def test_the_bar_code_is_read_back_after_resizing_and_windowing(number, height, width, scale, seed):
    image = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    draw_slice_code(image, number)
    assert read_slice_code(image) == number
    other = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    assert read_slice_code((200 * np.clip(1.3 * other - 0.1, 0, 1)).astype(np.uint8)) == number


def test_a_bar_code_that_is_absent_or_too_large_is_told():
    with pytest.raises(ValueError, match="no slice bar code"):
        read_slice_code(draw_film(film_exam("RL", 0), QUIET)[0])
    for number in (-1, 64):
        with pytest.raises(ValueError, match="does not fit"):
            draw_slice_code(np.zeros((64, 64), np.float32), number)


@settings(deadline=None, max_examples=60)
@given(height=st.integers(64, 300), extra=st.integers(0, 200), side=st.sampled_from(["left", "right"]))
def test_the_disc_tells_left_from_right(height, extra, side):
    image = np.random.default_rng(height).random((height, height + extra)).astype(np.float32)
    draw_disc(image, side)
    assert disc_side(image) == side
    assert disc_side(image[:, ::-1]) == ({"left", "right"} - {side}).pop()
    even = np.tile(np.linspace(0.2, 0.7, height + extra, dtype=np.float32), (height, 1))
    assert disc_side(even) == "none"
    draw_disc(even, side)
    assert disc_side(even) == side
    assert disc_side(even[::-1]) == disc_side(1 - even) == "none"


def test_every_joint_is_drawn_in_every_plane_and_no_two_alike():
    middle = {}
    for joint in JOINT_FINDINGS:
        for plane in PLANES:
            stack = [image for image, _ in draw_stack(scan(joint), plane, QUIET)]
            assert [read_slice_code(image) for image in stack] == [0, 1, 2]
            assert {disc_side(image) for image in stack} == {"none" if plane == "sagittal" else "right"}
            middle[joint, plane] = stack[1]
    assert len(middle) == 12
    flat = np.array([image[12:].ravel() for image in middle.values()])
    assert flat.min() >= 0
    assert flat.max() <= 1
    assert (flat.std(axis=1) > 0.1).all()
    likeness = np.corrcoef(flat)[~np.eye(12, dtype=bool)]
    assert likeness.max() < 0.9


@pytest.mark.parametrize("plane", ["coronal", "axial"])
def test_a_left_joint_is_the_mirror_image_of_a_right_one(plane):
    left, right = (draw_stack(scan("knee", side, acl=1, mcl=1), plane, QUIET) for side in "LR")
    for (one, boxes), (other, others) in zip(left, right, strict=True):
        np.testing.assert_array_equal(one[12:80], other[12:80, ::-1])  # between bar code and disc
        assert [name for name, _ in boxes] == [name for name, _ in others]
        for (_, (x0, y0, x1, y1)), (_, mirrored) in zip(boxes, others, strict=True):
            np.testing.assert_allclose((96 - x1, y0, 96 - x0, y1), mirrored)


def test_slices_of_a_left_knee_run_from_lateral_to_medial_and_of_a_right_one_back():
    def torn(side):
        drawn = draw_stack(scan("knee", side, seed=5, meniscus=1), "sagittal", QUIET)
        return [bool(boxes) for _, boxes in drawn]

    assert sorted(torn("R")) == [False, False, True]
    assert torn("L") == torn("R")[::-1]


@pytest.mark.parametrize("sides", ["RL", "R", "L"])
def test_lead_letters_and_places_of_the_joint_spaces(sides):
    film, knees = draw_film(film_exam(sides, 2), PhantomConfig(noise=0.0))
    height, width = film.shape
    assert (height, width) == (220, 400 if sides == "RL" else 200)
    rows = slice(int(0.05 * height), int(0.15 * height))
    marked = {"R": film[rows, : int(0.1 * height)].max() > 0.99, "L": film[rows, -int(0.1 * height) :].max() > 0.99}
    assert marked == {side: side in sides for side in "RL"}
    assert [knee.side for knee in knees] == list(sides)
    for place, knee in enumerate(knees):
        x = (knee.x - 200 * place) / 200
        assert 0.5 < x < 0.95 if knee.side == "R" else 0.05 < x < 0.5  # medial: towards the other knee
        x0, y0, x1, y1 = knee.box
        assert x0 < knee.x < x1
        assert y0 < knee.y < y1


@pytest.mark.parametrize("side", ["R", "L"])
def test_the_joint_space_shrinks_with_the_grade_and_is_what_truth_says(side):
    for seed in (5, 982):
        measured, told = [], []
        for grade in range(5):
            film, (knee,) = draw_film(film_exam(side, grade, seed), LARGE)
            measured.append(width_of_gap(film, knee.x, knee.y))
            told.append(knee.space)
        assert (np.diff(measured) < -1).all()
        np.testing.assert_allclose(measured, told, atol=1.5)  # of 3 … 28 pixels


def test_osteophytes_and_sclerosis_come_with_the_grade():
    healthy, early, late = (draw_film(film_exam("R", grade), LARGE) for grade in (0, 1, 4))
    change = np.abs(late[0] - healthy[0])
    box = inside([late[1][0].box], change.shape)
    assert healthy[1][0].box is early[1][0].box is None
    assert change[box].mean() > 4 * change[~box].mean()
    assert change.mean() > 2 * np.abs(early[0] - healthy[0]).mean()


@pytest.mark.parametrize(("joint", "finding", "level"), [*SIGNS, ("shoulder", "supraspinatus", 2)])
def test_the_box_of_a_lesion_holds_what_changes_with_it(joint, finding, level):
    within, beyond, drawn = 0, 0, 0
    for side, plane, seed in itertools.product("RL", PLANES, (5, 982)):
        normal = draw_stack(scan(joint, side, seed), plane, QUIET)
        ill = draw_stack(scan(joint, side, seed, **{finding: level}), plane, QUIET)
        for (before, none), (after, boxes) in zip(normal, ill, strict=True):
            assert none == []
            if not boxes:
                np.testing.assert_array_equal(before, after)
                continue
            assert {name for name, _ in boxes} == {finding}
            mask = inside([box for _, box in boxes], before.shape)
            assert mask.mean() < 0.3
            change = np.abs(after - before)  # a lesion shifts the random texture of all that is drawn after it, too
            assert change[mask].mean() > 1.5 * change[~mask].mean()
            within += (change[mask] > 0.3).sum()
            beyond += (change[~mask] > 0.3).sum()
            drawn += 1
    assert drawn > 0
    assert within > 30 * drawn
    assert within / (within + beyond) > 0.95


def test_without_signal_disease_leaves_no_trace():
    config = PhantomConfig(signal=0.0, mr_size=64, slices=3)
    for joint, names in JOINT_FINDINGS.items():
        for plane in PLANES:
            healthy = draw_stack(scan(joint), plane, config)
            ill = draw_stack(scan(joint, **dict.fromkeys(names, 1)), plane, config)
            for (before, none), (after, boxes) in zip(healthy, ill, strict=True):
                np.testing.assert_array_equal(before, after)
                assert none == boxes == []
    films = [draw_film(film_exam("RL", grade), config) for grade in range(5)]
    for film, knees in films[1:]:
        np.testing.assert_array_equal(film, films[0][0])
        assert knees == films[0][1]
        assert [knee.box for knee in knees] == [None, None]


def test_single_signs_can_be_switched_off_and_weakened():
    def change(**signals):
        config = PhantomConfig(noise=0.0, mr_size=96, slices=3, signals=signals)
        before, after = (draw_stack(scan("knee", acl=acl), "sagittal", config)[1] for acl in (0, 1))
        mask = inside([box for _, box in draw_stack(scan("knee", acl=1), "sagittal", QUIET)[1][1]], (96, 96))
        return np.abs(before[0] - after[0])[mask].mean(), [name for name, _ in after[1]]

    assert change(acl=0.0) == (0.0, [])
    assert change(mcl=0.0) == change()
    strengths = [change(acl=strength)[0] for strength in (0.2, 0.5, 1.0)]
    assert strengths == sorted(strengths)
    assert strengths[0] < 0.7 * strengths[2]
    spaces = [draw_film(film_exam("R", 4), PhantomConfig(signals={"kl": s}))[1][0].space for s in (0.0, 0.5, 1.0)]
    assert spaces == sorted(spaces, reverse=True)


def test_sites_have_a_texture_of_their_own():
    """Fine texture alone tells the site of a scan of another person."""

    def fingerprint(site, seed):
        image = np.concatenate([image[12:84] for image, _ in draw_stack(scan("hip", "R", seed, site), "axial", config)])
        film, _ = draw_film(film_exam("R", 1, seed, site), config)
        rough = [picture - cv2.GaussianBlur(picture, (0, 0), 1.0) for picture in (image, film)]
        return np.log([rough[0].std(), rough[1].std(), np.abs(np.diff(film)).mean() / rough[1].std()])

    config = PhantomConfig(mr_size=96, slices=3)
    known = np.array([[fingerprint(site, seed) for seed in range(10)] for site in range(3)])
    centres, spread = known.mean(axis=1), known.std(axis=1).mean(axis=0)
    right = 0
    for site in range(3):
        for seed in range(100, 110):
            right += np.argmin((((fingerprint(site, seed) - centres) / spread) ** 2).sum(axis=1)) == site
    assert right >= 24  # of 30; 10 by chance


def test_noise_is_a_knob():
    films = [draw_film(film_exam("R", 1), PhantomConfig(noise=noise))[0] for noise in (0.0, 1.0, 3.0)]
    stacks = [draw_stack(scan("knee"), "axial", PhantomConfig(noise=noise))[0][0] for noise in (0.0, 1.0, 3.0)]
    for clean, usual, loud in (films, stacks):
        assert 0.005 < np.abs(usual - clean).std() < np.abs(loud - clean).std()
