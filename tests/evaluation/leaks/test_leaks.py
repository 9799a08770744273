"""Every leak check fires at what it is for and is silent otherwise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.evaluation.conftest import build_samples, study_config

from orthoray.data.splits import make_splits
from orthoray.errors import InputError
from orthoray.evaluation.leaks.copies import exact_copies, near_copies, shared_studies
from orthoray.evaluation.leaks.findings import Finding, finding_lines, read_findings, write_findings
from orthoray.evaluation.leaks.probes import (
    ACQUISITION,
    PATIENT,
    blind_probe,
    margins,
    metadata,
    permuted_labels,
    unseen_rows,
)
from orthoray.evaluation.leaks.run import check_copies
from orthoray.evaluation.preflight import plan_study
from orthoray.evaluation.study import run_study


@pytest.fixture
def task():
    """120 samples of 60 patients, two images each, and splits of one seed."""
    rng = np.random.default_rng(0)
    label = np.repeat(rng.permutation(60) % 2, 2)
    samples = build_samples(label, np.repeat(np.arange(60), 2), 2)
    return samples, {0: make_splits(samples.frame(), 5, 0)}


def index_of(samples, site, rng):
    n = len(samples.owner)
    return pd.DataFrame(
        {"site": site[samples.owner], "height": 100, "row_spacing_mm": rng.normal(0.3, 0.01, n).round(3)}
    )


def test_a_site_that_goes_with_disease_raises_the_alarm(task):
    samples, splits = task
    rng = np.random.default_rng(1)
    flip = rng.random(120) < 0.2
    for site, fires in ((np.where(flip, 1 - samples.label, samples.label), True), (rng.integers(0, 3, 120), False)):
        index = index_of(samples, np.array([f"site{s}" for s in site]), rng)
        known = metadata(index, ACQUISITION, samples.owner, 120)
        assert known.shape[1] >= 3  # height never varies
        found = blind_probe("acquisition only", "t", known, samples, splits[0], 2, 0)
        assert found.alarm is fires
        assert found.low < found.value < found.high
        assert (found.value > 0.7) is fires


def test_age_may_go_with_disease(task):
    samples, splits = task
    age = (50 + 20 * samples.label)[samples.owner].astype(float)
    known = metadata(pd.DataFrame({"age": age, "sex": "F"}), PATIENT, samples.owner, 120)
    found = blind_probe("age and sex only", "t", known, samples, splits[0], 2, 0, alarms=False)
    assert found.value > 0.99
    assert not found.alarm
    assert blind_probe("nothing", "t", np.zeros((120, 0)), samples, splits[0], 2, 0) is None


def test_what_is_unknown_is_a_fact_of_its_own():
    index = pd.DataFrame({"field_strength_t": [3.0, np.nan, 1.5, np.nan], "manufacturer": ["a", None, "b", None]})
    known = metadata(index, ACQUISITION, np.array([0, 0, 1, 1]), 2)
    assert np.isfinite(known).all()
    assert known.shape[1] == 3  # field strength, and one maker each; both are unknown half the time


def test_a_mark_in_the_margin_raises_the_alarm_and_one_in_the_middle_does_not(task):
    samples, splits = task
    thumbs = np.random.default_rng(2).random((len(samples.owner), 576)).astype(np.float32)
    images = thumbs.reshape(-1, 24, 24)
    positive = samples.label[samples.owner] == 1
    images[positive, 8:12, 8:12] += 0.5
    assert not blind_probe("margin only", "t", margins(thumbs, samples.owner, 120), samples, splits[0], 2, 0).alarm
    images[positive, :2, 5:20] += 0.3
    assert blind_probe("margin only", "t", margins(thumbs, samples.owner, 120), samples, splits[0], 2, 0).alarm


def test_dealt_out_labels_are_at_chance_unless_the_protocol_leaks(task):
    samples, splits = task
    features = np.random.default_rng(3).normal(size=(120, 6))
    features[:, 0] += 3 * samples.label
    fine = permuted_labels("t", features, samples, splits[0], 2, 0)
    assert not fine.alarm
    assert abs(fine.value - 0.5) < 0.15


def test_a_protocol_that_trains_on_whom_it_tests_does_better_than_chance_on_dealt_out_labels(task, monkeypatch):
    from orthoray.evaluation.leaks import probes

    samples, splits = task
    honest = probes.fold_rows

    def everybody(samples, split, fold):
        return np.arange(len(samples.label)), honest(samples, split, fold)[1]

    monkeypatch.setattr(probes, "fold_rows", everybody)
    features = np.random.default_rng(4).normal(size=(120, 40))
    assert permuted_labels("t", features, samples, splits[0], 2, 0).alarm


@pytest.mark.parametrize(("confounder", "fires"), [(0.0, False), (0.8, True)])
def test_the_phantom_with_a_confounder_raises_the_alarm(confounder, fires):
    """Labels and sites of the synthetic cohort; docs/evaluation.md has what the whole way from its DICOM gave."""
    from orthoray.data.phantom import PhantomConfig
    from orthoray.data.phantom.cohort import exams

    cohort = exams(PhantomConfig(patients=160, knee_mri=1.0, confounder=confounder))
    scans = [e for e in cohort if (e.modality, e.body_part) == ("MR", "knee")]
    for finding in ("acl", "bone", "cartilage"):
        label = [next(iter(e.labels.values()))[finding] for e in scans]
        samples = build_samples(label, [e.patient.number for e in scans])
        index = pd.DataFrame({"site": [f"site{e.patient.site}" for e in scans]})
        known = metadata(index, ACQUISITION, samples.owner, len(scans))
        split = make_splits(samples.frame(), 5, 0)
        found = blind_probe("acquisition only", finding, known, samples, split, max(label) + 1, 0)
        assert found.alarm is fires, found


def test_hidden_test_rows_change_nothing(task):
    samples, splits = task
    found = unseen_rows("t", np.random.default_rng(5).normal(size=(120, 4)), samples, splits[0], 2, 0)
    assert found.value == 0.0
    assert not found.alarm


def test_a_fit_on_test_rows_is_found(task, monkeypatch):
    from orthoray.evaluation.leaks import probes

    samples, splits = task
    honest = probes.fit_probes

    def leaks(features, labels, parts, classes, config):
        centred = features - np.nanmean(features, axis=0)  # over all rows, those of the test among them
        return honest(centred, labels, parts, classes, config)

    monkeypatch.setattr(probes, "fit_probes", leaks)
    assert unseen_rows("t", np.random.default_rng(5).normal(2, 1, (120, 4)), samples, splits[0], 2, 0).alarm


def test_copies_across_folds(task):
    samples, splits = task
    fold = dict(zip(splits[0]["sample_id"], splits[0]["fold"], strict=True))
    first, other = (next(i for i, s in enumerate(samples.sample_id) if fold[s] == k) for k in (0, 1))
    sha = np.array([f"h{i}" for i in range(240)], dtype=object)
    assert not exact_copies("t", samples, splits, sha).alarm
    sha[1] = sha[0]  # within a sample: no matter
    assert not exact_copies("t", samples, splits, sha).alarm
    sha[2 * other] = sha[2 * first]
    found = exact_copies("t", samples, splits, sha)
    assert (found.alarm, found.value) == (True, 2 + (first == 0))
    study = np.array([f"e{i // 2}" for i in range(240)], dtype=object)
    assert not shared_studies("t", samples, splits, study).alarm
    study[2 * other] = study[2 * first]
    assert shared_studies("t", samples, splits, study).value == 1
    thumbs = np.random.default_rng(0).random((240, 576)).astype(np.float32)
    assert not near_copies("t", samples, splits, thumbs).alarm
    thumbs[2 * other] = np.clip(thumbs[2 * first] + 0.004, 0, 1)
    assert near_copies("t", samples, splits, thumbs).value == 2


def test_findings_are_kept_with_what_they_are_of(tmp_path):
    one = Finding("t", "c", 0.7, 0.6, 0.8, 0.55, True, 9, "see")
    write_findings(str(tmp_path), [one], "abc")
    assert read_findings(str(tmp_path), "abc") == [one]
    assert read_findings(str(tmp_path)) == [one]
    assert read_findings(str(tmp_path), "other") is None
    assert finding_lines([one, one]) == ["ALARM t, c: see"] * 2 + ["0 of 2 leak checks passed"]


def config(folder, **change):
    return study_config(folder, protocols=["lp"], resamples=100, **change)


@pytest.fixture
def cohort(cohort_of):
    return cohort_of()


@pytest.mark.slow
def test_inductive_studies_refuse_models_that_saw_the_images(cohort):
    with pytest.raises(InputError, match="pretrained saw ds-test"):
        plan_study(config(cohort, pretraining="inductive"))


@pytest.mark.slow
def test_the_same_pixels_under_two_patients_are_refused_before_anything_is_written(cohort):
    index = pd.read_parquet(cohort / "ds" / "index.parquet")
    index["sha256"] = [f"h{row}" for row in range(len(index))]
    films = index.index[index["modality"] == "XR"]
    index.loc[films[:6], "sha256"] = "same"
    index.to_parquet(cohort / "ds" / "index.parquet")
    with pytest.raises(InputError, match=r"6 images have exactly the pixels.*on_copies=report"):
        run_study(config(cohort))
    assert not (cohort / "out").exists()
    reported = config(cohort, leaks={"on_copies": "report"})
    check_copies(reported, plan_study(reported))


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_keeps_and_tells_what_was_checked(ray_session, cohort, capsys):
    out = run_study(config(cohort, tasks=["xr_tkr"]))
    found = pd.read_parquet(f"{out}/leaks.parquet")
    assert {"near copies", "margin only", "permuted labels", "fitted outside training", "seen in pretraining"} <= set(
        found["check"]
    )
    shown = capsys.readouterr().out
    assert f"{(~found['alarm']).sum()} of {len(found)} leak checks passed" in shown
    assert shown.count("ALARM") == found["alarm"].sum()
    stamp = (cohort / "out" / "leaks.parquet").stat().st_mtime_ns
    next((cohort / "out" / "parts").rglob("*.parquet")).unlink()
    run_study(config(cohort, tasks=["xr_tkr"]))
    assert (cohort / "out" / "leaks.parquet").stat().st_mtime_ns == stamp
