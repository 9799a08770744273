"""Sinkhorn–Knopp against double-precision numpy, its balance, and scores at the limits of float32."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.pretrain.losses import formulas

from orthoray.pretrain.losses.sinkhorn import sinkhorn_knopp


@pytest.mark.parametrize("rounds", [1, 2, 3, 7])
def test_it_is_swav_s_algorithm(rounds):
    scores = np.random.default_rng(rounds).uniform(-1, 1, size=(17, 9))
    found = sinkhorn_knopp(torch.tensor(scores), 0.07, rounds)
    np.testing.assert_allclose(found, formulas.sinkhorn(scores, 0.07, rounds), atol=1e-13)
    single = sinkhorn_knopp(torch.tensor(scores, dtype=torch.float32), 0.07, rounds)
    np.testing.assert_allclose(single, formulas.sinkhorn(scores, 0.07, rounds), atol=1e-6)


def test_every_prototype_gets_the_same_share():
    scores = torch.tensor(np.random.default_rng(1).normal(size=(64, 8)), dtype=torch.float32) * 0.1
    found = sinkhorn_knopp(scores, 0.1, rounds=50)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(found.sum(dim=0), torch.full((8,), 8.0), atol=1e-3, rtol=0)


def test_it_keeps_a_preference():
    assert sinkhorn_knopp(torch.eye(4) * 0.5, 0.05).argmax(dim=1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("collapsed", [False, True])
def test_float32_is_enough_for_many_prototypes_and_a_low_temperature(collapsed):
    """Cosines anywhere in -1..1, or all rows at one prototype and as far as can be from the others."""
    random = np.random.default_rng(0)
    scores = random.uniform(-1, 1, size=(6, 131072))
    if collapsed:
        scores = np.full_like(scores, -1.0)
        scores[:, 7] = 1.0
    scores = scores.astype(np.float32)
    found = sinkhorn_knopp(torch.from_numpy(scores), 0.04)
    expected = formulas.sinkhorn(scores.astype(np.float64), 0.04)
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=2e-4)
    np.testing.assert_allclose(found.double().sum(dim=1), 1.0, atol=1e-5)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 12),
    prototypes=st.integers(1, 12),
    spread=st.sampled_from([0.1, 1.0, 30.0, 1e4]),
)
def test_any_finite_scores_give_distributions(seed, rows, prototypes, spread):
    """Also where exponentials overflow, and where whole rows and columns of them vanish."""
    scores = (np.random.default_rng(seed).normal(size=(rows, prototypes)) * spread).astype(np.float32)
    found = sinkhorn_knopp(torch.from_numpy(scores), 0.04).double().numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    if spread <= 30.0:
        expected = formulas.sinkhorn_logarithmic(scores.astype(np.float64), 0.04)
        np.testing.assert_allclose(found, expected, atol=2e-3 if spread > 1 else 2e-5)


def test_no_rows_give_no_rows():
    assert sinkhorn_knopp(torch.rand(0, 5), 0.04).shape == (0, 5)


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="at least one round"):
        sinkhorn_knopp(torch.rand(2, 3), 0.1, rounds=0)
