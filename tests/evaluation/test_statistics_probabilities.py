"""Calibration, temperature, reliability and decision curves: scikit-learn, published intervals, and hand counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from orthoray.evaluation.statistics import (
    apply_temperature,
    calibration,
    decision_curve,
    reliability_curve,
    temperature,
    wilson,
)


def predictions(seed=0, n=400, slope=0.6, intercept=-0.4):
    """Labels, and probabilities whose calibration slope and intercept are known."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, n)
    return (rng.random(n) < expit(intercept + slope * z)).astype(int), expit(z)


def free_fit(x, y, **options):
    return LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000, **options).fit(x, y)


@pytest.mark.parametrize("seed", range(4))
def test_slope_and_intercept_are_those_of_an_unpenalised_fit(seed):
    y, p = predictions(seed)
    got = calibration(y, p)
    fitted = free_fit(logit(p)[:, None], y)
    assert (got.slope, got.intercept) == pytest.approx((fitted.coef_[0, 0], fitted.intercept_[0]), abs=1e-5)
    score = expit(got.intercept + got.slope * logit(p)) - y  # both are 0 at the maximum
    assert abs(score.sum()) < 1e-7
    assert abs((score * logit(p)).sum()) < 1e-7
    assert expit(got.in_the_large + logit(p)).sum() == pytest.approx(y.sum(), abs=1e-8)
    assert got.brier == pytest.approx(brier_score_loss(y, p))
    assert not got.separated


def test_slope_and_intercept_find_what_was_put_in():
    y, p = predictions(n=100_000)
    got = calibration(y, p)
    assert (got.slope, got.intercept) == pytest.approx((0.6, -0.4), abs=0.03)
    right = calibration(*predictions(n=100_000, slope=1, intercept=0))
    assert (right.slope, right.intercept, right.in_the_large) == pytest.approx((1, 0, 0), abs=0.03)
    assert right.ece < 0.01 < got.ece


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 3), st.floats(-2, 2))
def test_a_change_of_the_logits_changes_slope_and_intercept_accordingly(seed, factor, shift):
    y, p = predictions(seed, n=60)
    got = calibration(y, p)
    if got.separated:
        return
    other = calibration(y, expit(factor * logit(p) + shift))
    assert other.slope == pytest.approx(got.slope / factor, rel=1e-5, abs=1e-7)
    assert other.intercept == pytest.approx(got.intercept - shift * got.slope / factor, rel=1e-5, abs=1e-6)
    order = np.random.default_rng(seed).permutation(60)
    assert calibration(y[order], p[order]) == pytest.approx(got, abs=1e-9)


@pytest.mark.parametrize("p", [[0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1], [0.3] * 4, [0.0, 0.5, 0.5, 1.0]])
def test_separated_classes_have_no_slope(p):
    got = calibration([0, 0, 1, 1], p)
    assert got.separated
    assert math.isnan(got.slope)
    assert math.isnan(got.intercept)
    assert math.isfinite(got.in_the_large)


def test_ece_and_brier_by_hand():
    # Bins (0.1, 0.2) and (0.6, 0.9): shares 1/2 and 1/2 against means 0.15 and 0.75: (0.35 + 0.25) / 2.
    got = calibration([0, 1, 0, 1], [0.1, 0.2, 0.6, 0.9], bins=2)
    assert got.ece == pytest.approx(0.3)
    assert got.bins == 2
    assert got.brier == pytest.approx((0.01 + 0.64 + 0.36 + 0.01) / 4)
    assert calibration([0, 1, 0, 1], [0.1, 0.2, 0.6, 0.9], bins=1).ece == pytest.approx(0.05)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=60), st.integers(1, 12))
def test_bins_hold_everybody_once_and_never_part_equal_probabilities(rows, bins):
    y, p = np.array([label for label, _ in rows]), np.array([value / 8 for _, value in rows])
    if len(set(y)) < 2:
        return
    got = reliability_curve(y, p, bins=bins)
    assert got.samples.sum() == len(y)
    assert len(got.samples) <= bins
    assert got.predicted @ got.samples == pytest.approx(p.sum())
    assert got.observed @ got.samples == pytest.approx(y.sum())
    edges = np.cumsum(got.samples)[:-1]
    ordered = np.sort(p)
    assert all(ordered[edge - 1] < ordered[edge] for edge in edges)
    found = calibration(y, p, bins=bins)
    assert found.bins == len(got.samples)
    assert found.ece == pytest.approx(np.abs(got.observed - got.predicted) @ got.samples / len(y))


def test_bins_are_of_equal_mass_where_probabilities_differ():
    y, p = predictions(n=103)
    got = reliability_curve(y, p, bins=10)
    assert set(got.samples) == {10, 11}
    assert (np.diff(got.predicted) > 0).all()
    assert (got.low <= got.observed).all()
    assert (got.observed <= got.high).all()


def test_wilson_as_published():
    # Newcombe, Statistics in Medicine 1998, table I, method 3.
    low, high = wilson([81, 15, 0, 1], [263, 148, 20, 29])
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0.0000, 0.0061], atol=5e-5)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=5e-5)
    for k, n, level in ((3, 7, 0.9), (7, 7, 0.95), (50, 120, 0.99)):
        theirs = stats.binomtest(k, n).proportion_ci(level, method="wilson")
        assert np.ravel(wilson([k], [n], level=level)) == pytest.approx([theirs.low, theirs.high], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_temperature_of_two_classes_is_one_over_a_slope_through_the_origin(seed):
    y, p = predictions(seed, intercept=0)
    got = temperature(y, logit(p))
    fitted = free_fit(logit(p)[:, None], y, fit_intercept=False)
    assert got.value == pytest.approx(1 / fitted.coef_[0, 0], rel=1e-5)
    assert got.before == pytest.approx(log_loss(y, p))
    assert got.after == pytest.approx(log_loss(y, apply_temperature(logit(p), got.value)))
    assert not got.at_bound
    assert temperature(y, p, probabilities=True).value == pytest.approx(got.value, rel=1e-6)


def test_temperature_finds_what_was_put_in_and_is_a_minimum():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (60_000, 4))
    y = np.array((softmax(z, axis=1).cumsum(axis=1) < rng.random((60_000, 1))).sum(axis=1))
    for factor in (0.4, 2.5):
        assert temperature(y, factor * z).value == pytest.approx(factor, rel=0.02)
    few, fitted = y[:200], temperature(y[:200], 3 * z[:200])
    for other in (0.98, 1.02):
        assert log_loss(few, apply_temperature(3 * z[:200], other * fitted.value), labels=range(4)) > fitted.after
    # At the minimum the mean logit of the true class equals its expectation.
    p = apply_temperature(3 * z[:200], fitted.value)
    assert (3 * z[:200])[np.arange(200), few].mean() == pytest.approx((p * 3 * z[:200]).sum(axis=1).mean(), abs=1e-5)


def test_temperature_of_logits_and_of_their_probabilities_agree():
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(100, 3)), rng.integers(0, 3, 100)
    by_logits = temperature(y, z)
    by_chances = temperature(y, softmax(z, axis=1), probabilities=True)
    assert by_chances.value == pytest.approx(by_logits.value, rel=1e-5)
    np.testing.assert_allclose(
        apply_temperature(softmax(z, axis=1), 1.7, probabilities=True), softmax(z / 1.7, axis=1), rtol=1e-12
    )
    assert (apply_temperature(z, 5.0).argmax(axis=1) == z.argmax(axis=1)).all()
    one = apply_temperature(z[:, 0], 2.0)
    np.testing.assert_allclose(one, expit(z[:, 0] / 2))
    np.testing.assert_allclose(apply_temperature(expit(z[:, 0]), 2.0, probabilities=True), one)
    assert roc_auc_score(y == 1, one) == roc_auc_score(y == 1, z[:, 0])


def test_temperature_at_its_bounds_is_flagged():
    separated = temperature([0, 0, 1, 1], [-2.0, -1.0, 1.0, 2.0])
    assert (separated.value, separated.after, separated.at_bound) == (0.01, 0.0, True)
    wrong = temperature([1, 1, 0, 0], [-2.0, -1.0, 1.0, 2.0])
    assert (wrong.value, wrong.at_bound) == (100, True)
    assert temperature([0, 1], [[0.5, 0.5], [0.5, 0.5]], probabilities=True).at_bound


def test_decision_curve_by_hand():
    # Threshold 0.2: treated 0.2, 0.3, 0.7, 0.9, of whom 2 right, 2 wrong: 2/5 - 2/5 · 1/4. Threshold 0.5: 0.7 wrong,
    # 0.9 right: 1/5 - 1/5. All: 2/5 - 3/5 · odds.
    got = decision_curve([0, 1, 0, 0, 1], [0.1, 0.2, 0.3, 0.7, 0.9], [0.2, 0.5, 0.8])
    np.testing.assert_allclose(got.model, [0.3, 0.0, 0.2], atol=1e-12)
    np.testing.assert_allclose(got.treat_all, [2 / 5 - 3 / 5 / 4, -1 / 5, 2 / 5 - 3 / 5 * 4], atol=1e-12)
    assert got.treat_none.tolist() == [0, 0, 0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_decision_curve_counts_patients(seed):
    y, p = predictions(seed, n=40)
    if len(set(y)) < 2:
        return
    p = np.round(p, 2)  # probabilities that meet thresholds exactly
    got = decision_curve(y, p)
    assert len(got.thresholds) == 99
    for t, value, everybody in zip(got.thresholds, got.model, got.treat_all, strict=True):
        treated = p >= t
        assert value == pytest.approx((treated & (y == 1)).sum() / 40 - (treated & (y == 0)).sum() / 40 * t / (1 - t))
        assert everybody == pytest.approx(y.mean() - (1 - y.mean()) * t / (1 - t))
        assert value <= y.mean()
    start = decision_curve(y, p, [0.0])
    assert start.model[0] == start.treat_all[0] == pytest.approx(y.mean())


def test_arrays_of_the_caller_stay_as_they_are():
    y, p = predictions()
    at = np.array([0.3, 0.1])
    for array in (y, p, at):
        array.setflags(write=False)
    calibration(y, p)
    reliability_curve(y, p)
    temperature(y, p, probabilities=True)
    curve = decision_curve(y, p, at)
    curve.thresholds[0] = 0.9
    assert at.tolist() == [0.3, 0.1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: calibration([0, 0], [0.1, 0.2]), "only class 0"),
        (lambda: calibration([0, 1], [0.1, 1.2]), "in \\[0, 1\\]"),
        (lambda: calibration([0, 1], [0.1, np.nan]), "NaN"),
        (lambda: calibration([0, 1, 1], [0.1, 0.2]), "lengths differ"),
        (lambda: calibration([], []), "at least 1"),
        (lambda: calibration([0, 1], [0.1, 0.2], bins=0), "bins is 0"),
        (lambda: reliability_curve([0, 1], [0.1, 0.2], level=2), "level is 2"),
        (lambda: wilson([3], [2]), "0..trials"),
        (lambda: temperature([0, 2], [[0.1, 0.9], [0.2, 0.8]]), "label 2 has no column"),
        (lambda: temperature([0, 1], [[1.0, 3.0], [0.2, 0.8]], probabilities=True), "sum to 1"),
        (lambda: temperature([0, 1], [0.5, 1.5], probabilities=True), "at least 0"),
        (lambda: temperature([0, -1], [0.5, 1.5]), "whole numbers"),
        (lambda: temperature([0, 1], [0.5, np.inf]), "infinite"),
        (lambda: temperature([], []), "\\(N, K\\)"),
        (lambda: apply_temperature([0.5], 0), "above 0"),
        (lambda: decision_curve([0, 1], [0.1, 0.2], [1.0]), "\\[0, 1\\)"),
        (lambda: decision_curve([0, 1], [0.1, 0.2], []), "at least 1"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
