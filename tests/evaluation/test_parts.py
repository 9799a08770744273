"""Tasks of several labels: one split for all parts, missing labels masked and counted, macro AUROC over patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tests.evaluation.conftest import build_samples

from orthoray.config import parse_config
from orthoray.data.splits import make_splits
from orthoray.errors import InputError
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.macro import macro_draws, macro_lines, macro_table
from orthoray.evaluation.parts import group_of, part_name, shared_splits
from orthoray.evaluation.preflight import plan_study
from orthoray.evaluation.tasks import TaskCard, load_task


def some_of(samples, rows):
    """The samples at ``rows``, with one image each."""
    rows = np.asarray(rows)
    fields = {name: getattr(samples, name)[rows] for name in ("sample_id", "patient_id", "label", "image_id")}
    return type(samples)(**fields, image_dataset=np.zeros(len(rows), np.int64), owner=np.arange(len(rows)))


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_part_has_the_rows_of_one_split(seed):
    rng = np.random.default_rng(seed)
    n, patients = 80, np.repeat(np.arange(40), 2)
    parts = {}
    for name, rate in (("a", 0.5), ("b", 0.3), ("c", 0.25)):
        whole = build_samples((rng.random(n) < rate).astype(int), patients)
        parts[name] = some_of(whole, np.flatnonzero(rng.random(n) < 0.8))
    splits, masked = shared_splits(parts, 4, [0, 1], lambda frame, seed: make_splits(frame, 4, seed))
    everybody = set().union(*(set(samples.sample_id) for samples in parts.values()))
    for number in (0, 1):
        fold_of_sample, fold_of_patient = {}, {}
        for name, samples in parts.items():
            split = splits[name][number]
            assert set(split["sample_id"]) == set(samples.sample_id)
            for row in split.itertuples():
                assert fold_of_sample.setdefault(row.sample_id, row.fold) == row.fold
                assert fold_of_patient.setdefault(row.patient_id, row.fold) == row.fold
    assert masked == {name: len(everybody) - len(samples.label) for name, samples in parts.items()}


def test_folds_are_stratified_by_the_rarest_positive_part():
    common = np.array([1] * 40 + [0] * 40)
    rare = np.zeros(80, int)
    rare[:10] = 1
    parts = {"common": build_samples(common, np.arange(80)), "rare": build_samples(rare, np.arange(80))}
    splits, _ = shared_splits(parts, 5, [0], lambda frame, seed: make_splits(frame, 5, seed))
    label = dict(zip(parts["rare"].sample_id, rare, strict=True))
    counts = splits["rare"][0].groupby("fold")["sample_id"].apply(lambda ids: sum(label[one] for one in ids))
    assert list(counts) == [2] * 5


def prediction_table(seed=0, patients=40):
    """Two parts on the same patients, in two folds; the second part lacks a few samples."""
    rng = np.random.default_rng(seed)
    frames = []
    for part, share in (("a", 1.0), ("b", 0.8)):
        label = rng.integers(0, 2, patients)
        score = label + rng.normal(size=patients)
        frame = pd.DataFrame({"patient_id": [f"p{n:02}" for n in range(patients)], "label": label, "score_1": score})
        frame = frame.assign(task=f"t.{part}", fold=np.arange(patients) % 2)
        frames.append(frame[rng.random(patients) < share])
    head = {"model": "m", "protocol": "lp", "fraction": 1.0, "seed": 0}
    return pd.concat(frames, ignore_index=True).assign(**head)


def macro_by_hand(table):
    parts = [
        np.mean([roc_auc_score(fold["label"], fold["score_1"]) for _, fold in part.groupby("fold")])
        for _, part in table.groupby("task")
    ]
    return np.mean(parts)


def test_macro_auroc_is_the_mean_over_parts_of_means_over_folds():
    table = prediction_table()
    row = macro_table(table, resamples=200).iloc[0]
    assert row["task"] == "t"
    assert row["parts"] == 2
    assert row["value"] == pytest.approx(macro_by_hand(table))
    assert row["low"] < row["value"] < row["high"]
    assert macro_lines(macro_table(table, 200))[0].startswith("t, m, lp, 100%: 0.")
    assert macro_table(table.assign(task="t"), 100).empty


def test_a_patient_is_drawn_with_its_samples_in_all_parts():
    """The spread over draws is that of resampling patients by hand."""
    table = prediction_table(patients=60)
    drawn = macro_draws(table, 400)
    rng = np.random.default_rng(1)
    own = table.groupby("patient_id")["label"].max()
    by_patient = {name: table[table["patient_id"] == name] for name in own.index}
    values = []
    for _ in range(400):
        picked = [name for value in (0, 1) for name in rng.choice(own.index[own == value], (own == value).sum())]
        values.append(macro_by_hand(pd.concat([by_patient[name] for name in picked])))
    assert np.nanstd(drawn.values) == pytest.approx(np.std(values), rel=0.15)
    assert np.nanmean(drawn.values) == pytest.approx(np.mean(values), abs=0.01)


@pytest.fixture
def three_labels(dataset_folder, label_table, tmp_path):
    """A dataset of knee studies with labels of three ligaments, one of them for half of the studies only."""
    dataset_folder(tmp_path / "ds", patients=18)
    known = pd.read_parquet(tmp_path / "ds" / "labels" / "mr_acl.parquet")
    rng = np.random.default_rng(0)
    for task, share in (("mr_pcl", 1.0), ("mr_mcl", 0.7)):
        label = rng.permutation(np.arange(len(known)) % 2)
        rows = known.assign(label=label)[: round(share * len(known))]
        label_table(tmp_path / "ds", task, rows)
    return tmp_path


def study(tmp_path, **change):
    values = {"out": str(tmp_path / "out"), "datasets": [str(tmp_path / "ds")], "folds": 3}
    values |= {"models": [{"name": "pixels", "kind": "pixels"}], "tasks": ["mr_findings"], "resamples": 100}
    return parse_config(StudyConfig, {**values, **change}, "study")


def test_a_plan_has_the_parts_that_there_are_labels_for_and_names_the_others(three_labels):
    plan = plan_study(study(three_labels))
    assert set(plan.tasks) == {"mr_findings.mr_acl", "mr_findings.mr_pcl", "mr_findings.mr_mcl"}
    assert set(plan.skipped) == {part_name("mr_findings", name) for name in load_task("mr_findings").parts} - set(
        plan.tasks
    )
    masked = {name: task.masked for name, task in plan.tasks.items()}
    assert masked["mr_findings.mr_acl"] == 0
    assert masked["mr_findings.mr_mcl"] == len(plan.tasks["mr_findings.mr_acl"].samples.label) - len(
        plan.tasks["mr_findings.mr_mcl"].samples.label
    )
    assert masked["mr_findings.mr_mcl"] > 0


def test_fewer_than_two_parts_are_refused(dataset_folder, tmp_path):
    dataset_folder(tmp_path / "ds", patients=18)
    with pytest.raises(InputError, match="1 of its parts can be evaluated, two are needed"):
        plan_study(study(tmp_path))


def test_cards_of_several_labels():
    base = {"task": "t", "title": "T", "unit": "study_id", "modality": "MR"}
    parse_config(TaskCard, {**base, "kind": "multilabel", "parts": ["a", "b"], "metrics": ["macro_auroc"]}, "card")
    multi = {"kind": "multilabel"}
    for wrong in (multi, {**multi, "parts": ["a"]}, {"kind": "binary", "parts": ["a", "b"]}):
        with pytest.raises(InputError, match="two or more `parts`"):
            parse_config(TaskCard, {**base, "metrics": ["macro_auroc"], **wrong}, "card")
    assert load_task("mr_findings.mr_acl") == load_task("mr_acl")
    assert group_of("mr_findings.mr_acl") == "mr_findings"
    assert group_of("mr_acl") == ""


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_of_several_labels(ray_session, three_labels, capsys):
    from orthoray.evaluation.study import run_study
    from orthoray.report.build import build_report

    out = run_study(study(three_labels))
    results = pd.read_parquet(f"{out}/results.parquet")
    parts = {"mr_findings.mr_acl", "mr_findings.mr_pcl", "mr_findings.mr_mcl"}
    assert set(results["task"]) == parts
    macro = pd.read_parquet(f"{out}/macro.parquet").iloc[0]
    folds = results[(results["fold"] >= 0) & (results["metric"] == "auroc")]
    assert macro["value"] == pytest.approx(folds.groupby("task")["value"].mean().mean())
    predictions = pd.read_parquet(f"{out}/predictions.parquet")
    assert predictions.groupby("sample_id")["fold"].nunique().max() == 1
    assert "samples of its other parts have no label for it" in capsys.readouterr().out
    assert build_report(out).exists()
