"""Slices to studies."""

from __future__ import annotations

import numpy as np
import pytest

from orthoray.errors import RunError
from orthoray.features.aggregate import aggregate


@pytest.mark.parametrize(("how", "reference"), [("mean", np.mean), ("max", np.max)])
def test_equals_numpy_for_any_order(how, reference):
    rng = np.random.default_rng(3)
    features = rng.normal(size=(50, 7)).astype(np.float32)
    owner = rng.permutation(np.concatenate([np.arange(9), rng.integers(0, 9, 41)]))
    got = aggregate(features, owner, 9, how)
    assert got.dtype == np.float64
    for sample in range(9):
        expected = reference(features[owner == sample].astype(np.float64), axis=0)
        np.testing.assert_allclose(got[sample], expected, rtol=0, atol=1e-12)


def test_one_image_per_sample_is_the_identity():
    features = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(aggregate(features, np.array([2, 0, 1, 3]), 4), features[[1, 2, 0, 3]])


@pytest.mark.parametrize("owner", [[0, 0, 1], [0, 1, 3], [-1, 0, 1]])
def test_sample_without_image_or_stray_owner(owner):
    with pytest.raises(RunError):
        aggregate(np.zeros((3, 2)), np.array(owner), 3)
