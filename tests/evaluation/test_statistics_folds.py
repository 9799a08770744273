"""Tests on values per fold, and their power: published examples, scipy's t-tests, and the formulas by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from orthoray.evaluation.statistics import detectable_difference, nadeau_bengio_test, paper_test

values = st.lists(st.floats(-1, 1).map(lambda x: round(x, 4)), min_size=2, max_size=12)


def test_published_example_of_scikit_learn():
    # Its example "Statistical comparison of models using grid search": 10 repetitions of 10 folds of 100 samples, mean
    # difference 0.01; uncorrected t 2.611, p 0.005; corrected t 0.750, p 0.227, both p one-sided.
    pattern = np.tile([1.0, -1.0], 50)
    differences = 0.01 + pattern * (0.01 / 2.611 * math.sqrt(100) / pattern.std(ddof=1))
    got = nadeau_bengio_test(differences, n_train=90, n_test=10)
    assert got.t == pytest.approx(0.750, abs=5e-4)
    assert got.p / 2 == pytest.approx(0.227, abs=5e-4)
    assert got.df == 99
    plain = paper_test(differences, np.zeros(100), paired=True)
    assert plain.t == pytest.approx(2.611)
    assert plain.p / 2 == pytest.approx(0.005, abs=5e-4)


@pytest.mark.slow
def test_the_same_example_computed_anew():
    from sklearn.datasets import make_moons
    from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    a, b = (cross_val_score(SVC(kernel=kernel), x, y, scoring="roc_auc", cv=folds) for kernel in ("rbf", "linear"))
    assert nadeau_bengio_test(a - b, 90, 10).t == pytest.approx(0.750, abs=5e-4)
    assert paper_test(a, b, paired=True).t == pytest.approx(2.611, abs=5e-4)


def test_corrected_test_by_hand():
    # Mean 0.03, squared deviations 4, 1, 0, 1, 4 (in 1e-4): s² = 2.5e-4; (1/5 + 20/80) s² = 1.125e-4.
    got = nadeau_bengio_test([0.01, 0.02, 0.03, 0.04, 0.05], 80, 20)
    assert got.mean == pytest.approx(0.03)
    assert got.se == pytest.approx(math.sqrt(1.125e-4))
    assert got.t == pytest.approx(0.03 / math.sqrt(1.125e-4))
    # Density of t with 4 degrees of freedom: 3/8 (1 + t²/4)^(-5/2).
    tail = integrate.quad(lambda t: 3 / 8 * (1 + t * t / 4) ** -2.5, got.t, math.inf)[0]
    assert got.p == pytest.approx(2 * tail, rel=1e-9)
    # 97.5 % point of t with 4 degrees of freedom, as in every table: 2.776.
    assert (got.high - got.mean) / got.se == pytest.approx(2.776, abs=5e-4)
    assert got.mean - got.low == pytest.approx(got.high - got.mean)


@settings(max_examples=80, deadline=None)
@given(values, st.integers(10, 500), st.integers(1, 200))
def test_corrected_test_is_antisymmetric_and_never_surer_than_the_papers(differences, n_train, n_test):
    got = nadeau_bengio_test(differences, n_train, n_test)
    turned = nadeau_bengio_test([-d for d in differences], n_train, n_test)
    assert (turned.mean, turned.t, turned.p) == pytest.approx((-got.mean, -got.t, got.p), abs=1e-12)
    plain = paper_test(differences, np.zeros(len(differences)), paired=True)
    assert got.p >= plain.p
    assert 0 <= got.p <= 1
    scaled = nadeau_bengio_test([1000 * d for d in differences], n_train, n_test)
    if not got.degenerate:
        assert (scaled.t, scaled.p) == pytest.approx((got.t, got.p), rel=1e-9)
        assert (got.low <= 0 <= got.high) == (got.p >= 0.05) or abs(got.p - 0.05) < 1e-9
    nearly = nadeau_bengio_test(differences, 1e12, 1e-3)  # without any test set the correction vanishes
    assert (nearly.t, nearly.p) == pytest.approx((plain.t, plain.p), rel=1e-6)


def test_equal_differences_are_flagged():
    assert nadeau_bengio_test([0.0] * 5, 80, 20) == (0.0, 0.0, 0.0, 0.0, 0.0, 4, 1.0, True)
    third = nadeau_bengio_test([0.8 - 0.7, 0.9 - 0.8, 0.1], 80, 20)  # equal but for rounding
    assert (third.se, third.t, third.p, third.degenerate) == (0.0, math.inf, 0.0, True)
    assert (third.low, third.high) == (third.mean, third.mean)
    assert nadeau_bengio_test([-0.1] * 3, 80, 20).t == -math.inf


@settings(max_examples=60, deadline=None)
@given(values, values)
def test_paper_mode_is_scipys_t_test(a, b):
    got = paper_test(a, b)
    assert got.mode.startswith("paper mode")
    assert (got.mean_a, got.mean_b) == pytest.approx((np.mean(a), np.mean(b)))
    assert (got.sd_a, got.sd_b) == pytest.approx((np.std(a, ddof=1), np.std(b, ddof=1)), abs=1e-12)
    if max(np.ptp(a), np.ptp(b)) > 1e-6:  # of nearly equal values neither keeps its digits
        expected = stats.ttest_ind(a, b)
        assert (got.t, got.p, got.df) == pytest.approx((expected.statistic, expected.pvalue, expected.df), abs=1e-7)
    paired = paper_test(a, [x**2 for x in a], paired=True)
    if np.ptp([x - x**2 for x in a]) > 1e-6:
        expected = stats.ttest_rel(a, [x**2 for x in a])
        assert (paired.t, paired.p, paired.df) == pytest.approx(
            (expected.statistic, expected.pvalue, expected.df), abs=1e-7
        )


def test_paper_mode_without_any_variation():
    assert paper_test([0.5, 0.5], [0.5, 0.5]).p == 1
    got = paper_test([0.6, 0.6], [0.5, 0.5], paired=True)
    assert (got.t, got.p) == (math.inf, 0.0)


def test_sample_size_of_a_plain_t_test_as_published():
    # One sample, effect 0.5 SD, two-sided 0.05, power 0.8: 33.37, so 34 (R's power.t.test; G*Power). Without a test set
    # the corrected test is this one.
    assert detectable_difference(1, 34, 1e12, 1e-3) < 0.5 < detectable_difference(1, 33, 1e12, 1e-3)


@pytest.mark.parametrize("folds", [5, 10, 50])  # scipy's is NaN in places with fewer
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_detectable_difference_has_the_power_of_scipys_noncentral_t(folds, power):
    sd, n_train, n_test, alpha = 0.02, 400, 100, 0.05
    delta = detectable_difference(sd, folds, n_train, n_test, alpha=alpha, power=power)
    noncentrality = delta / (sd * math.sqrt(1 / folds + n_test / n_train))
    critical = stats.t.isf(alpha / 2, folds - 1)
    beyond = stats.nct.sf(critical, folds - 1, noncentrality) + stats.nct.cdf(-critical, folds - 1, noncentrality)
    assert beyond == pytest.approx(power, abs=1e-8)


@pytest.mark.parametrize("folds", [2, 3, 8])
def test_detectable_difference_has_its_power_by_averaging_over_standard_deviations(folds):
    noncentrality = detectable_difference(1, folds, 1e12, 1e-3, power=0.8) * math.sqrt(folds)
    critical, df = stats.t.isf(0.025, folds - 1), folds - 1
    deviation = stats.chi(df, scale=1 / math.sqrt(df))

    def rejects(s):
        return deviation.pdf(s) * (
            stats.norm.sf(critical * s - noncentrality) + stats.norm.cdf(-critical * s - noncentrality)
        )

    parts = np.linspace(0, 12, 41)
    assert sum(integrate.quad(rejects, a, b)[0] for a, b in itertools.pairwise(parts)) == pytest.approx(0.8, abs=1e-7)


def test_detectable_difference_moves_as_it_should():
    base = detectable_difference(0.02, 10, 400, 100)
    assert detectable_difference(0.04, 10, 400, 100) == pytest.approx(2 * base)
    assert detectable_difference(0.0, 10, 400, 100) == 0
    assert detectable_difference(0.02, 50, 400, 100) < base
    assert detectable_difference(0.02, 10**4, 400, 100) > 0.02 * math.sqrt(100 / 400)  # more repetitions end in this
    assert detectable_difference(0.02, 10, 400, 200) > base
    assert detectable_difference(0.02, 10, 400, 100, power=0.9) > base
    assert detectable_difference(0.02, 10, 400, 100, alpha=0.01) > base
    assert 5 * base < detectable_difference(0.02, 2, 400, 100) < 20 * base  # one degree of freedom


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nadeau_bengio_test([0.1], 80, 20), "at least 2"),
        (lambda: nadeau_bengio_test([], 80, 20), "at least 2"),
        (lambda: nadeau_bengio_test([0.1, np.nan], 80, 20), "1 of 2 differences are NaN"),
        (lambda: nadeau_bengio_test([[0.1, 0.2]], 80, 20), "one row"),
        (lambda: nadeau_bengio_test([0.1, 0.2], 0, 20), "n_train is 0"),
        (lambda: nadeau_bengio_test([0.1, 0.2], 80, math.nan), "n_test is nan"),
        (lambda: nadeau_bengio_test([0.1, 0.2], 80, 20, level=0), "level is 0"),
        (lambda: paper_test([0.1, 0.2], [0.1]), "at least 2"),
        (lambda: paper_test([0.1, 0.2], [0.1, 0.2, 0.3], paired=True), "cannot be paired"),
        (lambda: paper_test([0.1, np.inf], [0.1, 0.2]), "infinite"),
        (lambda: detectable_difference(-1, 5, 80, 20), "sd is -1"),
        (lambda: detectable_difference(1, 1, 80, 20), "at least 2"),
        (lambda: detectable_difference(1, 5, 80, 20, power=0.01), "power is 0.01"),
        (lambda: detectable_difference(1, 5, 80, 20, alpha=1), "alpha is 1"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
