"""Estimators against published references, other algebra, and bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.special import softmax

from orthoray.transferability import evaluate, score

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "transferability"


@pytest.fixture(scope="module", params=["gauss_c5", "digits"])
def vector(request):
    if not (VECTORS / "reference_public.json").is_file():
        pytest.skip("reference vectors are not beside this checkout (../shared/vectors/transferability)")
    arrays = np.load(VECTORS / f"{request.param}.npz")
    found = json.loads((VECTORS / "reference_public.json").read_text())["cases"][request.param]["estimators"]
    x, y, generic = arrays["X"], arrays["y"], arrays["general_X"]
    return x, y, generic, found


def test_deterministic_estimators_agree_with_the_references(vector):
    x, y, generic, found = vector
    cases = [
        ("logme", {}, "logme.fixed_point", 1e-6),
        ("sfda", {}, "sfda", 1e-6),
        ("ped", {"generic_features": generic}, "ped.sfda.nsigma0.6", 1e-6),
        ("ped", {"generic_features": generic, "base": "logme"}, "ped.logme.nsigma0.6", 1e-6),
        ("parc", {}, "parc.n_dims32.exact_label_ties", 0.01),
        ("parc", {"parity": "reference"}, "parc.n_dims32", 0.01),
        ("parc", {"dims": None}, "parc.no_pca.exact_label_ties", 0.01),
        ("hscore", {}, "extra.regularized_h_score", 1e-6),
    ]
    for name, options, key, tolerance in cases:
        assert score(name, x, y, **options) == pytest.approx(found[key]["value"], abs=tolerance), key


def test_itm_agrees_with_the_port_over_five_seeds(vector):
    x, y, _, found = vector
    assert abs(score("itm", x, y, repeats=5) - found["itm.port"]["mean"]) <= 2 * found["itm.port"]["sd"]


def draw(n, d, c=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    return rng.standard_normal((n, d)) + 0.5 * rng.standard_normal((c, d))[y], y


def test_logme_below_d_is_the_gaussian_evidence():
    x, y = draw(60, 90)
    found = evaluate("logme", x, y)
    for_classes = []
    for c, (alpha, beta) in enumerate(zip(found.details["alpha"], found.details["beta"], strict=True)):
        covariance = np.eye(60) / beta + x @ x.T / alpha
        t = (y == c).astype(float)
        for_classes.append(-0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + t @ np.linalg.solve(covariance, t)))
    assert found.value == pytest.approx(np.mean(for_classes) / 60, abs=0.02)
    assert score("logme", x, y, parity="reference") > found.value + 1


def test_sfda_stage_one_is_the_generalised_eigenbasis():
    x, y = draw(400, 20)
    found = evaluate("sfda", x, y)
    means = np.stack([x[y == c].mean(0) for c in range(3)])
    within = sum(np.cov(x[y == c].T, bias=True) * (y == c).mean() for c in range(3))
    a = found.details["shrinkage"]
    within = (1 - a) * within + a * np.trace(within) / 20 * np.eye(20)
    basis = eigh(np.cov(x.T, bias=True) - within, within)[1]
    gaps = ((x @ basis)[:, None] - (means @ basis)[None]) ** 2
    chance = softmax(-0.5 * gaps.sum(2) + np.log(np.bincount(y) / 400), axis=1)
    assert found.details["stage1"] == pytest.approx(chance[np.arange(400), y].mean(), abs=1e-9)


@pytest.mark.parametrize("name", ["logme", "sfda", "parc", "hscore", "knn"])
def test_order_names_and_type_do_not_matter_and_inputs_stay(name):
    x, y = draw(90, 40)
    options = {"pca": "full"} if name == "parc" else {}
    before, value, order = x.copy(), score(name, x, y, **options), np.arange(90)[::-1]
    assert score(name, x[order], np.array([7, 2, 40])[y[order]], **options) == pytest.approx(value, rel=1e-8)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.ones((4, 2)), [0, 1, 0, 1], "constant"),
        (np.zeros((0, 3)), [], "empty"),
        (np.eye(4), [0, 1, 1], "labels"),
        (np.eye(4), [1, 1, 1, 1], "two classes"),
        (np.full((4, 2), np.nan), [0, 1, 0, 1], "NaN"),
    ],
)
def test_bad_input_is_named(x, y, says):
    with pytest.raises(ValueError, match=says):
        score("logme", x, y)
    with pytest.raises(ValueError, match="option"):
        score("logme", np.eye(4), [0, 1, 0, 1], bogus=1)
