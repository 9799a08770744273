"""Areas under the ROC curve: published values of real patients, the formulas by brute force, and properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orthoray.evaluation.statistics import (
    StatisticInputError,
    auroc_interval,
    delong_covariance,
    delong_test,
    delong_variance,
    paired_delong_over_folds,
)


@pytest.fixture(scope="module")
def asah():
    table = pd.read_csv(Path(__file__).with_name("asah.csv"), comment="#")
    assert len(table) == 113
    assert table["poor"].sum() == 41
    return table["poor"].to_numpy(), table["wfns"].to_numpy(), table["s100b"].to_numpy()


def wins(x, y):
    return float(x > y) + 0.5 * float(x == y)


def components(labels, scores):
    """V10 and V01 of DeLong 1988 by counting all pairs."""
    ones, zeros = scores[labels == 1], scores[labels == 0]
    v10 = np.array([np.mean([wins(x, y) for y in zeros]) for x in ones])
    v01 = np.array([np.mean([wins(x, y) for x in ones]) for y in zeros])
    return v10, v01


def brute_delong(labels, rows):
    """Covariance of DeLong 1988: S10 / m + S01 / n, with numpy's covariance."""
    parts = [components(labels, np.asarray(row)) for row in rows]
    s10 = np.cov(np.stack([v10 for v10, _ in parts]))
    s01 = np.cov(np.stack([v01 for _, v01 in parts]))
    return s10 / (labels == 1).sum() + s01 / (labels == 0).sum()


def brute_obuchowski(labels, a, b, patients):
    """Covariance of two areas as Obuchowski 1997 writes it, patient by patient."""
    m, n = (labels == 1).sum(), (labels == 0).sum()
    people = np.unique(patients)
    with_ones = len(np.unique(patients[labels == 1]))
    with_zeros = len(np.unique(patients[labels == 0]))
    s10 = s01 = s11 = s11_other = 0.0
    sums = []
    for scores in (a, b):
        v10, v01 = components(labels, scores)
        area = v10.mean()
        of_one = [v10[patients[labels == 1] == who] for who in people]
        of_zero = [v01[patients[labels == 0] == who] for who in people]
        sums.append(([v.sum() - len(v) * area for v in of_one], [v.sum() - len(v) * area for v in of_zero]))
    (a10, a01), (b10, b01) = sums
    for i in range(len(people)):
        s10 += a10[i] * b10[i] * with_ones / ((with_ones - 1) * m)
        s01 += a01[i] * b01[i] * with_zeros / ((with_zeros - 1) * n)
        s11 += a10[i] * b01[i] * len(people) / (len(people) - 1)
        s11_other += b10[i] * a01[i] * len(people) / (len(people) - 1)
    return s10 / m + s01 / n + (s11 + s11_other) / (m * n)


def clustered(seed, people=30, most=4):
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(people), rng.integers(1, most + 1, people))
    labels = rng.integers(0, 2, len(patients))
    own = rng.normal(size=people)[patients]
    return (
        labels,
        own + labels + rng.normal(size=len(patients)),
        np.round(own + rng.normal(size=len(patients))),
        patients,
    )


# pROC 1.19 (Robin et al., BMC Bioinformatics 2011), data set aSAH: its tests of roc.test, ci.auc and cov publish these
# values of roc.test(r.wfns, r.s100b), cov(r.s100b, r.wfns) and ci.auc(outcome, s100b).
def test_delong_as_published_for_asah(asah):
    poor, wfns, s100b = asah
    got = delong_test(poor, wfns, s100b)
    assert got.auroc_a == pytest.approx(0.8236789, abs=5e-8)
    assert got.auroc_b == pytest.approx(0.7313686, abs=5e-8)
    assert got.z == pytest.approx(2.20898359144091, rel=1e-12)
    assert got.p == pytest.approx(0.0271757822291882, rel=1e-12)
    assert (got.low, got.high) == pytest.approx((0.0104061769564846, 0.174214419249478), rel=1e-12)
    assert not got.degenerate


def test_covariance_and_interval_as_published_for_asah(asah):
    poor, wfns, s100b = asah
    assert delong_covariance(poor, [wfns, s100b])[1][0, 1] == pytest.approx(0.00119615567376754, rel=1e-12)
    got = auroc_interval(poor, s100b)
    assert (got.low, got.high) == pytest.approx((0.6301182, 0.8326189), abs=5e-8)
    assert delong_variance(poor, s100b) == pytest.approx(got.se**2, rel=1e-12)


def test_asah_agrees_with_all_pairs_counted(asah):
    poor, wfns, s100b = asah
    areas, covariance = delong_covariance(poor, [wfns, s100b])
    np.testing.assert_allclose(covariance, brute_delong(poor, [wfns, s100b]), rtol=1e-12)
    np.testing.assert_allclose(areas, [components(poor, row)[0].mean() for row in (wfns, s100b)], rtol=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_patients_as_obuchowski_writes_it(seed):
    labels, a, b, patients = clustered(seed)
    areas, covariance = delong_covariance(labels, [a, b], patients)
    expected = [[brute_obuchowski(labels, x, y, patients) for y in (a, b)] for x in (a, b)]
    np.testing.assert_allclose(covariance, expected, rtol=1e-10)
    got = delong_test(labels, a, b, patients)
    assert got.difference == pytest.approx(areas[0] - areas[1], abs=1e-14)
    assert got.se**2 == pytest.approx(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], rel=1e-9)


def test_one_sample_per_patient_is_plain_delong(asah):
    poor, wfns, s100b = asah
    names = [f"p{i:03d}" for i in range(len(poor))]
    assert delong_test(poor, wfns, s100b, names) == delong_test(poor, wfns, s100b)


def test_every_sample_twice_leaves_the_patients_variance_and_halves_the_naive_one(asah):
    poor, wfns, s100b = asah
    once = delong_test(poor, wfns, s100b)
    doubled = [np.repeat(x, 2) for x in (poor, wfns, s100b, np.arange(len(poor)))]
    assert delong_test(*doubled).se == pytest.approx(once.se, rel=1e-12)
    assert delong_test(*doubled[:3]).se == pytest.approx(once.se / np.sqrt(2), rel=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_swapping_reordering_and_rescaling_change_nothing(seed):
    labels, a, b, patients = clustered(seed)
    got = delong_test(labels, a, b, patients)
    swapped = delong_test(labels, b, a, patients)
    assert (swapped.difference, swapped.z, swapped.p) == (-got.difference, -got.z, got.p)
    order = np.random.default_rng(seed).permutation(len(labels))
    other = delong_test(labels[order], np.exp(a)[order], 3 * b[order] - 1, patients[order])
    assert other == pytest.approx(got, abs=1e-10)
    turned = delong_test(1 - labels, -a, -b, patients)
    assert (turned.auroc_a, turned.p) == pytest.approx((got.auroc_a, got.p), abs=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=4, max_size=30))
def test_identical_rankings_differ_by_nothing(rows):
    labels = np.array([label for label, _ in rows])
    if min(labels.sum(), len(labels) - labels.sum()) < 2:
        return
    scores = np.array([score for _, score in rows], dtype=float)
    got = delong_test(labels, scores, np.exp(scores) / 7)
    assert (got.difference, got.se, got.z, got.p, got.low, got.high) == (0, 0, 0, 1, 0, 0)
    assert got.degenerate


def test_perfect_against_reversed_is_flagged():
    got = delong_test([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert (got.difference, got.se, got.p, got.degenerate) == (1.0, 0.0, 0.0, True)
    assert got.z == np.inf
    assert auroc_interval([0, 0, 1, 1], [1, 2, 3, 4]) == (1.0, 1.0, 1.0, 0.0)


def test_level_sets_the_width(asah):
    poor, _, s100b = asah
    at95, at80 = auroc_interval(poor, s100b), auroc_interval(poor, s100b, level=0.8)
    ratio = (at80.high - at80.low) / (at95.high - at95.low)
    assert ratio == pytest.approx(stats.norm.isf(0.1) / stats.norm.isf(0.025))


def test_folds_are_tested_within_and_their_variances_added(asah):
    poor, wfns, s100b = asah
    fold = np.arange(113) % 3
    parts = [delong_test(poor[fold == j], wfns[fold == j], s100b[fold == j]) for j in range(3)]
    shifted = s100b + 10.0 * fold  # no matter: folds are never ranked against each other
    got = paired_delong_over_folds(poor, wfns, shifted, fold)
    mean = np.mean([part.difference for part in parts])
    se = np.sqrt(sum(part.se**2 for part in parts)) / 3
    assert (got.difference, got.se) == pytest.approx((mean, se), rel=1e-12)
    assert got.p == pytest.approx(2 * stats.norm.sf(abs(mean / se)), rel=1e-12)
    assert got.folds == (0, 1, 2)
    assert got.differences == tuple(part.difference for part in parts)
    assert delong_test(poor, wfns, shifted).difference != pytest.approx(got.difference, abs=0.01)


def test_one_fold_is_the_plain_test(asah):
    poor, wfns, s100b = asah
    got, plain = paired_delong_over_folds(poor, wfns, s100b, ["f"] * 113), delong_test(poor, wfns, s100b)
    assert (got.difference, got.se, got.p) == pytest.approx((plain.difference, plain.se, plain.p), rel=1e-12)


def test_arrays_of_the_caller_stay_as_they_are():
    labels, a, b, patients = clustered(0)
    before = [x.copy() for x in (labels, a, b, patients)]
    for array in (labels, a, b, patients):
        array.setflags(write=False)
    delong_test(labels, a, b, patients)
    assert all((x == y).all() for x, y in zip(before, (labels, a, b, patients), strict=True))


@pytest.mark.parametrize(
    ("labels", "scores", "patients", "words"),
    [
        ([1, 1, 1], [1, 2, 3], None, "only class 1"),
        ([0, 1, 2, 2], [1, 2, 3, 4], None, "0 or 1"),
        ([0, 0, 1, 1], [1, 2, 3, np.nan], None, "1 of 4 .* NaN"),
        ([0, 0, 1, 1], [1, 2, 3], None, "lengths differ"),
        ([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b", "c"], "lengths differ"),
        ([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b", "c", None], "1 of the patients are missing"),
        ([0, 0, 0, 1], [1, 2, 3, 4], None, "of class 1; .* at least two"),
        ([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b", "c", "c"], "of class 1; .* at least two"),
        ([], [], None, "at least 1"),
        (["no", "yes"], [1, 2], None, "labels must be numbers"),
    ],
)
def test_bad_input_is_refused(labels, scores, patients, words):
    with pytest.raises(ValueError, match=words):
        auroc_interval(labels, scores, patients)
    with pytest.raises(StatisticInputError, match=words):
        delong_test(labels, scores, scores, patients)


def test_bad_folds_are_refused():
    labels, scores = [0, 0, 1, 1, 0, 0, 1, 0], np.arange(8.0)
    folds = [0, 0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(ValueError, match=r"fold 1: .* of class 1"):
        paired_delong_over_folds(labels, scores, scores, folds)
    with pytest.raises(ValueError, match="several folds"):
        paired_delong_over_folds(labels, scores, scores, folds, [0, 1, 2, 3, 3, 4, 5, 6])
    with pytest.raises(ValueError, match="level is 95"):
        delong_test(labels, scores, scores, level=95)
