"""Folds, inner validation and training fractions never mix patients."""

from __future__ import annotations

import numpy as np
import pytest

from orthoray.errors import RunError
from orthoray.evaluation.config import ProbeConfig
from orthoray.evaluation.protocol import assert_disjoint, fold_rows, inner_folds, training_subset
from orthoray.evaluation.rows import Row
from orthoray.evaluation.trials import run_folds


def test_folds_partition_the_samples(planted, job_of, tmp_path):
    samples, features = planted()
    splits = job_of(tmp_path, samples, features).tasks["t"].splits[0]
    tested = []
    for fold in range(5):
        train, test = fold_rows(samples, splits, fold)
        assert not set(samples.patient_id[train]) & set(samples.patient_id[test])
        assert len(train) + len(test) == len(samples.label)
        tested += test.tolist()
    assert sorted(tested) == list(range(len(samples.label)))


def test_a_patient_on_both_sides_stops_the_fit(planted, job_of, tmp_path):
    samples, features = planted()
    job = job_of(tmp_path, samples, features)
    splits = job.tasks["t"].splits[0]
    first = splits.index[splits["fold"] == 0][0]
    splits.loc[first, "fold"] = 1  # one of the two samples of a patient moves to another fold
    row = Row("t", "m", "lp", 1.0, 0, 0, "d")
    with pytest.raises(RunError, match=r"leak: 1 patient"):
        run_folds(job, [row], features)
    assert not (tmp_path / "parts").exists()


def test_split_of_other_samples_is_refused(planted, job_of, tmp_path):
    samples, features = planted()
    splits = job_of(tmp_path, samples, features).tasks["t"].splits[0]
    with pytest.raises(RunError, match="the split names 119 samples, the task has 120"):
        fold_rows(samples, splits.iloc[1:], 0)


@pytest.mark.parametrize(("inner", "pairs"), [("cv", 4), ("holdout", 1)])
def test_inner_validation_is_grouped_and_inside_training(planted, inner, pairs):
    samples, _ = planted()
    train = np.arange(20, 120)
    found = inner_folds(samples, train, ProbeConfig(inner=inner), 0)
    assert len(found) == pairs
    for fit, validate in found:
        assert sorted([*fit, *validate]) == list(range(len(train)))
        assert not set(samples.patient_id[train[fit]]) & set(samples.patient_id[train[validate]])
        assert set(samples.label[train[fit]]) == {0, 1}
    if inner == "holdout":
        share = len(set(samples.patient_id[train[found[0][1]]])) / 50
        assert 0.08 < share < 0.25


def test_auto_inner_follows_the_size(planted):
    samples, _ = planted()
    train = np.arange(len(samples.label))
    assert len(inner_folds(samples, train, ProbeConfig(cv_below=121), 0)) == 4
    assert len(inner_folds(samples, train, ProbeConfig(cv_below=120), 0)) == 1


def test_inner_folds_shrink_with_the_rarest_class(samples_of):
    samples = samples_of([1, 1, *[0] * 20], range(22))
    pairs = inner_folds(samples, np.arange(22), ProbeConfig(inner="cv"), 0)
    assert len(pairs) == 2
    assert all(samples.label[fit].sum() == 1 for fit, _ in pairs)


def test_fractions_are_nested_patient_wise_and_stratified(planted):
    samples, _ = planted(n_patients=80)
    train = np.arange(len(samples.label))
    before: set[int] = set()
    for fraction in (0.125, 0.25, 0.5, 0.75, 1.0):
        rows = training_subset(samples, train, fraction, seed=3)
        patients = set(samples.patient_id[rows])
        assert before <= set(rows.tolist())
        assert len(rows) == 2 * len(patients) == round(fraction * 160)
        assert samples.label[rows].mean() == pytest.approx(0.5)
        before = set(rows.tolist())
    other = training_subset(samples, train, 0.5, seed=4)
    assert set(other) != set(training_subset(samples, train, 0.5, seed=3))


def test_assert_disjoint_looks_at_all_parts():
    patients = np.array(["a", "b", "c", "a"], dtype=object)
    assert_disjoint(patients, np.array([0, 3]), np.array([1]), np.array([2]))
    with pytest.raises(RunError, match="leak"):
        assert_disjoint(patients, np.array([0]), np.array([1]), np.array([2, 3]))
