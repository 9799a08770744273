"""A probe on slices and the rules that make a study of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tests.evaluation.bags import (
    auroc,
    best_of_the_largest,
    best_of_the_mean,
    fitted,
    folds_of,
    planted_lesions,
    samples_of_slices,
    spread_by_chance,
)

from orthoray.errors import RunError
from orthoray.evaluation.config import KnnConfig, ProbeConfig
from orthoray.evaluation.fits import Fits, fit_folds
from orthoray.evaluation.protocol import inner_folds
from orthoray.evaluation.rows import Row, read_part
from orthoray.evaluation.slices import RULES, combine, to_slices
from orthoray.evaluation.task_features import TaskFeatures
from orthoray.evaluation.trials import run_unit

POSITIVE = np.array([0.2, 0.5, 0.9, 0.6])
THREE = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])


@pytest.mark.parametrize(
    ("rule", "two", "three"),
    [
        ("slices_mean", 0.55, [0.3, 0.45, 0.25]),
        ("slices_max", 0.9, [5 / 14, 6 / 14, 3 / 14]),
        ("slices_topk", 2.0 / 3.0, [0.3, 0.45, 0.25]),  # of two slices there are no three
        ("slices_noisy_or", 1 - 0.8 * 0.5 * 0.1 * 0.4, np.array([0.55, 0.72, 0.44]) / 1.71),
    ],
)
def test_rules_by_hand(rule, two, three):
    scores = np.stack([1 - POSITIVE, POSITIVE], axis=1)
    np.testing.assert_allclose(combine(scores, np.zeros(4, np.int64), 1, rule), [[1 - two, two]], atol=1e-12)
    np.testing.assert_allclose(combine(THREE, np.zeros(2, np.int64), 1, rule), [three], atol=1e-12)


@given(st.integers(0, 10_000), st.sampled_from(list(RULES)), st.integers(2, 4))
def test_order_of_slices_and_studies_does_not_matter_and_rows_sum_to_one(seed, rule, classes):
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.concatenate([np.arange(5), rng.integers(0, 5, 20)]))
    scores = rng.dirichlet(np.ones(classes), len(owner))
    found = combine(scores, owner, 5, rule)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    order = rng.permutation(len(owner))
    np.testing.assert_allclose(combine(scores[order], owner[order], 5, rule), found, atol=1e-12)
    for study in range(5):
        alone = combine(scores[owner == study], np.zeros((owner == study).sum(), np.int64), 1, rule)
        np.testing.assert_allclose(found[study], alone[0], atol=1e-12)


def test_noisy_or_of_certain_and_of_impossible_slices():
    sure = np.array([[0.0, 1.0], [0.7, 0.3]])
    np.testing.assert_array_equal(combine(sure, np.zeros(2, np.int64), 1, "slices_noisy_or"), [[0.0, 1.0]])
    tiny = np.array([[1.0, 1e-18], [1.0, 2e-18]])  # 1 - (1 - p) would be 0
    assert combine(tiny, np.zeros(2, np.int64), 1, "slices_noisy_or")[0, 1] == pytest.approx(3e-18, rel=1e-9)


def test_a_study_without_slices_is_an_error():
    with pytest.raises(RunError, match="1 of 2 studies have no slice"):
        combine(THREE, np.zeros(2, np.int64), 2, "slices_mean")


@given(st.integers(0, 10_000))
def test_slices_of_a_patient_are_on_one_side_of_every_inner_fold(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.permutation(np.arange(24) % 2), 2)
    samples = samples_of_slices(labels, slices=3, per_patient=2)
    train = np.sort(rng.permutation(48)[:40])
    rows = np.flatnonzero(np.isin(samples.owner, train))
    pairs = inner_folds(samples, train, ProbeConfig(), seed)
    patients = samples.patient_id[samples.owner[rows]]
    held = []
    for fit, validate in to_slices(samples.owner[rows], train, pairs):
        assert not set(patients[fit]) & set(patients[validate])
        assert sorted([*fit, *validate]) == list(range(len(rows)))
        held += validate.tolist()
    assert sorted(held) == list(range(len(rows)))


def test_the_mean_rule_is_a_plain_probe_on_slices():
    samples, features, _ = planted_lesions(n=60)
    folds = folds_of(samples)
    probe = ProbeConfig(log10_c_min=-1, log10_c_max=-1, c_steps=1, tol=1e-8, max_iter=5000)
    data = TaskFeatures(samples, "mean", lambda: features)
    found = fit_folds(["slices_mean"], data, folds, 2, Fits(probe, KnnConfig(), None), 0)["slices_mean"]
    for fold, one in zip(folds, found, strict=True):
        rows = np.isin(samples.owner, fold.train)
        scaler = StandardScaler().fit(features[rows])
        model = LogisticRegression(C=0.1, tol=1e-10, max_iter=9999)
        model.fit(scaler.transform(features[rows]), samples.label[samples.owner[rows]])
        expected = [
            model.predict_proba(scaler.transform(features[samples.owner == study])).mean(axis=0) for study in fold.test
        ]
        np.testing.assert_allclose(one.scores, expected, atol=1e-4)
        assert one.facts["n_train_images"] == rows.sum()


def test_rules_find_a_lesion_that_the_mean_of_features_dilutes():
    """The largest probability does better than any score of the mean of features can (AUROC 0.82)."""
    samples, features, _ = planted_lesions()
    folds = folds_of(samples)
    found = fitted(list(RULES), samples, features, folds)
    pooled = auroc(samples, folds, fitted(["lp"], samples, features, folds)["lp"])
    values = {rule: auroc(samples, folds, found[rule]) for rule in RULES}
    margin = 2 * spread_by_chance(120, 120)
    assert values["slices_max"] > best_of_the_mean() + margin > pooled
    assert values["slices_max"] > values["slices_topk"] > values["slices_mean"]  # of 1, 3 or 12
    assert values["slices_max"] < best_of_the_largest() + margin


def test_a_rule_asked_alone_has_the_numbers_that_it_has_among_others(tmp_path, job_of):
    samples, features, _ = planted_lesions(n=60)
    job = job_of(tmp_path, samples, features, folds=3)
    together = [Row("t", "m", rule, 1.0, 0, fold, "a") for rule in RULES for fold in range(3)]
    alone = [Row("t", "m", "slices_topk", 1.0, 0, fold, "b") for fold in range(3)]
    assert run_unit(job, together) == 12
    assert run_unit(job, alone) == 3
    for row in alone:
        before = Row("t", "m", "slices_topk", 1.0, 0, row.fold, "a")
        (table, facts), (other, told) = (read_part(one.part(job.out)) for one in (row, before))
        assert table.equals(other)
        facts.pop("seconds"), told.pop("seconds")
        assert facts == told


def test_a_family_that_fails_leaves_the_others_their_results(tmp_path, job_of):
    samples, features, _ = planted_lesions(n=60)
    job = job_of(tmp_path, samples, features, folds=3)  # no features of blocks
    rows = [Row("t", "m", protocol, 1.0, 0, 0, "a") for protocol in ("sgd", "slices_max")]
    with pytest.raises(RunError, match="no features of several blocks"):
        run_unit(job, rows)
    assert read_part(rows[1].part(job.out))[0].num_rows == 20


def test_features_that_are_not_finite_are_an_error():
    samples, features, _ = planted_lesions(n=60)
    features[7, 3] = np.nan
    with pytest.raises(RunError, match="1 feature rows are not finite"):
        fitted(["slices_max"], samples, features, folds_of(samples))
