"""How often tests reject where nothing is to be found, and intervals hold what they should: simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from orthoray.evaluation.statistics import (
    bootstrap_difference,
    cluster_bootstrap,
    delong_test,
    detectable_difference,
    nadeau_bengio_test,
    paired_delong_over_folds,
    paper_test,
)

pytestmark = pytest.mark.slow

ALPHA, MOST = 0.05, 0.07


def rejected(p):
    return np.mean(np.asarray(p) < ALPHA, axis=0)


def two_models(rng, people=80, each=3, apart=0.0):
    """Scores of two equally good models; errors are shared within patients, and between the models."""
    patients = np.repeat(np.arange(people), each)
    labels = patients % 2
    shared = 0.7 * rng.normal(size=len(labels))
    a, b = (labels + rng.normal(size=people)[patients] + shared + rng.normal(size=len(labels)) for _ in range(2))
    return labels, a + apart * labels, b, patients


def cross_validated(rng, samples=80, folds=5, repeats=4, strength=0.5, better=0.0):
    """Accuracies (2, folds * repeats) of nearest-mean classifiers on two sets of features that are equally telling."""
    labels = np.arange(samples) % 2
    x = rng.normal(size=(2, samples, 6))
    x[:, :, 0] += strength * (2 * labels - 1)
    x[0, :, 1] += better * (2 * labels - 1)
    found = []
    for _ in range(repeats):
        fold = np.empty(samples, dtype=int)
        for k in (0, 1):
            fold[rng.permutation(np.flatnonzero(labels == k))] = np.arange(samples // 2) % folds
        for j in range(folds):
            train, test = fold != j, fold == j
            one, zero = x[:, train & (labels == 1)].mean(axis=1), x[:, train & (labels == 0)].mean(axis=1)
            side = np.einsum("mnd,md->mn", x[:, test], one - zero) - ((one + zero) / 2 * (one - zero)).sum(1)[:, None]
            found.append(((side > 0) == (labels[test] == 1)).mean(axis=1))
    return np.array(found).T


def test_nadeau_bengio_keeps_its_level_where_the_papers_t_test_does_not():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(1000):
        a, b = cross_validated(rng)
        p.append([nadeau_bengio_test(a - b, 64, 16).p, paper_test(a, b).p, paper_test(a, b, paired=True).p])
    corrected, unpaired, paired = rejected(p)
    assert 0.02 <= corrected <= MOST
    assert unpaired > 2 * MOST
    assert paired > 2 * MOST


def test_more_repetitions_make_the_papers_t_test_worse_but_not_the_corrected_one():
    rng = np.random.default_rng(1)
    few, many, corrected = [], [], []
    for _ in range(500):
        a, b = cross_validated(rng, repeats=10)
        few.append(paper_test(a[:5], b[:5]).p)
        many.append(paper_test(a, b).p)
        corrected.append(nadeau_bengio_test(a - b, 64, 16).p)
    assert rejected(corrected) <= MOST
    assert rejected(many) > rejected(few) + 0.2


def test_delong_keeps_its_level_over_patients_but_not_over_samples():
    rng = np.random.default_rng(1)
    p = []
    for _ in range(1000):
        labels, a, b, patients = two_models(rng)
        p.append([delong_test(labels, a, b, patients).p, delong_test(labels, a, b).p])
    clustered, naive = rejected(p)
    assert 0.02 <= clustered <= MOST
    assert naive > 1.5 * MOST


def test_delong_within_folds_keeps_its_level():
    rng = np.random.default_rng(2)
    p = []
    for _ in range(500):
        labels, a, b, patients = two_models(rng, people=120, each=2)
        fold = (patients // 2) % 3
        p.append(paired_delong_over_folds(labels, a + 3 * fold, b - fold, fold, patients).p)
    assert 0.02 <= rejected(p) <= MOST


def test_bootstrap_difference_keeps_its_level_over_patients():
    rng = np.random.default_rng(3)
    p, naive, outside = [], [], []
    for _ in range(400):
        labels, a, b, patients = two_models(rng)
        got = bootstrap_difference("auroc", labels, a, b, patients, resamples=400)
        p.append(got.p)
        outside.append(not got.low <= 0 <= got.high)
        naive.append(bootstrap_difference("auroc", labels, a, b, np.arange(len(labels)), resamples=400).p)
    assert 0.02 <= rejected(p) <= MOST
    assert np.mean(outside) <= MOST + 0.01
    assert rejected(naive) > 1.5 * MOST


def test_a_real_difference_is_found():
    rng = np.random.default_rng(4)
    p = []
    for _ in range(60):
        labels, a, b, patients = two_models(rng, apart=1.0)
        booted = bootstrap_difference("auroc", labels, a, b, patients, resamples=200)
        p.append([delong_test(labels, a, b, patients).p, booted.p])
    assert (rejected(p) > 0.7).all()


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_over_patients_hold_the_truth_and_intervals_over_samples_do_not(method):
    # Two samples of different patients differ by Normal(1, 2 (1 + 1)): the area is Φ(1 / 2).
    truth = stats.norm.cdf(0.5)
    rng = np.random.default_rng(5)
    held, naive = [], []
    for _ in range(400):
        patients = np.repeat(np.arange(80), 3)
        labels = patients % 2
        scores = labels + rng.normal(size=80)[patients] + rng.normal(size=240)
        for into, names in ((held, patients), (naive, np.arange(240))):
            got = cluster_bootstrap("auroc", labels, scores, names, resamples=400, method=method)
            into.append(got.low <= truth <= got.high)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(naive) < 0.88


def test_the_detectable_difference_is_detected_as_often_as_it_says():
    # Normal differences with the correlation ρ = n_test / (n_train + n_test), for which the correction is exact.
    rng = np.random.default_rng(6)
    folds, n_train, n_test = 15, 80, 20
    rho = n_test / (n_train + n_test)
    delta = detectable_difference(np.sqrt(1 - rho), folds, n_train, n_test)
    shared = rng.normal(size=(4000, 1)) * np.sqrt(rho)
    found = delta + shared + rng.normal(size=(4000, folds)) * np.sqrt(1 - rho)
    p = [nadeau_bengio_test(row, n_train, n_test).p for row in found]
    assert rejected(p) == pytest.approx(0.8, abs=0.02)
