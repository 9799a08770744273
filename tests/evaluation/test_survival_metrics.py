"""C-index and time-dependent AUROC against definitions written out pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthoray.errors import InputError
from orthoray.evaluation.comparisons import draw_all
from orthoray.evaluation.metrics import compute
from orthoray.evaluation.statistics import bootstrap_draws

YEAR = 365.25


def concordance_by_hand(time, event, risk):
    """Harrell's C, over all ordered pairs."""
    won = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                pairs += 1
                won += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return won / pairs if pairs else float("nan")


def uncensored_by_hand(time, event, before):
    """Kaplan-Meier of the censoring just before a time; events leave before those censored at the same time."""
    left = 1.0
    for at in sorted({t for t in time if t < before}):
        here = [e for t, e in zip(time, event, strict=True) if t == at]
        at_risk = sum(t >= at for t in time) - sum(here)
        if at_risk:
            left *= 1.0 - (len(here) - sum(here)) / at_risk
    return left


def area_by_hand(time, event, risk, limit):
    """Cumulative, dynamic AUROC with inverse probability of censoring weights."""
    won = cases = 0.0
    controls = [j for j in range(len(time)) if time[j] > limit]
    for i in range(len(time)):
        if event[i] and time[i] <= limit:
            weight = 1.0 / uncensored_by_hand(time, event, time[i])
            cases += weight
            won += weight * sum(1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0 for j in controls)
    return won / (cases * len(controls)) if cases and controls else float("nan")


def measured(name, time, event, risk):
    try:
        return compute([name], np.array(event), np.array(risk, float)[:, None], np.array(time, float))[name]
    except InputError:
        return float("nan")


PEOPLE = st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 4)), min_size=1, max_size=14)


@given(PEOPLE)
def test_c_index_is_the_share_of_pairs_in_the_right_order(people):
    time, event, risk = (list(column) for column in zip(*people, strict=True))
    found = measured("c_index", time, np.array(event, int), risk)
    np.testing.assert_allclose(found, concordance_by_hand(time, event, risk), rtol=1e-12)


@given(PEOPLE, st.integers(1, 5))
def test_auroc_at_a_horizon_is_the_weighted_share_of_pairs(people, years):
    time, event, risk = (list(column) for column in zip(*people, strict=True))
    days = [t * YEAR for t in time]
    found = measured(f"auroc_at_{years}y", days, np.array(event, int), risk)
    np.testing.assert_allclose(found, area_by_hand(days, event, risk, years * YEAR), rtol=1e-9)


def test_a_small_case_on_paper():
    """Five knees: event at 1, censored at 2, events at 3 and 3, censored at 5.

    Pairs: the first before all others (4), each of the two at 3 before the last (2); the two at 3 tell nothing.
    """
    time, event, risk = [1, 2, 3, 3, 5], np.array([1, 0, 1, 1, 0]), [4, 5, 3, 1, 2]
    assert measured("c_index", time, event, risk) == pytest.approx((3 + 1 + 0) / 6)
    days = [t * YEAR for t in time]  # at 4 years: cases of weight 1, 4/3, 4/3, control: the last
    assert measured("auroc_at_4y", days, event, risk) == pytest.approx((1 + 4 / 3) / (1 + 8 / 3))


@given(st.integers(0, 2**32 - 1))
def test_without_censoring_before_the_horizon_it_is_the_ordinary_auroc(seed):
    rng = np.random.default_rng(seed)
    time, risk = rng.uniform(1, 9 * YEAR, 30), rng.normal(size=30)
    time[:2] = [YEAR, 8 * YEAR]
    event = ((time <= 4 * YEAR) | (rng.random(30) < 0.5)).astype(int)
    label = (time <= 4 * YEAR).astype(np.int64)
    plain = compute(["auroc"], label, np.column_stack([-risk, risk]))["auroc"]
    assert measured("auroc_at_4y", time, event, risk) == pytest.approx(plain)


@pytest.mark.parametrize("metric", ["c_index", "auroc_at_2y"])
def test_a_draw_is_the_metric_of_the_drawn_patients(metric):
    """The fast weighted form against the plain metric on samples that are repeated as often as they were drawn."""
    rng = np.random.default_rng(5)
    patients = np.repeat([f"p{n:02}" for n in range(25)], 2)
    time, event = rng.integers(1, 12, 50) * YEAR / 3, rng.integers(0, 2, 50)
    risk = rng.integers(0, 9, 50).astype(float)
    both = np.column_stack([risk, time])
    fast = bootstrap_draws(metric, event, both, patients, resamples=40)

    def plain(label, scores):
        return compute([metric], label, scores[:, :1], scores[:, 1])[metric]

    slow = bootstrap_draws(plain, event, both, patients, resamples=40)
    assert fast.value == pytest.approx(slow.value)
    np.testing.assert_allclose(fast.values, slow.values, rtol=1e-9)


def test_a_study_draws_time_with_the_scores():
    import pandas as pd

    rng = np.random.default_rng(0)
    n = 40
    head = {"task": "t", "model": "m", "protocol": "lp", "fraction": 1.0, "seed": 0}
    table = pd.DataFrame({"fold": np.arange(n) % 2, "patient_id": [f"p{k}" for k in range(n)]} | head)
    table = table.assign(label=rng.integers(0, 2, n), time=rng.uniform(1, 3000, n), score_0=rng.normal(size=n))
    table["score_1"] = np.nan
    drawn = draw_all(table, {"t": ["c_index"]}, resamples=100)[("t", "m", "lp", 1.0, "c_index")]
    parts = [part for _, part in table.groupby("fold")]
    each = [concordance_by_hand(*(part[c].to_numpy() for c in ("time", "label", "score_0"))) for part in parts]
    assert drawn.value == pytest.approx(np.mean(each))


def test_what_is_no_prediction_of_times_is_refused():
    event, risk, time = np.array([1, 0]), np.zeros((2, 1)), np.array([1.0, 2.0])
    with pytest.raises(InputError, match="no pair of samples"):
        compute(["c_index"], np.array([0, 0]), risk, time)
    with pytest.raises(InputError, match="no metric of time-to-event"):
        compute(["auroc"], event, risk, time)
    with pytest.raises(InputError, match="expected"):
        compute(["c_index"], event, np.zeros((2, 2)), time)
    with pytest.raises(InputError, match="above 0"):
        compute(["c_index"], event, risk, np.array([0.0, 2.0]))
    with pytest.raises(InputError, match="Unknown metric"):
        compute(["c_index"], event, np.full((2, 2), 0.5))
