"""From display values to stored grey levels; sizes of shards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthoray.data.arrange import IMAGES_PER_SHARD, shard_count, shard_of
from orthoray.data.shards import measure, to_grey


@pytest.mark.parametrize("width", [10, 11])
def test_halves_hold_every_column_once(width):
    pixels = np.tile(np.arange(width, dtype=np.float32) / 255, (4, 1))
    right, left = to_grey(pixels, "R", 512)[0], to_grey(pixels, "L", 512)[0]
    np.testing.assert_array_equal(np.hstack([right, left])[0], np.arange(width))


def test_images_are_reduced_and_never_enlarged():
    pixels = np.random.default_rng(0).random((64, 128)).astype(np.float32)
    same, scale = to_grey(pixels, "", 64)
    np.testing.assert_array_equal(same, np.rint(pixels * 255))
    assert scale == 1.0
    small, scale = to_grey(pixels, "", 32)
    assert (small.shape, scale) == ((32, 64), 2.0)
    blocks = np.rint(pixels * 255).reshape(32, 2, 64, 2).mean((1, 3))
    assert np.abs(small - blocks).max() <= 0.75


def test_measures():
    image = np.zeros((8, 8), np.uint8)
    image[:, 4:] = 255
    found = measure(image)
    assert (found["mean"], found["std"], found["saturated"]) == (127.5, 127.5, 1.0)
    assert measure(np.full((8, 8), 9, np.uint8)) == {"mean": 9.0, "std": 0.0, "sharpness": 0.0, "saturated": 0.0}


@given(st.integers(1, 2_000_000))
def test_shards_have_a_good_size(images):
    shards = shard_count(images)
    assert images / shards <= IMAGES_PER_SHARD
    assert shards <= max(8, images // 2048 + 1)


def test_patients_spread_over_shards():
    counts = np.bincount([shard_of(f"p{n}", 8) for n in range(4000)], minlength=8)
    assert counts.min() > 400
    assert counts.max() < 600
