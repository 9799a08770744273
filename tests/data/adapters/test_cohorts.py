"""Definitions of cohorts: progression (Tiulpin 2019) and matched replacements (Leung 2020)."""

import itertools

import numpy as np
import pandas as pd
import pytest

from orthoray.data.sources.cohorts import matched_pairs, progression

VISITS = ["V00", "V01", "V03", "V05", "V06", "V08", "V10"]


@pytest.mark.parametrize(
    ("grades", "state", "days", "label", "reason"),
    [
        ([2, 2, 2, 2, 2, 2, 2], "none", 3287, "0", ""),
        ([2, 2, 3, 3, 3, 3, 3], "none", 3287, "1", ""),
        ([2, 2, 2, 2, 2, 3, 3], "none", 3287, "2", ""),
        ([2, 2, 2, 2, 3, 2, 2], "none", 3287, "0", ""),  # 48 months is not looked at
        ([0, 1, 1, 1, 1, 1, 1], "none", 3287, "0", ""),  # 0 to 1 does not count
        ([0, 1, 1, 2, 2, 2, 2], "none", 3287, "1", ""),
        ([1, 1, 1, 1, 1, 1, np.nan], "none", 2192, "", "not_followed"),
        ([1, 2, np.nan, np.nan, np.nan, np.nan, np.nan], "none", 365, "1", ""),
        ([3, 3, 3, np.nan, np.nan, np.nan, np.nan], "event", 1826, "1", ""),
        ([3, 3, 3, 3, 3, np.nan, np.nan], "event", 1827, "2", ""),
        ([3, 3, 3, 3, 3, 3, 3], "event", 3100, "0", ""),  # replaced after the last visit
        ([4, 4, 4, 4, 4, 4, 4], "none", 3287, "", "baseline_kl4"),
        ([np.nan, 2, 2, 2, 2, 2, 2], "none", 3287, "", "not_read"),
        ([np.nan] * 7, "replaced_at_baseline", np.nan, "", "replaced_at_baseline"),
        ([3, 3, 3, 3, 3, 3, np.nan], "unconfirmed", np.nan, "", "unproven_replacement"),
    ],
)
def test_progression(grades, state, days, label, reason):
    knee = pd.MultiIndex.from_tuples([("1000001", "R")], names=["patient", "laterality"])
    table = progression(
        pd.DataFrame([grades], columns=VISITS, index=knee), pd.DataFrame({"state": [state], "days": [days]}, index=knee)
    )
    assert table.iloc[0].tolist() == [label, reason]


def _cohort():
    """Cases 1 to 4; 5 and 6 could be controls of 1, 6 also of 2; the others must not be taken."""
    people = [
        ("1000001", "F", 60, 30.0, ("event", 900), ("event", 800)),  # the left one was first
        ("1000002", "F", 64, 30.0, ("event", 500), ("none", 3287)),
        ("1000003", "F", 80, 30.0, ("event", 500), ("none", 3287)),  # nobody of that age
        ("1000004", "M", 60, 30.0, ("event", 3288), ("none", 3300)),  # a day too late: neither case nor control
        ("1000005", "F", 60, 30.0, ("none", 3287), ("none", 3287)),
        ("1000006", "F", 61, 29.0, ("none", 3287), ("none", 3287)),
        ("1000007", "F", 60, 30.0, ("none", 3286), ("none", 3286)),  # followed a day too short
        ("1000008", "F", 60, 30.0, ("none", 3287), ("unconfirmed", np.nan)),
        ("1000009", "F", 60, 40.0, ("none", 3287), ("none", 3287)),  # too heavy
        ("1000010", "F", 64, 30.0, ("event", 500), ("replaced_at_baseline", np.nan)),
    ]
    persons = pd.DataFrame(
        [{"patient": p, "sex": s, "race": 1.0, "hispanic": 0.0, "age": float(a), "bmi": b} for p, s, a, b, *_ in people]
    )
    outcomes = pd.DataFrame(
        [
            {"patient": person, "laterality": side, "state": state, "days": float(days)}
            for person, *_, right, left in people
            for side, (state, days) in (("R", right), ("L", left))
        ]
    )
    return persons, outcomes


def _pairs(persons, outcomes):
    return matched_pairs(persons, outcomes, years=9, age=5, bmi=0.1)


def test_pairs_are_as_many_and_as_alike_as_can_be():
    table = _pairs(*_cohort())
    pairs = {pair: dict(zip(part["label"], part["patient"], strict=True)) for pair, part in table.groupby("pair")}
    assert sorted((pair["1"], pair["0"]) for pair in pairs.values()) == [("1000001", "1000005"), ("1000002", "1000006")]
    sides = table.set_index("patient")["laterality"]
    assert sides["1000001"] == sides["1000005"] == "L"
    assert sides["1000002"] == sides["1000006"] == "R"


def test_pairs_do_not_depend_on_the_order_of_rows():
    persons, outcomes = _cohort()
    expected = _pairs(persons, outcomes)
    for seed in range(5):
        shuffled = _pairs(persons.sample(frac=1, random_state=seed), outcomes.sample(frac=1, random_state=seed + 9))
        pd.testing.assert_frame_equal(shuffled, expected)


@pytest.mark.parametrize("column", ["sex", "race", "hispanic"])
def test_pairs_agree_in_sex_race_and_ethnicity(column):
    persons, outcomes = _cohort()
    other = {"sex": "M", "race": 2.0, "hispanic": 1.0}[column]
    persons.loc[persons["patient"].isin(["1000005", "1000006"]), column] = other
    assert _pairs(persons, outcomes).empty


def test_more_pairs_win_over_nearer_ones():
    """The nearest control of 1000001 is the only one of 1000002: all orders of age must still give two pairs."""
    for ages in itertools.permutations([60.0, 64.0]):
        persons, outcomes = _cohort()
        persons.loc[persons["patient"].isin(["1000005", "1000006"]), "age"] = [62.0, 56.0]
        persons.loc[persons["patient"].isin(["1000001", "1000002"]), "age"] = list(ages)
        assert len(_pairs(persons, outcomes)) == 4
