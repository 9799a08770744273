"""What must not change a score, and what must."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthoray.transferability import ESTIMATORS, ScoreInputError, evaluate, score

pytestmark = pytest.mark.slow

EXACT = ("logme", "sfda", "ped", "parc", "hscore", "knn", "ncti")
"""Without chance of their own, up to the order of sums."""


def options_of(name, x):
    if name == "ped":
        return {"generic_features": np.random.default_rng(5).standard_normal((40, x.shape[1]))}
    return {"parc": {"pca": "full"}, "nleep": {"repeats": 1}}.get(name, {})


def draw(seed, n=60, d=8, c=3):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % c)
    return rng.standard_normal((n, d)) + rng.standard_normal((c, d))[y], y


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), data=st.data())
def test_neither_order_nor_names_of_classes_matter(name, seed, data):
    x, y = draw(seed)
    order = np.array(data.draw(st.permutations(range(len(y)))))
    names = np.array(data.draw(st.permutations([3, 8, 40])))
    value = score(name, x, y, **options_of(name, x))
    assert score(name, x[order], names[y[order]], **options_of(name, x)) == pytest.approx(value, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", ["sfda", "ped", "parc", "hscore", "ncti"])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**31), offset=st.floats(-5, 5))
def test_an_offset_does_not_matter_where_features_are_centred(name, seed, offset):
    x, y = draw(seed)
    options = options_of(name, x)
    moved = {k: v + offset if k == "generic_features" else v for k, v in options.items()}
    assert score(name, x + offset, y, **moved) == pytest.approx(score(name, x, y, **options), rel=1e-6, abs=1e-8)


def test_an_offset_matters_to_logme_which_has_no_bias():
    x, y = draw(0)
    assert abs(score("logme", x + 3, y) - score("logme", x, y)) > 1e-3


@pytest.mark.parametrize("name", ["parc", "hscore", "knn"])
@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_scale_does_not_matter(name, factor):
    x, y = draw(1)
    assert score(name, factor * x, y, **options_of(name, x)) == pytest.approx(
        score(name, x, y, **options_of(name, x)), rel=1e-6
    )


def test_logme_is_rescaled_and_says_so_only_where_its_epsilon_would_matter():
    x, y = draw(2, n=200)
    inside, outside = evaluate("logme", 2 * x, y), evaluate("logme", 1e4 * x, y)
    assert "rescaled" not in inside.flags
    assert "rescaled" in outside.flags
    assert outside.value == pytest.approx(score("logme", x, y), abs=1e-3)
    assert abs(score("logme", 1e4 * x, y, parity="reference") - score("logme", x, y)) > 1e-2


def test_scale_matters_to_sfda_as_published():
    x, y = draw(3, n=300, d=6)
    assert abs(score("sfda", 0.1 * x, y) - score("sfda", x, y)) > 0.01


@pytest.mark.parametrize("name", ["sfda", "parc_pairs", "ncti_probability"])
def test_every_sample_twice(name):
    """Discriminants are of means and covariances, which repeats do not change; PARC gains pairs of distance 0."""
    x, y = draw(4, n=120)
    twice, labels = np.concatenate([x, x]), np.concatenate([y, y])
    if name == "sfda":
        assert score("sfda", twice, labels) == pytest.approx(score("sfda", x, y), rel=1e-9)
    elif name == "parc_pairs":
        assert score("parc", twice, labels, dims=None) > score("parc", x, y, dims=None)
    else:
        assert score("ncti", twice, labels) == pytest.approx(score("ncti", x, y), rel=0.02)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_arrays_given_stay_and_random_ones_follow_their_seed(name):
    x, y = draw(5)
    before, options = x.copy(), options_of(name, x)
    first, again = score(name, x, y, seed=1, **options), score(name, x, y, seed=1, **options)
    np.testing.assert_array_equal(x, before)
    assert first == again


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("kind", ["float16", "float32", "int64"])
def test_types_of_features(name, kind):
    x, y = draw(6)
    cast = (10 * x).astype(kind)
    options = options_of(name, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert score(name, cast, y, **options) == score(name, cast.astype(float), y, **options)


AWKWARD = {
    "constant column": lambda x, y: (np.column_stack([x, np.ones(len(x))]), y),
    "repeated column": lambda x, y: (np.column_stack([x, x[:, :2]]), y),
    "gap in labels": lambda x, y: (x, np.array([0, 2, 9])[y]),
    "class of one": lambda x, y: (x, np.where(np.arange(len(y)) == 0, 3, y)),
    "fewer samples than dimensions": lambda x, y: (np.column_stack([x, *[np.roll(x, k, 0) for k in range(1, 9)]]), y),
    "ten samples": lambda x, y: (x[:10], np.arange(10) % 2),
    "two dimensions": lambda x, y: (x[:, :2], y),
    "one dimension": lambda x, y: (x[:, :1], y),
    "rows alike": lambda x, y: (np.repeat(x[:20], 3, axis=0), np.repeat(y[:20], 3)),
    "far apart": lambda x, y: (np.eye(3)[y] * 1e3 + 1e-3 * x[:, :3], y),
}


REFUSED = {("parc", "one dimension"): "at least two"}
"""What cannot be scored, and a word of the message."""


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_input_gives_a_finite_score_or_says_what_is_wrong(name, case):
    x, y = AWKWARD[case](*draw(7))
    try:
        found = evaluate(name, x, y, **options_of(name, x))
    except ScoreInputError as error:
        assert REFUSED[(name, case)] in str(error)  # noqa: PT017 — either may be
        return
    assert (name, case) not in REFUSED
    assert np.isfinite(found.value)
    expected = {"constant column": "constant_columns", "gap in labels": "relabelled", "class of one": "singleton_class"}
    if case in expected:
        assert expected[case] in found.flags
