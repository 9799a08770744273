"""Repeated draws, leave-one-site-out and temporal splits: no patient on both sides, and nothing lost without a word."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.conftest import build_samples, study_config

from orthoray.config import parse_config
from orthoray.data.splits import TRAINING, UNUSED, by_time, hold_out, leave_one_out, outer_folds, split_hash
from orthoray.errors import InputError
from orthoray.evaluation.config import SplitConfig
from orthoray.evaluation.protocol import fold_rows
from orthoray.evaluation.schemes import scheme_text


def table(rows):
    """``patient:label`` per sample."""
    pairs = [row.split(":") for row in rows]
    return pd.DataFrame(
        {
            "sample_id": [f"s{n}" for n in range(len(rows))],
            "patient_id": [patient for patient, _ in pairs],
            "label": [int(label) for _, label in pairs],
        }
    )


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), repeat=st.integers(0, 5))
def test_a_draw_tests_its_share_of_the_patients_and_trains_on_the_others(seed, repeat):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(100) % 2)
    samples = build_samples(labels, np.arange(100) // 2 if seed % 2 else np.arange(100))
    frame = samples.frame()
    frame["label"] = frame.groupby("patient_id")["label"].transform("first")
    split = hold_out(frame, 0.2, repeat)
    assert outer_folds(split) == [0]
    assert set(split["fold"]) == {0, TRAINING}
    train, test = fold_rows(samples, split, 0)
    assert len(train) + len(test) == 100
    assert not set(samples.patient_id[train]) & set(samples.patient_id[test])
    assert 12 <= len(test) <= 28
    assert split_hash(hold_out(frame.sample(frac=1, random_state=1), 0.2, repeat)) == split_hash(split)


def test_repeated_draws_differ():
    frame = build_samples(np.arange(60) % 2, np.arange(60)).frame()
    assert len({split_hash(hold_out(frame, 0.2, seed)) for seed in range(5)}) == 5


def test_each_site_is_tested_by_the_others():
    labels = table(["a:0", "a:1", "b:1", "c:0", "d:1", "d:0", "e:1"])
    sites = {"s0": "north", "s1": "north", "s2": "south", "s3": "south", "s4": "north", "s5": "south"}
    split = leave_one_out(labels, sites).set_index("sample_id")
    assert split["fold"].to_dict() == {
        "s0": 0, "s1": 0, "s2": 1, "s3": 1, "s4": UNUSED, "s5": UNUSED, "s6": UNUSED,
    }  # fmt: skip
    assert list(split["role"]) == ["outer"] * 4 + ["unused"] * 3
    with pytest.raises(InputError, match="1 groups to leave out"):
        leave_one_out(labels, dict.fromkeys(sites, "north"))


def test_the_past_teaches_and_the_future_tests():
    labels = table(["a:0", "a:1", "b:1", "c:0", "d:1"])
    years = {"s0": 2018.0, "s1": 2022.0, "s2": 2020.0, "s3": 2021.0}
    split = by_time(labels, years, 2021).set_index("sample_id")
    assert split["fold"].to_dict() == {"s0": TRAINING, "s1": UNUSED, "s2": TRAINING, "s3": 0, "s4": UNUSED}
    samples = build_samples([0, 1, 1, 0, 1], [0, 0, 1, 2, 3])
    train, test = fold_rows(
        samples, by_time(samples.frame(), {f"s000{n}": y for n, y in enumerate([1, 9, 1, 9])}, 5), 0
    )
    assert (train.tolist(), test.tolist()) == ([0, 2], [3])  # never the later film of one who was seen before
    with pytest.raises(InputError, match=r"no sample from then on .*times go from 2018 to 2022"):
        by_time(labels, years, 2030)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "temporal"}, "`since` is what kind: temporal needs"),
        ({"kind": "cv", "since": 3}, "no other kind takes it"),
        ({"kind": "holdout", "column": "site"}, "`column` is for leave_one_out and temporal"),
        ({"kind": "leave-one-out"}, "leave_one_out"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values, told):
    with pytest.raises(InputError, match=told):
        parse_config(SplitConfig, values, "split")


def test_every_kind_is_described(tmp_path):
    for change in ({}, {"kind": "holdout"}, {"kind": "leave_one_out"}, {"kind": "temporal", "since": 2021}):
        text = scheme_text(study_config(tmp_path, split=change))
        assert "never saw" in text
    assert "study_year 2021 or later" in text


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_by_sites_and_one_with_a_past(ray_session, cohort_of):
    from orthoray.evaluation.study import run_study

    folder = cohort_of(24)
    index_file = folder / "ds" / "index.parquet"
    index = pd.read_parquet(index_file)
    people = sorted(index["patient_id"].unique())
    place = index["patient_id"].map({name: at for at, name in enumerate(people)})
    index.assign(site=[f"site{at % 3}" for at in place], study_year=2018 + place // 6).to_parquet(index_file)

    by_site = run_study(study_config(folder, split={"kind": "leave_one_out"}, protocols=["lp"], resamples=100))
    results, predictions = (pd.read_parquet(f"{by_site}/{name}.parquet") for name in ("results", "predictions"))
    assert set(results["fold"]) == {-1, 0, 1, 2}
    number = {name: at % 3 for at, name in enumerate(people)}
    assert (predictions["patient_id"].map(number) == predictions["fold"]).all()
    later = run_study(
        study_config(
            folder,
            out=str(folder / "later"),
            split={"kind": "temporal", "since": 2020},
            protocols=["lp"],
            resamples=100,
        )
    )
    predictions = pd.read_parquet(f"{later}/predictions.parquet")
    year = dict(zip(index["patient_id"], 2018 + place // 6, strict=False))
    assert set(predictions["fold"]) == {0}
    assert set(predictions["patient_id"].map(year)) == {2020, 2021}
    tests = pd.read_parquet(f"{later}/comparisons.parquet")
    assert tests["fold_p"].isna().all()  # one fold tells nothing of folds
    assert tests["difference"].notna().all()
    findings = pd.read_parquet(f"{later}/leaks.parquet")
    assert not findings["detail"].str.contains("not possible").all()
    from orthoray.report.build import build_report

    page = build_report(later).read_text(encoding="utf-8")
    assert "first seen with study_year 2020 or later" in page


def test_a_column_that_is_not_there_is_named(cohort_of):
    from orthoray.evaluation.preflight import plan_study

    folder = cohort_of(18)
    with pytest.raises(InputError, match=r"no column 'modalty'. Did you mean 'modality'"):
        plan_study(study_config(folder, tasks=["mr_acl"], split={"kind": "leave_one_out", "column": "modalty"}))
