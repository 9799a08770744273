"""A study that cannot work says so, with numbers, before it writes anything."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orthoray.config import parse_config
from orthoray.errors import InputError
from orthoray.evaluation.config import StudyConfig
from orthoray.evaluation.preflight import plan_study
from orthoray.evaluation.study import run_study, study_rows


@pytest.fixture
def config_of(tmp_path):
    def make(**values):
        base = {"out": str(tmp_path / "out"), "datasets": [str(tmp_path / "ds")], "folds": 3}
        base |= {"models": [{"name": "pixels", "kind": "pixels"}]}
        return parse_config(StudyConfig, {**base, **values}, "study")

    return make


def test_good_study_is_planned(config_of, dataset_folder, tmp_path):
    dataset_folder(tmp_path / "ds")
    plan = plan_study(config_of())
    assert list(plan.tasks) == ["mr_acl", "xr_tkr"]
    mri = plan.tasks["mr_acl"].samples
    assert len(mri.label) == 12
    assert len(mri.image_id) == 36
    for sample, patient in zip(mri.sample_id, mri.patient_id, strict=True):
        assert sample[-4:] == patient[-4:]
    for owner, image in zip(mri.owner, mri.image_id, strict=True):
        assert mri.sample_id[owner][-4:] == image[3:7]
        assert not image.endswith("-0")  # the film belongs to no MR study
    rows = study_rows(config_of(seeds=[0, 1], fractions=[0.5, 1.0]), plan_study(config_of(seeds=[0, 1])))
    assert len(rows) == len(set(rows)) == 2 * 2 * 2 * 3


@pytest.mark.parametrize(
    ("patients", "change", "words"),
    [
        (1, {"tasks": ["mr_acl"]}, "3 folds need at least 3 patients, but its 1 samples come from 1"),
        (4, {"tasks": ["mr_acl"], "folds": 5}, "5 folds need at least 5 patients.*folds=4"),
        (12, {"tasks": ["mr_acll"]}, "Did you mean 'mr_acl'"),
        (12, {"tasks": ["mr_pcl"]}, "no dataset of this study holds labels for it"),
        (12, {"models": [{"name": "a", "kind": "checkpoint", "checkpoint": "nowhere"}]}, "no checkpoint here"),
        (12, {"datasets": ["nowhere"]}, "nowhere"),
        (12, {"tasks": ["mr_acl"], "features": {"modality": "XR"}}, "features.modality is XR"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(config_of, dataset_folder, tmp_path, patients, change, words):
    dataset_folder(tmp_path / "ds", patients=patients)
    with pytest.raises(InputError, match=words):
        run_study(config_of(**change))
    assert not (tmp_path / "out").exists()


def rewrite(label_table, tmp_path, change):
    table = pd.read_parquet(tmp_path / "ds" / "labels" / "mr_acl.parquet")
    label_table(tmp_path / "ds", "mr_acl", change(table[["sample_id", "patient_id", "label"]].copy()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(label=np.where(np.arange(len(t)) == 0, 1, 0)), r"too few patients.*'torn' 1"),
        (lambda t: t.assign(label=0), "have the class 'intact'"),
        (lambda t: t.assign(label=t["label"] * 5), r"6 labels lie outside 0..1.*example 5"),
        (lambda t: pd.concat([t, t.iloc[:2]]), "2 samples have more than one label"),
        (lambda t: t.assign(sample_id=t["sample_id"].replace({"MRstudy0003": "gone"})), "1 of 12 labelled samples"),
        (lambda t: t.assign(patient_id=t["patient_id"].shift(1).fillna("x")), "another patient"),
    ],
)
def test_bad_labels_are_refused(config_of, dataset_folder, label_table, tmp_path, change, words):
    dataset_folder(tmp_path / "ds")
    rewrite(label_table, tmp_path, change)
    with pytest.raises(InputError, match=words):
        plan_study(config_of(tasks=["mr_acl"]))


def test_auto_leaves_out_what_cannot_be_folded_with_the_reason(config_of, dataset_folder, label_table, tmp_path):
    dataset_folder(tmp_path / "ds")
    rewrite(label_table, tmp_path, lambda t: t.assign(label=0))
    plan = plan_study(config_of())
    assert list(plan.tasks) == ["xr_tkr"]
    assert "intact" in plan.skipped["mr_acl"]


def test_same_dataset_twice_is_refused(config_of, dataset_folder, tmp_path):
    dataset_folder(tmp_path / "ds")
    dataset_folder(tmp_path / "copy")
    with pytest.raises(InputError, match="the same dataset"):
        plan_study(config_of(datasets=[str(tmp_path / "ds"), str(tmp_path / "copy")]))


def test_overlap_with_pretraining_is_found(config_of, dataset_folder, tiny_checkpoint, tmp_path):
    dataset_folder(tmp_path / "ds")
    tiny_checkpoint(tmp_path / "run" / "initial", seed=0)
    tiny_checkpoint(tmp_path / "run" / "checkpoint", seed=1, steps=5, dataset_ids=["ds-test"])
    plan = plan_study(config_of(models=[], pretrain_run=str(tmp_path / "run")))
    assert plan.overlap == {"untrained": [], "pretrained": ["ds-test"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": []}, "pretrain_run"),
        ({"folds": 1}, "folds"),
        ({"seeds": [0, 0]}, "names something twice"),
        ({"fractions": [1.5]}, "fractions"),
        ({"protocols": ["fft"]}, "protocols"),
        ({"models": [{"name": "a", "kind": "checkpoint"}]}, "needs `checkpoint: URI`"),
        ({"pretrain_run": "r", "models": [{"name": "pixels", "kind": "pixels"}]}, "must differ"),
        ({"probe": {"grid": 3}}, "unknown key"),
    ],
)
def test_wrong_configuration_is_refused(config_of, change, words):
    with pytest.raises(InputError, match=words):
        config_of(**change)
