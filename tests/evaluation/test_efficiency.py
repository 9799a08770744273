"""How many labels match a baseline: crossings by hand, and an interval that holds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthoray.evaluation.efficiency import crossing, efficiency_lines, labels_needed
from orthoray.evaluation.statistics import Draws

SHARES = (0.125, 0.25, 0.5, 1.0)


def test_crossings_by_hand():
    rising = np.array([0.6, 0.7, 0.8, 0.9])
    assert crossing(SHARES, rising, 0.7) == pytest.approx(0.25)
    assert crossing(SHARES, rising, 0.75) == pytest.approx(np.sqrt(0.25 * 0.5))  # half way, on a logarithmic axis
    assert crossing(SHARES, rising, 0.55) == 0.125
    assert crossing(SHARES, rising, 0.9) == pytest.approx(1.0)
    assert crossing(SHARES, rising, 0.91) == np.inf
    dip = np.array([0.6, 0.8, 0.7, 0.9])  # a rising fit makes 0.75 of both
    assert crossing(SHARES, dip, 0.75) == pytest.approx(0.25)


@given(st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_higher_target_needs_no_fewer_labels(values, one, two):
    low, high = sorted((one, two))
    found = crossing(SHARES, np.array(values), low), crossing(SHARES, np.array(values), high)
    assert 0.125 <= found[0] <= found[1] * (1 + 1e-9)


def drawn(value, spread, seed):
    return Draws(value, value + spread * np.random.default_rng(seed).normal(size=500))


def test_the_interval_holds_the_share_and_both_censored_ends_are_told():
    values = dict(zip(SHARES, (0.6, 0.7, 0.8, 0.9), strict=True))
    draws = {("a", "ours", "lp", s, "auroc"): drawn(v, 0.01, int(1000 * s)) for s, v in values.items()}
    for name, value in (("weak", 0.5), ("equal", 0.75), ("strong", 0.99)):
        draws |= {("a", name, "lp", s, "auroc"): drawn(value, 0.01, 7) for s in SHARES}
    draws[("a", "equal", "lp", 1.0, "auroc")].values[:3] = np.nan
    table = labels_needed(draws, {"a": "auroc"}, "ours").set_index("baseline")
    assert table.loc["equal", "share"] == pytest.approx(np.sqrt(0.125))
    assert 0.25 < table.loc["equal", "low"] < table.loc["equal", "share"] < table.loc["equal", "high"] < 0.5
    assert table["undefined"].to_dict() == {"weak": 0, "equal": 3, "strong": 0}
    assert table.loc["weak", ["share", "low", "high"]].tolist() == [0.125] * 3
    assert table.loc["strong", ["share", "low", "high"]].tolist() == [np.inf] * 3
    lines = efficiency_lines(table.reset_index(), 0.125)
    assert lines[0] == (
        "a, lp: at most 12.5 % of the labelled patients match weak with all (at most 12.5 % to at most 12.5 %)"
    )
    assert lines[1].startswith("a, lp: 35 % of the labelled patients match equal with all (2")
    assert "more than 100 %" in lines[2]


def test_a_single_share_says_nothing():
    draws = {("a", name, "lp", 1.0, "auroc"): drawn(0.8, 0.01, 1) for name in ("ours", "other")}
    assert labels_needed(draws, {"a": "auroc"}, "ours").empty
