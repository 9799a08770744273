"""Subgroups: planted differences are found, small cells stay hidden, also by subtraction."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tests.evaluation.conftest import build_samples

from orthoray.evaluation.subgroups import COLUMNS, attributes, subgroup_lines, subgroup_table


def index_of(samples, **columns):
    table = pd.DataFrame({"image_id": samples.image_id})
    return table.assign(**columns)


def test_levels_are_those_on_which_all_images_of_a_sample_agree():
    samples = build_samples([0, 1, 1, 0], [0, 1, 2, 3], images_per_sample=2)
    site = ["a", "a", "a", "b", "b", None, "", ""]
    ages = [49.9, 49.0, 50.0, 50.0, 64.9, 64.0, 65.0, 90.0]
    found = attributes(samples, [index_of(samples, site=site, age=ages)]).set_index("sample_id")
    assert found["site"].where(found["site"].notna(), "").tolist() == ["a", "", "b", ""]
    assert found["age"].tolist() == ["below 50", "50 to 64", "50 to 64", "65 and over"]
    assert list(found.columns) == list(COLUMNS)
    assert found["sex"].isna().all()


def cohort(sizes, weak="", seed=0):
    """Predictions of patients in groups; in the ``weak`` one scores say nothing."""
    rng = np.random.default_rng(seed)
    group = np.repeat(list(sizes), list(sizes.values()))
    n = len(group)
    label = np.arange(n) % 2
    score = expit_of(2.0 * label * (group != weak) + rng.normal(size=n))
    table = pd.DataFrame({"sample_id": [f"s{i}" for i in range(n)], "patient_id": [f"p{i}" for i in range(n)]})
    table = table.assign(task="mr_acl", model="m", protocol="lp", fraction=1.0, seed=0, fold=0, label=label)
    known = pd.DataFrame({"sample_id": table["sample_id"], **dict.fromkeys(COLUMNS)}).assign(site=group)
    return table.assign(score_0=1 - score, score_1=score), {"mr_acl": known}


def expit_of(x):
    return 1 / (1 + np.exp(-x))


def table_of(sizes, least=10, **change):
    predictions, known = cohort(sizes, **change)
    return subgroup_table(predictions, known, {"mr_acl": "auroc"}, "m", 300, least), predictions


def test_a_group_that_is_served_badly_is_told():
    table, predictions = table_of({"north": 120, "south": 120, "west": 120}, weak="west")
    rows = table.set_index("level")
    west = predictions.iloc[240:]
    assert rows.loc["west", "value"] == pytest.approx(roc_auc_score(west["label"], west["score_1"]))
    assert rows.loc["west", "gap_high"] < 0
    assert rows.loc["west", ["patients", "samples"]].tolist() == [120, 120]
    lines = subgroup_lines(table)
    assert any("site west: auroc 0." in line for line in lines)
    assert lines[-1].endswith("of 3 subgroups differ from the others beyond a 95 % interval, not adjusted")


def test_without_a_difference_gaps_hold_zero_as_often_as_they_should():
    outside = 0
    for seed in range(40):
        table, _ = table_of({"a": 60, "b": 60}, seed=seed)
        outside += int((table["gap_low"].iloc[0] > 0) or (table["gap_high"].iloc[0] < 0))
    assert outside <= 6  # of 40 at 5 %: more than six in one of a hundred


def test_small_cells_are_hidden_and_cannot_be_told_from_the_others():
    table, _ = table_of({"a": 60, "b": 40, "c": 6})
    rows = table.set_index("level")
    assert rows.loc["c", "note"] == "fewer than 10 patients"
    assert rows.loc["c", ["patients", "samples", "value"]].isna().all()
    assert np.isnan(rows.loc["b", "patients"])
    assert rows.loc["b", "note"].startswith("number not shown")
    assert rows.loc["b", "value"] > 0.5
    assert rows.loc["a", "patients"] == 60
    two, _ = table_of({"a": 60, "b": 7, "c": 6})
    assert two.set_index("level")["patients"].notna().to_dict() == {"a": True, "b": False, "c": False}


def test_a_gap_to_hidden_patients_alone_is_not_told():
    table, _ = table_of({"a": 60, "b": 7})
    rows = table.set_index("level")
    assert rows.loc["a", "value"] > 0.5
    assert "gap" not in table or rows["gap"].isna().all()
    assert subgroup_lines(table) == [] or subgroup_lines(table)[-1].startswith("0 of 0")


def test_one_level_makes_no_table():
    table, _ = table_of({"a": 60})
    assert table.empty
    assert subgroup_lines(table) == []


def test_a_group_of_one_class_says_so():
    predictions, known = cohort({"a": 60, "b": 20})
    predictions.loc[predictions.index >= 60, "label"] = 1
    table = subgroup_table(predictions, known, {"mr_acl": "auroc"}, "m", 100, 10).set_index("level")
    assert table.loc["b", "note"] == "one class only"
    assert np.isnan(table.loc["b", "value"])
