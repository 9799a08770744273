"""Few shots: k patients of each class, nested, with the classes' rarest one as the limit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.conftest import build_samples, study_config

from orthoray.errors import RunError
from orthoray.evaluation.protocol import few_shots, most_shots, training_subset
from orthoray.evaluation.shots import shot_protocol, shots_of


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 4))
def test_shots_are_nested_patients_of_every_class(seed, classes):
    rng = np.random.default_rng(seed)
    samples = build_samples(np.repeat(rng.permutation(np.arange(40) % classes), 2), np.repeat(np.arange(40), 2))
    train = np.sort(rng.choice(80, 70, replace=False)).astype(np.int64)
    most = most_shots(samples, train)
    before: set[int] = set()
    for shots in (1, 2, most):
        rows = few_shots(samples, train, shots, seed % 7)
        people = pd.Series(samples.label[rows]).groupby(samples.patient_id[rows]).max()
        assert people.value_counts().to_dict() == dict.fromkeys(range(classes), shots)
        assert before <= set(rows.tolist()) <= set(train.tolist())
        before = set(rows.tolist())
    with pytest.raises(RunError, match=f"a class has {most} training patients"):
        few_shots(samples, train, most + 1, 0)


def test_shots_are_the_first_of_the_patients_that_fractions_take():
    samples = build_samples(np.arange(80) % 2, np.arange(80))
    train = np.arange(80)
    quarter = training_subset(samples, train, 0.25, 3)
    assert sorted(few_shots(samples, train, 10, 3)) == sorted(quarter)


def test_names():
    assert shots_of(shot_protocol("lp", 16)) == ("lp", 16)
    assert shots_of("knn") == ("knn", None)


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_with_shots(ray_session, cohort_of, capsys):
    from orthoray.evaluation.dry_run import dry_run
    from orthoray.evaluation.preflight import plan_study
    from orthoray.evaluation.study import run_study, study_rows
    from orthoray.report.build import build_report

    folder = cohort_of(24)
    config = study_config(folder, tasks=["mr_acl"], protocols=["lp", "knn"], shots=[1, 4, 50], resamples=100)
    plan = plan_study(config)
    lines = dry_run(config, plan, study_rows(config, plan), None)
    assert any(line.startswith("lp-1shot: 9 of 9 rows left") for line in lines)
    out = run_study(config)
    assert "mr_acl is not run with 50 shots: a class has 8 training patients in some fold" in capsys.readouterr().out
    results = pd.read_parquet(f"{out}/results.parquet")
    assert set(results["protocol"]) == {"lp", "knn", "lp-1shot", "lp-4shot", "knn-1shot", "knn-4shot"}
    one = results[(results["protocol"] == "lp-1shot") & (results["fold"] >= 0)]
    facts = [json.loads(text) for text in one["params"]]
    assert {fact["n_train_patients"] for fact in facts} == {2}
    assert {fact["n_pool_patients"] for fact in facts} == {16}
    assert {(fact["c"], fact["inner_folds"]) for fact in facts} == {(1.0, 0)}
    tests = pd.read_parquet(f"{out}/comparisons.parquet")
    assert {"lp-4shot", "knn-1shot"} <= set(tests["protocol"])
    assert "mr_acl" in build_report(out).read_text(encoding="utf-8")
