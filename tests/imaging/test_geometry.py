"""Planes, order and spacing, against hand-worked numbers and highdicom.

highdicom counts slices along column x row unless it is told that the first index runs along the row (``RD``).
"""

import math

import numpy as np
import pytest
from highdicom.spatial import get_series_volume_positions, get_volume_positions
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.imaging.headers import AXIAL, CORONAL, SAGITTAL, rotation, slices

from orthoray.imaging.geometry import (
    centre_of,
    direction_of,
    is_orientation,
    normal_of,
    place_slices,
    plane_of,
    position_along,
)

TILTED = math.cos(math.radians(36)), math.sin(math.radians(36))  # of the normal: cosine 0.809
OBLIQUE = math.cos(math.radians(38)), math.sin(math.radians(38))  # cosine 0.788


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [
        (SAGITTAL, "sagittal"),
        (CORONAL, "coronal"),
        (AXIAL, "axial"),
        ([0, -1, 0, 0, 0, -1], "sagittal"),
        ([TILTED[0], TILTED[1], 0, 0, 0, -1], "coronal"),
        ([OBLIQUE[0], OBLIQUE[1], 0, 0, 0, -1], "oblique"),
        ([-0.0218343, 0.999511, 0.0224019, -0.144772, 0.01901, -0.989282], "sagittal"),
    ],
)
def test_plane_follows_the_normal(orientation, plane):
    assert plane_of(orientation) == plane


@pytest.mark.parametrize(
    ("orientation", "direction"),
    [(SAGITTAL, "R"), ([0, -1, 0, 0, 0, -1], "L"), (CORONAL, "P"), ([-1, 0, 0, 0, 0, -1], "A"), (AXIAL, "H"),
     ([1, 0, 0, 0, -1, 0], "F")],
)  # fmt: skip
def test_slices_ascend_along_row_cross_column(orientation, direction):
    assert direction_of(orientation) == direction
    towards = {"L": [1, 0, 0], "R": [-1, 0, 0], "P": [0, 1, 0], "A": [0, -1, 0], "H": [0, 0, 1], "F": [0, 0, -1]}
    assert position_along(orientation, towards[direction]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "values",
    [[0] * 6, [1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 2, 0], [math.nan] * 6, [1, 0, 0, 0.2, 0.98, 0], [1, 0, 0]],
)
def test_six_numbers_that_are_no_orientation(values):
    assert not is_orientation(values)
    assert is_orientation([1, 0, 0.005, 0, 1, 0])


def test_centre_of_a_slice_counts_from_the_first_pixels_centre():
    assert centre_of(SAGITTAL, [7, 0, 0], (2.0, 1.0), (11, 21)) == (7, 10, -10)


def test_sagittal_spacing_is_not_read_from_z():
    positions = np.array([[-3.5 * number, 10.0, 20.0] for number in range(5)])
    assert place_slices(positions, SAGITTAL).spacing_mm == pytest.approx(3.5)


quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)
stacks = st.fixed_dictionaries(
    {
        "turn": quaternions,
        "count": st.integers(2, 40),
        "step": st.floats(0.3, 12),
        "start": st.tuples(*[st.floats(-300, 300)] * 3),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def made(stack, places=None):
    """Shuffled positions of a stack, its orientation, and the place of each position."""
    matrix = rotation(*stack["turn"])
    places = np.arange(stack["count"]) if places is None else np.asarray(places)
    places = np.random.default_rng(stack["seed"]).permutation(places)
    normal = np.cross(matrix[0], matrix[1])
    positions = np.array(stack["start"]) + np.outer(places * stack["step"], normal)
    return positions, np.concatenate([matrix[0], matrix[1]]), places


@given(stacks)
@settings(max_examples=60, deadline=None)
def test_regular_stacks_come_out_as_highdicom_has_them(stack):
    positions, orientation, places = made(stack)
    ours = place_slices(positions, orientation)
    spacing, index = get_volume_positions(positions, orientation, index_convention="RD")
    assert ours.reasons == ()
    assert ours.place.tolist() == index == places.tolist()
    assert ours.spacing_mm == pytest.approx(spacing) == pytest.approx(stack["step"])


@given(stacks, st.data())
@settings(max_examples=60, deadline=None)
def test_gaps_and_duplicates_come_out_as_highdicom_has_them(stack, data):
    rest = data.draw(st.lists(st.integers(0, stack["count"] + 3), min_size=1, max_size=20))
    places = np.array([0, 1, *[place + 2 for place in rest]])  # one step of one slice is there
    positions, orientation, places = made(stack, places)
    ours = place_slices(positions, orientation)
    spacing, index = get_volume_positions(
        positions, orientation, allow_missing_positions=True, allow_duplicate_positions=True, index_convention="RD"
    )
    assert ours.place.tolist() == places.tolist()
    assert ours.spacing_mm == pytest.approx(stack["step"])
    distinct = np.unique(places)
    assert ("gapped" in ours.reasons) == (len(distinct) <= distinct[-1])
    assert ("duplicate_position" in ours.reasons) == (len(distinct) < len(places))
    if index is not None:  # it compares positions bit by bit, and so refuses some that were rounded
        assert ours.place.tolist() == index
        assert ours.spacing_mm == pytest.approx(spacing)


@given(stacks, st.integers(0, 200), st.floats(0.05, 0.45))
@settings(max_examples=40, deadline=None)
def test_a_slice_off_the_grid_is_told_and_highdicom_refuses_it(stack, which, off):
    stack["count"] = max(4, stack["count"])
    places = np.arange(stack["count"], dtype=float)
    places[1 + which % (stack["count"] - 2)] += off
    positions, orientation, places = made(stack, places)
    ours = place_slices(positions, orientation)
    assert ours.reasons == ("uneven_spacing",)
    assert np.argsort(ours.distance_mm).tolist() == np.argsort(places).tolist()
    assert get_volume_positions(positions, orientation, index_convention="RD") == (None, None)


def test_slices_moved_within_their_plane_are_told_and_highdicom_refuses_them():
    positions = np.array([[-3.0 * number, 2.0 * number, 0] for number in range(6)])
    assert place_slices(positions, SAGITTAL).reasons == ("shifted",)
    assert get_volume_positions(positions, SAGITTAL) == (None, None)


@given(stacks, st.tuples(*[st.integers(-400, 400)] * 3))
@settings(max_examples=40, deadline=None)
def test_neither_the_order_of_files_nor_the_origin_changes_anything(stack, offset):
    positions, orientation, _ = made(stack)
    one = place_slices(positions, orientation)
    order = np.random.default_rng(stack["seed"] + 1).permutation(len(positions))
    other = place_slices((positions + offset)[order], orientation)
    assert other.place.tolist() == one.place[order].tolist()
    assert other.spacing_mm == pytest.approx(one.spacing_mm)
    assert other.reasons == one.reasons


@given(stacks)
@settings(max_examples=40, deadline=None)
def test_a_reversed_normal_reverses_the_slices(stack):
    positions, orientation, places = made(stack)
    mirrored = np.concatenate([-orientation[:3], orientation[3:]])
    assert np.allclose(normal_of(mirrored), -normal_of(orientation))
    ours = place_slices(positions, mirrored)
    assert ours.place.tolist() == (places.max() - places).tolist()
    assert ours.reasons == ()


def test_headers_in_the_series_function_of_highdicom():
    datasets = slices([[-4.0 * place, 1, 2] for place in (3, 0, 2, 1)])
    spacing, index = get_series_volume_positions(datasets, index_convention="RD")
    ours = place_slices(np.array([dataset.ImagePositionPatient for dataset in datasets], float), SAGITTAL)
    assert (ours.spacing_mm, ours.place.tolist()) == (spacing, index)


def test_one_position_has_no_spacing():
    one = place_slices(np.array([[1.0, 2, 3]]), AXIAL)
    assert (one.place.tolist(), one.reasons) == ([0], ())
    assert math.isnan(one.spacing_mm)
