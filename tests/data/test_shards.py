"""Halves and sizes of images; sizes of shards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthoray.data.arrange import IMAGES_PER_SHARD, shard_count, shard_of
from orthoray.data.prepare import reduced


@pytest.mark.parametrize("width", [10, 11])
def test_halves_hold_every_column_once(width):
    image = np.tile(np.arange(width, dtype=np.uint8), (4, 1))
    right, left = reduced(image, "R", 512)[0], reduced(image, "L", 512)[0]
    np.testing.assert_array_equal(np.hstack([right, left])[0], np.arange(width))


def test_images_are_reduced_and_never_enlarged():
    image = np.random.default_rng(0).integers(0, 256, (64, 128), dtype=np.uint8)
    same, scale = reduced(image, "", 64)
    np.testing.assert_array_equal(same, image)
    assert scale == 1.0
    small, scale = reduced(image, "", 32)
    assert (small.shape, scale) == ((32, 64), 2.0)
    blocks = image.reshape(32, 2, 64, 2).mean((1, 3))
    assert np.abs(small - blocks).max() <= 0.75


@given(st.integers(1, 2_000_000))
def test_shards_have_a_good_size(images):
    shards = shard_count(images)
    assert images / shards <= IMAGES_PER_SHARD
    assert shards <= max(8, images // 2048 + 1)


def test_patients_spread_over_shards():
    counts = np.bincount([shard_of(f"p{n}", 8) for n in range(4000)], minlength=8)
    assert counts.min() > 400
    assert counts.max() < 600
