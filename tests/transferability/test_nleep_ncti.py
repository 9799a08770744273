"""NLEEP against the published port's figures, NCTI against its formula, and their faults mended."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.special import softmax

from orthoray.transferability import evaluate, score
from orthoray.transferability.ncti import pool_ncti

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "transferability"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["gauss_c5", "digits"])
@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"form": "prob", "parity": "reference"}, "nleep.sfda_repo.ratio5"),
        ({"form": "log", "components": "N/10"}, "nleep.model_spider_log"),
    ],
)
def test_means_over_seeds_are_those_of_the_reference(case, options, key):
    if not (VECTORS / "reference_public.json").is_file():
        pytest.skip("reference vectors are not beside this checkout (../shared/vectors/transferability)")
    arrays = np.load(VECTORS / f"{case}.npz")
    known = json.loads((VECTORS / "reference_public.json").read_text())["cases"][case]["estimators"][key]
    found = score("nleep", arrays["X"], arrays["y"], repeats=5, **options)
    assert abs(found - known["mean"]) <= 3 * known["sd"]


def test_an_empty_component_is_no_nan():
    x = np.repeat(np.eye(4), 15, axis=0) + 1e-9 * np.random.default_rng(0).standard_normal((60, 4))
    found = evaluate("nleep", x, np.repeat(np.arange(4), 15), components="5C", repeats=2)
    assert np.isfinite(found.value)


def blobs(n=150, d=10, c=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    return 4 * (rng.standard_normal((n, d)) + 0.8 * rng.standard_normal((c, d))[y]), y


def test_ncti_terms_are_those_of_discriminant_analysis_by_eigenvectors():
    x, y = blobs()
    found = evaluate("ncti", x, y)
    assert found.details["shrinkage"] == 1e-10
    means = np.stack([x[y == k].mean(0) for k in range(3)])
    within = sum(np.cov(x[y == k].T, bias=True) for k in range(3)) / 3
    centred = means - x.mean(0)
    inverse = np.linalg.inv(within)
    chance = softmax(x @ inverse @ means.T - 0.5 * np.sum(means @ inverse * means, axis=1) + np.log(1 / 3), axis=1)
    assert found.value == pytest.approx(chance[np.arange(len(y)), y].mean(), abs=1e-9)
    between = centred.T @ centred * len(x) / 3 / (3 - 1)
    directions = eigh(between, within)[1][:, -2:]
    spread = np.linalg.svd((x - x.mean(0)) @ directions, compute_uv=False).sum()
    assert found.details["spread"] == pytest.approx(spread, rel=1e-6)
    norms = sum(np.linalg.norm(chance[y == k], ord="nuc") for k in range(3))
    assert found.details["rank"] == pytest.approx(np.log(norms), rel=1e-6)


def test_a_pool_scales_each_term_and_a_term_that_all_share_counts_nothing():
    assert pool_ncti([[1, 0.2, 3], [3, 0.4, 3], [2, 0.3, 3]]).tolist() == pytest.approx([0, 2, 1])
    assert pool_ncti([[1, 0.2, 5], [3, 0.4, 1]]).tolist() == pytest.approx([-1, 2])
    with pytest.raises(ValueError, match="table of"):
        pool_ncti([[1, 2]])


def test_ncti_as_published_refuses_few_dimensions_and_ours_flags_them():
    x, y = blobs()
    assert {"needs_pool", "fewer_dims"} <= set(evaluate("ncti", x, y).flags)
    with pytest.raises(ValueError, match="64 dimensions"):
        score("ncti", x, y, parity="reference")
